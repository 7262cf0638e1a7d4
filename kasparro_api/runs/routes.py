"""What the runs did: `GET /runs`, `/runs/{run_id}`, `/compare-runs` and `/stats`. No SQL belongs here."""

import json
from http import HTTPStatus
from typing import Annotated, Any

from fastapi import APIRouter, Path, Query, Request, Response

from kasparro_api import problems
from kasparro_api.answers import answer, to_json
from kasparro_api.data import cursor as cursors
from kasparro_api.data import paging
from kasparro_api.data.parameters import NoParameters
from kasparro_api.data.requests import read_query
from kasparro_api.database import Database, DatabaseOfApp
from kasparro_api.openapi import answer_headers
from kasparro_api.runs import anomalies, comparison, listing, queries, shapes
from kasparro_api.runs.examples import COMPARISON, RUN
from kasparro_api.runs.parameters import EXAMPLES, ComparisonParameters, RunsParameters, documented
from kasparro_api.shapes import Problem

router = APIRouter(tags=["runs"])

NO_RUN: dict[int | str, dict[str, Any]] = {404: {"model": Problem, "description": "There is no such run."}}


@router.get(
    "/runs",
    summary="Runs, newest first",
    description=(
        "The run ledger: what each run did to a partition of a source, ordered by `started_at` from the "
        "newest on. Go on with `pagination.next_cursor`, or follow the header `Link` with `rel=next` "
        "(RFC 8288). "
        f"{shapes.LOST}"
    ),
    response_model=shapes.RunsPage,
    responses={
        200: answer_headers("Link"),
        400: {"model": Problem, "description": "The cursor is damaged or of another list."},
    },
    openapi_extra=documented(RunsParameters, **EXAMPLES),
)
async def read_runs(request: Request, database: DatabaseOfApp) -> Response:
    """A page of runs."""
    parameters, _ = read_query(request.scope["query_string"], RunsParameters, {})
    selection = listing.RunSelection(
        tuple(parameters.source),
        tuple(parameters.status),
        tuple(parameters.partition),
        parameters.started_after,
        parameters.started_before,
    )
    after = _place(parameters.cursor, selection)
    rows = await database.fetch(
        listing.runs_page(selection, limit=parameters.limit, after=after, dagster_url=_dagster_url(request))
    )
    page = rows[: parameters.limit]
    last = cursors.Position(json.dumps(page[-1][1:]), 0) if len(rows) > len(page) else None
    following = paging.next_page(request, parameters.limit, last, selection.filters())
    return answer(
        {
            "data": b"[" + b",".join(row[0] for row in page) + b"]",
            "pagination": to_json(following.pagination()),
        },
        following=following.following,
    )


@router.get(
    "/runs/{run_id}",
    summary="One run in detail",
    description=(
        "What a run did, with the reasons of its rejected records, the contract that it kept, the drift that "
        f"it found, its first {listing.SHOWN_DOCUMENTS} documents, and what is unusual about it. A run of "
        "Dagster has one row for each source and partition that it worked on, nearly always one. Records "
        "that a later run judged anew, under a changed contract, count there. "
        f"{shapes.ANOMALIES} {shapes.LOST}"
    ),
    response_model=shapes.RunAnswer,
    responses=NO_RUN,
)
async def read_run(
    request: Request,
    run_id: Annotated[str, Path(description="Dagster's id of the run.", examples=[RUN["run_id"]])],
    parameters: Annotated[NoParameters, Query()],  # noqa: ARG001 - declared so that any parameter is refused
    database: DatabaseOfApp,
) -> Response:
    """The rows of one run."""
    rows = await _detailed(request, database, [run_id]) if "\0" not in run_id else []
    if not rows:
        raise _no_run(run_id)
    return answer({"data": b"[" + b",".join(rows) + b"]"})


@router.get(
    "/compare-runs",
    summary="Two runs of a source side by side",
    description=(
        "Counts, duration, throughput, rejected reasons and contract of two runs; and the records that one "
        "has and the other has not. A run has the records of the documents that it stored: a document that "
        "came unchanged is not stored again, and `documents_unchanged` tells how many there were. A record "
        "that both have with other content is `changed`. Each list has the first "
        f"{comparison.SHOWN_IDS} ids in the order of their code points. A difference is `b` minus `a`. "
        f"{shapes.ANOMALIES}"
    ),
    response_model=shapes.ComparisonAnswer,
    responses=NO_RUN,
    openapi_extra=documented(
        ComparisonParameters,
        a=COMPARISON["a"]["run_id"],
        b=COMPARISON["b"]["run_id"],
        source=COMPARISON["source"],
    ),
)
async def compare_runs(request: Request, database: DatabaseOfApp) -> Response:
    """The differences between two runs."""
    parameters, _ = read_query(request.scope["query_string"], ComparisonParameters, {})
    found = [json.loads(row) for row in await _detailed(request, database, [parameters.a, parameters.b])]
    a, b = (_chosen(name, found, parameters) for name in ("a", "b"))
    if a["source"] != b["source"]:
        detail = f"`a` is a run of {a['source']}, `b` one of {b['source']}: compare runs of one source."
        raise _not_comparable(detail, "b", parameters.b)
    [[records]] = await database.fetch(
        comparison.records(*(comparison.Rows(r["source"], r["partition_key"], r["run_id"]) for r in (a, b)))
    )
    detailed = ("rejected", "schema", "drift", "documents")
    members = {
        "source": a["source"],
        "a": {name: value for name, value in a.items() if name not in detailed},
        "b": {name: value for name, value in b.items() if name not in detailed},
        **comparison.differences(a, b),
    }
    return answer({"data": _with_member(to_json(members), "records", records)})


@router.get(
    "/stats",
    summary="What the runs of each source did",
    description=(
        "Per source its last run with counts and duration, its last success and failure, how fresh it is, "
        "and the sums over all its runs, also those that the ledger no longer holds; then the sums over all "
        f"sources. {shapes.SUCCESS} {shapes.LOST}"
    ),
    response_model=shapes.Stats,
)
async def read_stats(
    parameters: Annotated[NoParameters, Query()],  # noqa: ARG001 - declared so that any parameter is refused
    database: DatabaseOfApp,
) -> Response:
    """The run ledger in numbers."""
    [[sources, totals]] = await database.fetch(queries.statistics())
    return answer({"sources": sources, "totals": totals})


async def _detailed(request: Request, database: Database, run_ids: list[str]) -> list[bytes]:
    """Every ledger row of some runs as JSON, with what is unusual about it."""
    rows = await database.fetch(listing.runs_in_detail(run_ids, dagster_url=_dagster_url(request)))
    return [
        _with_member(run, "anomalies", to_json(anomalies.of_run(facts, before)))
        for run, facts, before in rows
    ]


def _with_member(json_object: bytes, name: str, value: bytes) -> bytes:
    """An object that is JSON already, and not empty, with one member more."""
    return b'%s,"%s":%s}' % (json_object[:-1], name.encode(), value)


def _chosen(name: str, found: list[dict[str, Any]], parameters: ComparisonParameters) -> dict[str, Any]:
    """The one ledger row that parameter `name` means.

    Raises:
        ProblemError: there is none, or more than one.
    """
    run_id = getattr(parameters, name)
    rows = [row for row in found if row["run_id"] == run_id]
    if not rows:
        raise _no_run(run_id)
    chosen = [row for row in rows if parameters.source in {None, row["source"]}]
    if len(chosen) == 1:
        return chosen[0]
    listed = ", ".join(f"{row['source']} {row['partition_key']}" for row in rows)
    detail = f"Run {run_id} worked on {listed}. `source` must name one that it worked on once."
    raise _not_comparable(detail, "source", parameters.source)


def _dagster_url(request: Request) -> str | None:
    """The address of Dagster's UI, for links."""
    settings = request.app.state.settings
    address: str | None = settings.dagster_ui_url or settings.dagster_url
    return address.rstrip("/") if address else None


def _place(cursor: str | None, selection: listing.RunSelection) -> list[str] | None:
    """Where the page starts: started_at, run_id, source and partition_key of the run before it.

    Raises:
        ProblemError: the cursor cannot be used.
    """
    found = paging.start(cursor, selection.filters())
    if cursor is None or found is None:
        return None
    try:
        place = [str(part) for part in json.loads(found.sort_key)]
        [_, _, _, _] = [part.encode() for part in place]
    except (TypeError, ValueError):
        raise paging.unusable(cursor, "It names no run; use the cursor that a page gave.") from None
    return place


def _no_run(run_id: str) -> problems.ProblemError:
    detail = f"No run has the id `{run_id[:200]}`. `GET /runs` lists the runs."
    return problems.ProblemError(HTTPStatus.NOT_FOUND, "There is no such run", detail, kind="no-run")


def _not_comparable(detail: str, name: str, sent: object) -> problems.ProblemError:
    allowed = ComparisonParameters.model_fields[name].description or ""
    return problems.ProblemError(
        HTTPStatus.UNPROCESSABLE_ENTITY,
        "A parameter cannot be used",
        detail,
        kind="invalid-parameters",
        errors=[problems.parameter_error(name, sent, detail, allowed)],
    )
