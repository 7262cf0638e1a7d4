"""`/data`, one record, and what there is: parameters in, a statement run, its JSON framed.

No SQL belongs here, and no documentation: that is `routes`.
"""

import hashlib
import json
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import format_datetime
from functools import lru_cache
from http import HTTPStatus
from importlib.metadata import version as release_of
from typing import TYPE_CHECKING

from fastapi import Request, Response
from psycopg.pq.abc import PGresult

from kasparro_api import problems
from kasparro_api.access.guard import confirmed
from kasparro_api.access.versions import Versions
from kasparro_api.answers import Answer, to_json
from kasparro_api.data import as_of, export, facets, paging, selection
from kasparro_api.data import cursor as cursors
from kasparro_api.data.parameters import (
    DataParameters,
    FacetParameters,
    NoParameters,
    RecordParameters,
    Selecting,
)
from kasparro_api.data.requests import P, read_query
from kasparro_api.data.selection import Selection
from kasparro_api.database import Database

if TYPE_CHECKING:
    from kasparro_api.sql import Statement

LARGEST_ID = 2**63 - 1
RELEASE = release_of("kasparro").encode()


async def read_data(request: Request) -> Response:
    """A page of records."""
    wanted = export.wanted_format(request)
    if wanted != "json":
        # Before it begins: a stream that nobody sends would keep its connection
        if refusal := await confirmed(request.scope):
            return refusal
        return await export.stream(request, wanted)
    parameters, chosen = await asked(request, DataParameters)
    after = _position(parameters, chosen)
    await as_of.settle(request, chosen.as_of)
    result = await _database(request).fetch_text(
        selection.page(chosen, limit=parameters.limit, offset=parameters.offset, after=after)
    )
    found = result.ntuples if result.get_value(0, 2) is not None else 0
    shown = min(found, parameters.limit)
    version = _version(request, result.get_value(0, 3))
    last = _place(result, shown - 1, key=1, number=2) if found > shown else None
    following = paging.next_page(request, parameters.limit, last, chosen.identity())
    pagination = {**following.pagination(), **await _total(request, parameters.count, chosen)}
    records = [result.get_value(row, 0) for row in range(shown)]
    answer = versioned(
        request,
        {"data": b"[%s]" % b",".join(records), "pagination": to_json(pagination)},  # type: ignore[arg-type]
        version,
        following.following,
        past=chosen.as_of is not None,
    )
    read_at = request.scope["state"].get("attributes_version")
    past_of_contract = read_at is not None and chosen.as_of is not None
    if read_at not in {None, version} or past_of_contract or pagination.get("total_is") == "estimated":
        # A contract may have changed between its reading and the page's, and may change what the past is
        # asked for; an estimate may change any time
        answer.version = answer.etag = None
    return answer


async def read_record(request: Request) -> Response:
    """One record."""
    parameters, chosen = await asked(request, RecordParameters)
    record_id = record_id_of(request.scope["path"].rpartition("/")[2])
    await as_of.settle(request, chosen.as_of)
    result = await _database(request).fetch_text(selection.record(record_id, chosen))
    if not result.ntuples:
        verb = "has" if chosen.as_of is None else "then had"
        raise no_record(f"No record {verb} the id {record_id}.")
    if result.get_value(0, 2) is not None and parameters.deleted == "exclude":
        raise no_record(f"The record {record_id} was deleted. `deleted=include` shows it.")
    members = {"data": result.get_value(0, 0) or b""}
    return versioned(
        request, members, _version(request, result.get_value(0, 1)), past=chosen.as_of is not None
    )


async def read_sources(request: Request) -> Response:
    """The sources."""
    await asked(request, NoParameters)
    [[sources]] = await _database(request).fetch(facets.sources())
    pagination = {"limit": None, "next_cursor": None, "has_more": False}
    return Answer({"data": sources, "pagination": to_json(pagination)}, {"cache-control": "no-store"})


async def read_categories(request: Request) -> Response:
    """The categories, with how many records each has."""
    parameters, _ = await asked(request, FacetParameters)
    identity = {"categories": ["1"], "source": parameters.source}
    after = paging.start(parameters.cursor, identity)
    result = await _database(request).fetch_text(
        facets.categories(parameters.source, limit=parameters.limit, after=after)
    )
    found = result.ntuples if result.get_value(0, 1) is not None else 0
    shown = min(found, parameters.limit)
    last = _place(result, shown - 1, key=2, number=1) if found > shown else None
    following = paging.next_page(request, parameters.limit, last, identity)
    rows = [result.get_value(row, 0) or b"" for row in range(shown)]
    members = {"data": b"[%s]" % b",".join(rows), "pagination": to_json(following.pagination())}
    return versioned(request, members, _version(request, result.get_value(0, 3)), following.following)


async def asked(request: Request, model: type[P]) -> tuple[P, Selection]:
    """The parameters of a request, and the selection that they make.

    Raises:
        ParametersError: a parameter is unknown, or has a value that is not allowed.
    """
    query = request.scope["query_string"]
    attributes = await facets.declared_attributes(request, query) if issubclass(model, Selecting) else {}
    return read_query(query, model, attributes)


def versioned(
    request: Request,
    members: Mapping[str, bytes],
    version: str,
    following: str | None = None,
    *,
    past: bool = False,
) -> Answer:
    """An answer that was made from one version of the data, and that clients and caches can ask for again.

    One about the past is known by what it says: it stays, unless somebody erases a part of the history.
    """
    if past:
        told = hashlib.blake2b(b"".join(members.values()), digest_size=16).hexdigest()
        headers = {"Cache-Control": "private, no-cache"}
        return Answer(members, headers, etag=f"past-{told}", following=following)
    path, query = request.scope["path"], request.scope["query_string"]
    identity = RELEASE + path.encode() + b"?" + query  # another release may write the same data otherwise
    digest = hashlib.blake2b(identity, digest_size=8).hexdigest()
    return Answer(
        members,
        {
            # kept, and asked for again each time: the answer to that is cheap
            "Cache-Control": "private, no-cache",
            "Last-Modified": _changed_at(version),
        },
        version=version,
        etag=f"{version}-{digest}",
        following=following,
    )


@lru_cache(16)
def _changed_at(version: str) -> str:
    """The time in a version of the data, as a header says it (RFC 9110, 5.6.7)."""
    moment = datetime.fromtimestamp(int(version.rpartition("-")[2]) // 1_000_000, UTC)
    return format_datetime(moment, usegmt=True)


async def _total(request: Request, count: str, chosen: Selection) -> dict[str, object]:
    """The members of `pagination` that say how many records there are."""
    if count == "none":
        return {}
    statement: Statement | None = selection.estimate(chosen) if count == "estimated" else None
    if statement is not None:
        [[plan]] = await _database(request).fetch(statement)
        return {"total": json.loads(plan)[0]["Plan"]["Plan Rows"], "total_is": "estimated"}
    [[total]] = await _database(request).fetch(selection.count(chosen))
    return {"total": total, "total_is": "exact"}


def _position(parameters: DataParameters, chosen: Selection) -> cursors.Position | None:
    """Where the page starts.

    Raises:
        ProblemError: the cursor cannot be used, or came together with an offset.
    """
    if parameters.cursor is not None and parameters.offset is not None:
        raise problems.ProblemError(
            HTTPStatus.UNPROCESSABLE_ENTITY,
            "A parameter cannot be used",
            "`cursor` and `offset` both say where the page starts.",
            kind="invalid-parameters",
            errors=[
                problems.parameter_error(
                    "offset",
                    parameters.offset,
                    "Not together with `cursor`: leave one of the two out.",
                    DataParameters.model_fields["offset"].description or "",
                )
            ],
        )
    return paging.start(parameters.cursor, chosen.identity())


def _place(result: PGresult, row: int, *, key: int, number: int) -> cursors.Position:
    """The place of a row whose columns `key` and `number` have its sort key and its id."""
    return cursors.Position(_text(result.get_value(row, key)), int(_text(result.get_value(row, number))))


def record_id_of(text: str) -> int:
    """The id that a part of a path names.

    Raises:
        ProblemError: it is no id; 404.
    """
    digits = text.isascii() and text.isdigit() and len(text) <= len(str(LARGEST_ID))
    if not digits or int(text) > LARGEST_ID:
        raise no_record(f"`{text[:100]}` is no id: an id is a whole number such as 42.")
    return int(text)


def no_record(detail: str) -> problems.ProblemError:
    """The answer where there is no record."""
    return problems.ProblemError(HTTPStatus.NOT_FOUND, "There is no such record", detail, kind="no-record")


def _text(value: bytes | None) -> str:
    return (value or b"").decode()


def _version(request: Request, versions: bytes | None) -> str:
    """The version of the data that a statement read; that of the keys is for the guard."""
    found = Versions.of(versions)
    request.scope["state"]["versions"] = found
    return found.data


def _database(request: Request) -> Database:
    database: Database = request.app.state.database
    return database
