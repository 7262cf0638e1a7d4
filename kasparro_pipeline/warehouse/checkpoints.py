"""Checkpoints: how far extraction, validation and merge of a source and partition have come.

They move only in the transaction of the work that they stand for, and only under the hold.
"""

from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from psycopg.types.json import Jsonb

from kasparro_pipeline.extract.documents import Cursor
from kasparro_pipeline.warehouse import ledger
from kasparro_pipeline.warehouse.ledger import Connection, Hold
from kasparro_pipeline.warehouse.snapshots import UNJUDGED
from kasparro_pipeline.warehouse.tables import SCHEMA

SOURCE_WIDE = ""
"""The partition key of the row that holds the source's own cursor."""


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a partition's raw records have been taken up."""

    validated_through: int
    unified_through: int
    contract_version: int | None
    unified_contract_version: int | None


def read_cursor(connection: Connection, source: str, partition_key: str = SOURCE_WIDE) -> Cursor | None:
    """The stored cursor of a source, or of the interrupted extraction of one of its partitions."""
    row = connection.execute(
        f"select cursor from {SCHEMA}.checkpoint where source = %s and partition_key = %s",
        (source, partition_key),
    ).fetchone()
    return row[0] if row else None


def save_cursor(connection: Connection, hold: Hold, cursor: Cursor | None) -> None:
    """Store where an extraction of the held partition goes on; None when it is complete."""
    connection.execute(
        f"update {SCHEMA}.checkpoint set cursor = %s, updated_at = now()"
        " where source = %s and partition_key = %s and cursor is distinct from %s",
        (_json(cursor), hold.source, hold.partition_key, _json(cursor)),
    )


def forget_progress(connection: Connection, hold: Hold) -> None:
    """Let the next extraction of the held partition begin at its beginning."""
    with connection.transaction():
        ledger.require_hold(connection, hold)
        save_cursor(connection, hold, None)


def save_source_cursor(
    connection: Connection, hold: Hold, cursor: Cursor, lookback_window: timedelta | None
) -> None:
    """Store the source's own cursor, which every later incremental extraction starts from."""
    connection.execute(
        f"insert into {SCHEMA}.checkpoint as c (source, partition_key, cursor, lookback_window)"
        " values (%s, %s, %s, %s) on conflict (source, partition_key) do update"
        " set cursor = excluded.cursor, lookback_window = excluded.lookback_window, updated_at = now()"
        " where (c.cursor, c.lookback_window) is distinct from (excluded.cursor, excluded.lookback_window)",
        (hold.source, SOURCE_WIDE, _json(cursor), lookback_window),
    )


def progress(connection: Connection, hold: Hold) -> Progress:
    """How far the held partition has been validated and merged."""
    row = connection.execute(
        "select validated_through, unified_through, contract_version, unified_contract_version"
        f" from {SCHEMA}.checkpoint"
        " where source = %s and partition_key = %s",
        (hold.source, hold.partition_key),
    ).fetchone()
    return Progress(*row) if row else Progress(0, 0, None, None)


def restart(connection: Connection, hold: Hold) -> None:
    """Take the partition's raw records up again from the first one; nothing that is stored goes away."""
    with connection.transaction():
        ledger.require_hold(connection, hold)
        connection.execute(
            f"update {SCHEMA}.checkpoint set validated_through = 0, unified_through = 0, updated_at = now()"
            " where source = %s and partition_key = %s",
            (hold.source, hold.partition_key),
        )
        ledger.reset_counts(connection, hold, "read", "validated", "rejected", "superseded")


def pending(connection: Connection, source: str) -> list[str]:
    """Partitions with raw records to validate or merge, or a snapshot to judge, that no run is at work on."""
    rows = connection.execute(
        f"select partition_key from {SCHEMA}.checkpoint c where source = %s"
        f" and (raw_through > validated_through or validated_through > unified_through or {UNJUDGED})"
        f" and not exists (select from {SCHEMA}.etl_run r where r.source = c.source"
        " and r.partition_key = c.partition_key and r.status = 'running') order by partition_key",
        (source,),
    ).fetchall()
    return [row[0] for row in rows]


def is_pending(connection: Connection, hold: Hold) -> bool:
    """Whether raw records of the held partition wait for validation or merge, or a snapshot for a verdict."""
    row = connection.execute(
        f"select raw_through > validated_through or validated_through > unified_through or {UNJUDGED}"
        f" from {SCHEMA}.checkpoint c where source = %s and partition_key = %s",
        (hold.source, hold.partition_key),
    ).fetchone()
    return bool(row and row[0])


def is_being_validated(connection: Connection, hold: Hold) -> bool:
    """Whether the validation of the held partition, which has begun, has not come to its end."""
    row = connection.execute(
        f"select raw_through > validated_through and contract_version is not null from {SCHEMA}.checkpoint"
        " where source = %s and partition_key = %s",
        (hold.source, hold.partition_key),
    ).fetchone()
    return bool(row and row[0])


def save_raw(connection: Connection, hold: Hold, raw_id: int) -> None:
    """The partition's newest raw record is `raw_id`."""
    connection.execute(
        f"update {SCHEMA}.checkpoint set raw_through = greatest(raw_through, %s)"
        " where source = %s and partition_key = %s",
        (raw_id, hold.source, hold.partition_key),
    )


def save_validated(connection: Connection, hold: Hold, raw_id: int, contract_version: int) -> None:
    """Every raw record of the partition up to `raw_id` has its outcome under this contract version."""
    connection.execute(
        f"update {SCHEMA}.checkpoint set validated_through = %s, contract_version = %s, updated_at = now()"
        " where source = %s and partition_key = %s",
        (raw_id, contract_version, hold.source, hold.partition_key),
    )


def save_unified(connection: Connection, hold: Hold, raw_id: int) -> None:
    """Every validated record of the partition up to `raw_id` has been merged."""
    connection.execute(
        f"update {SCHEMA}.checkpoint set unified_through = %s, updated_at = now()"
        " where source = %s and partition_key = %s",
        (raw_id, hold.source, hold.partition_key),
    )


def finish_unified(connection: Connection, hold: Hold, contract_version: int | None) -> None:
    """All that is validated is merged, and nothing merged is left of an earlier contract."""
    with connection.transaction():
        ledger.require_hold(connection, hold)
        connection.execute(
            f"update {SCHEMA}.checkpoint set unified_through = validated_through,"
            " unified_contract_version = %s, updated_at = now() where source = %s and partition_key = %s"
            " and (unified_through, unified_contract_version) is distinct from (validated_through, %s)",
            (contract_version, hold.source, hold.partition_key, contract_version),
        )


def _json(cursor: Cursor | None) -> Any:  # noqa: ANN401 - psycopg's wrapper or None
    return None if cursor is None else Jsonb(dict(cursor))
