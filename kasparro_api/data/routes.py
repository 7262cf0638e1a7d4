"""The data routes as the OpenAPI document shows them, and the short way to them.

What they do is in `reads`.
"""

from typing import Any

from fastapi import APIRouter

from kasparro_api.access.lane import Endpoint
from kasparro_api.data import reads, shapes
from kasparro_api.data.parameters import (
    SUFFIXES,
    DataParameters,
    ExportParameters,
    FacetParameters,
    NoParameters,
    Parameters,
    RecordParameters,
)
from kasparro_api.openapi import query_parameters
from kasparro_api.shapes import Problem

router = APIRouter(tags=["data"])
Responses = dict[int | str, dict[str, Any]]

EXPORT = """\
Every record of the selection, by COPY, in constant memory, without an order unless `sort` is sent. Cells of
texts that a spreadsheet would run as a formula begin with an apostrophe in CSV; NDJSON has them exactly.
`GET /data` with `Accept: {media_type}` is the same.
"""
_BAD_CURSOR: Responses = {400: {"model": Problem, "description": "The cursor is damaged or of another list."}}
_NOT_FOUND: Responses = {404: {"model": Problem, "description": "There is no such record."}}
_NOT_MODIFIED: Responses = {304: {"description": "The client has the present version: If-None-Match."}}


def _add(
    path: str,
    endpoint: Endpoint,
    parameters: type[Parameters],
    *,
    summary: str,
    description: str,
    responses: Responses,
    **more: Any,  # noqa: ANN401 - as FastAPI takes it
) -> None:
    """A route whose function reads its query string itself."""
    extra = query_parameters(parameters)
    if "{id}" in path:
        identity = {"name": "id", "in": "path", "required": True, "schema": {"type": "integer", "minimum": 1}}
        extra["parameters"] = [identity, *extra["parameters"]]
    router.add_api_route(
        path,
        endpoint,
        methods=["GET"],
        summary=summary,
        description=description,
        responses=responses,
        openapi_extra=extra,
        **more,
    )


_add(
    "/data",
    reads.read_data,
    DataParameters,
    summary="Records, newest first",
    description=(
        "The current version of every record. Go on with `pagination.next_cursor`, or follow the header "
        "`Link` with `rel=next` (RFC 8288): records that stay are met exactly once, whatever "
        f"comes and goes.\n\n{SUFFIXES}"
    ),
    responses={
        200: {
            "model": shapes.DataPage,
            "content": {
                "application/x-ndjson": {"schema": {"type": "string"}},
                "text/csv": {"schema": {"type": "string"}},
            },
        },
        406: {"model": Problem, "description": "Accept names no format that there is."},
        **_NOT_MODIFIED,
        **_BAD_CURSOR,
    },
)
for _extension, _media_type in {"ndjson": "application/x-ndjson", "csv": "text/csv"}.items():
    _add(
        f"/data.{_extension}",
        reads.read_data,
        ExportParameters,
        summary=f"Records as {_extension.upper()}",
        description=EXPORT.format(media_type=_media_type),
        responses={
            200: {"content": {_media_type: {"schema": {"type": "string"}}}, "description": "The file."}
        },
        name=f"read_data_{_extension}",
    )
_add(
    "/data/{id}",
    reads.read_record,
    RecordParameters,
    summary="One record",
    description="The current version of the record with this id.",
    responses={200: {"model": shapes.OneRecord}, **_NOT_MODIFIED, **_NOT_FOUND},
)
_add(
    "/sources",
    reads.read_sources,
    NoParameters,
    summary="The sources",
    description="Every source with the number of its records and its freshness.",
    responses={200: {"model": shapes.Sources}},
)
_add(
    "/categories",
    reads.read_categories,
    FacetParameters,
    summary="The categories, largest first",
    description="Every category with the number of its records, of some sources or of all.",
    responses={200: {"model": shapes.Categories}, **_NOT_MODIFIED, **_BAD_CURSOR},
)
# Their place is kept; they answer 404 until there is a history
for _path in ("/data/{id}/lineage", "/changes"):
    router.add_api_route(_path, reads.read_later, methods=["GET"], include_in_schema=False)

SHORT_WAY: dict[str, Endpoint] = {
    "/data": reads.read_data,
    "/data.json": reads.read_data,
    "/data.ndjson": reads.read_data,
    "/data.csv": reads.read_data,
    "/categories": reads.read_categories,
}


def find(path: str, prefix: str) -> tuple[str, Endpoint] | None:
    """The template and function of a path that takes the short way; served under `/` and under `prefix`."""
    template = path.removeprefix(prefix)
    endpoint = SHORT_WAY.get(template)
    if endpoint is not None:
        return template, endpoint
    if template.startswith("/data/") and "/" not in template[6:]:
        return "/data/{id}", reads.read_record
    return None
