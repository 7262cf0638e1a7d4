"""How raw records lie in the rows of `raw_batch`: packed into rows when stored, cut out of them when read.

A row holds records of one document that follow each other, in position and in raw id. It means no more than
that: where a row ends is decided by its size alone, and no reader may depend on it.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise

from kasparro_pipeline.extract.documents import RawRecord, Rows
from kasparro_pipeline.warehouse.errors import RepeatedRecordError
from kasparro_pipeline.warehouse.ledger import Connection
from kasparro_pipeline.warehouse.tables import SCHEMA

MOST_RECORDS = 1_000
"""Records of a row: one record by its id costs the reading of the row."""
MOST_BYTES = 2**20
"""Payload of a row; a larger record has a row of its own."""


@dataclass(frozen=True, slots=True)
class StoredRecords:
    """Raw records as stored, in the order of their ids."""

    raw_ids: list[int]
    payloads: list[bytes]

    def __len__(self) -> int:
        return len(self.raw_ids)

    def take(self, first_id: int, ends: Sequence[int], payloads: bytes, numbers: Sequence[int]) -> None:
        """Add some records of a row, by their 0-based numbers within it."""
        self.raw_ids.extend(first_id + number for number in numbers)
        self.payloads.extend(payloads[ends[number - 1] if number else 0 : ends[number]] for number in numbers)


def append(connection: Connection, document_id: int, records: Sequence[RawRecord]) -> int | None:
    """Store records of a document with new raw ids that rise in their order.

    Returns:
        The last raw id, or None without records.

    Raises:
        RepeatedRecordError: the records do not all follow each other behind those that are stored. The table
            sees only where a row begins.
    """
    if not records:
        return None
    stored = next_position(connection, document_id)
    positions, _ = _parts(records)
    # those of a table rise by one
    some = positions[:1] if isinstance(positions, range) else positions
    for before, position in pairwise([stored - 1, *some]):
        if position <= before:
            raise RepeatedRecordError(f"document {document_id}: position {position} comes after {before}")
    row = connection.execute(f"select {SCHEMA}.take_raw_ids(%s)", (len(records),)).fetchone()
    assert row is not None  # noqa: S101 - a function returns a row
    first_id: int = row[0]
    columns = "first_id, document_id, first_position, records, ends, payloads"
    statement = f"copy {SCHEMA}.raw_batch ({columns}) from stdin (format binary)"
    with connection.cursor() as cursor, cursor.copy(statement) as copy:
        copy.set_types(["int8", "int8", "int4", "int4", "int4[]", "bytea"])
        for position, payloads in rows_of(records):
            ends = list(accumulate(map(len, payloads)))
            copy.write_row((first_id, document_id, position, len(payloads), ends, b"".join(payloads)))
            first_id += len(payloads)
    return first_id - 1


def rows_of(records: Sequence[RawRecord]) -> Iterator[tuple[int, Sequence[bytes]]]:
    """Cut records into rows: of positions that follow each other, within MOST_RECORDS and MOST_BYTES.

    Returns:
        The first position of each row, and its payloads.
    """
    positions, payloads = _parts(records)
    start, size = 0, 0
    for number, payload in enumerate(payloads):
        size += len(payload)
        if number > start and (
            number - start == MOST_RECORDS
            or size > MOST_BYTES
            or positions[number] != positions[number - 1] + 1
        ):
            yield positions[start], payloads[start:number]
            start, size = number, len(payload)
    if payloads:
        yield positions[start], payloads[start:]


def _parts(records: Sequence[RawRecord]) -> tuple[Sequence[int], Sequence[bytes]]:
    """The positions of records, and their payloads."""
    if isinstance(records, Rows):
        return range(records.start, records.start + len(records)), records.payloads
    return [record.position for record in records], [record.payload for record in records]


def between(connection: Connection, document_id: int, start: int, stop: int) -> StoredRecords:
    """The records of a document at the positions from `start` to before `stop`, in order."""
    rows = connection.execute(
        f"select first_id, first_position, ends, payloads from {SCHEMA}.raw_batch"
        " where document_id = %(document)s and first_position < %(stop)s and first_position >= coalesce("
        # the row that `start` lies in
        f" (select max(first_position) from {SCHEMA}.raw_batch"
        " where document_id = %(document)s and first_position <= %(start)s), 0) order by first_position",
        {"document": document_id, "start": start, "stop": stop},
        binary=True,
    ).fetchall()
    found = StoredRecords([], [])
    for first_id, first_position, ends, payloads in rows:
        numbers = range(max(start - first_position, 0), min(stop - first_position, len(ends)))
        found.take(first_id, ends, payloads, numbers)
    return found


def next_position(connection: Connection, document_id: int) -> int:
    """How many records of a document are stored: the position behind the last one."""
    row = connection.execute(
        f"select first_position + records from {SCHEMA}.raw_batch where document_id = %s"
        " order by first_position desc limit 1",
        (document_id,),
    ).fetchone()
    return row[0] if row else 0


def position_behind(connection: Connection, document_id: int, raw_id: int) -> int | None:
    """The position of a document's first record whose raw id is larger; None if there is none."""
    row = connection.execute(
        f"select first_position + greatest(%(id)s::bigint + 1 - first_id, 0)::int from {SCHEMA}.raw_batch"
        " where document_id = %(document)s and first_id + records > %(id)s::bigint + 1"
        " order by first_position limit 1",
        {"document": document_id, "id": raw_id},
    ).fetchone()
    return row[0] if row else None
