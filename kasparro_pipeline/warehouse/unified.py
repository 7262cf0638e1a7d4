"""Merges validated records into the unified table (P3, P5, P6): one statement a batch, only changes written.

A record wins if its (epoch, version, raw id) is the highest of all valid versions of its key, so that
partitions may be merged in any order. The epoch rises when the contract changes how versions are told, so
that new ones compare among themselves. A version that came again with the content that is served is not
written: so before another one replaces it, the validated versions that are newer still are looked for. The
statements stand in `merging`.
"""

from collections.abc import Mapping, Sequence

from psycopg import sql

from kasparro_pipeline.warehouse import checkpoints, compact, filling, ledger, merging, planning
from kasparro_pipeline.warehouse.ledger import Connection, Hold
from kasparro_pipeline.warehouse.tables import SCHEMA


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
        _merge(connection, hold, merging.MERGE_RANGE[few], **range_)
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
                inserted = connection.execute(merging.FILL, filled).rowcount
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
        _merge(connection, hold, merging.MERGE_GIVEN[few], **given, of_snapshots=of_snapshots)


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
            merging.WITHDRAW,
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
