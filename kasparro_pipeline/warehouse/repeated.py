"""Repeated records: those of a document that an earlier one brought already, byte for byte (P1, P5).

A repeated record is not stored again and has no further outcome: it is the raw record that it repeats. Of
each document it is kept which of its records those are, so that it can be put together again, to the byte
(P7). Which records may be taken as repeated is decided in `components.repeats`; here is from which document.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from itertools import accumulate
from typing import TYPE_CHECKING, Any, LiteralString

from sqlalchemy import ARRAY, BigInteger, CheckConstraint, Column, Integer, PrimaryKeyConstraint, Table

from kasparro_pipeline.warehouse import arrays
from kasparro_pipeline.warehouse.errors import BaseReplacedError
from kasparro_pipeline.warehouse.ledger import Connection, Hold
from kasparro_pipeline.warehouse.tables import SCHEMA, metadata

if TYPE_CHECKING:
    from array import array

FEWEST = 1_000
"""Records of a document from which on the next one is compared with it."""
SMALLEST = 0.5
"""Size of a document as a part of its base's, in bytes: to look at the base of a small delta costs more."""
MOST_OF_A_ROW = 50_000
"""Stretches that a row tells of."""

repeated_batch = Table(
    "repeated_batch",
    metadata,
    Column("document_id", BigInteger, nullable=False),
    Column("first_position", Integer, nullable=False, comment="of the first of them, 0-based"),
    Column("records", Integer, nullable=False, comment="how many records of the document it tells of"),
    Column("positions", ARRAY(Integer), nullable=False, comment="where each stretch of them begins"),
    Column("lengths", ARRAY(Integer), nullable=False, comment="records of each stretch"),
    Column("raw_ids", ARRAY(BigInteger), nullable=False, comment="of each stretch's first; they rise by one"),
    Column("lines", ARRAY(Integer), nullable=False, comment="lines that each stretch takes in its file"),
    CheckConstraint("records > 0", name="records"),
    PrimaryKeyConstraint("document_id", "first_position"),
)


@dataclass(frozen=True, slots=True)
class Stretches:
    """Repeated records of one batch of a document: stretches in which position and raw id rise by one."""

    positions: "array[int]"
    lengths: "array[int]"
    raw_ids: "array[int]"
    lines: "array[int]"

    @property
    def records(self) -> int:
        """How many records they are."""
        return sum(self.lengths)


@dataclass(frozen=True, slots=True)
class Base:
    """The document that a new one of its source is compared with: the one that came before it."""

    source: str
    partition_key: str
    document_id: int
    run_id: str
    loaded_at: datetime
    layout: Mapping[str, Any]
    profile: Mapping[str, Any]
    record_bytes: int
    """Of a record, on average."""


def of_documents(documents: LiteralString) -> LiteralString:
    """SQL of the raw ids that some documents repeat, as one multirange; `documents` is SQL of their ids."""
    return f"""coalesce((
    select range_agg(int8range(s.raw_id, s.raw_id + s.length))
    from {SCHEMA}.repeated_batch r cross join lateral unnest(r.raw_ids, r.lengths) s (raw_id, length)
    where r.document_id in ({documents})), '{{}}')"""


REJECTED: LiteralString = f"""(
    select x.* from repeated join {SCHEMA}.document d on d.source = %(source)s and not isempty(ids)
    join {SCHEMA}.rejected_record x on x.document_id = d.id where ids @> x.raw_id)"""
"""SQL of the rejected records of the source among those that documents repeat, `repeated (ids)`."""

# Another run that stored records behind it: then it is not what came last. One that is at work may yet
_OVERTAKEN: LiteralString = f"""exists (
    select from {SCHEMA}.etl_run where source = %(source)s and extracted > 0 and active_at > %(loaded_at)s
        and run_id <> all (%(own)s))"""
# All that came has its outcome and is merged; the document's own partition under the contract of now
_SETTLED: LiteralString = f"""
select bool_and(raw_through <= validated_through and validated_through <= unified_through),
    bool_or(partition_key = %(partition_key)s and contract_version = %(contract_version)s
        and unified_contract_version = %(contract_version)s)
from {SCHEMA}.checkpoint where source = %(source)s and partition_key <> ''"""
# What it repeats itself may lie in partitions that still have the outcomes of an earlier contract
_OF_ANOTHER_CONTRACT: LiteralString = f"""
with repeated as materialized (select {of_documents("%(document_id)s")} as ids)
select exists (
    select from {SCHEMA}.validated_batch b, repeated
    where b.source = %(source)s and b.contract_version <> %(contract_version)s
        and repeated.ids && int8range(b.first_raw_id, b.last_raw_id, '[]'))
or exists (select from {REJECTED} x where x.contract_version <> %(contract_version)s)"""


def base_of(connection: Connection, hold: Hold, contract_digest: bytes, byte_count: int) -> Base | None:
    """The newest document of the held source, if one of that size that comes now may repeat its records.

    It has to be what came last, whole, validated under the contract as it is now, and merged: then a record
    that comes again has its outcome, and the unified table says already what it would say after a merge.
    """
    newest = connection.execute(
        "select id, run_id, partition_key, loaded_at, layout, profile, record_count, byte_count"
        f" from {SCHEMA}.document where source = %s order by id desc limit 1",
        (hold.source,),
    ).fetchone()
    if newest is None or newest[3] is None or newest[5] is None or newest[6] < FEWEST:
        return None
    if byte_count < SMALLEST * newest[7]:
        return None
    document_id, run_id, partition_key, loaded_at, layout, profile, records, size = newest
    contract = connection.execute(
        f"select version, digest from {SCHEMA}.contract_version where source = %s"
        " order by version desc limit 1",
        (hold.source,),
    ).fetchone()
    if contract is None or bytes(contract[1]) != contract_digest:
        return None
    facts = {
        "source": hold.source,
        "partition_key": partition_key,
        "document_id": document_id,
        "contract_version": contract[0],
        "loaded_at": loaded_at,
        "own": [run_id, hold.run_id],
    }
    settled = connection.execute(_SETTLED, facts).fetchone()
    if settled != (True, True) or _is(connection, _OF_ANOTHER_CONTRACT, facts):
        return None
    if _is(connection, f"select {_OVERTAKEN}", facts):
        return None
    return Base(
        hold.source, partition_key, document_id, run_id, loaded_at, layout, profile, max(size // records, 1)
    )


def require_base(connection: Connection, hold: Hold, base: Base) -> None:
    """Compare, in the transaction that stores a batch, whether the base is still what came last.

    Raises:
        BaseReplacedError: another run of the source has stored records since.
    """
    facts = {"source": hold.source, "loaded_at": base.loaded_at, "own": [base.run_id, hold.run_id]}
    if _is(connection, f"select {_OVERTAKEN}", facts):
        raise BaseReplacedError(
            f"{hold.source} {hold.partition_key}: another run has stored records of the source meanwhile, so"
            " what repeats an earlier document cannot be told any more; the next try stores the rest anew."
        )


def append(connection: Connection, document_id: int, stretches: Stretches) -> None:
    """Keep which records of a batch of the document are repeated."""
    for start in range(0, len(stretches.positions), MOST_OF_A_ROW):
        stop = start + MOST_OF_A_ROW
        connection.execute(
            f"insert into {SCHEMA}.repeated_batch"
            " (document_id, first_position, records, positions, lengths, raw_ids, lines)"
            " values (%s, %s, %s, %s, %s, %s, %s)",
            (
                document_id,
                stretches.positions[start],
                sum(stretches.lengths[start:stop]),
                arrays.numbers(stretches.positions[start:stop]),
                arrays.numbers(stretches.lengths[start:stop]),
                arrays.numbers(stretches.raw_ids[start:stop]),
                arrays.numbers(stretches.lines[start:stop]),
            ),
        )


def next_position(connection: Connection, document_id: int) -> int:
    """The position behind the last repeated record of a document; 0 without any."""
    row = connection.execute(
        "select positions[cardinality(positions)] + lengths[cardinality(lengths)]"
        f" from {SCHEMA}.repeated_batch where document_id = %s order by first_position desc limit 1",
        (document_id,),
    ).fetchone()
    return row[0] if row else 0


def count(connection: Connection, source: str, partition_key: str) -> int:
    """How many records the documents of a partition repeat."""
    row = connection.execute(
        f"select coalesce(sum(r.records), 0)::bigint from {SCHEMA}.document d"
        f" join {SCHEMA}.repeated_batch r on r.document_id = d.id"
        " where d.source = %s and d.partition_key = %s",
        (source, partition_key),
    ).fetchone()
    return row[0] if row else 0


def lines_before(connection: Connection, document_id: int) -> tuple[list[int], list[int]]:
    """Where each stretch of a document begins, and how many lines it and those before it take in its file."""
    positions: list[int] = []
    lines: list[int] = []
    for row in connection.execute(
        f"select positions, lines from {SCHEMA}.repeated_batch where document_id = %s"
        " order by first_position",
        (document_id,),
        binary=True,
    ):
        positions += row[0]
        lines += row[1]
    return positions, list(accumulate(lines))


def _is(connection: Connection, query: LiteralString, facts: Mapping[str, object]) -> bool:
    row = connection.execute(query, facts).fetchone()
    return bool(row and row[0])
