"""The statements that merge validated records into the unified table, fill an empty one, and take back.

When they are run, and how often, is in `unified`; by which rule a record wins stands there too.
"""

from typing import LiteralString

from psycopg import sql

from kasparro_pipeline.warehouse import compact
from kasparro_pipeline.warehouse.tables import CONTENT_COLUMNS, SCHEMA
from kasparro_pipeline.warehouse.validated_tables import ARRAYS, unpacked

_RUN = {"run_id": sql.SQL("%(run_id)s::text"), "run_uuid": sql.SQL("%(run_uuid)s::uuid")}
_COLUMNS = ("source", "source_id", *CONTENT_COLUMNS, "epoch", "version", "content_hash", "raw_id", *_RUN)
# What replaces a record, named `excluded` as after a conflict; its key stays. A trigger would set the change
# where a statement does not, which takes it 8 µs a record
_SETS = sql.SQL(", ").join(
    [
        *(sql.SQL("{0} = excluded.{0}").format(sql.Identifier(name)) for name in _COLUMNS[2:]),
        sql.SQL(f"changed_in = {SCHEMA}.this_change()"),
    ]
)

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
    select c.*, u.id, case
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
    select raw_id, id, case
        when verdict = 'update' and source_id in (select source_id from newer) then 'stale'
        else verdict end as verdict
    from compared
),
replaced as (  -- by itself: on conflict would make each row twice, with the words of its search
    update {unified} u set {sets}, updated_at = now(),
        deleted_at = case when {stays_deleted} then u.deleted_at end
    from (
        select {named_values}, j.id
        from {validated} b cross join lateral {wide} join judged j on j.raw_id = r.raw_id
        where {which} and j.verdict = 'update'
    ) as excluded
    where u.id = excluded.id and {which_replaced}
        and (u.epoch, u.version, u.raw_id) <= (excluded.epoch, excluded.version, excluded.raw_id)
    returning u.id
),
written as (
    insert into {unified} as u ({columns})
    select {values}
    from {validated} b cross join lateral {wide} join judged j on j.raw_id = r.raw_id
    where {which} and j.verdict = 'insert'
    on conflict (source, source_id) do update set {sets}, updated_at = now(),
        deleted_at = case when {stays_deleted} then u.deleted_at end
        where (u.epoch, u.version, u.raw_id) <= (excluded.epoch, excluded.version, excluded.raw_id)
    returning (xmax = 0) as is_new
)
select
    (select count(*) from written where is_new),
    (select count(*) from replaced) + (select count(*) from written where not is_new),
    (select count(*) from judged where verdict = 'unchanged'),
    (select count(*) from given)
"""

# By whether the records are few beside the table: what they meet in it is looked up, or found in one pass
_MET: dict[bool, LiteralString] = {
    True: """left join lateral (
        select u.* from {unified} u where u.source = %(source)s and u.source_id = c.source_id limit 1
    ) u on true""",
    False: "left join {unified} u on u.source = %(source)s and u.source_id = c.source_id",
}
_REPLACED: dict[bool, LiteralString] = {
    True: "u.id = any (array(select id from judged where verdict = 'update'))",
    False: "true",
}


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


def _merging(which: LiteralString, *, few: bool) -> sql.Composed:
    """The merge of the validated records of the held partition that `which` names."""
    unified = sql.Identifier(SCHEMA, "unified_record")
    return sql.SQL(_MERGE).format(
        which=sql.SQL(f"b.source = %(source)s and b.partition_key = %(partition_key)s and {which}"),
        beside=sql.SQL(_MET[few]).format(unified=unified),
        which_replaced=sql.SQL(_REPLACED[few]),
        validated=sql.Identifier(SCHEMA, "validated_batch"),
        unified=unified,
        narrow=sql.SQL(unpacked("b", *_NARROW)),
        wide=sql.SQL(unpacked("b", *_WIDE)),
        stays_deleted=_STAYS_DELETED,
        columns=sql.SQL(", ").join(map(sql.Identifier, _COLUMNS)),
        values=sql.SQL(", ").join(map(_value, _COLUMNS)),
        named_values=sql.SQL(", ").join(
            sql.SQL("{} as {}").format(_value(name), sql.Identifier(name)) for name in _COLUMNS[2:]
        ),
        sets=_SETS,
    )


# Into an empty table: nothing to compare with. Records of one key may have come in several batches
FILL = sql.SQL("""
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
MERGE_RANGE = {few: _merging(_RANGE, few=few) for few in (True, False)}
MERGE_GIVEN = {few: _merging(_GIVEN, few=few) for few in (True, False)}

WITHDRAW = sql.SQL("""
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
    sets=_SETS,
)
