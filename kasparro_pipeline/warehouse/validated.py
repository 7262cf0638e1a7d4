"""Stores what validation decided: a raw record is validated, superseded or rejected, exactly one (P2).

Rows are staged by COPY and written by set; a row that would not change is not touched (P5).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from psycopg import sql
from psycopg.types.json import Jsonb

from kasparro_pipeline.warehouse import checkpoints, ledger
from kasparro_pipeline.warehouse.ledger import Connection, Hold
from kasparro_pipeline.warehouse.tables import CONTENT_COLUMNS, SCHEMA


@dataclass(frozen=True, slots=True)
class ValidatedRow:
    """A record that kept its contract. `superseded_by` names the raw record of its batch that replaced it."""

    raw_id: int
    source_id: str
    epoch: int
    version: Decimal
    columns: Mapping[str, Any]
    content_hash: bytes
    superseded_by: int | None


@dataclass(frozen=True, slots=True)
class RejectedRow:
    """A record that failed its contract."""

    raw_id: int
    source_id: str | None
    reasons: Sequence[Mapping[str, Any]]


_OUTCOME = ("source_id", *CONTENT_COLUMNS, "epoch", "version", "content_hash", "superseded_by")
_VALIDATED = ("document_id", "raw_id", "run_id", "contract_version", "source", *_OUTCOME)
_REJECTED = ("document_id", "raw_id", "run_id", "contract_version", "source", "source_id", "reasons")


def store(
    connection: Connection,
    hold: Hold,
    document_id: int,
    contract_version: int,
    validated: Sequence[ValidatedRow],
    rejected: Sequence[RejectedRow],
    *,
    through: int | None,
) -> dict[str, int]:
    """Commit the outcomes of one batch with the checkpoint `through` (a raw id) and the counts.

    Without `through` the checkpoint stays: the batch is behind it.

    Returns:
        What was added to the run's counts.

    Raises:
        HoldLostError: another run took the partition over; nothing of the batch is kept.
    """
    provenance = (hold.run_id, contract_version, hold.source)
    superseded = sum(row.superseded_by is not None for row in validated)
    counts = {
        "read": len(validated) + len(rejected),
        "validated": len(validated) - superseded,
        "superseded": superseded,
        "rejected": len(rejected),
    }
    with connection.transaction():
        ledger.require_hold(connection, hold)
        _stage(
            connection,
            "validated_record",
            _VALIDATED,
            [
                (
                    document_id,
                    row.raw_id,
                    *provenance,
                    row.source_id,
                    *(row.columns[name] for name in CONTENT_COLUMNS),
                    row.epoch,
                    row.version,
                    row.content_hash,
                    row.superseded_by,
                )
                for row in validated
            ],
        )
        _stage(
            connection,
            "rejected_record",
            _REJECTED,
            [
                (document_id, row.raw_id, *provenance, row.source_id, Jsonb(list(row.reasons)))
                for row in rejected
            ],
        )
        # a changed contract can move a record from one table to the other
        _delete(connection, "rejected_record", staged="validated_record")
        _delete(connection, "validated_record", staged="rejected_record")
        _write(connection, "validated_record", _VALIDATED, ("contract_version", *_OUTCOME))
        _write(connection, "rejected_record", _REJECTED, ("contract_version", "source_id", "reasons"))
        if through is not None:
            checkpoints.save_validated(connection, hold, through, contract_version)
        ledger.add_counts(connection, hold, counts)
    return counts


def _stage(
    connection: Connection, table: str, columns: Sequence[str], rows: Sequence[tuple[Any, ...]]
) -> None:
    names = sql.SQL(", ").join(map(sql.Identifier, columns))
    staged, target = sql.Identifier(f"staged_{table}"), sql.Identifier(SCHEMA, table)
    connection.execute("set local client_min_messages = warning")
    connection.execute(
        sql.SQL("create temp table if not exists {} on commit delete rows as select {} from {} with no data")
        .format(staged, names, target)
    )  # fmt: skip
    copy_in = sql.SQL("copy {} ({}) from stdin").format(staged, names)
    with connection.cursor() as cursor, cursor.copy(copy_in) as copy:
        for row in rows:
            copy.write_row(row)


def _delete(connection: Connection, table: str, *, staged: str) -> None:
    connection.execute(
        sql.SQL(
            "delete from {} t using {} s where t.document_id = s.document_id and t.raw_id = s.raw_id"
        ).format(sql.Identifier(SCHEMA, table), sql.Identifier(f"staged_{staged}"))
    )


def _write(connection: Connection, table: str, columns: Sequence[str], compared: Sequence[str]) -> None:
    """Insert new rows and update changed ones; the anti-join keeps unchanged rows unlocked and unwritten."""
    names = sql.SQL(", ").join(map(sql.Identifier, columns))
    sets = sql.SQL(", ").join(
        sql.SQL("{0} = excluded.{0}").format(sql.Identifier(name)) for name in columns[2:]
    )
    statement = sql.SQL(
        "insert into {target} ({names}) select {staged_names} from {staged} s"
        " left join {target} t on t.document_id = s.document_id and t.raw_id = s.raw_id"
        " where t.raw_id is null or ({target_compared}) is distinct from ({staged_compared})"
        " on conflict (document_id, raw_id) do update set {sets}"
    ).format(
        target=sql.Identifier(SCHEMA, table),
        staged=sql.Identifier(f"staged_{table}"),
        names=names,
        staged_names=_prefixed("s", columns),
        target_compared=_prefixed("t", compared),
        staged_compared=_prefixed("s", compared),
        sets=sets,
    )
    connection.execute(statement)


def _prefixed(alias: str, columns: Sequence[str]) -> sql.Composed:
    return sql.SQL(", ").join(sql.Identifier(alias, name) for name in columns)
