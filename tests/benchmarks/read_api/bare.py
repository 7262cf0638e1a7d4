"""The API without its layers: no request id, latency, log, metrics, keys or limits. The rest is as it is.

What the layers cost is the difference. `uvicorn tests.benchmarks.read_api.bare:create_app --factory`.
"""

import time
from unittest import mock

from fastapi import FastAPI
from starlette.types import ASGIApp, Receive, Scope, Send

from kasparro_api import app as api
from kasparro_api.operation.context import RequestContext


class _FixedContext:
    """Answers name a request id and a latency: the same ones each time."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._state = {"context": RequestContext("bare", time.perf_counter()), "key": None}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            scope.setdefault("state", {}).update(self._state)
        await self._app(scope, receive, send)


def create_app() -> FastAPI:
    """The application as the environment sets it, with the layers taken off."""
    with mock.patch.multiple(
        api,
        Guard=lambda app, *_: app,
        RequestContextMiddleware=lambda app, *_: _FixedContext(app),
    ):
        app = api.create_app()
        app.middleware_stack = app.build_middleware_stack()  # else built at the first request
    return app
