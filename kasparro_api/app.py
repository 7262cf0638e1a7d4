"""Assembles the application: settings, pools, routes, layers, errors. What a route does stands elsewhere.

Start it with `uvicorn kasparro_api.app:create_app --factory`.
"""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from importlib.metadata import version
from typing import Any

import psycopg
from fastapi import FastAPI
from starlette.middleware.cors import CORSMiddleware
from starlette.middleware.errors import ServerErrorMiddleware
from starlette.types import ASGIApp, Receive, Scope, Send

from kasparro_api import openapi, problems
from kasparro_api.access.cache import HotCache
from kasparro_api.access.guard import Guard
from kasparro_api.access.lane import ReadLane
from kasparro_api.access.versions import VersionWatch
from kasparro_api.data import routes as data_routes
from kasparro_api.database import Database
from kasparro_api.operation import docs_pages, health, log, metrics
from kasparro_api.operation.context import RequestContextMiddleware
from kasparro_api.runs import routes as run_routes
from kasparro_api.settings import ApiSettings
from kasparro_api.trigger import routes as trigger_routes
from kasparro_pipeline.warehouse import revision

API_PREFIX = "/api/v1"
ROUTERS = (data_routes.router, run_routes.router, trigger_routes.router, health.router, metrics.router)
EXPOSED_HEADERS = (
    "ETag",
    "Idempotency-Replayed",
    "Last-Modified",
    "Link",
    "Location",
    "RateLimit",
    "RateLimit-Policy",
    "Retry-After",
    "X-API-Latency-MS",
    "X-Request-ID",
)
POOL_FIGURES_EVERY = 5
"""Seconds between two looks at how the pools are used."""
WATCHING_TIMEOUT = 1.0
"""Seconds: a probe wants an answer, also the one that the database gives none."""

DESCRIPTION = f"""\
Records from REST APIs, CSV files and feeds, merged into one table. [`/data?limit=3`](data?limit=3) shows
some.

**Addresses.** Every path is served under `/` and, the same, under `{API_PREFIX}`. `GET` paths take
`HEAD` too. An unknown parameter is an error, which names the closest known one.

**Answers.** JSON, compressed with zstd or gzip where `Accept-Encoding` says so. Numbers have every digit
that the database holds, times are RFC 3339 in UTC, and a member without a value is null. Every answer
has the headers `X-Request-ID` (yours, if it is 1 to 128 letters, digits, dots, underscores or hyphens)
and `X-API-Latency-MS`.

**Errors.** `application/problem+json` (RFC 9457) with `type` for programs and `detail` for people. A
method that a path does not have is answered with 405 and `Allow`, a path that does not exist with 404.

**Keys.** Sent as `X-API-Key`, or as `Authorization: Bearer`. Reading needs one where the operator says
so, triggering a run always does. A key that is not valid is refused everywhere.

**Limits.** A caller has a quota of requests in a window of time: `RateLimit-Policy` says which,
`RateLimit` what is left of it. Beyond it the answer is 429 with `Retry-After`.
"""

_log = logging.getLogger("kasparro_api")


class Api(FastAPI):
    """FastAPI with the service's own layers around it, and a document that says the media types right."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a request by the layers below; the framework's own look at each costs more than they do."""
        if scope["type"] == "http" and self.middleware_stack is not None:
            scope["app"] = self
            await self.middleware_stack(scope, receive, send)
        else:
            await super().__call__(scope, receive, send)

    def build_middleware_stack(self) -> ASGIApp:
        """From the outside in: request context, CORS, guard, the short way to the reads, the application."""
        settings: ApiSettings = self.state.settings
        app = super().build_middleware_stack()
        assert isinstance(app, ServerErrorMiddleware)  # noqa: S101 - of the framework, not of the input
        # Its work is the request context's, which also logs the error and knows the request's id
        app = app.app
        app = ReadLane(app, partial(data_routes.find, prefix=API_PREFIX), self.state.cache)
        app = Guard(app, settings, API_PREFIX)
        if settings.cors_origins:
            app = CORSMiddleware(
                app,
                allow_origins=[origin.strip() for origin in settings.cors_origins.split(",")],
                allow_methods=["GET", "HEAD", "POST"],
                allow_headers=[
                    "Authorization",
                    "Content-Type",
                    "Idempotency-Key",
                    "X-API-Key",
                    "X-Request-ID",
                ],
                expose_headers=EXPOSED_HEADERS,
            )
        return RequestContextMiddleware(app, problems.failure, metrics.observe)

    def openapi(self) -> dict[str, Any]:
        """The document, made once."""
        if self.openapi_schema is None:
            routes = [route for router in ROUTERS for route in router.routes]
            openapi.complete(super().openapi(), routes, is_open=self.state.settings.reads == "open")
        return super().openapi()


def create_app(settings: ApiSettings | None = None) -> FastAPI:
    """The application; without `settings` they come from the environment and `.env`.

    It starts without a database too, and answers 503 until there is one.

    Raises:
        WarehouseNotConfiguredError: no `DATABASE_URL` is set.
        pydantic.ValidationError: a setting is not usable.
    """
    settings = settings or ApiSettings()
    settings.require_database_url()
    log.configure(settings.log_format, settings.access_log)
    app = Api(
        title="Kasparro",
        version=version("kasparro"),
        description=DESCRIPTION,
        servers=[{"url": "/"}, {"url": API_PREFIX}],
        docs_url=None,
        redoc_url=None,
        lifespan=_lifespan,
        generate_unique_id_function=lambda route: route.name,
        redirect_slashes=False,
    )
    state = app.state
    state.settings = settings
    state.head = revision.head()
    state.attributes = None
    state.database = Database(
        settings, name="pages", size=settings.pool_size, statement_timeout=settings.statement_timeout
    )
    state.exports = Database(
        settings,
        name="exports",
        size=settings.export_pool_size,
        statement_timeout=settings.export_timeout,
    )
    # Of its own, so that what watches the service does not wait behind its pages
    state.watching = Database(settings, name="watching", size=1, statement_timeout=WATCHING_TIMEOUT)
    state.pools = (state.database, state.exports, state.watching)
    state.versions = VersionWatch(settings)
    state.cache = HotCache(state.versions, settings.cache_mb * 1_000_000)
    problems.install(app)
    docs_pages.install(app)
    for router in ROUTERS:
        app.include_router(router, responses=openapi.SHARED)
        app.include_router(router, prefix=API_PREFIX, include_in_schema=False)
    return app


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    """Open the pools; wait for the database, but not for ever; close them after the last request."""
    if warning := metrics.require_shared_folder():
        _log.warning(warning)
    metrics.forget_dead_workers()
    async with AsyncExitStack() as stack:
        # The server ends itself by the signal that it was sent, and nothing is written at the exit
        stack.callback(log.flush)
        for pool in app.state.pools:
            stack.push_async_callback(pool.close)
        stack.push_async_callback(app.state.versions.close)
        await _wait_for_database(app)
        figures = asyncio.create_task(_observe_pools(app))
        stack.callback(figures.cancel)
        yield


async def _wait_for_database(app: FastAPI) -> None:
    deadline = asyncio.get_running_loop().time() + app.state.settings.start_timeout
    while True:
        try:
            await app.state.versions.current()
        except psycopg.OperationalError as error:
            if asyncio.get_running_loop().time() > deadline:
                _log.warning("no database yet (%s); the answer is 503 until there is", type(error).__name__)
                return
            await asyncio.sleep(0.1)
        except psycopg.Error:  # it answers, and is not migrated: `/health/ready` says so
            return
        else:
            return


async def _observe_pools(app: FastAPI) -> None:
    while True:
        metrics.observe_pools(app.state.pools)
        await asyncio.sleep(POOL_FIGURES_EVERY)
