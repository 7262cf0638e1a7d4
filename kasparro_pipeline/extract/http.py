"""One HTTP GET, made to last: time-outs, retries, redirects, conditional requests, credentials.

What an answer comes to is in `http_answer`, the connection itself in `http_connection`. Pagination and what
is in the body belong to the extractors.
"""

import http.client
import ssl
import threading
import traceback
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
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
from kasparro_pipeline.extract.address_guard import guarded_dial
from kasparro_pipeline.extract.auth import Credentials
from kasparro_pipeline.extract.documents import KnownDocument
from kasparro_pipeline.extract.error_rules import ErrorRule
from kasparro_pipeline.extract.errors import PermanentUpstreamError, TransientUpstreamError, UpstreamError
from kasparro_pipeline.extract.http_answer import NO_BODY, BodyFile, RateLimitedError, Response, taken
from kasparro_pipeline.extract.http_connection import Connection, Patience
from kasparro_pipeline.extract.rate_limit import RateLimit, rate_limit
from kasparro_pipeline.extract.urls import Origin, joined, split

ALWAYS_SENT = {"User-Agent": "kasparro/0.1", "Accept": "*/*", "Accept-Encoding": "gzip, deflate"}
REDIRECTS = frozenset({301, 302, 303, 307, 308})
PERMANENT_REDIRECTS = frozenset({301, 308})
MAX_REDIRECTS = 10
CONDITIONS = frozenset({"If-None-Match", "If-Modified-Since"})
"""Request headers that allow 304 for an answer."""
USUAL_REST = 5.0
"""Seconds that a host rests which says that it is asked too often, and not until when."""


class HttpSettings(StrictModel):
    """How patient and how greedy a source is with its upstream."""

    connect_timeout: float = Field(default=10, gt=0)
    """Seconds to wait for a connection, with the look-up of its name."""
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
    allow_private_hosts: tuple[str, ...] = ()
    """Hosts that may be reached at addresses which are not public, such as `127.0.0.1` or `api.internal`."""

    def allowing(self, hosts: Iterable[str]) -> Self:
        """The same, with more private hosts."""
        return self.model_copy(update={"allow_private_hosts": (*self.allow_private_hosts, *hosts)})


class UnauthorizedError(PermanentUpstreamError):
    """The upstream does not know who asks."""


class Client:
    """Asks upstreams, from several threads at once; a connection of each thread to each host stays open."""

    def __init__(
        self,
        settings: HttpSettings,
        credentials: Credentials | None = None,
        rules: Sequence[ErrorRule] = (),
    ) -> None:
        self.settings = settings
        self.credentials = credentials or Credentials([])
        self._rules = rules
        self._dial = guarded_dial(settings.allow_private_hosts)
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
        self,
        url: str,
        *,
        headers: Mapping[str, str] | None = None,
        known: KnownDocument | None = None,
        into: BodyFile | None = None,
    ) -> Response:
        """GET one URL; conditional (RFC 9110 13.1) where a stored document gave a validator.

        The answer and every error tell the URL without credentials. A body goes to the file `into`, if one is
        given, and is empty in the answer.

        Raises:
            PermanentUpstreamError: an error for good, a body over the limit, an address that is not usable or
                may not be reached.
            TransientUpstreamError: the retries are used up.
        """
        return self._attempts(self._get, url, {**(headers or {}), **_conditions(known)}, into)

    def _get(self, url: str, given: Mapping[str, str], into: BodyFile | None) -> Response:
        with self._secrets_hidden():
            proof = self.credentials.headers(self._post)
            try:
                return self._follow(url, _headers(given, proof), into)
            except UnauthorizedError:
                if not self.credentials.is_refused(proof):
                    raise
            proof = self.credentials.headers(self._post)
            return self._follow(url, _headers(given, proof), into)

    def _follow(self, url: str, headers: Mapping[str, str], into: BodyFile | None) -> Response:
        """Ask for an address, through its redirects."""
        conditional = bool(CONDITIONS & headers.keys())
        asked = self.credentials.sign(url)
        home: Origin | None = split(url)[0]
        patience = self._patience()
        moved_to, permanently = None, True
        for _ in range(MAX_REDIRECTS + 1):
            with self._asking(asked, url) as (target, connection):
                answer = connection.ask(target, headers, patience)
                to = answer.headers.get("Location") if answer.status in REDIRECTS else None
                if to is None:
                    response = self._taken(answer, url, conditional=conditional, into=into)
                    if into is NO_BODY:
                        connection.close()
                    return replace(response, moved_to=moved_to)
                connection.close()
            before, asked = asked, joined(asked, to)
            # what was asked for over TLS is not asked for without it from then on
            permanently &= answer.status in PERMANENT_REDIRECTS and not (
                split(before)[0].scheme == "https" and split(asked)[0].scheme == "http"
            )
            if permanently:
                moved_to = self.credentials.hide(asked)
            if split(asked)[0] != home:
                # what is meant for one host is no business of another, wherever that leads
                headers, home = ALWAYS_SENT, None
            else:
                asked = self.credentials.sign(asked)
        raise PermanentUpstreamError(f"redirected in a circle, or more than {MAX_REDIRECTS} times", url)

    def _taken(
        self, answer: urllib3.HTTPResponse, url: str, *, conditional: bool, into: BodyFile | None
    ) -> Response:
        try:
            response = taken(
                answer,
                url,
                conditional=conditional,
                max_bytes=self.settings.max_bytes,
                rules=self._rules,
                into=into,
            )
        except RateLimitedError as error:
            rest = USUAL_REST if error.retry_after is None else error.retry_after
            self._limit(split(url)[0]).rest(min(rest, self.settings.max_wait))
            raise
        except PermanentUpstreamError as error:
            if answer.status == HTTPStatus.UNAUTHORIZED:
                raise UnauthorizedError(error.message, error.location) from None
            raise
        # a link may repeat what was asked with
        told = {name: self.credentials.hide(value) for name, value in response.headers.items()}
        return replace(response, headers=told)

    def _post(self, url: str, headers: Mapping[str, str], form: bytes) -> bytes:
        """Send a form, for a token."""
        with self._asking(url, url) as (target, connection):
            answer = connection.ask(target, {**ALWAYS_SENT, **headers}, self._patience(), form)
            return taken(answer, url, conditional=False, max_bytes=self.settings.max_bytes).body or b""

    @contextmanager
    def _asking(self, asked: str, url: str) -> Iterator[tuple[str, Connection]]:
        """The connection for an address, when its turn has come. Tells what goes wrong as upstream errors."""
        origin, target = split(asked)
        if not self._limit(origin).wait(self._closed):
            raise TransientUpstreamError("the extraction has ended", url)
        connection = self._connection(origin)
        try:
            yield target, connection
        except BaseException as error:
            connection.close()
            if isinstance(error, UpstreamError):
                error.location = error.location or url
                raise
            if isinstance(error, ssl.SSLCertVerificationError):
                said = f"the TLS certificate is not trusted: {error.verify_message}"
                raise PermanentUpstreamError(said, url) from error
            if isinstance(error, (http.client.InvalidURL, ValueError)):
                raise PermanentUpstreamError(f"not a usable address or header: {error}", url) from error
            if isinstance(error, (OSError, http.client.HTTPException, urllib3.exceptions.HTTPError)):
                said = str(error) or type(error).__name__
                raise TransientUpstreamError(f"no whole answer: {said}", url) from error
            raise

    @contextmanager
    def _secrets_hidden(self) -> Iterator[None]:
        """Take credentials out of errors, and out of what they were made from."""
        try:
            yield
        except UpstreamError as error:
            hide = self.credentials.hide
            told = replace(error, message=hide(error.message), location=hide(error.location))
            shown = "".join(traceback.format_exception(error.__cause__)) if error.__cause__ else ""
            raise told from (error.__cause__ if hide(shown) == shown else None)

    def _patience(self) -> Patience:
        return Patience(
            self.settings.connect_timeout, self.settings.read_timeout, self.settings.total_timeout
        )

    def _connection(self, origin: Origin) -> Connection:
        mine: dict[Origin, Connection] = self._own.__dict__.setdefault("connections", {})
        if origin not in mine:
            mine[origin] = Connection(origin, self._dial)
            self._opened.append(mine[origin])
            if self._closed.is_set():
                mine[origin].interrupt()  # `stop` has come before this one was known
        return mine[origin]

    def _limit(self, origin: Origin) -> RateLimit:
        return rate_limit(origin.host, self.settings.requests_per_second)

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


def _headers(*given: Mapping[str, str]) -> dict[str, str]:
    """The headers of a request: a later one replaces an earlier one of its name (RFC 9110 5.1)."""
    sent: dict[str, tuple[str, str]] = {}
    for headers in (ALWAYS_SENT, *given):
        sent |= {name.lower(): (name, value) for name, value in headers.items()}
    return dict(sent.values())


def _conditions(known: KnownDocument | None) -> dict[str, str]:
    if known is None:
        return {}
    names = {"etag": "If-None-Match", "last-modified": "If-Modified-Since"}
    return {asked: known.headers[stored] for stored, asked in names.items() if stored in known.headers}
