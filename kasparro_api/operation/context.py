"""Request id, latency, metrics and access log, as plain ASGI around the whole application. Knows no route."""

import asyncio
import logging
import re
import time
from collections.abc import Callable
from contextvars import ContextVar
from dataclasses import dataclass
from http import HTTPStatus
from random import getrandbits

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

_CLIENT_REQUEST_ID = re.compile(rb"[A-Za-z0-9._-]{1,128}")

access_log = logging.getLogger("kasparro_api.access")
error_log = logging.getLogger("kasparro_api.error")


@dataclass(frozen=True)
class RequestContext:
    """What every answer to one request carries."""

    request_id: str
    started: float
    """`time.perf_counter()` when the request arrived."""

    def latency_ms(self) -> float:
        """Milliseconds since the request arrived."""
        return round((time.perf_counter() - self.started) * 1000, 3)

    def meta(self) -> dict[str, object]:
        """The `meta` object of an answer."""
        return {"request_id": self.request_id, "api_latency_ms": self.latency_ms()}


def context_of(request: Request) -> RequestContext:
    """The context that the middleware made for `request`."""
    context: RequestContext = request.state.context
    return context


_receive: ContextVar[Receive | None] = ContextVar("receive", default=None)
"""How the request at hand hears of its client."""


async def client_gone() -> None:
    """Return once the client of the request at hand has gone away; outside of a request, never."""
    receive = _receive.get()
    while receive is not None:
        if (await receive())["type"] == "http.disconnect":
            return
    await asyncio.Event().wait()


class RequestContextMiddleware:
    """Gives each request its id, sets the two headers on every answer, and writes one line per request.

    It is the outermost layer, and so the one that turns an error nobody expected into an answer.
    """

    def __init__(
        self,
        app: ASGIApp,
        answer_failure: Callable[[Request], Response],
        observe: Callable[[str, str, int, float], None],
    ) -> None:
        """Wrap `app`.

        `answer_failure` makes the answer to a request that raised; `observe` takes method, route template,
        status and seconds of each.
        """
        self._app = app
        self._observe = observe
        self._answer_failure = answer_failure

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request; anything but HTTP passes untouched."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        context = RequestContext(_request_id(scope), time.perf_counter())
        scope.setdefault("state", {})["context"] = context
        # Not of a request with a body: listening for its end would take the body away
        _receive.set(receive if scope["method"] in {"GET", "HEAD"} else None)
        status = 0
        sent_bytes = 0

        async def send_with_headers(message: Message) -> None:
            nonlocal status, sent_bytes
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [
                    *message.get("headers", ()),
                    *scope["state"].get("headers", ()),
                    (b"x-request-id", context.request_id.encode()),
                    (b"x-api-latency-ms", str(context.latency_ms()).encode()),
                ]
            else:
                sent_bytes += len(message.get("body", b""))
            await send(message)

        try:
            await self._app(scope, receive, send_with_headers)
        except Exception:
            error_log.exception("request failed", extra={"fields": {"request_id": context.request_id}})
            if status:  # too late for another answer: let the server cut the connection
                raise
            await self._answer_failure(Request(scope))(scope, receive, send_with_headers)
        finally:
            self._observe(scope["method"], _route(scope), status, time.perf_counter() - context.started)
            level = logging.INFO if status < HTTPStatus.INTERNAL_SERVER_ERROR else logging.ERROR
            if access_log.isEnabledFor(level):
                # Made here, not by the logger, which would look for the line of code that called it
                line = logging.LogRecord(access_log.name, level, __file__, 0, "request", None, None)
                line.fields = _line(scope, context, status, sent_bytes)
                access_log.handle(line)


def _route(scope: Scope) -> str:
    """The template of the route that answered."""
    route = scope["state"].get("route") or getattr(scope.get("route"), "path", None)
    return route or "unmatched"


def _request_id(scope: Scope) -> str:
    """The client's own id if it is well formed, else a fresh one: it goes into headers and logs."""
    for name, value in scope["headers"]:
        if name == b"x-request-id" and _CLIENT_REQUEST_ID.fullmatch(value):
            return str(value, "ascii")
    # Not a secret, so not worth the call into the system that a better random number is
    return f"{getrandbits(128):032x}"


def _line(scope: Scope, context: RequestContext, status: int, sent_bytes: int) -> dict[str, object]:
    # as sent, percent-encoded: a decoded path could hold a line break
    target = scope["raw_path"] + (b"?" + scope["query_string"] if scope["query_string"] else b"")
    return {
        "request_id": context.request_id,
        "method": scope["method"],
        "target": target.decode("latin-1"),
        "status": status,
        "latency_ms": context.latency_ms(),
        "bytes": sent_bytes,
        "client": scope["client"][0] if scope.get("client") else None,
    }
