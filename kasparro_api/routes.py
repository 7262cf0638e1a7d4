"""The routes: take parameters, run a statement, frame the JSON that PostgreSQL built. No SQL belongs here."""

import json
import time
from http import HTTPStatus
from typing import Annotated, Any
from urllib.parse import urlencode

import psycopg
from fastapi import APIRouter, Depends, Query, Request, Response

from kasparro_api import cursor as cursors
from kasparro_api import problems, query, schemas
from kasparro_api.database import Database, within
from kasparro_api.parameters import DataParameters, NoParameters
from kasparro_api.request_context import context_of

router = APIRouter(
    responses={
        422: {"model": schemas.Problem, "description": "A parameter is unknown or out of its bounds."},
        503: {"model": schemas.Problem, "description": "The database cannot answer; see Retry-After."},
    }
)


async def _database(request: Request) -> Database:
    database: Database = request.app.state.database
    return database


DatabaseOfApp = Annotated[Database, Depends(_database)]


@router.get(
    "/data",
    tags=["data"],
    summary="Records, newest first",
    description=(
        "The current version of every record, ordered by `published_at` from the newest on, records without "
        "one last, equal ones by `id` downwards. Go on with `pagination.next_cursor`, or follow the header "
        "`Link` with `rel=next` (RFC 8288): records that stay are met exactly once, whatever comes and goes."
    ),
    response_model=schemas.DataPage,
    responses={400: {"model": schemas.Problem, "description": "The cursor is damaged or of another list."}},
)
async def read_data(
    request: Request, parameters: Annotated[DataParameters, Query()], database: DatabaseOfApp
) -> Response:
    """A page of records."""
    selection = query.Selection(tuple(parameters.source), tuple(parameters.category))
    rows = await database.fetch(
        query.data_page(
            selection,
            limit=parameters.limit,
            offset=parameters.offset,
            after=_position(parameters, selection),
        )
    )
    page = rows[: parameters.limit]
    headers: dict[str, str] = {}
    next_cursor = None
    if len(rows) > len(page):
        _, sort_key, last_id = page[-1]
        next_cursor = cursors.encode(cursors.Position(sort_key, last_id), selection.filters())
        following = urlencode(parameters.query(cursor=next_cursor, offset=None))
        headers["Link"] = f'<{request.url.replace(query=following)}>; rel="next"'
    pagination = {
        "limit": parameters.limit,
        "next_cursor": next_cursor,
        "has_more": next_cursor is not None,
    }
    return _answer(
        request,
        {"data": b"[" + b",".join(row[0] for row in page) + b"]", "pagination": _json(pagination)},
        headers,
    )


def _position(parameters: DataParameters, selection: query.Selection) -> cursors.Position | None:
    """Where the page starts.

    Raises:
        ProblemError: the cursor cannot be used, or came together with an offset.
    """
    if parameters.cursor is None:
        return None
    allowed = {name: field.description or "" for name, field in DataParameters.model_fields.items()}
    if parameters.offset is not None:
        message = "Not together with `cursor`: leave one of the two out."
        raise problems.ProblemError(
            HTTPStatus.UNPROCESSABLE_ENTITY,
            "A parameter cannot be used",
            "`cursor` and `offset` both say where the page starts.",
            kind="invalid-parameters",
            errors=[problems.parameter_error("offset", parameters.offset, message, allowed["offset"])],
        )
    try:
        return cursors.decode(parameters.cursor, selection.filters())
    except cursors.CursorError as error:
        raise problems.ProblemError(
            HTTPStatus.BAD_REQUEST,
            "The cursor cannot be used",
            str(error),
            kind="invalid-cursor",
            errors=[problems.parameter_error("cursor", parameters.cursor, str(error), allowed["cursor"])],
        ) from None


@router.get(
    "/stats",
    tags=["operation"],
    summary="What the runs of each source did",
    description=(
        "Per source its last run with counts and duration, its last success and failure, and the sums over "
        f"all its runs; then the sums over all sources. {schemas.SUCCESS}"
    ),
    response_model=schemas.Stats,
)
async def read_stats(
    request: Request,
    parameters: Annotated[NoParameters, Query()],  # noqa: ARG001 - declared so that any parameter is refused
    database: DatabaseOfApp,
) -> Response:
    """The run ledger in numbers."""
    [[sources, totals]] = await database.fetch(query.statistics())
    return _answer(request, {"sources": sources, "totals": totals})


@router.get(
    "/health",
    tags=["operation"],
    summary="Whether the service can answer",
    description=(
        "200 when the database answers and is at the revision that this API was written for, else 503 with "
        "the part that failed. How old each source's data may be is for the caller to judge: "
        f"`seconds_since_success` never turns the answer into an error. {schemas.SUCCESS}"
    ),
    response_model=schemas.Health,
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
    return _answer(request, {"status": b'"ok"', **{name: _json(part) for name, part in parts.items()}})


async def _examine(database: Database, parts: dict[str, Any]) -> None:
    """Fill in what the database says about itself."""
    started = time.perf_counter()
    try:
        rows = await database.fetch(query.revision())
    except psycopg.errors.UndefinedTable:
        rows = []
    latency_ms = round((time.perf_counter() - started) * 1000, 3)
    current = rows[0][0] if rows else None
    at_head = current == parts["migrations"]["head"]
    parts["database"] = {"reachable": True, "latency_ms": latency_ms, "error": None}
    parts["migrations"] = {**parts["migrations"], "current": current, "at_head": at_head}
    if at_head:
        [[sources]] = await database.fetch(query.source_freshness())
        parts["sources"] = json.loads(sources)


def _without_address(error: psycopg.Error) -> str:
    """What failed, by name: the driver's own text can hold hosts and users."""
    return f"{type(error).__name__} {error.sqlstate}" if error.sqlstate else type(error).__name__


def _json(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


def _answer(request: Request, members: dict[str, bytes], headers: dict[str, str] | None = None) -> Response:
    """A JSON object of members that are JSON already, with `meta` as the last one."""
    members = {**members, "meta": _json(context_of(request).meta())}
    body = b",".join(b'"%s":%s' % (name.encode(), value) for name, value in members.items())
    return Response(b"{" + body + b"}", headers=headers, media_type="application/json")
