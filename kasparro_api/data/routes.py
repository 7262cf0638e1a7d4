"""The data routes as the OpenAPI document shows them, and the short way to them.

What they do is in `reads`.
"""

from typing import Any

from fastapi import APIRouter, Response

from kasparro_api.access.lane import Endpoint
from kasparro_api.data import changes, history_shapes, lineage, reads, shapes
from kasparro_api.data.parameters import (
    SUFFIXES,
    ChangesParameters,
    DataParameters,
    ExportParameters,
    FacetParameters,
    LineageParameters,
    NoParameters,
    Parameters,
    RecordParameters,
    Selecting,
)
from kasparro_api.openapi import answer_headers, not_blank, query_parameter, query_parameters
from kasparro_api.shapes import Problem

router = APIRouter(tags=["data"])
Responses = dict[int | str, dict[str, Any]]

EXPORT = """\
Every record of the selection, streamed, without an order unless `sort` is sent. `limit` may be left out.
`GET /data` with `Accept: {media_type}` is the same.

{more}
"""
_EXPORTS = {
    "ndjson": (
        "application/x-ndjson",
        "One JSON object a line, with the members of a record on a page.",
        """\
{"id":628,"title":"btc-bitcoin","amount":37969.27867983388,"published_at":"2026-11-19T00:00:00Z"}
{"id":629,"title":"btc-bitcoin","amount":33861.41961993867,"published_at":"2026-11-20T00:00:00Z"}
""",
    ),
    "csv": (
        "text/csv",
        """\
UTF-8 with a header line; a null is an empty cell, `tags` and `attributes` are JSON. A text that a spreadsheet
would run as a formula begins with an apostrophe; NDJSON has it exactly.""",
        """\
id,source_id,title,category
1,1inch-1inch,1inch,token
2,aave-new,Aave,token
""",
    ),
}
_EXAMPLES: dict[str, object] = {
    "source": ["coinpaprika_tickers"],
    "category": ["coin", "token"],
    "kind": ["price"],
    "author": ["Ben Marlow"],
    "tag": ["XLM"],
    "published_after": "2026-11-01T00:00:00Z",
    "published_before": "2026-12-01T00:00:00Z",
    "updated_since": "2026-11-21T00:00:00Z",
    "amount_min": 0.5,
    "amount_max": 70000,
    "q": '"wrapped bitcoin" or ether -staked',
    "deleted": "include",
    "sort": "-updated_at",
    "fields": "id,title,amount",
    "as_of": "2026-11-21T12:37:00Z",
    "since": "2026-11-21T12:37:00Z",
    "limit": 100,
    "offset": 20,
    "count": "exact",
}
"""There is none of `cursor`: only a page gives one."""
# Not every name: that would be longer than the page is wide
_FIELDS = {"pattern": "^[a-z_]+(,[a-z_]+)*$"}
# A few of the many, so that clients generated from the document have them: what no named filter can say
_MORE_FILTERS = (
    query_parameter(
        "source_id",
        "The upstream's own key of a record; with `source` it names one. Repeatable, as any column.",
        {"type": "array", "items": not_blank(), "maxItems": 100},
        ["btc-bitcoin"],
    ),
    query_parameter("category.ne", "Leaves the records of one category out.", not_blank(), "stablecoin"),
    query_parameter(
        "amount.is_null",
        "`true`: the records without an amount; `false`: those with one.",
        {"type": "boolean"},
        False,
    ),
)
_RECORD_ID = {
    "name": "id",
    "in": "path",
    "required": True,
    "description": "The member `id` of a record. It stays when the record changes.",
    "schema": {"type": "integer", "minimum": 1, "maximum": reads.LARGEST_ID},
    "example": 888,
}
_BAD_CURSOR: Responses = {400: {"model": Problem, "description": "The cursor is damaged or of another list."}}
_NOT_ACCEPTABLE: Responses = {406: {"model": Problem, "description": "Accept names no format that there is."}}
_NOT_FOUND: Responses = {404: {"model": Problem, "description": "There is no such record."}}
_NO_HISTORY: Responses = {404: {"model": Problem, "description": "`as_of` lies before the history."}}
_VERSION = ("ETag", "Last-Modified")
_NOT_MODIFIED: Responses = {
    304: {"description": "The client has this answer: `If-None-Match` named it.", **answer_headers(*_VERSION)}
}


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
    extra = query_parameters(parameters, **_EXAMPLES)
    for parameter in extra["parameters"]:
        if parameter["name"] == "fields":
            parameter["schema"] = {**parameter["schema"], **_FIELDS}
    if issubclass(parameters, Selecting):
        extra["parameters"] += _MORE_FILTERS
    if "{id}" in path:
        extra["parameters"].insert(0, _RECORD_ID)
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
        "The current version of every record, or with `as_of` the one of that time, in pages. Go on with "
        "`cursor=` the page's `pagination.next_cursor`, or follow the header `Link`: records that stay are "
        f"met exactly once, whatever comes and goes meanwhile.\n\n{SUFFIXES}\n"
        "With `Accept: application/x-ndjson` or `text/csv` the answer is the whole selection as a file."
    ),
    responses={
        200: {
            "model": shapes.DataPage,
            "description": "A page of records.",
            "content": {media_type: {"schema": {"type": "string"}} for media_type, *_ in _EXPORTS.values()},
            **answer_headers(*_VERSION, "Link"),
        },
        **_NO_HISTORY,
        **_NOT_ACCEPTABLE,
        **_NOT_MODIFIED,
        **_BAD_CURSOR,
    },
)
for _extension, (_media_type, _more, _example) in _EXPORTS.items():
    _add(
        f"/data.{_extension}",
        reads.read_data,
        ExportParameters,
        summary=f"Records as a file: {_extension.upper()}",
        description=EXPORT.format(media_type=_media_type, more=_more),
        responses={
            200: {
                "content": {_media_type: {"schema": {"type": "string"}, "example": _example}},
                "description": "The file.",
                **answer_headers("Content-Disposition"),
            },
            **_NO_HISTORY,
        },
        name=f"read_data_{_extension}",
        response_class=Response,
    )
_add(
    "/data/{id}",
    reads.read_record,
    RecordParameters,
    summary="One record",
    description=(
        "The current version of the record with this id, or the one of the time `as_of`. One that was "
        "deleted is shown on request."
    ),
    responses={
        200: {"model": shapes.OneRecord, "description": "The record.", **answer_headers(*_VERSION)},
        **_NOT_MODIFIED,
        **_NOT_FOUND,
    },
)
_add(
    "/sources",
    reads.read_sources,
    NoParameters,
    summary="The sources",
    description="Every source with the number of its records, and how fresh they are. All on one page.",
    responses={200: {"model": shapes.Sources, "description": "The sources by name."}},
)
_add(
    "/categories",
    reads.read_categories,
    FacetParameters,
    summary="The categories, largest first",
    description="Every category with the number of its records, of some sources or of all.",
    responses={
        200: {
            "model": shapes.Categories,
            "description": "A page of categories.",
            **answer_headers(*_VERSION, "Link"),
        },
        **_NOT_MODIFIED,
        **_BAD_CURSOR,
    },
)
_add(
    "/data/{id}/lineage",
    lineage.read_lineage,
    LineageParameters,
    summary="Where a record came from",
    description=(
        "The raw payload exactly as received, its document, the contract that it kept, the run that wrote "
        "the record, and the versions that the record had, newest first, with what changed in each. A record "
        "that was deleted is shown too; one that was withdrawn, with the last payload that it had."
    ),
    responses={
        200: {"model": history_shapes.Lineage, "description": "The lineage.", **answer_headers("Link")},
        **_BAD_CURSOR,
        **_NOT_FOUND,
    },
)
_add(
    "/changes",
    changes.read_changes,
    ChangesParameters,
    summary="Changes of records, in order",
    description=(
        "Inserts, updates and deletes in the order in which they came to light. Store "
        "`pagination.next_cursor`, which is always given, with what was made of the page, and send it as "
        "`since` for the next one: so no change is missed or met twice, however often either side is "
        "stopped. An empty page says that there is nothing new yet. The changes of one batch have the same "
        "`at` and are ordered by `id`; a record that comes back after a delete is an insert."
    ),
    responses={
        200: {"model": history_shapes.Changes, "description": "A page of changes.", **answer_headers("Link")},
        **_BAD_CURSOR,
    },
)

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
