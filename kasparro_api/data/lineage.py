"""`GET /data/{id}/lineage`: where a record came from, and every version that it had.

All of it is found by keys: nothing is searched for.
"""

import base64
import json
from typing import TYPE_CHECKING

from fastapi import Request, Response
from psycopg import sql

from kasparro_api.answers import Answer, to_json
from kasparro_api.data import changes, differences, paging, reads
from kasparro_api.data.cursor import Position
from kasparro_api.data.parameters import LineageParameters
from kasparro_api.data.requests import read_query
from kasparro_api.runs.ledger_rows import shown
from kasparro_api.sql import utc
from kasparro_api.wire import Numbered, TextStatement
from kasparro_pipeline.warehouse import compact
from kasparro_pipeline.warehouse.history import VERSION_COLUMNS
from kasparro_pipeline.warehouse.tables import SCHEMA

if TYPE_CHECKING:
    from collections.abc import Mapping

    from kasparro_api.database import Database

TRIES = 5
"""A record that changes faster than it can be read is shown as it was at two moments."""
_COLUMNS = ", ".join((*VERSION_COLUMNS, "changed_in"))


def _utc(row: str, column: str) -> str:
    return utc(sql.Identifier(row, column)).as_string()


_RUN_ID = compact.read("run_id", "u")
_RUN = shown(
    f"where run_id = {_RUN_ID} and source = u.source"
    " order by partition_key is not distinct from d.partition_key desc, started_at desc limit 1"
).as_string()

# A record that was withdrawn has no raw record any more: the last one that it had is shown. One row of
# raw_batch is read, and of its payloads no more than up to the record's end
ORIGIN = f"""\
select {differences.record("u")},
    json_build_object('raw_id', r.id, 'bytes', r.stop - r.start),
    substring(r.payloads from r.start + 1 for r.stop - r.start),
    case when d.id is not null then json_build_object(
        'id', d.id, 'location', d.location, 'position', r.position, 'sha256', encode(d.sha256, 'hex'),
        'bytes', d.byte_count, 'records', d.record_count, 'fetched_at', {_utc("d", "fetched_at")},
        'headers', d.headers, 'context', d.context, 'partition_key', d.partition_key, 'run_id', d.run_id
    ) end,
    v.contract_version,
    case when x.raw_id is not null then json_build_object(
        'contract_version', x.contract_version, 'rejected_at', {_utc("x", "rejected_at")},
        'run_id', x.run_id, 'reasons', x.reasons
    ) end,
    json_build_object(
        'run_id', {_RUN_ID}, 'status', run.status, 'started_at', {_utc("run", "started_at")},
        'finished_at', {_utc("run", "finished_at")}, 'url', $2::text || '/runs/' || {_RUN_ID},
        'dagster_url', $3::text || '/runs/' || {_RUN_ID}
    ),
    u.changed_in
from {SCHEMA}.unified_record u
cross join lateral (select case when u.raw_id <> 0 then u.raw_id else (
    select h.raw_id from {SCHEMA}.unified_history h join {SCHEMA}.unified_change c on c.id = h.changed_in
    where h.id = u.id and h.raw_id <> 0 order by c.changed_at desc limit 1
) end as id) wanted
left join lateral (
    select wanted.id, b.document_id, b.payloads, b.first_position + (wanted.id - b.first_id)::int as position,
        coalesce(b.ends[(wanted.id - b.first_id)::int], 0) as start,
        b.ends[(wanted.id - b.first_id)::int + 1] as stop
    from (
        select * from {SCHEMA}.raw_batch where first_id <= wanted.id order by first_id desc limit 1
    ) b where wanted.id < b.first_id + b.records
) r on true
left join {SCHEMA}.document d on d.id = r.document_id
left join {SCHEMA}.validated_record v on v.document_id = r.document_id and v.raw_id = r.id
left join {SCHEMA}.rejected_record x on x.document_id = r.document_id and x.raw_id = r.id
left join lateral {_RUN} run on true
where u.id = $1"""

_VERSION = f"""json_build_object(
    'at', {_utc("n", "changed_at")}, 'change', {changes.KIND},
    'changed', case when {changes.KIND} = 'update' then {differences.changed("p", "n")} else '{{}}' end,
    'content_hash', encode(n.content_hash, 'hex'), 'raw_id', nullif(n.raw_id, 0),
    'run_id', {compact.read("run_id", "n")})"""


async def read_lineage(request: Request) -> Response:
    """The origin of a record, and a page of its versions."""
    parameters, _ = read_query(request.scope["query_string"], LineageParameters, {})
    record_id = reads.record_id_of(request.scope["path"].split("/")[-2])
    identity = {"list": ["lineage"], "id": [str(record_id)]}
    before = paging.start(parameters.cursor, identity)
    database: Database = request.app.state.database
    for _ in range(TRIES):
        origin = await database.fetch_text(_origin(request, record_id))
        if not origin.ntuples:
            raise reads.no_record(f"No record has the id {record_id}.")
        found = await database.fetch_text(versions(record_id, limit=parameters.limit, before=before))
        # Two statements: between them it may have changed
        if before is not None or (found.ntuples and found.get_value(0, 2) == origin.get_value(0, 7)):
            break
    record, raw, payload, document, contract_version, rejected, run = (
        origin.get_value(0, column) for column in range(7)
    )
    count = min(found.ntuples, parameters.limit)
    last = None
    if found.ntuples > count:
        last = Position((found.get_value(count - 1, 1) or b"").decode(), record_id)
    following = paging.next_page(request, parameters.limit, last, identity)
    members: Mapping[str, bytes | None] = {
        "record": record,
        "raw": None if payload is None else to_json({**json.loads(raw or b""), **_exactly(payload)}),
        "document": document,
        "contract_version": contract_version,
        "rejected": rejected,
        "run": run,
        "versions": b"[%s]" % b",".join(found.get_value(row, 0) or b"" for row in range(count)),
    }
    data = b",".join(b'"%s":%s' % (name.encode(), value or b"null") for name, value in members.items())
    return Answer(
        {"data": b"{%s}" % data, "pagination": to_json(following.pagination())},
        {"cache-control": "no-store"},
        following=following.following,
    )


def versions(record_id: int, *, limit: int, before: Position | None) -> TextStatement:
    """The versions of a record, newest first, and one more than `limit`.

    Returns:
        A statement whose rows are `(version as JSON, its time, the change that wrote it)`.
    """
    values = Numbered()
    wanted = values.bind(record_id)
    older = "" if before is None else f"where c.changed_at < {values.bind(before.sort_key)}::timestamptz"
    text = f"""\
select {_VERSION}, n.changed_at::text, n.changed_in
from (
    select version.*, c.changed_at from (
        select {_COLUMNS} from {SCHEMA}.unified_record where id = {wanted}
        union all select {_COLUMNS} from {SCHEMA}.unified_history where id = {wanted}
    ) version join {SCHEMA}.unified_change c on c.id = version.changed_in
    {older} order by c.changed_at desc limit {limit + 1:d}
) n left join {SCHEMA}.unified_history p on p.id = n.id and p.replaced_in = n.changed_in
order by n.changed_at desc"""
    return TextStatement(text, values)


def _origin(request: Request, record_id: int) -> TextStatement:
    settings = request.app.state.settings
    dagster_url = (settings.dagster_ui_url or settings.dagster_url).rstrip("/")
    prefix = request.scope["path"].rpartition("/data/")[0]
    return TextStatement(ORIGIN, (record_id, prefix, dagster_url), prepare=True)


def _exactly(payload: bytes) -> dict[str, str]:
    """A payload as JSON can carry it, without the loss of a byte; PostgreSQL wrote it in hexadecimal."""
    data = bytes.fromhex(payload.removeprefix(b"\\x").decode())
    try:
        return {"encoding": "utf-8", "payload": data.decode()}
    except UnicodeDecodeError:
        return {"encoding": "base64", "payload": base64.b64encode(data).decode()}
