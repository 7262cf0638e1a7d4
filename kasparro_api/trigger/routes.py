"""Asking Dagster for runs: `POST /etl/run`, and uploads of CSV files. What to launch stands in `launches`."""

from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Annotated, Any

import psycopg
from fastapi import APIRouter, Path, Query, Request, Response
from starlette.requests import ClientDisconnect

from kasparro_api import problems
from kasparro_api.answers import answer, to_json
from kasparro_api.data.parameters import NoParameters
from kasparro_api.database import DatabaseOfApp
from kasparro_api.settings import ApiSettings
from kasparro_api.shapes import Problem
from kasparro_api.trigger import launches, shapes, uploads
from kasparro_api.trigger.dagster import Dagster, DagsterAwayError, DagsterRefusedError
from kasparro_api.trigger.launches import Outcome
from kasparro_api.trigger.parameters import (
    FILE_TYPES,
    IDEMPOTENCY_KEY,
    UploadParameters,
    read_mark,
    read_order,
    require_file,
)

RETRY_AFTER = 10
"""Seconds after which a client may ask again when Dagster is away."""
STORED = "The file is stored; the source's sensor finds it when Dagster runs."

router = APIRouter()


def _problems(texts: Mapping[int, str]) -> dict[int | str, dict[str, Any]]:
    """The error answers of a route."""
    return {status: {"model": Problem, "description": text} for status, text in texts.items()}


_ORDER: dict[str, Any] = {
    "tags": ["trigger"],
    "description": (
        "Asks Dagster for the runs that bring every source, or one, up to date now: what a CSV source's or a "
        "feed's sensor would request, and today's partition (UTC) of the others; or for one partition. The "
        "answer comes when the runs are in Dagster's queue. A source that refuses does not keep the others "
        "from it. Send an `Idempotency-Key`, and a repeat launches nothing twice; it is told by the header "
        "`Idempotency-Replayed: true`."
    ),
    "status_code": HTTPStatus.ACCEPTED,
    "response_model": shapes.RequestedRuns,
    "response_description": "The runs are requested. With exactly one, the header `Location` is its path.",
    "responses": _problems(
        {
            400: "The body is not JSON.",
            404: "There is no such source.",
            409: "A request with the same Idempotency-Key is still under way.",
            413: "The body is too large.",
            422: "A parameter or partition is not known, or the Idempotency-Key stands for another request.",
            502: "Dagster refused every run; `errors` has the reasons.",
            503: "Dagster or the database is away or silent; see Retry-After.",
        }
    ),
    "openapi_extra": {
        "parameters": [IDEMPOTENCY_KEY],
        "requestBody": {
            "required": False,
            "content": {"application/json": {"schema": shapes.RunOrder.model_json_schema()}},
        },
    },
}


# The one that stands last comes first in the document
@router.post("/run-etl", name="trigger_runs_alias", summary="Ask for runs, as POST /etl/run", **_ORDER)
@router.post("/etl/run", name="trigger_runs", summary="Ask for runs", **_ORDER)
async def trigger_runs(
    request: Request,
    parameters: Annotated[NoParameters, Query()],  # noqa: ARG001 - declared so that any parameter is refused
) -> Response:
    """Launch what was ordered."""
    try:
        order = await read_order(request)
        mark = read_mark(request, order)
        outcomes, replayed = await launches.launch_once(_dagster(request), order, mark)
    except (DagsterAwayError, DagsterRefusedError) as error:
        return _not_launched(request, [Outcome("", error=error)])
    except ClientDisconnect:
        return _disconnected(request)
    if all(outcome.error for outcome in outcomes) and outcomes:
        return _not_launched(request, outcomes)
    prefix = request.url.path.removesuffix("/etl/run").removesuffix("/run-etl")
    return _accepted(request, prefix, outcomes, {"Idempotency-Replayed": "true"} if replayed else {})


@router.post(
    "/sources/{source}/files",
    tags=["trigger"],
    summary="Upload a file to a CSV source",
    description=(
        "Stores the body, byte for byte, in the folder of the source, and asks Dagster for the run that "
        "loads it. The file appears whole or not at all. One of the same name stays as it is, unless "
        "`replace` says otherwise; the same bytes as loaded last need no run."
    ),
    status_code=HTTPStatus.ACCEPTED,
    response_model=shapes.Upload,
    response_description="The file is stored; `runs` says what became of its run.",
    responses=_problems(
        {
            404: "There is no such source.",
            408: "The upload stalled.",
            409: "A file of that name exists, or the source takes no uploads.",
            413: "The file is too large.",
            415: "The body is not a plain file.",
            422: "The name is not usable, or the body is empty.",
            502: "Dagster refuses to say where the files of the source are.",
            503: "Dagster or the database is away (see Retry-After), or the folder cannot be written.",
        }
    ),
    openapi_extra={
        "requestBody": {
            "required": True,
            "content": {
                media_type: {"schema": {"type": "string", "format": "binary"}} for media_type in FILE_TYPES
            },
        }
    },
)
async def upload_file(
    request: Request,
    source: Annotated[str, Path(description="A CSV source.", examples=["coin_reference"])],
    parameters: Annotated[UploadParameters, Query()],
    database: DatabaseOfApp,
) -> Response:
    """Store a file, then launch its run."""
    name, dagster = parameters.name, _dagster(request)
    limit = _settings(request).upload_limit
    require_file(request.headers, limit)
    try:
        found = launches.find_csv_source(await dagster.sources(), source)
        files = await dagster.files_of(source)
        place = uploads.place_of(files.pattern)
        uploads.require_name(name, place)
        file = await uploads.store(request.stream(), place, name, limit=limit, replace=parameters.replace)
    except (DagsterAwayError, DagsterRefusedError) as error:
        return _not_launched(request, [Outcome(source, error=error)])
    except ClientDisconnect:
        return _disconnected(request)
    try:
        loaded = any(row[0] for row in await database.fetch(uploads.is_loaded(source, file)))
        outcome = await launches.launch_file(dagster, found, files, name, loaded=loaded)
    except (DagsterAwayError, DagsterRefusedError) as error:
        outcome = Outcome(source, name, note=STORED, error=error)
    except psycopg.Error as error:
        problems.log_database_error(request, error)
        outcome = Outcome(source, name, note=STORED, error=DagsterAwayError(problems.DATABASE_UNAVAILABLE))
    stored = {"name": file.name, "bytes": file.size, "sha256": file.sha256.hex()}
    prefix = request.url.path.split("/sources/", 1)[0]
    return _accepted(request, prefix, [outcome], {}, file=to_json(stored))


def _settings(request: Request) -> ApiSettings:
    settings: ApiSettings = request.app.state.settings
    return settings


def _dagster(request: Request) -> Dagster:
    settings = _settings(request)
    return Dagster(settings.dagster_url, settings.dagster_timeout)


def _accepted(
    request: Request,
    prefix: str,
    outcomes: Sequence[Outcome],
    headers: Mapping[str, str],
    **members: bytes,
) -> Response:
    """202 with an entry for each outcome; `prefix` is where this API's paths begin."""
    settings = _settings(request)
    pages = (settings.dagster_ui_url or settings.dagster_url).rstrip("/")
    entries = [
        {
            "source": outcome.source,
            "partition": outcome.partition,
            "run_id": outcome.run_id,
            "status_url": outcome.run_id and f"{prefix}/runs/{outcome.run_id}",
            "dagster_url": outcome.run_id and f"{pages}/runs/{outcome.run_id}",
            "note": outcome.note,
            "error": str(outcome.error) if outcome.error else None,
        }
        for outcome in outcomes
    ]
    paths = [entry["status_url"] for entry in entries if entry["status_url"]]
    if len(paths) == 1:
        headers = {**headers, "Location": paths[0]}
    return answer({"runs": to_json(entries), **members}, headers, HTTPStatus.ACCEPTED)


def _not_launched(request: Request, outcomes: Sequence[Outcome]) -> Response:
    """503 if Dagster is away for some source, else 502; with the reason of each."""
    is_away = any(isinstance(outcome.error, DagsterAwayError) for outcome in outcomes)
    reasons = [
        f"{outcome.source}: {outcome.error}" if outcome.source else str(outcome.error) for outcome in outcomes
    ]
    errors = [
        problems.parameter_error(
            "source", outcome.source, str(outcome.error), "Dagster's own pages say more."
        )
        for outcome in outcomes
        if outcome.source
    ]
    return problems.problem(
        request,
        HTTPStatus.SERVICE_UNAVAILABLE if is_away else HTTPStatus.BAD_GATEWAY,
        "Dagster cannot answer" if is_away else "Dagster refuses",
        f"No run was launched. {' '.join(reasons)}",
        kind="dagster-unavailable" if is_away else "dagster-refused",
        headers={"Retry-After": str(RETRY_AFTER)} if is_away else {},
        members={"errors": errors} if errors else None,
    )


def _disconnected(request: Request) -> Response:
    """Nobody reads it; the log does not call it a failure."""
    return problems.problem(
        request, HTTPStatus.BAD_REQUEST, "The client went away", "The body did not end.", kind="disconnected"
    )
