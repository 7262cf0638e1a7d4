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
from kasparro_pipeline.warehouse.tables import SCHEMA

SOURCE_WIDE = ""
"""The partition key of the row that holds the source's own cursor."""


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a partition's raw records have been taken up."""

    validated_through: int
    unified_through: int
    contract_version: int | None


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
        f"select validated_through, unified_through, contract_version from {SCHEMA}.checkpoint"
        " where source = %s and partition_key = %s",
        (hold.source, hold.partition_key),
    ).fetchone()
    return Progress(*row) if row else Progress(0, 0, None)


def restart(connection: Connection, hold: Hold) -> None:
    """Take the partition's raw records up again from the first one; nothing that is stored goes away."""
    with connection.transaction():
        ledger.require_hold(connection, hold)
        connection.execute(
            f"update {SCHEMA}.checkpoint set validated_through = 0, unified_through = 0, updated_at = now()"
            " where source = %s and partition_key = %s",
            (hold.source, hold.partition_key),
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


def _json(cursor: Cursor | None) -> Any:  # noqa: ANN401 - psycopg's wrapper or None
    return None if cursor is None else Jsonb(dict(cursor))
