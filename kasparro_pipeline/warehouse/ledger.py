"""The run ledger and the hold: which run writes to a source and partition, what it did, how it ended (P4).

A run takes its hold when it begins, with a fencing token one higher than the last; each of its transactions
first locks the checkpoint row and compares the token. A run that was taken over can write nothing more.

A run under way shows that it lives (`attend`, `show_life`). One that does not is lost: `LOST` is the one
place that says when, `close_lost` closes such runs, and readers show them as failed even before.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

import psycopg
from psycopg import sql
from psycopg.rows import dict_row

from kasparro_pipeline.warehouse.errors import HoldLostError
from kasparro_pipeline.warehouse.tables import COUNT_COLUMNS, SCHEMA

Status = Literal["success", "partial", "failed", "cancelled"]
Connection = psycopg.Connection[Any]

LOST_AFTER = 60
"""Seconds for which nobody need work on a run that is not lost: between two of its steps nobody does."""

LOST_ERROR = (
    "Lost: its process ended without closing it (killed, out of memory, or its machine or network went away)."
    " What it had committed stays. Materialize the partition again: the new run goes on from there."
)

# A 64-bit advisory lock is listed as two 32-bit halves. A standby sees its own locks alone, not the runs'.
LOST = f"""(status = 'running' and active_at < now() - interval '{LOST_AFTER} seconds'
    and not pg_is_in_recovery() and hashtextextended('run:' || run_id, 0) <> all (array(
        select classid::bigint << 32 | objid::bigint from pg_locks
        where locktype = 'advisory' and objsubid = 1
            and database = (select oid from pg_database where datname = current_database()))))"""
"""SQL over a row of `etl_run`: no session attends to the run any more, and so nobody will close it."""


@dataclass(frozen=True, slots=True)
class Hold:
    """A run's right to write to one partition of a source."""

    source: str
    partition_key: str
    run_id: str
    fence: int


def attend(connection: Connection, run_id: str) -> None:
    """Show that a run lives for as long as `connection` does.

    It takes a shared session-level advisory lock named after the run, which PostgreSQL releases when the
    process dies. So `connection` must be a session of PostgreSQL itself: a pooler that shares sessions
    (PgBouncer in transaction or statement mode) would keep the lock of a dead run, or let go that of a live
    one. When a machine is gone without a word, its TCP connection is given up after two minutes.
    """
    connection.execute(
        "select pg_advisory_lock_shared(hashtextextended('run:' || %s, 0)),"
        " set_config('tcp_keepalives_idle', '30', false), set_config('tcp_keepalives_interval', '10', false)",
        (run_id,),
    )


def show_life(connection: Connection, run_id: str) -> None:
    """Note that a run lives, as a step of it ends: until the next one begins nobody attends to it."""
    connection.execute(
        f"update {SCHEMA}.etl_run set active_at = clock_timestamp() where run_id = %s and status = 'running'",
        (run_id,),
    )


def begin(connection: Connection, source: str, partition_key: str, run_id: str) -> Hold:
    """Take the hold for a run, or take up the one it already has (a later step, or a retry of one).

    Runs of the same source and partition that never ended are closed as failed. The run lives while
    `connection` does (see `attend`, which no connection pooler may stand before).

    Raises:
        HoldLostError: this run had the hold, and another has it now.
    """
    attend(connection, run_id)
    with connection.transaction():
        had = connection.execute(
            f"select fence from {SCHEMA}.etl_run where run_id = %s and source = %s and partition_key = %s",
            (run_id, source, partition_key),
        ).fetchone()
        if had is not None:
            hold = Hold(source, partition_key, run_id, had[0])
            require_hold(connection, hold)
            connection.execute(
                f"update {SCHEMA}.etl_run set status = 'running', finished_at = null, error = null,"
                " active_at = clock_timestamp() where run_id = %s and source = %s and partition_key = %s",
                (run_id, source, partition_key),
            )
            return hold
        row = connection.execute(
            f"insert into {SCHEMA}.checkpoint as c (source, partition_key, fence, held_by)"
            " values (%s, %s, 1, %s) on conflict (source, partition_key) do update"
            " set fence = c.fence + 1, held_by = excluded.held_by returning fence",
            (source, partition_key, run_id),
        ).fetchone()
        hold = Hold(source, partition_key, run_id, row[0] if row else 1)
        connection.execute(
            f"update {SCHEMA}.etl_run set status = 'failed', finished_at = clock_timestamp(), error = %s"
            " where source = %s and partition_key = %s and status = 'running'",
            (f"ended without closing itself; run {run_id} took over", source, partition_key),
        )
        connection.execute(
            f"insert into {SCHEMA}.etl_run (run_id, source, partition_key, fence, status)"
            " values (%s, %s, %s, %s, 'running')",
            (run_id, source, partition_key, hold.fence),
        )
        return hold


def require_hold(connection: Connection, hold: Hold) -> None:
    """Lock the checkpoint row of this transaction's partition and compare the fencing token.

    Raises:
        HoldLostError: another run took over; nothing of this transaction may be kept.
    """
    row = connection.execute(
        f"select fence, held_by from {SCHEMA}.checkpoint where source = %s and partition_key = %s for update",
        (hold.source, hold.partition_key),
    ).fetchone()
    if row is None or tuple(row) != (hold.fence, hold.run_id):
        holder = row[1] if row else "nobody"
        raise HoldLostError(
            f"{hold.source} {hold.partition_key}: run {holder} has taken over, so run {hold.run_id} stops. "
            "Nothing is lost: what it had committed stays, and the other run goes on from there."
        )


def add_counts(connection: Connection, hold: Hold, counts: Mapping[str, int]) -> None:
    """Add to the run's counts, in the transaction of the work that they count."""
    unknown = counts.keys() - set(COUNT_COLUMNS)
    if unknown:
        raise ValueError(f"no such counts: {', '.join(sorted(unknown))}")
    sets = sql.SQL(", ").join(
        sql.SQL("{column} = {column} + {amount}").format(column=sql.Identifier(name), amount=amount)
        for name, amount in counts.items()
    )
    statement = sql.SQL("update {table} set {sets}, active_at = clock_timestamp() where {row}").format(
        table=sql.Identifier(SCHEMA, "etl_run"), sets=sets, row=_row_of(hold)
    )
    connection.execute(statement)


def reset_counts(connection: Connection, hold: Hold, *names: str) -> None:
    """Set counts of the run back to 0, as the work that they count begins anew."""
    sets = sql.SQL(", ").join(sql.SQL("{} = 0").format(sql.Identifier(name)) for name in names)
    connection.execute(
        sql.SQL("update {table} set {sets}, active_at = clock_timestamp() where {row}").format(
            table=sql.Identifier(SCHEMA, "etl_run"), sets=sets, row=_row_of(hold)
        )
    )


def forget_rejected(connection: Connection, hold: Hold) -> None:
    """Take back the run's rejected records, which are judged again; those that passed stay counted."""
    connection.execute(
        sql.SQL(
            "update {table} set read = validated + superseded, rejected = 0, active_at = clock_timestamp()"
            " where {row}"
        ).format(table=sql.Identifier(SCHEMA, "etl_run"), row=_row_of(hold))
    )


def counts_of(connection: Connection, hold: Hold) -> dict[str, int]:
    """The counts of a run so far."""
    columns = sql.SQL(", ").join(map(sql.Identifier, COUNT_COLUMNS))
    query = sql.SQL("select {} from {} where {}").format(
        columns, sql.Identifier(SCHEMA, "etl_run"), _row_of(hold)
    )
    with connection.cursor(row_factory=dict_row) as cursor:
        row = cursor.execute(query).fetchone()
    return dict(row) if row else dict.fromkeys(COUNT_COLUMNS, 0)


def of_run(connection: Connection, source: str, run_id: str) -> list[dict[str, Any]]:
    """What a run did to each partition of a source that it worked on, by partition."""
    with connection.cursor(row_factory=dict_row) as cursor:
        return cursor.execute(
            f"select * from {SCHEMA}.etl_run where run_id = %s and source = %s order by partition_key",
            (run_id, source),
        ).fetchall()


def close(connection: Connection, hold: Hold, status: Status | None = None, error: str | None = None) -> None:
    """End a run that is still running. Without a status: `partial` if it rejected records, else `success`."""
    connection.execute(
        f"update {SCHEMA}.etl_run set finished_at = clock_timestamp(), error = %s,"
        " status = coalesce(%s, case when rejected > 0 then 'partial' else 'success' end)"
        " where run_id = %s and source = %s and partition_key = %s and status = 'running'",
        (error, status, hold.run_id, hold.source, hold.partition_key),
    )


def close_all(connection: Connection, run_id: str, status: Status, error: str) -> None:
    """End whatever a Dagster run has left running; a run that closed itself stays as it is."""
    connection.execute(
        f"update {SCHEMA}.etl_run set finished_at = clock_timestamp(), error = %s, status = %s"
        " where run_id = %s and status = 'running'",
        (error, status, run_id),
    )


def close_lost(connection: Connection) -> list[str]:
    """End as failed, at its last sign of life, every run that is lost.

    Should such a run go on after all, its next step takes it up again.

    Returns:
        The ids of the runs.
    """
    rows = connection.execute(
        f"update {SCHEMA}.etl_run set status = 'failed', finished_at = active_at, error = %s"
        f" where {LOST} returning run_id",
        (LOST_ERROR,),
    ).fetchall()
    return [row[0] for row in rows]


def fail(connection: Connection, run_id: str, source: str, error: str) -> None:
    """A blocking check found the run's result unusable: it failed, also if its last step had closed it."""
    connection.execute(
        f"update {SCHEMA}.etl_run set finished_at = clock_timestamp(), error = %s, status = 'failed'"
        " where run_id = %s and source = %s",
        (error, run_id, source),
    )


def failures_in_a_row(connection: Connection, source: str, partition_key: str) -> int:
    """How many runs of a partition have failed or were cancelled since its last success."""
    row = connection.execute(
        f"select count(*) from {SCHEMA}.etl_run"
        " where source = %(source)s and partition_key = %(partition_key)s"
        " and status in ('failed', 'cancelled') and started_at > coalesce("
        f" (select max(started_at) from {SCHEMA}.etl_run where source = %(source)s"
        " and partition_key = %(partition_key)s and status in ('success', 'partial')), '-infinity')",
        {"source": source, "partition_key": partition_key},
    ).fetchone()
    return row[0] if row else 0


def _row_of(hold: Hold) -> sql.Composed:
    return sql.SQL("run_id = {} and source = {} and partition_key = {}").format(
        hold.run_id, hold.source, hold.partition_key
    )


def last_success(connection: Connection, source: str, partition_key: str) -> datetime | None:
    """When the newest run of a partition that succeeded, wholly or in part, ended."""
    row = connection.execute(
        f"select max(finished_at) from {SCHEMA}.etl_run"
        " where source = %s and partition_key = %s and status in ('success', 'partial')",
        (source, partition_key),
    ).fetchone()
    return row[0] if row else None
