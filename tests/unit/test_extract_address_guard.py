"""No source reaches into the network that Kasparro runs in, by whatever name, form, redirect or link."""

import socket
import threading
import time
from contextlib import closing
from ipaddress import IPv4Address, IPv6Address
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kasparro_pipeline.extract.address_guard import guarded_dial, is_public
from kasparro_pipeline.extract.auth import OAuth2ClientCredentials, credentials
from kasparro_pipeline.extract.documents import Request
from kasparro_pipeline.extract.errors import PermanentUpstreamError, TransientUpstreamError
from kasparro_pipeline.extract.http import Client, HttpSettings
from kasparro_pipeline.extract.rest import RestExtraction
from kasparro_pipeline.extract.rest_spec import RestRequests
from tests.unit.conftest import ScriptedUpstream, reply
from tests.unit.rest_upstream import TODAY

FAST: dict[str, Any] = {"attempts": 2, "backoff": 0, "max_wait": 0.1, "connect_timeout": 3}


def fetch(url: str, *allowed: str) -> Any:
    with Client(HttpSettings(**FAST, allow_private_hosts=allowed)) as client:
        return client.fetch(url)


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1",
        "127.1",
        "2130706433",
        "0x7f000001",
        "0177.0.0.1",
        "localhost",
        "LOCALHOST",
        "localhost.",
        "0.0.0.0",  # noqa: S104 - an address like the others
        "[::1]",
        "[::]",
        "[::ffff:127.0.0.1]",
        "[::ffff:7f00:1]",
        "[::127.0.0.1]",
        "169.254.169.254",
        "[::ffff:169.254.169.254]",
        "[fd00:ec2::254]",
        "10.0.0.1",
        "172.16.0.1",
        "192.168.1.1",
        "100.64.0.1",
        "[fe80::1]",
        "[fc00::1]",
        "[fec0::1]",
        "[64:ff9b::7f00:1]",
        "[64:ff9b:1::1]",
        "[2002:7f00:1::]",
        "224.0.0.1",
        "255.255.255.255",
        "[ff02::1]",
    ],
)
def test_an_address_that_is_not_public_is_refused_in_any_form(host: str, upstream: ScriptedUpstream) -> None:
    port = upstream.url.rpartition(":")[2]
    with pytest.raises((PermanentUpstreamError, TransientUpstreamError)) as refused:
        fetch(f"http://{host}:{port}/x")
    assert upstream.seen == []
    if isinstance(refused.value, PermanentUpstreamError):
        assert "is no public address; if it is meant, name" in refused.value.message
    else:
        # this machine's resolver does not know the form at all
        assert isinstance(refused.value.__cause__, socket.gaierror)


def test_a_host_that_the_spec_names_may_be_reached(upstream: ScriptedUpstream) -> None:
    port = upstream.url.rpartition(":")[2]
    assert fetch(f"http://127.0.0.1:{port}/x", "127.0.0.1").body == b""
    assert fetch(f"http://LocalHost:{port}/x", "localhost").body == b""


def test_a_name_opens_itself_alone(upstream: ScriptedUpstream) -> None:
    port = upstream.url.rpartition(":")[2]
    with pytest.raises(PermanentUpstreamError, match=r"leads to 127.0.0.1"):
        fetch(f"http://127.0.0.1:{port}/x", "localhost", "127.0.0.2")


@pytest.mark.parametrize(
    "to", ["http://localhost:{port}/y", "http://2130706433:{port}/y", "//0.0.0.0:{port}/y"]
)
def test_a_redirect_leads_no_further_than_the_spec(to: str, upstream: ScriptedUpstream) -> None:
    port = upstream.url.rpartition(":")[2]
    upstream.answer = lambda handler: reply(handler, 302, headers={"Location": to.format(port=port)})
    with pytest.raises(PermanentUpstreamError, match="is no public address"):
        fetch(f"http://127.0.0.1:{port}/x", "127.0.0.1")
    assert upstream.paths == ["/x"]


@pytest.mark.parametrize("to", ["file:///etc/passwd", "ftp://127.0.0.1/x", "gopher://127.0.0.1/", "data:,x"])
def test_a_redirect_to_another_scheme_is_refused(to: str, upstream: ScriptedUpstream) -> None:
    upstream.answer = lambda handler: reply(handler, 302, headers={"Location": to})
    with pytest.raises(PermanentUpstreamError, match=r"not a usable address"):
        fetch(upstream.url + "/x", "127.0.0.1")


def test_the_address_of_tokens_is_guarded_too() -> None:
    auth = OAuth2ClientCredentials(
        type="oauth2_client_credentials",
        token_url="http://127.0.0.1:9/token",  # noqa: S106 - an address
        client_id_env="A",
        client_secret_env="B",  # noqa: S106 - a name
    )
    with (
        Client(HttpSettings(**FAST), credentials(auth, {"A": "a", "B": "b"})) as client,
        pytest.raises(PermanentUpstreamError, match=r"no token: 127.0.0.1 leads to 127.0.0.1"),
    ):
        client.fetch("http://example.org/")


def test_an_extraction_from_a_private_address_is_refused_unless_named(upstream: ScriptedUpstream) -> None:
    with (
        Client(HttpSettings(**FAST)) as client,
        pytest.raises(PermanentUpstreamError, match=r"name 127.0.0.1 in `http.allow_private_hosts`"),
    ):
        list(RestExtraction(RestRequests(path="/x"), upstream.url, Request(TODAY), client))
    assert upstream.seen == []


@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch) -> dict[str, list[list[str]]]:
    """What names resolve to, one after the other, the last one from then on; set by a test."""
    told: dict[str, list[list[str]]] = {}
    real = socket.getaddrinfo

    def resolve(host: str, port: int, **more: Any) -> list[Any]:
        if host not in told:
            return real(host, port, **more)
        addresses = told[host].pop(0) if len(told[host]) > 1 else told[host][0]
        return [entry for address in addresses for entry in real(address, port, **more)]

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    return told


def test_a_name_that_resolves_to_something_private_is_refused(
    names: dict[str, list[list[str]]],
) -> None:
    names["api.example"] = [["127.0.0.1"]]
    with pytest.raises(PermanentUpstreamError, match=r"api.example leads to 127.0.0.1"):
        fetch("http://api.example/")
    names["api.example"] = [["192.0.43.7", "10.0.0.1"]]
    with pytest.raises(PermanentUpstreamError, match=r"api.example leads to 10.0.0.1"):
        fetch("http://api.example/")


def test_the_address_that_was_checked_is_the_one_that_is_reached(
    names: dict[str, list[list[str]]], upstream: ScriptedUpstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    port = int(upstream.url.rpartition(":")[2])
    # a public address at the first look, this machine at every later one
    names["api.example"] = [["93.184.215.14"], ["127.0.0.1"]]
    reached: list[Any] = []

    class Watched(socket.socket):
        def connect(self, address: Any) -> None:
            reached.append(address[0])
            raise ConnectionRefusedError

    monkeypatch.setattr(socket, "socket", Watched)
    with pytest.raises(ConnectionRefusedError):
        guarded_dial([])("api.example", port, 1)
    assert reached == ["93.184.215.14"]
    assert upstream.seen == []


def test_the_next_address_of_a_name_is_tried(names: dict[str, list[list[str]]]) -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as server:
        names["two.example"] = [["::1", "127.0.0.1"]]
        opened = guarded_dial(["two.example"])("two.example", server.getsockname()[1], 3)
        with closing(opened):
            assert opened.getpeername()[0] == "127.0.0.1"


@given(st.ip_addresses(v=4))
def test_an_address_of_ipv4_is_as_public_in_every_form_of_ipv6(address: IPv4Address) -> None:
    number = int(address)
    forms = [
        IPv6Address((0xFFFF << 32) | number),
        IPv6Address((0x64FF9B << 96) | number),
        IPv6Address((0x2002 << 112) | (number << 80)),
    ]
    if not is_public(str(address)):
        assert [str(form) for form in forms if is_public(str(form))] == []


@pytest.mark.parametrize("address", ["93.184.215.14", "8.8.8.8", "2606:4700:4700::1111", "::ffff:8.8.8.8"])
def test_a_public_address_is_public(address: str) -> None:
    assert is_public(address)


def test_a_name_server_that_is_silent_counts_against_the_connect_timeout() -> None:
    over = threading.Event()

    def silent(_host: str, _port: int) -> Any:
        over.wait(30)
        raise OSError("too late")

    started = time.monotonic()
    with pytest.raises(TimeoutError, match=r"the name api.example was not looked up within 0.2 s"):
        guarded_dial([], silent)("api.example", 80, 0.2)
    assert time.monotonic() - started < 2
    over.set()


def test_a_source_whose_name_is_not_looked_up_fails_in_time_after_its_attempts(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The system's resolver hangs, as it does where packets to its name servers are dropped."""
    over, asked = threading.Event(), []

    def silent(*question: Any, **_how: Any) -> Any:
        asked.append(question)
        over.wait(30)
        raise OSError("too late")

    monkeypatch.setattr(socket, "getaddrinfo", silent)
    started = time.monotonic()
    patient = HttpSettings(attempts=2, backoff=0, connect_timeout=0.2)
    with Client(patient) as client, pytest.raises(TransientUpstreamError, match="was not looked up within"):
        client.fetch("http://api.example/x")
    assert time.monotonic() - started < 2
    assert len(asked) == 2
    over.set()


def test_a_look_up_and_a_connection_have_their_time_together(monkeypatch: pytest.MonkeyPatch) -> None:
    waited: list[float | None] = []

    class Counting(socket.socket):
        def settimeout(self, value: float | None, /) -> None:
            waited.append(value)
            super().settimeout(value)

    def slow(host: str, port: int) -> Any:
        assert host == "api.example"
        time.sleep(0.3)
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", port))]

    with closing(socket.socket()) as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        monkeypatch.setattr(socket, "socket", Counting)
        guarded_dial(["api.example"], slow)("api.example", server.getsockname()[1], 1).close()
    assert waited[0] is not None
    assert waited[0] <= 0.7


def test_an_error_of_the_look_up_is_told_as_it_is() -> None:
    def unknown(_host: str, _port: int) -> Any:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    with pytest.raises(socket.gaierror, match="Name or service not known"):
        guarded_dial([], unknown)("api.example", 80, 1)
