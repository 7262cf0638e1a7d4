"""Merges validated records into the unified table (P3, P5, P6): one statement a batch, only changes written.

A record wins if its (epoch, version, raw id) is the highest of all valid versions of its key. The epoch rises
when the contract changes how versions are told, so that new ones compare among themselves. What other runs
have validated already counts too, so that partitions may be merged in any order.
"""

from collections.abc import Sequence
from typing import LiteralString

from psycopg import sql

from kasparro_pipeline.warehouse import checkpoints, ledger
from kasparro_pipeline.warehouse.ledger import Connection, Hold
from kasparro_pipeline.warehouse.tables import CONTENT_COLUMNS, SCHEMA

_COLUMNS = ("source", "source_id", *CONTENT_COLUMNS, "epoch", "version", "content_hash", "raw_id", "run_id")

_MERGE = """
with candidate as materialized (
    select distinct on (v.source_id) v.*,
        u.id as unified_id, u.content_hash as unified_hash,
        u.epoch as unified_epoch, u.version as unified_version, u.raw_id as unified_raw_id, u.deleted_at
    from {validated} v
    left join {unified} u on u.source = v.source and u.source_id = v.source_id
    where v.document_id = %(document_id)s and {which} and v.superseded_by is null
    order by v.source_id, v.epoch desc, v.version desc, v.raw_id desc
),
judged as (
    select c.*, case
        when unified_id is null then 'insert'
        when content_hash = unified_hash and deleted_at is null then 'unchanged'
        when (epoch, version, raw_id) < (unified_epoch, unified_version, unified_raw_id) or exists (
            select from {validated} n
            where n.source = c.source and n.source_id = c.source_id and n.superseded_by is null
                and (n.epoch, n.version, n.raw_id) > (c.epoch, c.version, c.raw_id)
        ) then 'stale'
        else 'update' end as verdict
    from candidate c
),
written as (
    insert into {unified} as u ({columns})
    select {values} from judged where verdict in ('insert', 'update')
    on conflict (source, source_id) do update set {sets}, deleted_at = null, updated_at = now()
        where (u.epoch, u.version, u.raw_id) <= (excluded.epoch, excluded.version, excluded.raw_id)
    returning (xmax = 0) as is_new
)
select
    (select count(*) from written where is_new),
    (select count(*) from written where not is_new),
    (select count(*) from judged where verdict = 'unchanged'),
    (select count(*) from judged)
"""


def _merging(which: LiteralString) -> sql.Composed:
    """The merge of the validated records of a document that `which` names."""
    return sql.SQL(_MERGE).format(
        which=sql.SQL(which),
        validated=sql.Identifier(SCHEMA, "validated_record"),
        unified=sql.Identifier(SCHEMA, "unified_record"),
        columns=sql.SQL(", ").join(map(sql.Identifier, _COLUMNS)),
        values=sql.SQL(", ").join(
            sql.Placeholder("run_id") if name == "run_id" else sql.Identifier(name) for name in _COLUMNS
        ),
        sets=sql.SQL(", ").join(
            sql.SQL("{0} = excluded.{0}").format(sql.Identifier(name)) for name in _COLUMNS[2:]
        ),
    )


_MERGE_RANGE = _merging("v.raw_id > %(after)s and v.raw_id <= %(through)s")
_MERGE_GIVEN = _merging("v.raw_id = any(%(raw_ids)s)")

_WITHDRAW = sql.SQL("""
with gone as (
    select u.id, u.source, u.source_id
    from {document} d
    join {raw} b on b.document_id = d.id
    cross join generate_series(b.first_id, b.first_id + b.records - 1) as r (id)
    join {unified} u on u.raw_id = r.id and u.source = d.source
    where d.source = %(source)s and d.partition_key = %(partition_key)s and u.deleted_at is null
        and not exists (
            select from {validated} v
            where v.document_id = d.id and v.raw_id = r.id and v.source_id = u.source_id
                and v.superseded_by is null
        )
),
newest as (
    select distinct on (v.source_id) g.id, {newest}
    from gone g
    join {validated} v on v.source = g.source and v.source_id = g.source_id and v.superseded_by is null
    order by v.source_id, v.epoch desc, v.version desc, v.raw_id desc
),
restored as (
    update {unified} u set {sets}, updated_at = now() from newest as excluded
    where u.id = excluded.id returning u.id
),
deleted as (
    update {unified} u
    set deleted_at = now(), updated_at = now(), epoch = 0, version = '-Infinity', raw_id = 0,
        run_id = %(run_id)s
    from gone g where u.id = g.id and not exists (select from newest n where n.id = g.id) returning u.id
)
select (select count(*) from restored), (select count(*) from deleted)
""").format(
    document=sql.Identifier(SCHEMA, "document"),
    raw=sql.Identifier(SCHEMA, "raw_batch"),
    validated=sql.Identifier(SCHEMA, "validated_record"),
    unified=sql.Identifier(SCHEMA, "unified_record"),
    newest=sql.SQL(", ").join(
        sql.SQL("{} as run_id").format(sql.Placeholder("run_id"))
        if name == "run_id"
        else sql.Identifier("v", name)
        for name in _COLUMNS[2:]
    ),
    sets=sql.SQL(", ").join(
        sql.SQL("{0} = excluded.{0}").format(sql.Identifier(name)) for name in _COLUMNS[2:]
    ),
)


def merge_next(connection: Connection, hold: Hold, *, after: int, size: int) -> int | None:
    """Merge the partition's next batch of validated records behind raw id `after`, and commit it.

    Returns:
        The raw id that is now merged up to, or None if there was nothing left.

    Raises:
        HoldLostError: another run took the partition over; nothing of the batch is kept.
    """
    with connection.transaction():
        ledger.require_hold(connection, hold)
        batch = _next_batch(connection, hold, after, size)
        if batch is None:
            return None
        document_id, through, records = batch
        _merge(connection, hold, _MERGE_RANGE, records, document_id, after=after, through=through)
        checkpoints.save_unified(connection, hold, through)
    return through


def merge_given(connection: Connection, hold: Hold, document_id: int, raw_ids: Sequence[int]) -> None:
    """Merge the validated records of some raw ids of a document; the checkpoint stays.

    For records that were validated late, behind the checkpoint: one transaction with their validation.
    """
    with connection.transaction():
        ledger.require_hold(connection, hold)
        _merge(connection, hold, _MERGE_GIVEN, len(raw_ids), document_id, raw_ids=list(raw_ids))


def _merge(
    connection: Connection,
    hold: Hold,
    statement: sql.Composed,
    records: int,
    document_id: int,
    **which: object,
) -> None:
    """Merge `records` validated records of a document, and count what became of them."""
    parameters = {"document_id": document_id, "run_id": hold.run_id, **which}
    row = connection.execute(statement, parameters).fetchone()
    assert row is not None  # noqa: S101 - the statement selects one row
    inserted, updated, unchanged, _ = row
    counts = {
        "inserted": inserted,
        "updated": updated,
        "unchanged": unchanged,
        "stale": records - inserted - updated - unchanged,
    }
    ledger.add_counts(connection, hold, counts)


def withdraw_invalid(connection: Connection, hold: Hold) -> None:
    """Take back what the partition had merged under an earlier contract and the present one does not allow.

    The newest version that is still valid takes its place (P3). Without one the record is marked deleted, and
    has no version any more, so that any valid one that comes later replaces it.

    Raises:
        HoldLostError: another run took the partition over; nothing is changed.
    """
    with connection.transaction():
        ledger.require_hold(connection, hold)
        row = connection.execute(
            _WITHDRAW,
            {"source": hold.source, "partition_key": hold.partition_key, "run_id": hold.run_id},
        ).fetchone()
        assert row is not None  # noqa: S101 - the statement selects one row
        ledger.add_counts(connection, hold, {"updated": row[0], "deleted": row[1]})


def _next_batch(connection: Connection, hold: Hold, after: int, size: int) -> tuple[int, int, int] | None:
    """Document, last raw id and number of records of the next batch: at most `size`, of one document."""
    document = connection.execute(
        f"select v.document_id from {SCHEMA}.document d"
        f" join {SCHEMA}.validated_record v on v.document_id = d.id and v.raw_id > %s"
        " where d.source = %s and d.partition_key = %s order by d.id limit 1",
        (after, hold.source, hold.partition_key),
    ).fetchone()
    if document is None:
        return None
    row = connection.execute(
        "select max(raw_id), count(*) filter (where superseded_by is null) from ("
        f" select raw_id, superseded_by from {SCHEMA}.validated_record"
        " where document_id = %s and raw_id > %s order by raw_id limit %s) batch",
        (document[0], after, size),
    ).fetchone()
    assert row is not None  # noqa: S101 - an aggregate returns one row
    return document[0], row[0], row[1]


def count(connection: Connection, source: str) -> int:
    """Unified records of a source that are not deleted."""
    row = connection.execute(
        f"select count(*) from {SCHEMA}.unified_record where source = %s and deleted_at is null", (source,)
    ).fetchone()
    return row[0] if row else 0
