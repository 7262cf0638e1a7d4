"""Assembles the application: settings, pool, routes, errors. What a route does stands elsewhere.

Start it with `uvicorn kasparro_api.app:create_app --factory`.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.metadata import version
from typing import Any

from fastapi import FastAPI
from starlette.middleware import Middleware

from kasparro_api import problems, shapes
from kasparro_api.data import routes as data_routes
from kasparro_api.database import Database
from kasparro_api.operation import docs_pages, health, log
from kasparro_api.operation.context import RequestContextMiddleware
from kasparro_api.runs import routes as run_routes
from kasparro_api.settings import ApiSettings
from kasparro_pipeline.warehouse import migrate

API_PREFIX = "/api/v1"

ROUTERS = (data_routes.router, run_routes.router, health.router)
PROBLEMS: dict[int | str, dict[str, Any]] = {
    422: {"model": shapes.Problem, "description": "A parameter is unknown or out of its bounds."},
    503: {"model": shapes.Problem, "description": "The database cannot answer; see Retry-After."},
}

DESCRIPTION = f"""\
Records from REST APIs, CSV files and feeds, merged into one table.

Every path is served under `/` and, the same, under `{API_PREFIX}`. Every answer has the headers
`X-Request-ID` (yours, if it is 1 to 128 letters, digits, dots, underscores or hyphens) and
`X-API-Latency-MS`. Errors are `application/problem+json` (RFC 9457). Numbers have every digit that the
database holds, times are RFC 3339 in UTC, and a member without a value is null.
"""


class Api(FastAPI):
    """FastAPI, whose OpenAPI document says the media type of problems right."""

    def openapi(self) -> dict[str, Any]:
        """The document; error answers are `application/problem+json`."""
        if self.openapi_schema is None:
            for operations in super().openapi()["paths"].values():
                for operation in operations.values():
                    for status, answer in operation["responses"].items():
                        if status >= "400":
                            answer["content"] = {problems.MEDIA_TYPE: answer["content"]["application/json"]}
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
    log.configure(settings.log_format)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        database = Database(settings)
        await database.open()
        app.state.database = database
        yield
        await database.close()

    app = Api(
        title="Kasparro",
        version=version("kasparro"),
        description=DESCRIPTION,
        servers=[{"url": "/"}, {"url": API_PREFIX}],
        docs_url=None,
        redoc_url=None,
        lifespan=lifespan,
        generate_unique_id_function=lambda route: route.name,
        redirect_slashes=False,
        middleware=[Middleware(RequestContextMiddleware, answer_failure=problems.failure)],
    )
    app.state.settings = settings
    app.state.head = migrate.head()
    problems.install(app)
    docs_pages.install(app)
    for router in ROUTERS:
        app.include_router(router, responses=PROBLEMS)
        app.include_router(router, prefix=API_PREFIX, include_in_schema=False)
    return app
