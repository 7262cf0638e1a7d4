"""Fills an empty unified table: all records first, then its indexes, in one transaction.

An index that is built over a million records costs a fifth of a million entries one by one. While nobody can
see a record, nobody misses an index either: they are dropped when the table is empty, and are there again
when the records become visible. Every merge asks for the lock, so that none meets the table without its keys.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
from psycopg import sql
from sqlalchemy.dialects import postgresql
from sqlalchemy.schema import CreateIndex

from kasparro_pipeline.warehouse import history  # noqa: F401 - it adds an index to the table
from kasparro_pipeline.warehouse.ledger import Connection
from kasparro_pipeline.warehouse.tables import SCHEMA, unified_record

MERGE_LOCK = 0x6D657267
"""Advisory: shared by every transaction that writes to the unified table, alone for one that fills it."""
FROM_RECORDS = 10_000
"""Records from which on it is worth while."""
LONGEST_FILLING = "15min"
PATIENCE = "1s"
"""How long the indexes' locks are waited for; then the records are merged as ever."""

_TABLE = f"{SCHEMA}.{unified_record.name}"
# As the migrations made them; a rare amount is told from a common one by finer statistics
_KEYS = {
    "unified_record_pkey": f"alter table {_TABLE} add constraint unified_record_pkey primary key (id)",
    "unified_record_source_source_id_key": f"alter table {_TABLE}"
    " add constraint unified_record_source_source_id_key unique (source, source_id)",
}
_MADE = _KEYS | {
    str(index.name): str(CreateIndex(index).compile(dialect=postgresql.dialect()))  # type: ignore[no-untyped-call]
    for index in sorted(unified_record.indexes, key=lambda index: str(index.name))
}
"""How each key and index is made."""
_ROW_COUNTERS = ("count_insert", "keep_insert")
"""The triggers that are handed all new rows once more, to count them and to name their sources."""
_COUNT = f"""
with filled as materialized (
    select source, kind, count(*) filter (where deleted_at is null) as records, count(deleted_at) as deleted
    from {_TABLE} where changed_in = {SCHEMA}.this_change() group by source, kind
),
counted as (
    insert into {SCHEMA}.data_version as v (source, kind, version, records, deleted, changed_at)
    select source, kind, 1, records, deleted, clock_timestamp() from filled order by source, kind
    on conflict (source, kind) do update set version = v.version + 1, records = v.records + excluded.records,
        deleted = v.deleted + excluded.deleted, changed_at = excluded.changed_at
)
insert into {SCHEMA}.unified_change (id, sources)
select {SCHEMA}.this_change(), array_agg(distinct source) from filled having count(*) > 0
"""
_STATISTICS = f"alter index {SCHEMA}.unified_record_amount_idx alter column 1 set statistics 1000"


def share(connection: Connection) -> None:
    """Wait, within a transaction that writes to the unified table, until nobody fills it.

    It ends, but may take longer than a statement waits for a lock elsewhere.
    """
    connection.execute(f"set local lock_timeout = '{LONGEST_FILLING}'")
    connection.execute("select pg_advisory_xact_lock_shared(%s)", (MERGE_LOCK,))
    connection.execute("set local lock_timeout to default")


@contextmanager
def emptied(connection: Connection, records: int) -> Iterator[bool]:
    """Whether the table is empty, held by this session alone, and without indexes: for `records` to come.

    Within it, `build_indexes` belongs into the transaction that fills the table. Whatever happens, the
    indexes are there again afterwards.
    """
    if records < FROM_RECORDS or not _is_empty(connection) or not _lock(connection):
        yield False
        return
    try:
        yield _is_empty(connection) and _drop_indexes(connection)
    finally:
        if not connection.closed:
            build_indexes(connection)
            connection.execute("select pg_advisory_unlock(%s)", (MERGE_LOCK,))


def build_indexes(connection: Connection) -> None:
    """Build what the unified table lacks of its keys and indexes."""
    missing = _missing(connection)
    if not missing:
        return
    with connection.transaction():
        connection.execute("set local maintenance_work_mem = '256MB'")
        for name in missing:
            connection.execute(_MADE[name].encode())
        if "unified_record_amount_idx" in missing:
            connection.execute(_STATISTICS)


@contextmanager
def counted_at_once(connection: Connection) -> Iterator[None]:
    """Within the transaction that fills the table: what its triggers would note is noted afterwards.

    They would have a million rows written aside for them. Nobody else writes meanwhile; readers do not wait.
    """
    triggers = [sql.Identifier(name) for name in _ROW_COUNTERS]
    table = sql.Identifier(SCHEMA, unified_record.name)
    connection.execute(f"set local lock_timeout = '{LONGEST_FILLING}'")
    for trigger in triggers:
        connection.execute(sql.SQL("alter table {} disable trigger {}").format(table, trigger))
    connection.execute("set local lock_timeout to default")
    yield
    for trigger in triggers:
        connection.execute(sql.SQL("alter table {} enable trigger {}").format(table, trigger))
    connection.execute(_COUNT)


def repair(connection: Connection) -> None:
    """Build the indexes that a filling left out whose process died."""
    if not _missing(connection):
        return
    with connection.transaction():  # it may be going on
        connection.execute(f"set local lock_timeout = '{LONGEST_FILLING}'")
        connection.execute("select pg_advisory_lock(%s)", (MERGE_LOCK,))
    try:
        build_indexes(connection)
    finally:
        connection.execute("select pg_advisory_unlock(%s)", (MERGE_LOCK,))


def _missing(connection: Connection) -> list[str]:
    present = set(_present(connection))
    return [name for name in _MADE if name not in present]


def _is_empty(connection: Connection) -> bool:
    row = connection.execute(f"select not exists (select from {_TABLE})").fetchone()
    return bool(row and row[0])


def _lock(connection: Connection) -> bool:
    row = connection.execute("select pg_try_advisory_lock(%s)", (MERGE_LOCK,)).fetchone()
    return bool(row and row[0])


def _present(connection: Connection) -> list[str]:
    rows = connection.execute(
        "select c.relname from pg_index i join pg_class c on c.oid = i.indexrelid"
        " where i.indrelid = %s::regclass and i.indisvalid",
        (_TABLE,),
    ).fetchall()
    return [row[0] for row in rows]


def _drop_indexes(connection: Connection) -> bool:
    """Drop keys and indexes; False if a reader holds on to them."""
    try:
        with connection.transaction():
            connection.execute(f"set local lock_timeout = '{PATIENCE}'")
            for name in (name for name in _present(connection) if name in _MADE):
                if name in _KEYS:
                    dropping = sql.SQL("alter table {} drop constraint {}").format(
                        sql.Identifier(SCHEMA, unified_record.name), sql.Identifier(name)
                    )
                else:
                    dropping = sql.SQL("drop index {}").format(sql.Identifier(SCHEMA, name))
                connection.execute(dropping)
    except psycopg.errors.LockNotAvailable:
        return False
    return True
