"""`GET /data` and what belongs to it. No SQL belongs here."""

from http import HTTPStatus
from typing import Annotated
from urllib.parse import urlencode

from fastapi import APIRouter, Query, Request, Response

from kasparro_api import problems
from kasparro_api.answers import answer, to_json
from kasparro_api.data import cursor as cursors
from kasparro_api.data import selection as query
from kasparro_api.data import shapes
from kasparro_api.data.parameters import DataParameters
from kasparro_api.database import DatabaseOfApp
from kasparro_api.shapes import Problem

router = APIRouter()


@router.get(
    "/data",
    tags=["data"],
    summary="Records, newest first",
    description=(
        "The current version of every record, ordered by `published_at` from the newest on, records without "
        "one last, equal ones by `id` downwards. Go on with `pagination.next_cursor`, or follow the header "
        "`Link` with `rel=next` (RFC 8288): records that stay are met exactly once, whatever comes and goes."
    ),
    response_model=shapes.DataPage,
    responses={400: {"model": Problem, "description": "The cursor is damaged or of another list."}},
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
    return answer(
        request,
        {"data": b"[" + b",".join(row[0] for row in page) + b"]", "pagination": to_json(pagination)},
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
