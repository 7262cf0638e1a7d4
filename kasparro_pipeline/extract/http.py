"""One HTTP GET, made to last: time-outs, size limits, retries, Retry-After, conditional requests, redirects.

Pagination and what is in the body belong to the extractors; the connection itself to `http_connection`.
"""

import http.client
import socket
import ssl
import threading
import urllib.parse
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from types import TracebackType
from typing import Self

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
from kasparro_pipeline.extract.http_connection import Connection, Patience
from kasparro_pipeline.extract.rate_limit import RateLimit, rate_limit
from kasparro_pipeline.extract.urls import Origin, split

ALWAYS_SENT = {"User-Agent": "kasparro/0.1", "Accept": "*/*", "Accept-Encoding": "gzip, deflate"}
DECODED = frozenset({"", "identity", "gzip", "x-gzip", "deflate"})
KEPT_HEADERS = ("content-type", "etag", "last-modified", "cache-control", "expires", "link", "date")
REDIRECTS = frozenset({301, 302, 303, 307, 308})
MAX_REDIRECTS = 10
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
    concurrency: int = Field(default=4, ge=1, le=64)
    """Most requests under way at the same time. 1 asks for one page after the other."""
    requests_per_second: float | None = Field(default=None, gt=0)
    """Most requests a second to one host. Default: as many as `concurrency` lets through."""


@dataclass(frozen=True, slots=True)
class Response:
    """A whole answer. `body` is None for 304 Not Modified. Headers by lower-case name."""

    url: str
    body: bytes | None
    headers: Mapping[str, str]
    fetched_at: datetime


class Client:
    """Asks upstreams, from several threads at once; a connection of each thread to each host stays open."""

    def __init__(self, settings: HttpSettings) -> None:
        self.settings = settings
        self._own = threading.local()
        self._opened: list[Connection] = []
        self._closed = threading.Event()
        self._attempts = Retrying(
            retry=retry_if_exception_type(TransientUpstreamError),
            stop=stop_after_attempt(settings.attempts),
            wait=self._wait,
            sleep=self._sleep,
            reraise=True,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def stop(self) -> None:
        """End what is under way in other threads, and let nothing begin."""
        self._closed.set()
        for connection in self._opened:
            connection.interrupt()

    def close(self) -> None:
        """Close the connections."""
        self.stop()
        for connection in self._opened:
            connection.close()

    def fetch(
        self, url: str, *, headers: Mapping[str, str] | None = None, known: KnownDocument | None = None
    ) -> Response:
        """GET one URL; conditional (RFC 9110 13.1) where a stored document gave a validator.

        Raises:
            PermanentUpstreamError: 4xx but for those worth a retry, a body over the limit, an unusable
                address.
            TransientUpstreamError: the retries are used up.
        """
        return self._attempts(self._get, url, {**(headers or {}), **_conditions(known)})

    def _get(self, url: str, given: Mapping[str, str]) -> Response:
        patience = Patience(
            self.settings.connect_timeout, self.settings.read_timeout, self.settings.total_timeout
        )
        asked, headers = url, {**ALWAYS_SENT, **given}
        for _ in range(MAX_REDIRECTS + 1):
            origin, target = split(asked)
            self._take_turn(origin, url)
            connection = self._connection(origin)
            with _told_as_upstream_errors(connection, url):
                answer = connection.get(target, headers, patience)
                to = answer.headers.get("Location") if answer.status in REDIRECTS else None
                if to is None:
                    return self._taken(answer, url, conditional=bool(CONDITIONS & given.keys()))
            connection.close()
            asked = urllib.parse.urljoin(asked, to)
            if split(asked)[0] != origin:
                headers = ALWAYS_SENT  # what is meant for one host is no business of another
        raise PermanentUpstreamError(f"redirected in a circle, or more than {MAX_REDIRECTS} times", url)

    def _taken(self, answer: urllib3.HTTPResponse, url: str, *, conditional: bool) -> Response:
        kept = {name: answer.headers[name] for name in KEPT_HEADERS if name in answer.headers}
        fetched_at = datetime.now(UTC)
        if answer.status == HTTPStatus.NOT_MODIFIED and conditional:
            return Response(url, None, kept, fetched_at)
        self._refuse_status(answer, url)
        return Response(url, self._read(answer, url), kept, fetched_at)

    def _refuse_status(self, answer: urllib3.HTTPResponse, url: str) -> None:
        if answer.status == HTTPStatus.OK:
            return
        said = f"HTTP {answer.status} {answer.reason}: {_excerpt(answer)}".removesuffix(": ")
        if answer.status not in RETRIED_STATUSES:
            raise PermanentUpstreamError(said, url)
        wait = retry_after(answer.headers.get("Retry-After"))
        if wait is not None:
            self._limit(split(url)[0]).rest(min(wait, self.settings.max_wait))
        raise TransientUpstreamError(said, url, wait)

    def _read(self, answer: urllib3.HTTPResponse, url: str) -> bytes:
        encoding = answer.headers.get("Content-Encoding", "").strip().lower()
        if not DECODED.issuperset(part.strip() for part in encoding.split(",")):
            raise PermanentUpstreamError(f"the body's content encoding, {encoding}, was not asked for", url)
        parts: list[bytes] = []
        size = 0
        # read1 returns what has come; a read of a whole chunk waits for it, however slowly its bytes drip
        while chunk := answer.read1(CHUNK, decode_content=True):
            parts.append(chunk)
            size += len(chunk)
            if size > self.settings.max_bytes:
                raise PermanentUpstreamError(
                    f"the body is larger than max_bytes, {self.settings.max_bytes} bytes", url
                )
        return b"".join(parts)

    def _connection(self, origin: Origin) -> Connection:
        mine: dict[Origin, Connection] = self._own.__dict__.setdefault("connections", {})
        if origin not in mine:
            mine[origin] = Connection(origin, _dial)
            self._opened.append(mine[origin])
        return mine[origin]

    def _limit(self, origin: Origin) -> RateLimit:
        return rate_limit(origin.host, self.settings.requests_per_second)

    def _take_turn(self, origin: Origin, url: str) -> None:
        if not self._limit(origin).wait(self._closed):
            raise TransientUpstreamError("the extraction has ended", url)

    def _sleep(self, seconds: float) -> None:
        self._closed.wait(seconds)

    def _wait(self, state: RetryCallState) -> float:
        settings = self.settings
        backoff = wait_exponential_jitter(
            multiplier=settings.backoff, max=settings.max_wait, jitter=settings.backoff
        )
        error = state.outcome.exception() if state.outcome else None
        asked = error.retry_after if isinstance(error, TransientUpstreamError) else None
        return min(settings.max_wait, backoff(state) if asked is None else asked)


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


def _conditions(known: KnownDocument | None) -> dict[str, str]:
    if known is None:
        return {}
    names = {"etag": "If-None-Match", "last-modified": "If-Modified-Since"}
    return {asked: known.headers[stored] for stored, asked in names.items() if stored in known.headers}


@contextmanager
def _told_as_upstream_errors(connection: Connection, url: str) -> Iterator[None]:
    """Close the connection where an answer was not read to its end, and say whether asking again may help."""
    try:
        yield
    except BaseException as error:
        connection.close()
        if isinstance(error, ssl.SSLCertVerificationError):
            said = f"the TLS certificate is not trusted: {error.verify_message}"
            raise PermanentUpstreamError(said, url) from error
        if isinstance(error, (http.client.InvalidURL, ValueError)):
            raise PermanentUpstreamError(f"not a usable address or header: {error}", url) from error
        if isinstance(error, (OSError, http.client.HTTPException, urllib3.exceptions.HTTPError)):
            said = str(error) or type(error).__name__
            raise TransientUpstreamError(f"no whole answer: {said}", url) from error
        raise


def _dial(host: str, port: int, seconds: float) -> socket.socket:
    return socket.create_connection((host, port), timeout=seconds)


def _excerpt(answer: urllib3.HTTPResponse) -> str:
    """What came first of an error's body. The status says enough where it cannot be read."""
    try:
        return answer.read1(300, decode_content=True).decode("utf-8", "replace").strip()
    except (urllib3.exceptions.HTTPError, http.client.HTTPException, OSError) as error:
        return f"(body unreadable: {error})"
