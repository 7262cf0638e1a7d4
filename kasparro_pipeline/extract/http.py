"""One HTTP GET, made to last: time-outs, size limits, retries, Retry-After, conditional requests.

Pagination and what is in the body belong to the extractors.
"""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

import requests
import urllib3
from pydantic import Field
from tenacity import (
    RetryCallState,
    Retrying,
    retry_if_exception_type,
    stop_after_attempt,
    wait_exponential_jitter,
)

from kasparro_pipeline.contract.spec import StrictModel
from kasparro_pipeline.extract.documents import KnownDocument
from kasparro_pipeline.extract.errors import PermanentUpstreamError, TransientUpstreamError

USER_AGENT = "kasparro/0.1"
KEPT_HEADERS = ("content-type", "etag", "last-modified", "cache-control", "expires", "link", "date")
RETRIED_STATUSES = frozenset({408, 425, 429, 500, 502, 503, 504})
CHUNK = 1 << 16
CONDITIONS = frozenset({"If-None-Match", "If-Modified-Since"})
"""Request headers that allow 304 for an answer."""


class HttpSettings(StrictModel):
    """How patient and how greedy a source is with its upstream."""

    connect_timeout: float = Field(default=10, gt=0)
    """Seconds to wait for a connection."""
    read_timeout: float = Field(default=30, gt=0)
    """Seconds to wait for the next bytes."""
    total_timeout: float = Field(default=300, gt=0)
    """Seconds that one answer may take as a whole."""
    max_bytes: int = Field(default=64 * 1024 * 1024, gt=0)
    """Largest body taken, after decompression."""
    attempts: int = Field(default=5, ge=1)
    """How often a request is tried on connection errors, 429 and 5xx."""
    backoff: float = Field(default=1, ge=0)
    """Seconds before the second attempt; it doubles from there, with jitter."""
    max_wait: float = Field(default=120, ge=0)
    """Longest wait between attempts, also where Retry-After asks for more."""


@dataclass(frozen=True, slots=True)
class Response:
    """A whole answer. `body` is None for 304 Not Modified. Headers by lower-case name."""

    url: str
    body: bytes | None
    headers: Mapping[str, str]
    fetched_at: datetime


def fetch(
    session: requests.Session,
    url: str,
    *,
    settings: HttpSettings,
    params: Mapping[str, Any] | None = None,
    headers: Mapping[str, str] | None = None,
    known: KnownDocument | None = None,
) -> Response:
    """GET one URL; conditional (RFC 9110 13.1) where a stored document gave a validator.

    Raises:
        PermanentUpstreamError: 4xx but for those worth a retry, a body over the limit, an unusable address.
        TransientUpstreamError: the retries are used up.
    """
    asked = {"User-Agent": USER_AGENT, **(headers or {}), **_conditions(known)}
    attempts = Retrying(
        retry=retry_if_exception_type(TransientUpstreamError),
        stop=stop_after_attempt(settings.attempts),
        wait=lambda state: _wait(state, settings),
        reraise=True,
    )
    return attempts(_get, session, url, dict(params or {}), asked, settings)


def _conditions(known: KnownDocument | None) -> dict[str, str]:
    if known is None:
        return {}
    names = {"etag": "If-None-Match", "last-modified": "If-Modified-Since"}
    return {asked: known.headers[stored] for stored, asked in names.items() if stored in known.headers}


def _get(
    session: requests.Session,
    url: str,
    params: dict[str, Any],
    headers: dict[str, str],
    settings: HttpSettings,
) -> Response:
    deadline = time.monotonic() + settings.total_timeout
    try:
        with session.get(
            url,
            params=params,
            headers=headers,
            timeout=(settings.connect_timeout, settings.read_timeout),
            stream=True,
        ) as answer:
            kept = {name: answer.headers[name] for name in KEPT_HEADERS if name in answer.headers}
            fetched_at = datetime.now(UTC)
            if answer.status_code == requests.codes.not_modified and CONDITIONS & headers.keys():
                return Response(answer.url, None, kept, fetched_at)
            _refuse_status(answer)
            return Response(answer.url, _read(answer, settings, deadline), kept, fetched_at)
    except (
        requests.exceptions.InvalidURL,
        requests.exceptions.MissingSchema,
        requests.exceptions.InvalidSchema,
        requests.exceptions.InvalidHeader,
    ) as e:
        raise PermanentUpstreamError(f"not a usable address or header: {e}", url) from e
    except requests.exceptions.SSLError as e:
        raise PermanentUpstreamError(f"the TLS certificate is not trusted: {e}", url) from e
    except requests.exceptions.TooManyRedirects as e:
        raise PermanentUpstreamError(f"redirected in a circle: {e}", url) from e
    except (requests.exceptions.RequestException, urllib3.exceptions.HTTPError) as e:
        raise TransientUpstreamError(f"no whole answer: {e}", url) from e


def _refuse_status(answer: requests.Response) -> None:
    status = answer.status_code
    if status == requests.codes.ok:
        return
    said = f"HTTP {status} {answer.reason}: {_excerpt(answer)}".removesuffix(": ")
    if status in RETRIED_STATUSES:
        raise TransientUpstreamError(said, answer.url, retry_after(answer.headers.get("Retry-After")))
    raise PermanentUpstreamError(said, answer.url)


def _excerpt(answer: requests.Response) -> str:
    """What came first of an error's body. The status says enough where it cannot be read."""
    try:
        return answer.raw.read1(300, decode_content=True).decode("utf-8", "replace").strip()
    except (urllib3.exceptions.HTTPError, OSError) as error:
        return f"(body unreadable: {error})"


def _read(answer: requests.Response, settings: HttpSettings, deadline: float) -> bytes:
    body = bytearray()
    # read1 returns what has come; iter_content waits for a whole chunk, however slowly its bytes drip
    while chunk := answer.raw.read1(CHUNK, decode_content=True):
        body += chunk
        if len(body) > settings.max_bytes:
            raise PermanentUpstreamError(
                f"the body is larger than max_bytes, {settings.max_bytes} bytes", answer.url
            )
        if time.monotonic() > deadline:
            raise TransientUpstreamError(
                f"no whole answer within total_timeout, {settings.total_timeout:g} s", answer.url
            )
    return bytes(body)


def retry_after(header: str | None, now: datetime | None = None) -> float | None:
    """Seconds that a Retry-After header asks to wait (RFC 9110 10.2.3): a number, or an HTTP date.

    A date in the past is 0; what cannot be read is None.
    """
    if header is None:
        return None
    if header.isascii() and header.strip().isdigit():
        return float(header.strip())
    try:
        moment = parsedate_to_datetime(header)
    except ValueError:
        return None
    aware = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return max(0.0, (aware - (now or datetime.now(UTC))).total_seconds())


def _wait(state: RetryCallState, settings: HttpSettings) -> float:
    backoff = wait_exponential_jitter(
        multiplier=settings.backoff, max=settings.max_wait, jitter=settings.backoff
    )
    error = state.outcome.exception() if state.outcome else None
    asked = error.retry_after if isinstance(error, TransientUpstreamError) else None
    return min(settings.max_wait, asked) if asked is not None else min(settings.max_wait, backoff(state))
