"""`GET /changes`: inserts, updates and deletes of records, in the order in which they came to light.

A place in the feed is the time of a change and the id of a record. Changes come to light in the order of
their times (see `kasparro_pipeline.warehouse.history`), so that a place behind the newest change that a page
saw leaves nothing out.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING

from fastapi import Request, Response
from psycopg import sql

from kasparro_api.answers import Answer, to_json
from kasparro_api.data import cursor as cursors
from kasparro_api.data import differences, paging
from kasparro_api.data.cursor import Position
from kasparro_api.data.parameters import ChangesParameters
from kasparro_api.data.requests import read_query
from kasparro_api.sql import utc
from kasparro_api.wire import Numbered, TextStatement
from kasparro_pipeline.warehouse import compact
from kasparro_pipeline.warehouse.tables import SCHEMA

if TYPE_CHECKING:
    from kasparro_api.database import Database

NOW = "now"
_BEGINNING, _END = "-infinity", "infinity"
_WHOLE = 2**63 - 1
"""As the id of a place: behind every record of the change."""
_CHANGES = f"{SCHEMA}.unified_change"
_RECORDS = f"{SCHEMA}.unified_record"
_HISTORY = f"{SCHEMA}.unified_history"
_TIME = utc(sql.Identifier("changed_at")).as_string()

# Of a row `n` with the version `p` that it replaced. What consumers do not have, deleted, is nothing to them.
KIND = """case when n.deleted_at is not null then 'delete'
    when p.id is null or p.deleted_at is not null then 'insert' else 'update' end"""
TOLD = "(n.deleted_at is null or (p.id is not null and p.deleted_at is null))"


async def read_changes(request: Request) -> Response:
    """A page of changes."""
    parameters, _ = read_query(request.scope["query_string"], ChangesParameters, {})
    identity = {"list": ["changes"], "source": parameters.source}
    after = _start(parameters.since, identity)
    database: Database = request.app.state.database
    result = await database.fetch_text(page(parameters.source, limit=parameters.limit, after=after))
    found = result.ntuples if result.get_value(0, 0) is not None else 0
    shown = min(found, parameters.limit)
    if found > shown:
        place = _place(result.get_value(shown - 1, 1), result.get_value(shown - 1, 2))
    elif result.get_value(0, 4) == b"t" or parameters.since == NOW:
        place = _place(result.get_value(0, 3), None)
    else:
        place = after
    cursor = cursors.encode(place, identity)
    pagination = {"limit": parameters.limit, "next_cursor": cursor, "has_more": found > shown}
    events = [result.get_value(row, 0) or b"" for row in range(shown)]
    return Answer(
        {"data": b"[%s]" % b",".join(events), "pagination": to_json(pagination)},
        {"cache-control": "no-store"},
        following=paging.following(request, cursor, "since") if found > shown else None,
    )


def page(sources: Sequence[str], *, limit: int, after: Position) -> TextStatement:
    """The changes behind a place, and one more than `limit`, all of one snapshot.

    Returns:
        A statement whose rows are `(change as JSON, its time, id of the record, time of the newest change of
        all, whether that is behind the place)`; without a change one row whose first three columns are null.
    """
    values = Numbered()
    time, record_id = f"{values.bind(after.sort_key)}::timestamptz", f"{values.bind(after.id)}::bigint"
    of_sources = ""
    if sources:
        wanted = values.bind(list(sources))
        of_sources = f"c.sources && {wanted}::text[] and"
    behind = f"case when c.changed_at = {time} then {record_id} else 0 end"
    of_source = f" and n.source = any({wanted})" if sources else ""
    most = f"{limit + 1:d}"

    def of_change(column: str) -> str:
        # A range, not `=`: so no index but the one that the column leads has the order
        return f"(n.{column}, n.id) > (c.id, {behind}) and n.{column} < c.id + 1{of_source}"

    def versions(table: str) -> str:
        return f"""(
    select n.id, {KIND} as change, n.source, n.source_id, {compact.read("run_id", "n")} as run_id,
        case when n.deleted_at is null then {differences.record("n")} end as record,
        case when {KIND} = 'update' then {differences.changed("p", "n")} else '{{}}' end as changed
    from {table} n left join lateral (
        select * from {_HISTORY} p where p.replaced_in = n.changed_in and p.id = n.id limit 1
    ) p on true
    where {of_change("changed_in")} and {TOLD}
    order by n.changed_in, n.id limit {most})"""

    removed = f"""(
    select n.id, 'delete', n.source, n.source_id, null, null, '{{}}'
    from {_HISTORY} n where n.removed and {of_change("replaced_in")} and n.deleted_at is null
    order by n.replaced_in, n.id limit {most})"""
    event = f"""json_build_object(
    'change', change, 'at', {_TIME}, 'id', id, 'source', source, 'source_id', source_id,
    'run_id', run_id, 'changed', changed, 'record', record)"""
    text = f"""\
select case when id is not null then {event} end, changed_at::text, id, newest::text, newest >= {time}
from (select coalesce(max(changed_at), '{_BEGINNING}') as newest from {_CHANGES}) newest
left join (
    select c.changed_at, found.* from {_CHANGES} c cross join lateral (
        select * from ({versions(_RECORDS)} union all {versions(_HISTORY)} union all {removed}) version
        order by id limit {most}
    ) found
    where {of_sources} c.changed_at >= {time}
    order by c.changed_at, found.id limit {most}
) page on true order by changed_at, id"""
    return TextStatement(text, values)


def _start(since: str | datetime | None, identity: Mapping[str, Sequence[str]]) -> Position:
    """The place behind which the page starts.

    Raises:
        ProblemError: the cursor cannot be used.
    """
    if since is None:
        return Position(_BEGINNING, 0)
    if isinstance(since, datetime):
        return Position(since.isoformat(), 0)
    if since == NOW:
        return Position(_END, _WHOLE)
    try:
        return cursors.decode(since, identity)
    except cursors.CursorError as error:
        allowed = ChangesParameters.model_fields["since"].description or ""
        raise paging.unusable(since, str(error), "since", allowed) from None


def _place(time: bytes | None, record_id: bytes | None) -> Position:
    return Position((time or b"").decode(), _WHOLE if record_id is None else int(record_id))
