"""Stores what validation decided: a raw record is validated, superseded or rejected, exactly one (P2).

Validated records are written a batch a row, rejected ones one by one. What would not change is not touched
(P5).
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import orjson
from psycopg.types.json import Jsonb

from kasparro_pipeline.warehouse import checkpoints, ledger
from kasparro_pipeline.warehouse.contracts import ContractVersion
from kasparro_pipeline.warehouse.ledger import Connection, Hold
from kasparro_pipeline.warehouse.tables import SCHEMA
from kasparro_pipeline.warehouse.validated_tables import ARRAYS, unpacked

Texts = Sequence[str | None]


@dataclass(frozen=True, slots=True)
class ValidatedRecords:
    """Records that kept their contract, in the order of their raw ids: each member has one value a record."""

    document_ids: Sequence[int]
    raw_ids: Sequence[int]
    source_ids: Sequence[str]
    versions: Sequence[Decimal] | None
    """None: the contract has no version."""
    columns: Mapping[str, Texts]
    """The content columns but for `kind`, as text; `tags` and `attributes` as JSON."""
    hashes: Sequence[bytes]
    superseded_by: Sequence[int | None]
    """The raw record of its document and batch that replaced it."""


@dataclass(frozen=True, slots=True)
class RejectedRecord:
    """A record that failed its contract."""

    document_id: int
    raw_id: int
    source_id: str | None
    reasons: Sequence[Mapping[str, Any]]


NO_VERSION = Decimal("-Infinity")
_REJECTED = ("document_id", "raw_id", "run_id", "contract_version", "source", "source_id", "reasons")


@dataclass(frozen=True, slots=True)
class Outcomes:
    """What validation decided of some raw records, ready to be written."""

    raw_ids: Sequence[int]
    """Of the records that kept their contract."""
    document_ids: frozenset[int]
    """Theirs."""
    row: Mapping[str, Any] | None
    """The batch of them as it is written; None without any."""
    superseded: int
    rejected: Sequence[RejectedRecord]


def prepare(
    hold: Hold,
    contract: ContractVersion,
    kind: str,
    validated: ValidatedRecords,
    rejected: Sequence[RejectedRecord],
) -> Outcomes:
    """Make outcomes ready to be written. It needs no connection."""
    return Outcomes(
        validated.raw_ids,
        frozenset(validated.document_ids),
        _row(hold, contract, kind, validated) if validated.raw_ids else None,
        len(validated.raw_ids) - validated.superseded_by.count(None),
        rejected,
    )


def store(
    connection: Connection,
    hold: Hold,
    contract: ContractVersion,
    outcomes: Outcomes,
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
    counts = {
        "read": len(outcomes.raw_ids) + len(outcomes.rejected),
        "validated": len(outcomes.raw_ids) - outcomes.superseded,
        "superseded": outcomes.superseded,
        "rejected": len(outcomes.rejected),
    }
    with connection.transaction():
        ledger.require_hold(connection, hold)
        _replace_validated(connection, hold, outcomes)
        _replace_rejected(connection, hold, contract, outcomes)
        if through is not None:
            checkpoints.save_validated(connection, hold, through, contract.number)
        ledger.add_counts(connection, hold, counts)
    return counts


def _replace_validated(connection: Connection, hold: Hold, outcomes: Outcomes) -> None:
    """Put the validated records in the place of whatever batches said of these raw records."""
    judged = {*outcomes.raw_ids, *(row.raw_id for row in outcomes.rejected)}
    if not judged:
        return
    known = connection.execute(
        f"select first_raw_id, digest, raw_id from {SCHEMA}.validated_batch"
        " where source = %s and partition_key = %s and first_raw_id <= %s and last_raw_id >= %s",
        (hold.source, hold.partition_key, max(judged), min(judged)),
    ).fetchall()
    before = [one for one in known if not judged.isdisjoint(one[2])]
    row = outcomes.row
    if row is not None and [bytes(digest) for _, digest, _ in before] == [row["digest"]]:
        return
    for first_raw_id, _, raw_ids in before:
        _take_out(connection, hold, first_raw_id, None if judged.issuperset(raw_ids) else sorted(judged))
    if row is not None:
        # COPY, not INSERT: the planner would read and copy megabytes of arrays before they are written
        statement = f"copy {SCHEMA}.validated_batch ({', '.join(row)}) from stdin"
        with connection.cursor() as cursor, cursor.copy(statement) as copy:
            copy.write_row(list(row.values()))


def _row(hold: Hold, contract: ContractVersion, kind: str, validated: ValidatedRecords) -> dict[str, Any]:
    """The batch as a row: its arrays are written as PostgreSQL reads them."""
    length = len(validated.raw_ids)
    columns = validated.columns
    tags = columns["tags"]
    arrays: dict[str, str | None] = {
        "document_id": _numbers(validated.document_ids),
        "raw_id": _numbers(validated.raw_ids),
        "source_id": _array(validated.source_ids),
        **{
            name: _array_unless(None, texts)
            for name, texts in columns.items()
            if name not in {"tags", "attributes"}
        },
        "tags": None if _all_are("[]", tags) else _array([_as_array(text or "[]") for text in tags]),
        "attributes": _array_unless("{}", columns["attributes"]),
        "version": None if validated.versions is None else _array(list(map(str, validated.versions))),
        "content_hash": _hashes(validated.hashes),
        "superseded_by": _numbers_or_null(validated.superseded_by),
    }
    said = hashlib.blake2b(orjson.dumps([kind, contract.number, contract.epoch]), digest_size=16)
    for name in ARRAYS:
        said.update((arrays[name] or "").encode() + b"\n")
    return {
        "source": hold.source,
        "partition_key": hold.partition_key,
        "first_raw_id": validated.raw_ids[0],
        "last_raw_id": validated.raw_ids[-1],
        "records": length,
        "superseded": length - validated.superseded_by.count(None),
        "run_id": hold.run_id,
        "contract_version": contract.number,
        "kind": kind,
        "epoch": contract.epoch,
        "max_version": max(validated.versions or (NO_VERSION,)),
        "digest": said.digest(),
        **{name: arrays[name] for name in ARRAYS},
    }


def _numbers(values: Sequence[int]) -> str:
    return f"{{{orjson.dumps(values).decode()[1:-1]}}}"


def _numbers_or_null(values: Sequence[int | None]) -> str | None:
    if values.count(None) == len(values):
        return None
    return "{" + ",".join(["NULL" if one is None else f'"{one}"' for one in values]) + "}"


def _hashes(values: Sequence[bytes]) -> str:
    between = '","\\\\x'
    together = b"".join(values).hex(",", len(values[0])).replace(",", between)
    return f'{{{between[2:]}{together}"}}'


def _array_unless(default: str | None, texts: Texts) -> str | None:
    return None if _all_are(default, texts) else _array(texts)


def _all_are(one: str | None, texts: Texts) -> bool:
    return texts[0] == texts[-1] == one and texts.count(one) == len(texts)


def _array(texts: Texts) -> str:
    """Texts as PostgreSQL writes an array of them."""
    if not all(texts) and None in texts:
        escaped = _escaped([text or "" for text in texts]).split("\x00")
        pairs = zip(texts, escaped, strict=True)
        return "{" + ",".join(["NULL" if text is None else f'"{one}"' for text, one in pairs]) + "}"
    joined = '","'.join(texts)  # type: ignore[arg-type]  # no None is in it
    if joined.count('"') > 2 * (len(texts) - 1) or "\\" in joined:
        joined = _escaped(texts).replace("\x00", '","')  # type: ignore[arg-type]
    return f'{{"{joined}"}}'


def _escaped(texts: Sequence[str]) -> str:
    # No text holds NUL, so it can stand between them while quotes are escaped in all of them at once
    return "\x00".join(texts).replace("\\", "\\\\").replace('"', '\\"')


def _as_array(text: str) -> str:
    texts = orjson.loads(text)
    return _array(texts) if texts else "{}"


def _take_out(connection: Connection, hold: Hold, first_raw_id: int, raw_ids: Sequence[int] | None) -> None:
    """Delete a batch; or only some of its records, so that a smaller one is left."""
    key = {"source": hold.source, "partition_key": hold.partition_key, "first": first_raw_id}
    delete = (
        f"delete from {SCHEMA}.validated_batch"
        " where source = %(source)s and partition_key = %(partition_key)s and first_raw_id = %(first)s"
    )
    if raw_ids is None:
        connection.execute(delete, key)
        return
    names = ", ".join(ARRAYS)
    left = ", ".join(
        f"case when count(r.{name}) > 0 then array_agg(r.{name} order by r.raw_id) end" for name in ARRAYS
    )
    connection.execute(
        f"with gone as ({delete} returning *)"
        f" insert into {SCHEMA}.validated_batch (source, partition_key, first_raw_id, last_raw_id, records,"
        f" superseded, run_id, contract_version, kind, epoch, max_version, digest, validated_at, {names})"
        " select b.source, b.partition_key, min(r.raw_id), max(r.raw_id), count(*), count(r.superseded_by),"
        f" b.run_id, b.contract_version, b.kind, b.epoch, b.max_version, '', b.validated_at, {left}"
        f" from gone b cross join lateral {unpacked('b', *ARRAYS)}"
        " where r.raw_id <> all (%(raw_ids)s)"
        " group by b.source, b.partition_key, b.run_id, b.contract_version, b.kind, b.epoch, b.max_version,"
        " b.validated_at",
        {**key, "raw_ids": raw_ids},
    )


def _replace_rejected(
    connection: Connection, hold: Hold, contract: ContractVersion, outcomes: Outcomes
) -> None:
    """Write the rejected records, and take those that passed this time out of the quarantine."""
    documents = sorted(outcomes.document_ids)
    if outcomes.raw_ids:
        kept = set(outcomes.raw_ids)
        passed = connection.execute(
            f"select raw_id from {SCHEMA}.rejected_record"
            " where document_id = any (%s) and raw_id between %s and %s",
            (documents, outcomes.raw_ids[0], outcomes.raw_ids[-1]),
        ).fetchall()
        if gone := [raw_id for (raw_id,) in passed if raw_id in kept]:
            connection.execute(
                f"delete from {SCHEMA}.rejected_record where document_id = any (%s) and raw_id = any (%s)",
                (documents, gone),
            )
    if not outcomes.rejected:
        return
    connection.execute("set local client_min_messages = warning")
    names = ", ".join(_REJECTED)
    connection.execute(
        f"create temp table if not exists staged_rejected on commit delete rows as"
        f" select {names} from {SCHEMA}.rejected_record with no data"
    )
    with connection.cursor() as cursor, cursor.copy(f"copy staged_rejected ({names}) from stdin") as copy:
        for row in outcomes.rejected:
            copy.write_row(
                (
                    row.document_id,
                    row.raw_id,
                    hold.run_id,
                    contract.number,
                    hold.source,
                    row.source_id,
                    Jsonb(list(row.reasons)),
                )
            )
    # the anti-join keeps rows that do not change unlocked and unwritten
    connection.execute(
        f"insert into {SCHEMA}.rejected_record ({names})"
        f" select {', '.join(f's.{name}' for name in _REJECTED)} from staged_rejected s"
        f" left join {SCHEMA}.rejected_record t on t.document_id = s.document_id and t.raw_id = s.raw_id"
        " where t.raw_id is null or (t.contract_version, t.source_id, t.reasons)"
        " is distinct from (s.contract_version, s.source_id, s.reasons)"
        " on conflict (document_id, raw_id) do update set "
        + ", ".join(f"{name} = excluded.{name}" for name in _REJECTED[2:])
    )
