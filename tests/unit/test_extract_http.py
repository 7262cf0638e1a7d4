"""One GET against a real server that misbehaves: bounded in time and size, and never half an answer."""

import gzip
import socket
import time
import tracemalloc
from collections.abc import Callable
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler
from typing import Any

import pytest

from kasparro_pipeline.extract.documents import KnownDocument
from kasparro_pipeline.extract.errors import PermanentUpstreamError, TransientUpstreamError
from kasparro_pipeline.extract.http import HttpSettings
from kasparro_pipeline.extract.http_answer import GoneError, Response, retry_after
from tests.unit.conftest import ClientOf, ScriptedUpstream, reply

Answer = Callable[[BaseHTTPRequestHandler], None]
FAST: dict[str, Any] = {
    "connect_timeout": 5,
    "read_timeout": 5,
    "total_timeout": 20,
    "attempts": 3,
    "backoff": 0,
    "max_wait": 0.1,
}


def get(upstream: ScriptedUpstream, client_of: ClientOf, *, path: str = "/x", **changed: Any) -> Response:
    return client_of(HttpSettings(**FAST | changed)).fetch(upstream.url + path)


def in_turn(*answers: Answer) -> Answer:
    """Each answer once, the last one from then on."""
    left = list(answers)

    def answer(handler: BaseHTTPRequestHandler) -> None:
        (left.pop(0) if len(left) > 1 else left[0])(handler)

    return answer


def status(code: int, body: bytes = b"", headers: dict[str, str] | None = None) -> Answer:
    return lambda handler: reply(handler, code, body, headers)


def raw(data: bytes) -> Answer:
    """Bytes as they are, and the connection closed behind them."""

    def answer(handler: BaseHTTPRequestHandler) -> None:
        handler.wfile.write(data)
        handler.close_connection = True

    return answer


def test_an_answer_is_whole_with_the_headers_that_matter(
    upstream: ScriptedUpstream, client_of: ClientOf
) -> None:
    upstream.answer = status(200, b"body", {"ETag": '"1"', "X-Other": "x"})
    found = get(upstream, client_of)
    assert found.body == b"body"
    assert (found.headers["etag"], "x-other" in found.headers) == ('"1"', False)
    assert found.fetched_at.tzinfo is UTC
    ((_, asked),) = upstream.seen
    assert asked["User-Agent"].startswith("kasparro/")


def test_a_gzipped_answer_is_taken_decoded(upstream: ScriptedUpstream, client_of: ClientOf) -> None:
    body = b"0123456789" * 100_000
    upstream.answer = status(200, gzip.compress(body), {"Content-Encoding": "gzip"})
    assert get(upstream, client_of).body == body


def test_a_chunked_answer_is_taken_whole(upstream: ScriptedUpstream, client_of: ClientOf) -> None:
    upstream.answer = raw(
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n"
    )
    assert get(upstream, client_of).body == b"abcde"


def test_a_header_that_is_given_replaces_the_usual_one_whatever_its_case(
    upstream: ScriptedUpstream, client_of: ClientOf
) -> None:
    client = client_of(HttpSettings(**FAST))
    client.fetch(upstream.url, headers={"user-agent": "me", "ACCEPT": "application/json"})
    ((_, asked),) = upstream.seen
    names = [name.lower() for name in asked]
    assert sorted(names) == sorted(set(names))
    assert (asked["user-agent"], asked["ACCEPT"]) == ("me", "application/json")


def test_a_connection_is_kept_after_answers_without_a_body(
    upstream: ScriptedUpstream, client_of: ClientOf
) -> None:
    client = client_of(HttpSettings(**FAST | {"attempts": 1}))
    known = KnownDocument(1, b"", 5, {"etag": '"1"'}, {}, {})
    kept = []
    for code in (304, 200, 304, 304):
        upstream.answer = status(code)
        kept.append(client.fetch(upstream.url, known=known))
    assert [answer.body for answer in kept] == [None, b"", None, None]
    assert len(upstream.connections) == 1


def test_one_connection_serves_many_requests(upstream: ScriptedUpstream, client_of: ClientOf) -> None:
    upstream.answer = status(200, b"x" * 200_000)
    client = client_of(HttpSettings(**FAST))
    for _ in range(3):
        client.fetch(upstream.url)
    assert len(upstream.connections) == 1


def test_a_connection_that_the_upstream_closed_meanwhile_is_opened_again(
    upstream: ScriptedUpstream, client_of: ClientOf
) -> None:
    upstream.answer = raw(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
    client = client_of(HttpSettings(**FAST | {"attempts": 1}))
    for pause in (0, 0, 0.05):
        time.sleep(pause)
        assert client.fetch(upstream.url).body == b"ok"
    assert len(upstream.connections) == 3


def test_429_waits_as_long_as_retry_after_says(upstream: ScriptedUpstream, client_of: ClientOf) -> None:
    upstream.answer = in_turn(status(429, headers={"Retry-After": "1"}), status(200, b"ok"))
    started = time.monotonic()
    assert get(upstream, client_of, max_wait=20).body == b"ok"
    assert 1 <= time.monotonic() - started < 15


@pytest.mark.parametrize(
    "wait",
    [
        "100000",
        "9" * 400,
        "\u00b2",
        "-1",
        "soon",
        "",
        "Fri, 21 Nov 2025 12:00:00 +0000",
        "Fri, 21 Nov 2125 12:00:00 +0000",
    ],
)
def test_a_retry_after_of_any_kind_is_clamped(
    wait: str, upstream: ScriptedUpstream, client_of: ClientOf
) -> None:
    upstream.answer = in_turn(status(503, headers={"Retry-After": wait}), status(200, b"ok"))
    started = time.monotonic()
    assert get(upstream, client_of).body == b"ok"
    assert time.monotonic() - started < 15


NOW = datetime(2024, 1, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        (None, None),
        ("0", 0),
        (" 120 ", 120),
        ("9" * 400, float("inf")),
        ("1704067260", 60),
        ("1704067000", 0),
        ("Mon, 01 Jan 2024 00:01:00 GMT", 60),
        ("Mon, 01 Jan 2024 00:01:00 -0000", 60),
        ("Sun, 31 Dec 2023 00:00:00 GMT", 0),
        ("Wed, 01 Jan 2025 00:00:00 GMT", 366 * 86400),
        ("Fri, 31 Dec 9999 23:59:59 GMT", 251692703999.0 + 86400 * 3),
        ("-1", None),
        ("1.5", None),
        ("\u00b2", None),
        ("soon", None),
        ("", None),
    ],
)
def test_retry_after_is_seconds_or_a_date(header: str | None, seconds: float | None) -> None:
    found = retry_after(header, NOW)
    if header is not None and "9999" in header and " " in header:
        assert found is not None
        assert found > 7000 * 365 * 86400
    else:
        assert found == seconds


def test_a_burst_of_server_errors_is_outlived(upstream: ScriptedUpstream, client_of: ClientOf) -> None:
    upstream.answer = in_turn(status(500), status(503), status(200, b"ok"))
    assert get(upstream, client_of).body == b"ok"
    assert len(upstream.seen) == 3


@pytest.mark.parametrize("code", [408, 425, 429, 500, 502, 503, 504])
def test_errors_without_end_end_after_the_attempts(
    code: int, upstream: ScriptedUpstream, client_of: ClientOf
) -> None:
    upstream.answer = status(code, b"overloaded")
    with pytest.raises(TransientUpstreamError, match=f"HTTP {code} .*: overloaded"):
        get(upstream, client_of)
    assert len(upstream.seen) == 3


@pytest.mark.parametrize("code", [204, 206, 300, 400, 401, 403, 404, 410, 418, 451, 501])
def test_other_statuses_are_permanent_and_asked_once(
    code: int, upstream: ScriptedUpstream, client_of: ClientOf
) -> None:
    upstream.answer = status(code, b"" if code == 204 else b"why")
    with pytest.raises(PermanentUpstreamError, match=f"HTTP {code}") as refused:
        get(upstream, client_of)
    assert refused.value.location == upstream.url + "/x"
    assert len(upstream.seen) == 1


@pytest.mark.parametrize(
    "broken",
    [
        b"Content-Length: 100\r\n\r\nshort",
        b"Content-Length: 5\r\nContent-Encoding: gzip\r\n\r\nplain",
        b"Transfer-Encoding: chunked\r\n\r\nff\r\nshort",
    ],
)
def test_an_error_whose_text_cannot_be_read_keeps_its_status(
    broken: bytes, upstream: ScriptedUpstream, client_of: ClientOf
) -> None:
    upstream.answer = raw(b"HTTP/1.1 404 Not Found\r\n" + broken)
    with pytest.raises(PermanentUpstreamError, match="HTTP 404"):
        get(upstream, client_of)


def test_a_refused_connection_is_transient(client_of: ClientOf) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{unused.getsockname()[1]}/"
        with pytest.raises(TransientUpstreamError, match="no whole answer"):
            client_of(HttpSettings(**FAST)).fetch(url)


@pytest.mark.parametrize(
    "data",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n[1,2",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n" + b"x" * 200_000,
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n[1,2",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\n[1,2\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 5\r\n\r\nplain",
        b"nonsense\r\n\r\n",
        b"",
    ],
)
def test_a_truncated_or_garbled_answer_is_never_taken(
    data: bytes, upstream: ScriptedUpstream, client_of: ClientOf
) -> None:
    upstream.answer = raw(data)
    with pytest.raises(TransientUpstreamError, match="no whole answer"):
        get(upstream, client_of)
    assert len(upstream.seen) == 3
    upstream.answer = in_turn(raw(data), status(200, b"ok"))
    assert get(upstream, client_of).body == b"ok"


def test_a_gzip_bomb_is_stopped_at_the_limit(upstream: ScriptedUpstream, client_of: ClientOf) -> None:
    bomb = gzip.compress(b"\0" * (200 << 20), 1)
    upstream.answer = status(200, bomb, {"Content-Encoding": "gzip"})
    tracemalloc.start()
    try:
        with pytest.raises(PermanentUpstreamError, match="larger than max_bytes, 1000000 bytes"):
            get(upstream, client_of, max_bytes=1_000_000)
        assert tracemalloc.get_traced_memory()[1] < 50 << 20
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(("size", "taken"), [(1000, True), (1001, False)])
def test_a_body_may_be_as_large_as_the_limit(
    size: int, *, taken: bool, upstream: ScriptedUpstream, client_of: ClientOf
) -> None:
    upstream.answer = status(200, b"x" * size)
    if taken:
        assert len(get(upstream, client_of, max_bytes=1000).body or b"") == size
    else:
        with pytest.raises(PermanentUpstreamError, match="max_bytes"):
            get(upstream, client_of, max_bytes=1000)


@pytest.mark.parametrize("code", [200, 500])
def test_a_drip_of_single_bytes_does_not_outlast_the_total_timeout(
    code: int, upstream: ScriptedUpstream, client_of: ClientOf
) -> None:
    def drip(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(code)
        handler.send_header("Content-Length", "1200")
        handler.end_headers()
        for _ in range(1200):
            handler.wfile.write(b"x")
            time.sleep(0.05)

    upstream.answer = drip
    started = time.monotonic()
    with pytest.raises(TransientUpstreamError):
        get(upstream, client_of, total_timeout=0.3, attempts=1)
    assert time.monotonic() - started < 15


def test_silence_ends_with_the_read_timeout(upstream: ScriptedUpstream, client_of: ClientOf) -> None:
    upstream.answer = lambda _handler: time.sleep(2)
    with pytest.raises(TransientUpstreamError, match="no whole answer"):
        get(upstream, client_of, read_timeout=0.2, attempts=1)


def test_validators_of_the_stored_document_are_sent_and_304_has_no_body(
    upstream: ScriptedUpstream, client_of: ClientOf
) -> None:
    upstream.answer = status(304, headers={"ETag": '"1"'})
    stored = {"etag": '"1"', "last-modified": "Mon, 01 Jan 2024 00:00:00 GMT", "date": "x"}
    known = KnownDocument(1, b"", 5, stored, {}, {})
    found = client_of(HttpSettings(**FAST)).fetch(upstream.url, known=known)
    assert found.body is None
    ((_, asked),) = upstream.seen
    assert asked["If-None-Match"] == '"1"'
    assert asked["If-Modified-Since"] == stored["last-modified"]


@pytest.mark.parametrize("known", [None, KnownDocument(1, b"", 5, {}, {}, {})])
def test_304_to_a_question_without_a_condition_is_no_answer(
    known: KnownDocument | None, upstream: ScriptedUpstream, client_of: ClientOf
) -> None:
    upstream.answer = status(304)
    with pytest.raises(PermanentUpstreamError, match="HTTP 304"):
        client_of(HttpSettings(**FAST)).fetch(upstream.url, known=known)


@pytest.mark.parametrize(
    ("statuses", "moved_to"),
    [
        ([], None),
        ([301], "/1"),
        ([308], "/1"),
        ([302], None),
        ([303], None),
        ([307], None),
        ([301, 308], "/2"),
        ([301, 302], "/1"),
        ([302, 301], None),
        ([301, 302, 301], "/1"),
    ],
)
def test_an_answer_says_where_permanent_redirects_led_up_to_the_first_temporary_one(
    upstream: ScriptedUpstream, client_of: ClientOf, statuses: list[int], moved_to: str | None
) -> None:
    redirects = [status(code, headers={"Location": f"/{n}"}) for n, code in enumerate(statuses, 1)]
    upstream.answer = in_turn(*redirects, status(200, b"ok"))
    assert get(upstream, client_of).moved_to == (moved_to and upstream.url + moved_to)


def test_what_is_gone_is_told_apart_from_other_errors(
    upstream: ScriptedUpstream, client_of: ClientOf
) -> None:
    upstream.answer = status(410)
    with pytest.raises(GoneError, match="HTTP 410"):
        get(upstream, client_of)
    assert len(upstream.seen) == 1


def test_a_redirect_is_followed_and_a_circle_is_permanent(
    upstream: ScriptedUpstream, client_of: ClientOf
) -> None:
    upstream.answer = in_turn(status(302, headers={"Location": "/y"}), status(200, b"ok"))
    assert get(upstream, client_of).body == b"ok"
    assert upstream.paths == ["/x", "/y"]
    upstream.answer = status(302, headers={"Location": "/x"})
    with pytest.raises(PermanentUpstreamError, match="redirected in a circle"):
        get(upstream, client_of)
    assert len(upstream.seen) < 50


@pytest.mark.parametrize(
    "url",
    [
        "ftp://127.0.0.1/",
        "http://",
        "127.0.0.1",
        "http://[::1",
        "http://127.0.0.1:99999/",
        "http://.example/",
    ],
)
def test_an_unusable_address_is_permanent(url: str, client_of: ClientOf) -> None:
    with pytest.raises(PermanentUpstreamError, match="not a usable address"):
        client_of(HttpSettings(**FAST)).fetch(url)


def test_a_header_that_cannot_be_sent_is_permanent(upstream: ScriptedUpstream, client_of: ClientOf) -> None:
    with pytest.raises(PermanentUpstreamError, match="not a usable address or header"):
        client_of(HttpSettings(**FAST)).fetch(upstream.url, headers={"X-Key": "a\r\nX-Other: b"})
    assert upstream.seen == []


@pytest.mark.parametrize("part", ["status line", "header", "chunk size"])
def test_a_drip_of_bytes_before_the_body_counts_against_the_total_timeout(
    part: str, upstream: ScriptedUpstream, client_of: ClientOf
) -> None:
    begun = {
        "status line": b"",
        "header": b"HTTP/1.1 200 OK\r\nX-Slow: ",
        "chunk size": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
    }

    def drip(handler: BaseHTTPRequestHandler) -> None:
        handler.wfile.write(begun[part])
        for _ in range(400):
            handler.wfile.write(b"0")
            time.sleep(0.05)

    upstream.answer = drip
    started = time.monotonic()
    with pytest.raises(TransientUpstreamError, match="no whole answer"):
        get(upstream, client_of, total_timeout=0.3, attempts=1)
    assert time.monotonic() - started < 5


@pytest.mark.parametrize("encoding", ["br", "zstd", "compress", "gzip, br", "aes128gcm"])
def test_a_body_in_an_encoding_that_was_not_asked_for_is_refused(
    encoding: str, upstream: ScriptedUpstream, client_of: ClientOf
) -> None:
    upstream.answer = status(200, b"[]", {"Content-Encoding": encoding})
    with pytest.raises(PermanentUpstreamError, match="was not asked for"):
        get(upstream, client_of)


def test_headers_of_any_size_and_number_are_bounded(upstream: ScriptedUpstream, client_of: ClientOf) -> None:
    for head in (b"X: " + b"a" * 70_000 + b"\r\n", b"".join(b"X%d: a\r\n" % n for n in range(200))):
        upstream.answer = raw(b"HTTP/1.1 200 OK\r\n" + head + b"Content-Length: 0\r\n\r\n")
        with pytest.raises(TransientUpstreamError, match="no whole answer"):
            get(upstream, client_of, attempts=1)


def test_a_proxy_of_the_environment_is_not_used(
    upstream: ScriptedUpstream, client_of: ClientOf, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
        monkeypatch.setenv(name.lower(), "http://127.0.0.1:9")
    upstream.answer = lambda handler: reply(handler, 200, b"[1]")

    assert client_of(HttpSettings(attempts=1)).fetch(upstream.url).body == b"[1]"
