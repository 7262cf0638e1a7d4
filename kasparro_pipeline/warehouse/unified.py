"""Merges validated records into the unified table (P3, P5, P6): one statement a batch, only changes written.

A record wins if its (epoch, version, raw id) is the highest of all valid versions of its key, so that
partitions may be merged in any order. The epoch rises when the contract changes how versions are told, so
that new ones compare among themselves. A version that came again with the content that is served is not
written: so before another one replaces it, the validated versions that are newer still are looked for.
"""

from collections.abc import Mapping, Sequence
from typing import LiteralString

from psycopg import sql

from kasparro_pipeline.warehouse import checkpoints, compact, filling, ledger, planning
from kasparro_pipeline.warehouse.ledger import Connection, Hold
from kasparro_pipeline.warehouse.tables import CONTENT_COLUMNS, SCHEMA
from kasparro_pipeline.warehouse.validated_tables import ARRAYS, unpacked

_RUN = {"run_id": sql.SQL("%(run_id)s::text"), "run_uuid": sql.SQL("%(run_uuid)s::uuid")}
_COLUMNS = ("source", "source_id", *CONTENT_COLUMNS, "epoch", "version", "content_hash", "raw_id", *_RUN)

_MERGE = """
with given as materialized (
    select r.raw_id, r.source_id, r.content_hash, b.epoch, coalesce(r.version, '-Infinity') as version
    from {validated} b cross join lateral {narrow}
    where {which} and r.superseded_by is null
),
candidate as (
    select distinct on (g.source_id) g.*
    from given g order by g.source_id, g.epoch desc, g.version desc, g.raw_id desc
),
compared as materialized (
    select c.*, case
        when u.id is null then 'insert'
        when c.content_hash = u.content_hash and (u.deleted_at is null or {stays_deleted}) then 'unchanged'
        when (c.epoch, c.version, c.raw_id) < (u.epoch, u.version, u.raw_id) then 'stale'
        else 'update' end as verdict
    from candidate c {beside}
),
contested as materialized (
    select * from compared where verdict = 'update'
),
newer as materialized (
    select c.source_id
    from (select * from contested order by epoch, version, raw_id limit 1) least
    join {validated} b on b.source = %(source)s
        and (b.epoch, b.max_version, b.last_raw_id) > (least.epoch, least.version, least.raw_id)
    cross join lateral {narrow}
    join contested c on c.source_id = r.source_id
        and (c.epoch, c.version, c.raw_id) < (b.epoch, coalesce(r.version, '-Infinity'), r.raw_id)
    where r.superseded_by is null
),
judged as materialized (
    select raw_id, case
        when verdict = 'update' and source_id in (select source_id from newer) then 'stale'
        else verdict end as verdict
    from compared
),
written as (
    insert into {unified} as u ({columns})
    select {values}
    from {validated} b cross join lateral {wide} join judged j on j.raw_id = r.raw_id
    where {which} and j.verdict in ('insert', 'update')
    on conflict (source, source_id) do update set {sets}, updated_at = now(),
        deleted_at = case when {stays_deleted} then u.deleted_at end
        where (u.epoch, u.version, u.raw_id) <= (excluded.epoch, excluded.version, excluded.raw_id)
    returning (xmax = 0) as is_new
)
select
    (select count(*) from written where is_new),
    (select count(*) from written where not is_new),
    (select count(*) from judged where verdict = 'unchanged'),
    (select count(*) from given)
"""

# What a record meets in the table: each is looked up by its key, or all of them in one pass over the table
_LOOKED_UP = """left join lateral (
        select u.* from {unified} u where u.source = %(source)s and u.source_id = c.source_id limit 1
    ) u on true"""
_PASSED = "left join {unified} u on u.source = %(source)s and u.source_id = c.source_id"


def _value(name: str) -> sql.Composable:
    """A column of the unified table, of an unpacked batch."""
    if name in _RUN:
        return _RUN[name]
    if name == "source":
        return sql.Placeholder(name)
    if name in {"kind", "epoch"}:
        return sql.Identifier("b", name)
    if name == "version":
        return sql.SQL("coalesce(r.version, '-Infinity')")
    return _stored(name, "r")


def _stored(name: str, row: LiteralString) -> sql.SQL:
    """A column of the unified table, of a validated record."""
    return sql.SQL(compact.stored(name, f"{row}.{name}"))


# A snapshot alone brings back what one has deleted, but not what was left without a valid version
_STAYS_DELETED = sql.SQL("(%(of_snapshots)s and u.raw_id > 0)")
_NARROW = ("raw_id", "source_id", "content_hash", "version", "superseded_by")
_WIDE = tuple(name for name in ARRAYS if name != "document_id")


def _merging(which: LiteralString, beside: LiteralString) -> sql.Composed:
    """The merge of the validated records of the held partition that `which` names."""
    unified = sql.Identifier(SCHEMA, "unified_record")
    return sql.SQL(_MERGE).format(
        which=sql.SQL(f"b.source = %(source)s and b.partition_key = %(partition_key)s and {which}"),
        beside=sql.SQL(beside).format(unified=unified),
        validated=sql.Identifier(SCHEMA, "validated_batch"),
        unified=unified,
        narrow=sql.SQL(unpacked("b", *_NARROW)),
        wide=sql.SQL(unpacked("b", *_WIDE)),
        stays_deleted=_STAYS_DELETED,
        columns=sql.SQL(", ").join(map(sql.Identifier, _COLUMNS)),
        values=sql.SQL(", ").join(map(_value, _COLUMNS)),
        sets=sql.SQL(", ").join(
            sql.SQL("{0} = excluded.{0}").format(sql.Identifier(name)) for name in _COLUMNS[2:]
        ),
    )


# Into an empty table: nothing to compare with. Records of one key may have come in several batches
_FILL = sql.SQL("""
insert into {unified} ({columns})
select distinct on (r.source_id) {values}
from {validated} b cross join lateral {wide}
where b.source = %(source)s and b.partition_key = %(partition_key)s
    and b.last_raw_id > %(after)s and b.last_raw_id <= %(through)s and r.superseded_by is null
order by r.source_id, b.epoch desc, r.version desc nulls last, r.raw_id desc
""").format(
    unified=sql.Identifier(SCHEMA, "unified_record"),
    validated=sql.Identifier(SCHEMA, "validated_batch"),
    wide=sql.SQL(unpacked("b", *_WIDE)),
    columns=sql.SQL(", ").join(map(sql.Identifier, _COLUMNS)),
    values=sql.SQL(", ").join(map(_value, _COLUMNS)),
)
_RANGE: LiteralString = "b.last_raw_id > %(after)s and b.last_raw_id <= %(through)s"
_GIVEN: LiteralString = (
    "b.first_raw_id <= %(last)s and b.last_raw_id >= %(first)s and r.raw_id = any (%(raw_ids)s)"
)
# By whether the records are few beside the table
_MERGE_RANGE = {True: _merging(_RANGE, _LOOKED_UP), False: _merging(_RANGE, _PASSED)}
_MERGE_GIVEN = {True: _merging(_GIVEN, _LOOKED_UP), False: _merging(_GIVEN, _PASSED)}

_WITHDRAW = sql.SQL("""
with valid as materialized (
    select r.raw_id, r.source_id from {validated_batch} b cross join lateral {key}
    where b.source = %(source)s and b.partition_key = %(partition_key)s and r.superseded_by is null
),
gone as materialized (
    select u.id, u.source, u.source_id, u.deleted_at
    from {document} d
    join {raw} b on b.document_id = d.id
    cross join generate_series(b.first_id, b.first_id + b.records - 1) as r (id)
    join {unified} u on u.raw_id = r.id and u.source = d.source
    where d.source = %(source)s and d.partition_key = %(partition_key)s
        and not exists (select from valid v where v.raw_id = r.id and v.source_id = u.source_id)
),
newest as (
    select distinct on (v.source_id) g.id, {newest}
    from gone g
    join {validated} v on v.source = %(source)s and v.source_id = g.source_id and v.superseded_by is null
    order by v.source_id, v.epoch desc, v.version desc, v.raw_id desc
),
restored as (
    update {unified} u set {sets}, updated_at = now() from newest as excluded
    where u.id = excluded.id returning u.id
),
deleted as (
    update {unified} u
    set deleted_at = coalesce(u.deleted_at, now()), updated_at = now(), epoch = 0, version = '-Infinity',
        raw_id = 0, run_id = %(run_id)s, run_uuid = %(run_uuid)s
    from gone g where u.id = g.id and not exists (select from newest n where n.id = g.id)
    returning g.deleted_at is null as was_living
)
select (select count(*) from restored), (select count(*) from deleted where was_living)
""").format(
    document=sql.Identifier(SCHEMA, "document"),
    raw=sql.Identifier(SCHEMA, "raw_batch"),
    validated=sql.Identifier(SCHEMA, "validated_record"),
    validated_batch=sql.Identifier(SCHEMA, "validated_batch"),
    key=sql.SQL(unpacked("b", "raw_id", "source_id", "superseded_by")),
    unified=sql.Identifier(SCHEMA, "unified_record"),
    newest=sql.SQL(", ").join(
        sql.SQL("{} as {}").format(_RUN[name] if name in _RUN else _stored(name, "v"), sql.Identifier(name))
        for name in _COLUMNS[2:]
    ),
    sets=sql.SQL(", ").join(
        sql.SQL("{0} = excluded.{0}").format(sql.Identifier(name)) for name in _COLUMNS[2:]
    ),
)


def merge_next(
    connection: Connection, hold: Hold, *, after: int, size: int, of_snapshots: bool = False
) -> int | None:
    """Merge the partition's next batches of validated records behind raw id `after`, and commit that.

    As many as hold `size` records together, and one at least. `of_snapshots`: what is deleted stays so.

    Returns:
        The raw id that is now merged up to, or None if there was nothing left.

    Raises:
        HoldLostError: another run took the partition over; nothing of the batches is kept.
    """
    with connection.transaction():
        filling.share(connection)
        ledger.require_hold(connection, hold)
        through, records = _end_of_next(connection, hold, after, size)
        if through is None:
            return None
        planning.compare_by_hashes(connection)
        few = planning.are_few(connection, records)
        range_ = {"after": after, "through": through, "of_snapshots": of_snapshots}
        _merge(connection, hold, _MERGE_RANGE[few], **range_)
        checkpoints.save_unified(connection, hold, through)
    return through


def fill(connection: Connection, hold: Hold, *, after: int) -> int | None:
    """Merge all of the partition's validated records behind raw id `after` at once, if the table is empty.

    Returns:
        The raw id that is now merged up to, or None if nothing was: `merge_next` is the way then.

    Raises:
        HoldLostError: another run took the partition over; nothing is kept.
    """
    of_hold = {"source": hold.source, "partition_key": hold.partition_key, "after": after}
    waiting, through = _waiting(connection, of_hold)
    with filling.emptied(connection, waiting) as is_empty:
        if not is_empty:
            return None
        with connection.transaction():
            ledger.require_hold(connection, hold)
            connection.execute("set local work_mem = '256MB'")
            with filling.counted_at_once(connection):
                filled = {**of_hold, "through": through, **compact.run(hold.run_id)}
                inserted = connection.execute(_FILL, filled).rowcount
            filling.build_indexes(connection)
            # The next merge needs to know size and key; autovacuum looks at the rest, which takes longer
            connection.execute(f"analyze {SCHEMA}.unified_record (source, source_id)")
            ledger.add_counts(connection, hold, {"inserted": inserted, "stale": waiting - inserted})
            checkpoints.save_unified(connection, hold, through)
    return through


def _waiting(connection: Connection, of_hold: Mapping[str, object]) -> tuple[int, int]:
    """How many validated records are to be merged, and the last raw id of their batches."""
    row = connection.execute(
        "select coalesce(sum(records - superseded), 0)::bigint, max(last_raw_id)"
        f" from {SCHEMA}.validated_batch"
        " where source = %(source)s and partition_key = %(partition_key)s and last_raw_id > %(after)s",
        of_hold,
    ).fetchone()
    assert row is not None  # noqa: S101 - an aggregate returns one row
    return row[0], row[1]


def merge_given(
    connection: Connection, hold: Hold, raw_ids: Sequence[int], *, of_snapshots: bool = False
) -> None:
    """Merge the validated records of some raw ids of the partition; the checkpoint stays.

    For records that were validated late, behind the checkpoint: one transaction with their validation.
    """
    if not raw_ids:
        return
    with connection.transaction():
        filling.share(connection)
        ledger.require_hold(connection, hold)
        planning.compare_by_hashes(connection)
        few = planning.are_few(connection, len(raw_ids))
        given = {"raw_ids": list(raw_ids), "first": min(raw_ids), "last": max(raw_ids)}
        _merge(connection, hold, _MERGE_GIVEN[few], **given, of_snapshots=of_snapshots)


def _merge(connection: Connection, hold: Hold, statement: sql.Composed, **which: object) -> None:
    """Merge validated records of the partition, and count what became of them."""
    of_hold = {"source": hold.source, "partition_key": hold.partition_key, **compact.run(hold.run_id)}
    row = connection.execute(statement, {**of_hold, **which}).fetchone()
    assert row is not None  # noqa: S101 - the statement selects one row
    inserted, updated, unchanged, given = row
    counts = {
        "inserted": inserted,
        "updated": updated,
        "unchanged": unchanged,
        "stale": given - inserted - updated - unchanged,
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
        filling.share(connection)
        ledger.require_hold(connection, hold)
        planning.compare_by_hashes(connection)
        row = connection.execute(
            _WITHDRAW,
            {"source": hold.source, "partition_key": hold.partition_key, **compact.run(hold.run_id)},
        ).fetchone()
        assert row is not None  # noqa: S101 - the statement selects one row
        ledger.add_counts(connection, hold, {"updated": row[0], "deleted": row[1]})


def _end_of_next(connection: Connection, hold: Hold, after: int, size: int) -> tuple[int | None, int]:
    """The last raw id of the next batches, None without any; and how many records these have."""
    row = connection.execute(
        "select last_raw_id, so_far from ("
        " select last_raw_id, sum(records) over (order by last_raw_id, first_raw_id) as so_far"
        f" from {SCHEMA}.validated_batch"
        " where source = %(source)s and partition_key = %(partition_key)s and last_raw_id > %(after)s"
        ") b order by so_far < %(size)s, abs(so_far - %(size)s) limit 1",
        {"source": hold.source, "partition_key": hold.partition_key, "after": after, "size": size},
    ).fetchone()
    return row or (None, 0)


def count(connection: Connection, source: str) -> int:
    """Unified records of a source that are not deleted, as the triggers on the table count them."""
    row = connection.execute(
        f"select coalesce(sum(records), 0)::bigint from {SCHEMA}.data_version where source = %s", (source,)
    ).fetchone()
    return row[0] if row else 0
