"""What the runs did: `GET /stats`. No SQL belongs here."""

from typing import Annotated

from fastapi import APIRouter, Query, Request, Response

from kasparro_api.answers import answer
from kasparro_api.database import DatabaseOfApp
from kasparro_api.parameters import NoParameters
from kasparro_api.runs import queries, shapes

router = APIRouter()


@router.get(
    "/stats",
    tags=["operation"],
    summary="What the runs of each source did",
    description=(
        "Per source its last run with counts and duration, its last success and failure, and the sums over "
        f"all its runs; then the sums over all sources. {shapes.SUCCESS}"
    ),
    response_model=shapes.Stats,
)
async def read_stats(
    request: Request,
    parameters: Annotated[NoParameters, Query()],  # noqa: ARG001 - declared so that any parameter is refused
    database: DatabaseOfApp,
) -> Response:
    """The run ledger in numbers."""
    [[sources, totals]] = await database.fetch(queries.statistics())
    return answer(request, {"sources": sources, "totals": totals})
