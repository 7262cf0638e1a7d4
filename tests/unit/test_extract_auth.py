"""How a source proves who it is: what is sent, to whom, and that no secret is told anywhere else."""

import base64
import json
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler
from typing import Any
from urllib.parse import parse_qsl, quote, urlsplit

import pytest
from pydantic import TypeAdapter, ValidationError

from kasparro_pipeline.extract.auth import Auth, Credentials, credentials, environment_names
from kasparro_pipeline.extract.documents import Request
from kasparro_pipeline.extract.errors import PermanentUpstreamError, TransientUpstreamError, UpstreamError
from kasparro_pipeline.extract.http import Client, HttpSettings
from kasparro_pipeline.extract.rest import RestExtraction
from kasparro_pipeline.extract.rest_spec import RestRequests
from tests.unit.conftest import ScriptedUpstream, reply
from tests.unit.rest_upstream import TODAY

SECRET = "s3cr/t +ü&"  # noqa: S105 - of nobody
SECRETS = {"KEY": SECRET, "USER": "me", "PASSWORD": SECRET, "ID": "client", "EMPTY": ""}
FAST: dict[str, Any] = {
    "attempts": 2,
    "backoff": 0,
    "max_wait": 0.1,
    "allow_private_hosts": ["127.0.0.1"],
}
QUERY = {"type": "api_key", "name": "api_key", "location": "query", "value_env": "KEY"}
HEADER = {"type": "api_key", "name": "X-Key", "value_env": "KEY"}
BASIC = {"type": "basic", "username_env": "USER", "password_env": "PASSWORD"}


def of(auth: dict[str, Any], secrets: dict[str, str] = SECRETS) -> Credentials:
    made: Auth = TypeAdapter(Auth).validate_python(auth)
    return credentials(made, secrets)


def fetch(url: str, auth: dict[str, Any], secrets: dict[str, str] = SECRETS, **http: Any) -> Any:
    with Client(HttpSettings(**FAST | http), of(auth, secrets)) as client:
        return client.fetch(url)


PLAIN = {**SECRETS, "KEY": "s3cret"}


@pytest.mark.parametrize(
    ("auth", "name", "value"),
    [
        (HEADER, "X-Key", "s3cret"),
        ({"type": "bearer", "token_env": "KEY"}, "Authorization", "Bearer s3cret"),
        (BASIC, "Authorization", "Basic " + base64.b64encode(f"me:{SECRET}".encode()).decode()),
    ],
)
def test_a_header_proves_who_asks(
    auth: dict[str, Any], name: str, value: str, upstream: ScriptedUpstream
) -> None:
    fetch(upstream.url + "/x", auth, PLAIN)
    assert upstream.seen[0][1][name] == value


def test_a_key_in_the_query_is_sent_and_is_no_part_of_the_location(upstream: ScriptedUpstream) -> None:
    found = fetch(upstream.url + "/x?a=1", QUERY)
    assert dict(parse_qsl(urlsplit(upstream.paths[0]).query)) == {"a": "1", "api_key": SECRET}
    assert found.url == upstream.url + "/x?a=1"


@pytest.mark.parametrize("auth", [QUERY, HEADER, BASIC])
def test_secrets_that_are_not_set_are_named_before_anything_is_sent(auth: dict[str, Any]) -> None:
    for secrets in ({}, {"KEY": "", "USER": "x"}):
        with pytest.raises(PermanentUpstreamError, match=r"not set: (KEY|USER|PASSWORD)"):
            of(auth, secrets)


def test_every_name_is_listed() -> None:
    assert environment_names(TypeAdapter(Auth).validate_python(BASIC)) == ["USER", "PASSWORD"]
    assert environment_names(None) == []


@pytest.mark.parametrize(
    "auth", [{"type": "bearer", "token_env": "no name"}, {"type": "bearer", "token": "abc"}, {"type": "x"}]
)
def test_a_spec_that_holds_a_secret_or_no_name_is_refused(auth: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        TypeAdapter(Auth).validate_python(auth)


@pytest.mark.parametrize("name", ["Authorization", "cookie", "X-API-Key"])
def test_a_header_of_the_spec_that_would_hold_a_secret_is_refused(name: str) -> None:
    with pytest.raises(ValidationError, match="use `auth`"):
        RestRequests.model_validate({"path": "/x", "headers": {name: "abc"}})


def test_an_address_that_holds_a_password_is_refused_and_does_not_tell_it(
    upstream: ScriptedUpstream,
) -> None:
    address = upstream.url.replace("http://", "http://me:s3cret@")
    with Client(HttpSettings(**FAST)) as client, pytest.raises(PermanentUpstreamError) as refused:
        client.fetch(address)
    assert "use `auth`" in refused.value.message
    assert "s3cret" not in everything_told(refused.value)
    upstream.answer = lambda handler: reply(handler, 302, headers={"Location": address})
    with pytest.raises(PermanentUpstreamError, match="use `auth`"):
        fetch(upstream.url, BASIC)


# OAuth 2


class TokenUpstream:
    """Gives tokens at /token, and data to whoever has the newest."""

    def __init__(self, upstream: ScriptedUpstream, **answer: Any) -> None:
        self.upstream, self.given, self.more = upstream, 0, answer
        self.asked: list[tuple[str | None, dict[str, str]]] = []
        self.lock = threading.Lock()
        upstream.answer = self._answer
        upstream.post = self._token

    def _token(self, handler: BaseHTTPRequestHandler) -> None:
        form = handler.rfile.read(int(handler.headers["Content-Length"])).decode()
        with self.lock:
            self.asked.append((handler.headers.get("Authorization"), dict(parse_qsl(form))))
            self.given += 1
            answer = {"access_token": f"token-{self.given}", "token_type": "bearer"} | self.more
        reply(handler, 200, json.dumps(answer).encode())

    def _answer(self, handler: BaseHTTPRequestHandler) -> None:
        if handler.headers.get("Authorization") == f"Bearer token-{self.given}":
            reply(handler, 200, b"[1]")
        else:
            reply(handler, 401, b"token expired")

    @property
    def auth(self) -> dict[str, Any]:
        return {
            "type": "oauth2_client_credentials",
            "token_url": self.upstream.url + "/token",
            "client_id_env": "ID",
            "client_secret_env": "KEY",
        }


def test_a_token_is_asked_for_once_and_sent_with_every_request(upstream: ScriptedUpstream) -> None:
    tokens = TokenUpstream(upstream)
    with Client(HttpSettings(**FAST), of(tokens.auth)) as client:
        for _ in range(3):
            assert client.fetch(upstream.url + "/x").body == b"[1]"
    (told,) = tokens.asked
    user = base64.b64decode((told[0] or "").removeprefix("Basic ")).decode()
    assert user == "client:s3cr%2Ft+%2B%C3%BC%26"
    assert told[1] == {"grant_type": "client_credentials"}


def test_the_client_may_prove_itself_in_the_form(upstream: ScriptedUpstream) -> None:
    tokens = TokenUpstream(upstream)
    fetch(upstream.url + "/x", tokens.auth | {"client_in": "body", "scope": "a b"})
    assert tokens.asked == [
        (
            None,
            {
                "grant_type": "client_credentials",
                "scope": "a b",
                "client_id": "client",
                "client_secret": SECRET,
            },
        )
    ]


def test_a_refused_token_is_renewed_once_and_the_request_sent_again(upstream: ScriptedUpstream) -> None:
    tokens = TokenUpstream(upstream)
    with Client(HttpSettings(**FAST), of(tokens.auth)) as client:
        client.fetch(upstream.url + "/x")
        tokens.given += 1  # somebody else took the newest
        assert client.fetch(upstream.url + "/x").body == b"[1]"
    assert len(tokens.asked) == 2


def test_a_new_token_that_is_refused_too_is_an_error(upstream: ScriptedUpstream) -> None:
    tokens = TokenUpstream(upstream)
    upstream.answer = lambda handler: reply(handler, 401, b"no")
    with pytest.raises(PermanentUpstreamError, match="HTTP 401"):
        fetch(upstream.url + "/x", tokens.auth)
    assert len(tokens.asked) == 2


def test_a_token_is_renewed_before_it_ends(upstream: ScriptedUpstream) -> None:
    tokens = TokenUpstream(upstream, expires_in=0.2)
    with Client(HttpSettings(**FAST), of(tokens.auth)) as client:
        client.fetch(upstream.url + "/x")
        time.sleep(0.15)
        client.fetch(upstream.url + "/x")
    assert len(tokens.asked) == 2
    assert len(upstream.seen) == 2


def test_threads_share_one_token(upstream: ScriptedUpstream) -> None:
    tokens = TokenUpstream(upstream)
    spec = RestRequests.model_validate(
        {"path": "/{v}", "for_each": {"param": "v", "values": [str(n) for n in range(20)]}}
    )
    with Client(HttpSettings(**FAST, concurrency=8), of(tokens.auth)) as client:
        assert len(list(RestExtraction(spec, upstream.url, Request(TODAY), client))) == 20
    assert len(tokens.asked) == 1


@pytest.mark.parametrize("body", [b"", b"<html>", b"[]", b"{}", b'{"access_token":1,"expires_in":"soon"}'])
def test_an_answer_without_a_token_is_an_error(body: bytes, upstream: ScriptedUpstream) -> None:
    tokens = TokenUpstream(upstream)
    upstream.post = lambda handler: reply(handler, 200, body, {"Connection": "close"})
    with pytest.raises(PermanentUpstreamError, match="no token: the answer is no JSON with"):
        fetch(upstream.url + "/x", tokens.auth)


@pytest.mark.parametrize(
    ("status", "kind"),
    [(400, PermanentUpstreamError), (401, PermanentUpstreamError), (503, TransientUpstreamError)],
)
def test_a_refusal_of_the_token_says_so(
    status: int, kind: type[UpstreamError], upstream: ScriptedUpstream
) -> None:
    tokens = TokenUpstream(upstream)
    upstream.post = lambda handler: reply(handler, status, b"invalid_client", {"Connection": "close"})
    with pytest.raises(kind, match=f"no token: HTTP {status}"):
        fetch(upstream.url + "/x", tokens.auth)


# where secrets do not go


def test_credentials_and_headers_are_not_sent_to_another_host(
    upstream: ScriptedUpstream, other_upstream: ScriptedUpstream
) -> None:
    upstream.answer = lambda handler: reply(handler, 302, headers={"Location": other_upstream.url + "/y"})
    for auth in (QUERY, HEADER | {"value_env": "ID"}, BASIC):
        with Client(HttpSettings(**FAST), of(auth)) as client:
            client.fetch(upstream.url + "/x", headers={"X-Of-The-Spec": "1"})
    for path, headers in other_upstream.seen:
        assert path == "/y"
        assert not {"x-key", "authorization", "x-of-the-spec"} & {name.lower() for name in headers}
    assert len(other_upstream.seen) == 3


@pytest.mark.parametrize("auth", [QUERY, BASIC])
def test_another_host_gets_no_credentials_by_leading_on_to_itself_or_back(
    auth: dict[str, Any], upstream: ScriptedUpstream, other_upstream: ScriptedUpstream
) -> None:
    away, back = {"Location": other_upstream.url + "/1"}, {"Location": upstream.url + "/back"}
    upstream.answer = lambda handler: (
        reply(handler) if handler.path.startswith("/back") else reply(handler, 302, headers=away)
    )
    other_upstream.answer = lambda handler: reply(
        handler, 302, headers={"Location": "/2"} if handler.path.startswith("/1") else back
    )
    fetch(upstream.url + "/x", auth)
    assert other_upstream.paths == ["/1", "/2"]
    assert upstream.paths[-1] == "/back"
    for _, headers in (*other_upstream.seen, upstream.seen[-1]):
        assert "Authorization" not in headers


def test_credentials_go_along_to_another_path_of_the_same_host(upstream: ScriptedUpstream) -> None:
    upstream.answer = lambda handler: (
        reply(handler, 301, headers={"Location": "/y"}) if handler.path.startswith("/x") else reply(handler)
    )
    fetch(upstream.url + "/x", QUERY)
    assert [dict(parse_qsl(urlsplit(path).query)) for path in upstream.paths] == [{"api_key": SECRET}] * 2


Echo = Callable[[BaseHTTPRequestHandler], None]


def everything_told(error: BaseException | None) -> str:
    """All that a page with the error would show, with what it was made from."""
    told = ""
    while error is not None:
        told += f"{error!r} {error} {vars(error)}"
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    return told


@pytest.mark.parametrize("auth", [QUERY, BASIC])
@pytest.mark.parametrize(
    "echo",
    [
        lambda handler: reply(handler, 403, f"you sent {handler.path} {dict(handler.headers)}".encode()),
        lambda handler: reply(handler, 403, f"your key is {SECRET}, {quote(SECRET)}".encode()),
        lambda handler: reply(handler, 500, handler.path.encode()),
        lambda handler: reply(handler, 302, headers={"Location": handler.path + "\x00"}),
        lambda handler: reply(handler, 302, headers={"Location": "ftp:/" + handler.path}),
        lambda handler: reply(handler, 302, headers={"Location": "http://[" + handler.path}),
        lambda handler: reply(handler, 200, b"<html>", {"Content-Encoding": quote(SECRET)}),
        lambda handler: handler.wfile.write(b"HTTP/1.1 " + handler.path.encode() + b"\r\n\r\n"),
    ],
)
def test_no_error_tells_a_secret_that_the_upstream_repeats(
    echo: Echo, auth: dict[str, Any], upstream: ScriptedUpstream
) -> None:
    upstream.answer = echo
    with pytest.raises(UpstreamError) as refused:
        fetch(upstream.url + "/x", auth, attempts=1)
    told = everything_told(refused.value)
    basic = base64.b64encode(f"me:{SECRET}".encode()).decode()
    assert not [form for form in (SECRET, quote(SECRET), quote(SECRET, safe=""), basic) if form in told]


@pytest.mark.parametrize("broken", ["ab\ncd-efgh", "tök\x00en-ü", "a'b\"c\\d\n e"])
@pytest.mark.parametrize("auth", [HEADER, QUERY, BASIC, {"type": "bearer", "token_env": "KEY"}])
def test_no_error_tells_a_secret_that_cannot_be_sent(
    auth: dict[str, Any], broken: str, upstream: ScriptedUpstream
) -> None:
    upstream.answer = lambda handler: reply(handler, 403)
    with pytest.raises(UpstreamError) as refused:
        fetch(upstream.url + "/x", auth, {**SECRETS, "KEY": broken, "PASSWORD": broken}, attempts=1)
    told = everything_told(refused.value)
    for form in (broken, repr(broken)[1:-1], repr(broken.encode())[2:-1], quote(broken)):
        assert form not in told


def test_a_line_break_behind_a_secret_is_no_part_of_it(upstream: ScriptedUpstream) -> None:
    fetch(upstream.url + "/x", {"type": "bearer", "token_env": "KEY"}, {"KEY": "abcdef\n"})
    assert upstream.seen[0][1]["Authorization"] == "Bearer abcdef"


def test_documents_and_cursors_hold_no_key_that_the_upstream_repeats_in_its_links(
    upstream: ScriptedUpstream,
) -> None:
    for kind in ("link_header", "next_url"):
        upstream.seen.clear()

        def answer(handler: BaseHTTPRequestHandler) -> None:
            page = int(dict(parse_qsl(urlsplit(handler.path).query)).get("page", 0))
            key = quote(SECRET, safe="")
            following = f"{upstream.url}/x?api_key={key}&page={page + 1}" if page < 2 else None
            headers = {"Link": f'<{following}>; rel="next"'} if following else {}
            reply(handler, 200, json.dumps({"data": [page], "next": following}).encode(), headers)

        upstream.answer = answer
        spec = RestRequests.model_validate({"path": "/x", "records": "data", "paginator": {"type": kind}})
        with Client(HttpSettings(**FAST), of(QUERY)) as client:
            batches = list(RestExtraction(spec, upstream.url, Request(TODAY), client))
        assert [batch.records[0].value for batch in batches] == [0, 1, 2]
        assert all(f"api_key={quote(SECRET, safe='')}" in path for path in upstream.paths) or all(
            dict(parse_qsl(urlsplit(path).query))["api_key"] == SECRET for path in upstream.paths
        )
        told = repr([(batch.document, batch.cursor) for batch in batches])
        assert "s3cr" not in told


def test_a_secret_is_not_shown_in_logs(upstream: ScriptedUpstream, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(0)
    upstream.answer = lambda handler: reply(handler, 500, handler.path.encode())
    with pytest.raises(TransientUpstreamError):
        fetch(upstream.url + "/x", QUERY)
    assert "s3cr" not in caplog.text
