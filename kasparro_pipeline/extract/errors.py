"""Why an extraction failed: for good, or for now. Retrying is decided by this type, never by text."""

from dataclasses import dataclass


@dataclass
class UpstreamError(Exception):
    """An upstream did not give what it should. `location` is the URL or path."""

    message: str
    location: str = ""

    def __str__(self) -> str:
        return f"{self.message} ({self.location})" if self.location else self.message


@dataclass
class PermanentUpstreamError(UpstreamError):
    """Asking again gives the same: a wrong address, a refused key, a body that is not what was promised."""


@dataclass
class TransientUpstreamError(UpstreamError):
    """Asking again later may help: a lost connection, 429, 5xx, a time-out. Raised after the retries."""

    retry_after: float | None = None
    """Seconds that the upstream asked to wait, if it did."""
