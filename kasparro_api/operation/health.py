"""Whether the service lives, and whether it can answer."""

import json
import time
from typing import Annotated, Any

import psycopg
from fastapi import APIRouter, Query, Request, Response
from psycopg import sql

from kasparro_api import problems
from kasparro_api.answers import answer, to_json
from kasparro_api.database import Database, DatabaseOfApp, within
from kasparro_api.operation import shapes
from kasparro_api.parameters import NoParameters
from kasparro_api.runs import queries
from kasparro_api.runs.shapes import SUCCESS
from kasparro_api.sql import Statement, table

router = APIRouter()


@router.get(
    "/health",
    tags=["operation"],
    summary="Whether the service can answer",
    description=(
        "200 when the database answers and is at the revision that this API was written for, else 503 with "
        "the part that failed. How old each source's data may be is for the caller to judge: "
        f"`seconds_since_success` never turns the answer into an error. {SUCCESS}"
    ),
    response_model=shapes.Health,
)
async def read_health(
    request: Request,
    parameters: Annotated[NoParameters, Query()],  # noqa: ARG001 - declared so that any parameter is refused
    database: DatabaseOfApp,
) -> Response:
    """The state of the service, within a bound of time even if the database is silent."""
    parts: dict[str, Any] = {
        "database": {"reachable": False, "latency_ms": None, "error": None},
        "migrations": {"current": None, "head": request.app.state.head, "at_head": None},
        "sources": [],
    }
    try:
        await within(request.app.state.settings.pool_timeout + 1, _examine(database, parts))
    except psycopg.Error as error:
        problems.log_database_error(request, error)
        reachable = not isinstance(error, psycopg.OperationalError)
        parts["database"] = {"reachable": reachable, "latency_ms": None, "error": _without_address(error)}
        return problems.unavailable(
            request, problems.DATABASE_UNAVAILABLE, kind="database-unavailable", members=parts
        )
    if not parts["migrations"]["at_head"]:
        detail = problems.MIGRATIONS_PENDING
        return problems.unavailable(request, detail, kind="migrations-pending", members=parts)
    return answer(request, {"status": b'"ok"', **{name: to_json(part) for name, part in parts.items()}})


async def _examine(database: Database, parts: dict[str, Any]) -> None:
    """Fill in what the database says about itself."""
    started = time.perf_counter()
    try:
        rows = await database.fetch(_revision())
    except psycopg.errors.UndefinedTable:
        rows = []
    latency_ms = round((time.perf_counter() - started) * 1000, 3)
    current = rows[0][0] if rows else None
    at_head = current == parts["migrations"]["head"]
    parts["database"] = {"reachable": True, "latency_ms": latency_ms, "error": None}
    parts["migrations"] = {**parts["migrations"], "current": current, "at_head": at_head}
    if at_head:
        [[sources]] = await database.fetch(queries.source_freshness())
        parts["sources"] = json.loads(sources)


def _without_address(error: psycopg.Error) -> str:
    """What failed, by name: the driver's own text can hold hosts and users."""
    return f"{type(error).__name__} {error.sqlstate}" if error.sqlstate else type(error).__name__


def _revision() -> Statement:
    """The revision that the database is at: no row, or no table, before the first migration."""
    return Statement(sql.SQL("select version_num from {}").format(table("alembic_version")))
