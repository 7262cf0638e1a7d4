"""How raw records lie in the rows of `raw_batch`: packed into rows when stored, cut out of them when read.

A row holds records of one document that follow each other, in position and in raw id. It means no more than
that: where a row ends is decided by its size alone, and no reader may depend on it.
"""

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import accumulate, chain, pairwise, repeat
from struct import Struct, pack

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

    document_ids: list[int] = field(default_factory=list)
    raw_ids: list[int] = field(default_factory=list)
    payloads: list[bytes] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.raw_ids)

    def add(self, document_id: int, raw_id: int, payload: bytes) -> None:
        """Add a record that stands alone in its row."""
        self.document_ids.append(document_id)
        self.raw_ids.append(raw_id)
        self.payloads.append(payload)

    def take(
        self,
        document_id: int,
        first_id: int,
        ends: Sequence[int],
        payloads: bytes,
        numbers: Sequence[int],
    ) -> None:
        """Add some records of a row, by their 0-based numbers within it."""
        self.document_ids.extend([document_id] * len(numbers))
        self.raw_ids.extend(first_id + number for number in numbers)
        self.payloads.extend(payloads[ends[number - 1] if number else 0 : ends[number]] for number in numbers)


@dataclass(frozen=True, slots=True)
class Piece:
    """The records of a document at the positions from `start` to before `stop`."""

    document_id: int
    start: int
    stop: int

    def __len__(self) -> int:
        return self.stop - self.start


def append(connection: Connection, arrived: Sequence[tuple[int, int, Sequence[RawRecord]]]) -> int | None:
    """Store records of documents with new raw ids that rise in their order.

    `arrived` has the id of each document, how many records of it are stored, and those that came.

    Returns:
        The last raw id, or None without records.

    Raises:
        RepeatedRecordError: the records do not all follow each other behind those that are stored. The table
            sees only where a row begins.
    """
    total = sum(len(records) for _, _, records in arrived)
    if not total:
        return None
    row = connection.execute(f"select {SCHEMA}.take_raw_ids(%s)", (total,)).fetchone()
    assert row is not None  # noqa: S101 - a function returns a row
    first_id: int = row[0]
    columns = "first_id, document_id, first_position, records, each_a_line, ends, payloads"
    statement = f"copy {SCHEMA}.raw_batch ({columns}) from stdin (format binary)"
    with connection.cursor() as cursor, cursor.copy(statement) as copy:
        waiting, size = [_BEGINNING], 0
        for document_id, stored, records in arrived:
            _require_order(document_id, stored, records)
            each_a_line = isinstance(records, Rows) and records.each_a_line
            for position, payloads in rows_of(records):
                waiting.append(_binary(first_id, document_id, position, payloads, each_a_line=each_a_line))
                first_id += len(payloads)
                size += len(waiting[-1])
                if size >= _WRITTEN_AT_ONCE:
                    copy.write(b"".join(waiting))
                    waiting, size = [], 0
        copy.write(b"".join([*waiting, _END]))
    return first_id - 1


_BEGINNING, _END = b"PGCOPY\n\xff\r\n\x00" + bytes(8), b"\xff\xff"
_WRITTEN_AT_ONCE = 64 * 1024
"""Bytes: a call of the driver takes ten microseconds, and rows of records that stand alone are small."""
_TRUE, _NULL = b"\0\0\0\1\1", b"\xff\xff\xff\xff"
_INT4 = 23
"""The type of the array's elements, by its oid."""
_ALONE = Struct(">hiqiqiiiiii5i3i")
"""The fields of a row of one record, up to the length of its payload."""


def _binary(
    first_id: int, document_id: int, position: int, payloads: Sequence[bytes], *, each_a_line: bool
) -> bytes:
    """A row as COPY reads it in its binary format: each field behind its length.

    By hand, since records that stand alone have a row each: psycopg's writer takes ten times as long for it.
    """
    count = len(payloads)
    if count == 1 and not each_a_line:
        size = len(payloads[0])
        head = 7, 8, first_id, 8, document_id, 4, position, 4, 1, -1
        return _ALONE.pack(*head, 28, 1, 0, _INT4, 1, 1, 4, size, size) + payloads[0]
    ends = list(accumulate(map(len, payloads)))
    numbers = pack(">hiqiqiiii", 7, 8, first_id, 8, document_id, 4, position, 4, count)
    fields = pack(
        f">i5i{2 * count + 1}i",
        *(20 + 8 * count, 1, 0, _INT4, count, 1),
        *chain.from_iterable(zip(repeat(4), ends, strict=False)),
        ends[-1],
    )
    return b"".join([numbers, _TRUE if each_a_line else _NULL, fields, *payloads])


def _require_order(document_id: int, stored: int, records: Sequence[RawRecord]) -> None:
    positions, _ = _parts(records)
    # those of a table rise by one
    some = positions[:1] if isinstance(positions, range) else positions
    for before, position in pairwise([stored - 1, *some]):
        if position <= before:
            raise RepeatedRecordError(f"document {document_id}: position {position} comes after {before}")


def rows_of(records: Sequence[RawRecord]) -> Iterator[tuple[int, Sequence[bytes]]]:
    """Cut records into rows: of positions that follow each other, within MOST_RECORDS and MOST_BYTES.

    Returns:
        The first position of each row, and its payloads.
    """
    positions, payloads = _parts(records)
    sizes = list(accumulate(map(len, payloads), initial=0))
    for first, behind in _consecutive(positions):
        if behind == first + 1:
            yield positions[first], payloads[first:behind]
            continue
        start = first
        while start < behind:
            within = bisect_right(sizes, sizes[start] + MOST_BYTES, lo=start) - 1
            stop = min(max(within, start + 1), start + MOST_RECORDS, behind)
            yield positions[start], payloads[start:stop]
            start = stop


def _consecutive(positions: Sequence[int]) -> Iterator[tuple[int, int]]:
    """The places of positions that follow each other: of the first one, and behind the last one."""
    if positions and positions[-1] - positions[0] == len(positions) - 1:  # they rise
        yield 0, len(positions)
        return
    breaks = [place for place, (one, two) in enumerate(pairwise(positions), 1) if two != one + 1]
    yield from pairwise([0, *breaks, len(positions)])


def _parts(records: Sequence[RawRecord]) -> tuple[Sequence[int], Sequence[bytes]]:
    """The positions of records, and their payloads."""
    if isinstance(records, Rows):
        return range(records.start, records.start + len(records)), records.payloads
    return [record.position for record in records], [record.payload for record in records]


def read(connection: Connection, pieces: Sequence[Piece]) -> StoredRecords:
    """The records of some pieces of documents, in their order."""
    found = StoredRecords()
    with connection.cursor() as cursor:
        rows = cursor.execute(
            "select p.document_id, p.start, p.stop, b.first_id, b.first_position,"
            " case when b.records > 1 then b.ends end, b.payloads"
            " from unnest(%(documents)s::bigint[], %(starts)s::int[], %(stops)s::int[])"
            " with ordinality as p (document_id, start, stop, number)"
            f" join {SCHEMA}.raw_batch b on b.document_id = p.document_id and b.first_position < p.stop"
            " and b.first_position >= coalesce("
            # the row that `start` lies in
            f" (select max(first_position) from {SCHEMA}.raw_batch"
            " where document_id = p.document_id and first_position <= p.start), 0)"
            " order by p.number, b.first_position",
            {
                "documents": [piece.document_id for piece in pieces],
                "starts": [piece.start for piece in pieces],
                "stops": [piece.stop for piece in pieces],
            },
            binary=True,
        )
        for document_id, start, stop, first_id, first_position, ends, payloads in rows:
            if ends is None:
                if first_position >= start:
                    found.add(document_id, first_id, payloads)
                continue
            numbers = range(max(start - first_position, 0), min(stop - first_position, len(ends)))
            found.take(document_id, first_id, ends, payloads, numbers)
    return found


def ends(connection: Connection, piece: Piece) -> Iterator[tuple[int, int, Sequence[int]]]:
    """Of each row that has records of a piece: its first raw id and position, and where each record ends."""
    yield from connection.execute(
        f"select first_id, first_position, ends from {SCHEMA}.raw_batch"
        " where document_id = %(document)s and first_position < %(stop)s and first_position >= coalesce("
        # the row that `start` lies in
        f" (select max(first_position) from {SCHEMA}.raw_batch"
        " where document_id = %(document)s and first_position <= %(start)s), 0) order by first_position",
        {"document": piece.document_id, "start": piece.start, "stop": piece.stop},
        binary=True,
    ).fetchall()


def next_position(connection: Connection, document_id: int) -> int:
    """How many records of a document are stored: the position behind the last one."""
    row = connection.execute(
        f"select first_position + records from {SCHEMA}.raw_batch where document_id = %s"
        " order by first_position desc limit 1",
        (document_id,),
    ).fetchone()
    return row[0] if row else 0
