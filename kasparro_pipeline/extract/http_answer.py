"""What an answer over HTTP comes to: a whole body, nothing new, or an error that says whether to ask again.

How it was asked for, and how often, is in `http`.
"""

import http.client
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from typing import BinaryIO, Final, Literal

import urllib3

from kasparro_pipeline.extract.error_rules import Action, ErrorRule, first_that_fits
from kasparro_pipeline.extract.errors import PermanentUpstreamError, TransientUpstreamError

DECODED = frozenset({"", "identity", "gzip", "x-gzip", "deflate"})
KEPT_HEADERS = ("content-type", "etag", "last-modified", "cache-control", "age", "expires", "link", "date")
RETRIED_STATUSES = frozenset({408, 425, 429, 500, 502, 503, 504})
CHUNK = 1 << 16
BodyFile = BinaryIO | Literal["none"]
NO_BODY: Final = "none"
"""In the place of a file: the body is left where it is."""
UNIX_SECONDS = 1_000_000_000
"""Numbers from here on are instants, not seconds to wait: they would be 31 years."""


@dataclass(frozen=True, slots=True)
class Response:
    """A whole answer. Headers by lower-case name."""

    url: str
    body: bytes | None
    """None for 304 Not Modified, and where a rule says to ignore the answer."""
    headers: Mapping[str, str]
    fetched_at: datetime
    ignored: bool = False
    """Whether a rule says to take it as one without records."""
    moved_to: str | None = None
    """Where permanent redirects led to, up to the first temporary one (RFC 9110 15.4.2, 15.4.9)."""


@dataclass
class GoneError(PermanentUpstreamError):
    """What was at the address is gone, and will not come back (410, RFC 9110 15.5.11)."""


@dataclass
class RateLimitedError(TransientUpstreamError):
    """All requests to the host should rest."""


def taken(
    answer: urllib3.HTTPResponse,
    url: str,
    *,
    conditional: bool,
    max_bytes: int,
    rules: Sequence[ErrorRule] = (),
    into: BodyFile | None = None,
) -> Response:
    """The answer, read to its end: into a file from its beginning, if there is one.

    Raises:
        PermanentUpstreamError: its status or a rule says that it is an error for good, or it is too large.
        TransientUpstreamError: its status or a rule says to ask again.
    """
    kept = {name: answer.headers[name] for name in KEPT_HEADERS if name in answer.headers}
    fetched_at = datetime.now(UTC)
    if answer.status == HTTPStatus.NOT_MODIFIED and conditional:
        answer.drain_conn()  # there is nothing in it, and the connection is free for the next request
        return Response(url, None, kept, fetched_at)
    body = None
    if answer.status == HTTPStatus.OK or any(rule.path is not None for rule in rules):
        body = b"" if into == NO_BODY else _read(answer, url, max_bytes, into)
    rule = first_that_fits(rules, answer.status, answer.headers, body)
    if rule is not None and rule.action == "ignore":
        return Response(url, None, kept, fetched_at, ignored=True)
    if rule is not None or answer.status != HTTPStatus.OK:
        _refuse(answer, url, body, rule)
    return Response(url, body, kept, fetched_at)


def retry_after(header: str | None, now: datetime | None = None) -> float | None:
    """Seconds that a header asks to wait: a number or an HTTP date (RFC 9110 10.2.3), or Unix seconds.

    An instant in the past is 0; what cannot be read is None.
    """
    if header is None:
        return None
    now = now or datetime.now(UTC)
    if header.isascii() and header.strip().isdigit():
        number = float(header.strip())
        return number if number < UNIX_SECONDS else max(0.0, number - now.timestamp())
    try:
        moment = parsedate_to_datetime(header)
    except ValueError:
        return None
    aware = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return max(0.0, (aware - now).total_seconds())


def _refuse(answer: urllib3.HTTPResponse, url: str, body: bytes | None, rule: ErrorRule | None) -> None:
    excerpt = _excerpt(answer) if body is None else body[:300].decode("utf-8", "replace").strip()
    said = f"HTTP {answer.status} {answer.reason}: {excerpt}".removesuffix(": ")
    if rule is not None and rule.message is not None:
        said = f"{rule.message} (HTTP {answer.status})"
    action = rule.action if rule else _usual_action(answer.status)
    if action == "fail":
        raise (GoneError if answer.status == HTTPStatus.GONE else PermanentUpstreamError)(said, url)
    wait = retry_after(answer.headers.get(rule.wait_header if rule else "Retry-After"))
    raise (RateLimitedError if action == "rate_limited" else TransientUpstreamError)(said, url, wait)


def _usual_action(status: int) -> Action:
    if status == HTTPStatus.TOO_MANY_REQUESTS:
        return "rate_limited"
    return "retry" if status in RETRIED_STATUSES else "fail"


def _read(answer: urllib3.HTTPResponse, url: str, max_bytes: int, into: BinaryIO | None) -> bytes:
    encoding = answer.headers.get("Content-Encoding", "").strip().lower()
    if not DECODED.issuperset(part.strip() for part in encoding.split(",")):
        raise PermanentUpstreamError(f"the body's content encoding, {encoding}, was not asked for", url)
    parts: list[bytes] = []
    size = 0
    if into is not None:
        into.seek(0)
        into.truncate()
    # read1 returns what has come; a read of a whole chunk waits for it, however slowly its bytes drip
    while chunk := answer.read1(CHUNK, decode_content=True):
        size += len(chunk)
        if size > max_bytes:
            raise PermanentUpstreamError(f"the body is larger than max_bytes, {max_bytes} bytes", url)
        if into is None:
            parts.append(chunk)
        else:
            into.write(chunk)
    return b"".join(parts)


def _excerpt(answer: urllib3.HTTPResponse) -> str:
    """What came first of an error's body. The status says enough where it cannot be read."""
    try:
        return answer.read1(300, decode_content=True).decode("utf-8", "replace").strip()
    except (urllib3.exceptions.HTTPError, http.client.HTTPException, OSError, zlib.error) as error:
        return f"(body unreadable: {error})"
