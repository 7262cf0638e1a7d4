"""What the unit tests share: an upstream on 127.0.0.1 that answers as a test tells it to."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import date
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any, Self

import pytest

from kasparro_pipeline.extract.documents import Batch, Request
from kasparro_pipeline.extract.http import Client, HttpSettings
from kasparro_pipeline.extract.rest import RestExtraction
from kasparro_pipeline.extract.rest_spec import RestRequests

if TYPE_CHECKING:
    from collections.abc import Iterator

ClientOf = Callable[[HttpSettings], Client]


class Calls:
    """How many functions were called within the block, by this thread: work that no machine makes slower."""

    def __init__(self) -> None:
        self.count = 0

    def __enter__(self) -> Self:
        sys.setprofile(self._note)
        return self

    def __exit__(self, *_: object) -> None:
        sys.setprofile(None)

    def _note(self, _frame: object, event: str, _about: object) -> None:
        self.count += event in {"call", "c_call"}


def reply(
    handler: BaseHTTPRequestHandler,
    status: int = 200,
    body: bytes = b"",
    headers: dict[str, str] | None = None,
) -> None:
    """Send a whole answer; `headers` may override its Content-Length."""
    handler.send_response(status)
    for name, value in {"Content-Length": str(len(body)), **(headers or {})}.items():
        handler.send_header(name, value)
    handler.end_headers()
    handler.wfile.write(body)


@dataclass
class ScriptedUpstream:
    """A real HTTP server. `answer` writes each reply; `seen` keeps path and headers of each GET."""

    url: str = ""
    answer: Callable[[BaseHTTPRequestHandler], None] = reply
    post: Callable[[BaseHTTPRequestHandler], None] = reply
    seen: list[tuple[str, dict[str, str]]] = field(default_factory=list)
    connections: set[int] = field(default_factory=set)
    """Ports that requests came from."""

    @property
    def paths(self) -> list[str]:
        """The paths asked for, with their queries, in order."""
        return [path for path, _ in self.seen]


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: object, client_address: object) -> None:
        if not isinstance(sys.exception(), ConnectionError):  # a client that leaves is part of many tests
            super().handle_error(request, client_address)  # type: ignore[arg-type]  # passed through


@pytest.fixture
def upstream() -> Iterator[ScriptedUpstream]:
    """An upstream that answers what a test sets as `answer`."""
    with _serving() as scripted:
        yield scripted


@pytest.fixture
def other_upstream() -> Iterator[ScriptedUpstream]:
    """Another one, on another port."""
    with _serving() as scripted:
        yield scripted


@contextmanager
def _serving() -> Iterator[ScriptedUpstream]:
    scripted = ScriptedUpstream()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def do_GET(self) -> None:
            scripted.seen.append((self.path, dict(self.headers)))
            scripted.connections.add(self.client_address[1])
            try:
                scripted.answer(self)
            except (BrokenPipeError, ConnectionResetError):
                self.close_connection = True  # the client had enough

        def do_POST(self) -> None:
            scripted.post(self)

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    with _Server(("127.0.0.1", 0), Handler) as server:
        scripted.url = f"http://127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        thread.start()
        yield scripted
        server.shutdown()
        thread.join()


@pytest.fixture
def client_of() -> Iterator[ClientOf]:
    """Makes clients, and closes them."""
    with ExitStack() as stack:
        yield lambda settings: stack.enter_context(Client(settings.allowing(["127.0.0.1"])))


@pytest.fixture
def extract(upstream: ScriptedUpstream, client_of: ClientOf) -> Callable[..., list[Batch]]:
    """Extract with a spec, one request after the other; the other keywords are the request's."""

    def extracted(spec: dict[str, Any], **asked: Any) -> list[Batch]:
        made = RestRequests.model_validate({"path": "/v1/x"} | spec)
        client = client_of(HttpSettings(attempts=1, read_timeout=10, concurrency=1))
        request = Request(date(2024, 1, 10), **asked)
        return list(RestExtraction(made, upstream.url + "/", request, client))

    return extracted
