"""Whether the service lives, and whether it can answer. Asks over connections of its own."""

import json
import time
from typing import Annotated, Any

import psycopg
from fastapi import APIRouter, Query, Request, Response
from psycopg import sql

from kasparro_api import problems
from kasparro_api.answers import answer, to_json
from kasparro_api.data.parameters import NoParameters
from kasparro_api.database import Database
from kasparro_api.operation import shapes
from kasparro_api.runs import queries
from kasparro_api.runs.shapes import SUCCESS
from kasparro_api.shapes import Problem
from kasparro_api.sql import Statement, table

router = APIRouter(tags=["operation"])

# A replica that has replayed all it received is up to date, however long ago the last change was
_STATE = sql.SQL(
    """\
select version_num, pg_is_in_recovery(),
    case when not pg_is_in_recovery() or pg_last_wal_receive_lsn() = pg_last_wal_replay_lsn() then 0
        else round(extract(epoch from now() - pg_last_xact_replay_timestamp()), 3) end::float
from {}"""
).format(table("alembic_version"))


@router.get(
    "/health",
    summary="Whether the service lives",
    description=(
        "200 as long as the service serves requests, with `status` `ok`, or `degraded` when `/health/ready` "
        "would say 503: starting it again would not help then."
    ),
    response_model=shapes.Health,
)
async def read_health(
    request: Request,
    parameters: Annotated[NoParameters, Query()],  # noqa: ARG001 - declared so that any parameter is refused
) -> Response:
    """Liveness."""
    parts, fault = await _examine(request)
    status = to_json("ok" if fault is None else "degraded")
    return answer({"status": status, **{name: to_json(part) for name, part in parts.items()}})


@router.get(
    "/health/ready",
    summary="Whether the service can answer",
    description=(
        "200 when the database answers, is at the revision that this API was written for and, if it is a "
        "replica, is not too far behind; else 503 with the part that failed. How old each source's data may "
        f"be is for the caller to judge: `seconds_since_success` never makes it 503. {SUCCESS}"
    ),
    response_model=shapes.Health,
    responses={503: {"model": Problem, "description": "A part fails; the members say which."}},
)
async def read_readiness(
    request: Request,
    parameters: Annotated[NoParameters, Query()],  # noqa: ARG001 - declared so that any parameter is refused
) -> Response:
    """Readiness, within a bound of time even if the database is silent."""
    parts, fault = await _examine(request)
    if fault is not None:
        return problems.unavailable(request, fault[1], kind=fault[0], members=parts)
    return answer({"status": b'"ok"', **{name: to_json(part) for name, part in parts.items()}})


async def _examine(request: Request) -> tuple[dict[str, Any], tuple[str, str] | None]:
    """The parts of the service, and kind and detail of what keeps it from answering."""
    state = request.app.state
    parts: dict[str, Any] = {
        "database": {"reachable": False, "latency_ms": None, "error": None},
        "migrations": {"current": None, "head": state.head, "at_head": None},
        "replica": {"is_replica": None, "lag_seconds": None},
        "sources": [],
    }
    database: Database = state.watching
    started = time.perf_counter()
    try:
        current, is_replica, lag = await _state(database)
        latency_ms = round((time.perf_counter() - started) * 1000, 3)
        parts["database"] = {"reachable": True, "latency_ms": latency_ms, "error": None}
        parts["migrations"] |= {"current": current, "at_head": current == state.head}
        parts["replica"] = {"is_replica": is_replica, "lag_seconds": lag if is_replica else None}
        if current != state.head:
            return parts, ("migrations-pending", problems.MIGRATIONS_PENDING)
        [[sources]] = await database.fetch(queries.source_freshness())
        parts["sources"] = json.loads(sources)
    except psycopg.Error as error:
        problems.log_database_error(request, error)
        reachable = not isinstance(error, psycopg.OperationalError)
        parts["database"] = {"reachable": reachable, "latency_ms": None, "error": _without_address(error)}
        return parts, ("database-unavailable", problems.DATABASE_UNAVAILABLE)
    most = state.settings.max_replica_lag
    if is_replica and (lag is None or lag > most):
        behind = "an unknown time" if lag is None else f"{lag:g} s"
        return parts, ("replica-behind", f"The replica is {behind} behind; {most:g} s are allowed.")
    return parts, None


async def _state(database: Database) -> tuple[str | None, bool, float | None]:
    """The database's revision (none before the first), whether it is a replica, how far behind."""
    try:
        rows = await database.fetch(Statement(_STATE))
    except psycopg.errors.UndefinedTable:
        rows = []
    return rows[0] if rows else (None, False, 0.0)


def _without_address(error: psycopg.Error) -> str:
    """What failed, by name: the driver's own text can hold hosts and users."""
    return f"{type(error).__name__} {error.sqlstate}" if error.sqlstate else type(error).__name__
