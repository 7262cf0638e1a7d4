"""How the API's log lines look: one JSON object a line, or readable text. What is logged stands elsewhere."""

import asyncio
import json
import logging
from contextlib import nullcontext
from datetime import UTC, datetime
from typing import Literal, TextIO

from kasparro_api.access.keys import masked

LOGGER = "kasparro_api"
ACCESS_LOGGER = "kasparro_api.access"
FLUSH_EVERY = 0.2
"""Seconds that a line may wait to be written with others; a warning, or worse, does not wait."""


class _LinesTogether(logging.StreamHandler[TextIO]):
    """Writes the lines of a moment at once: a write for each would cost more than what it tells."""

    def __init__(self) -> None:
        super().__init__()
        self._lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Keep the line, and see to it that it is written soon."""
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            loop = None
        first = not self._lines
        self._lines.append(self.format(record))
        if loop is None or record.levelno >= logging.WARNING:
            self.flush()
        elif first:
            loop.call_later(FLUSH_EVERY, self.flush)

    def flush(self) -> None:
        """Write what was kept."""
        with self.lock or nullcontext():
            if self._lines:
                self.stream.write("\n".join([*self._lines, ""]))
                self._lines.clear()
            self.stream.flush()


_handler = _LinesTogether()


def configure(log_format: Literal["text", "json"], access_log: Literal["all", "errors"] = "all") -> None:
    """Write the log of the API to standard error; a second call only changes the settings."""
    _handler.setFormatter(formatter(log_format))
    logger = logging.getLogger(LOGGER)
    logger.setLevel(logging.INFO)
    logger.propagate = False
    logger.addHandler(_handler)
    logging.getLogger(ACCESS_LOGGER).setLevel(logging.INFO if access_log == "all" else logging.ERROR)
    # uvicorn would write each request a second time, with whatever came in its query
    uvicorn = logging.getLogger("uvicorn.access")
    uvicorn.handlers.clear()
    uvicorn.propagate = False


def flush() -> None:
    """Write the lines that wait."""
    _handler.flush()


def formatter(log_format: Literal["text", "json"]) -> logging.Formatter:
    """How a line of `log_format` is written."""
    return _JsonFormatter() if log_format == "json" else _TextFormatter()


def _fields(record: logging.LogRecord) -> dict[str, object]:
    """What a call passed as `extra={"fields": {…}}`."""
    fields: dict[str, object] = getattr(record, "fields", {})
    return fields


def _time(record: logging.LogRecord) -> str:
    return (
        datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    )


class _JsonFormatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, object] = {
            "time": _time(record),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
            **_fields(record),
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return masked(json.dumps(line))


class _TextFormatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        # JSON for text values: a space or a line break in one cannot look like another field or line
        fields = "".join(f" {name}={json.dumps(value)}" for name, value in _fields(record).items())
        line = f"{_time(record)} {record.levelname} {record.name}: {record.getMessage()}{fields}"
        return masked(f"{line}\n{self.formatException(record.exc_info)}" if record.exc_info else line)
