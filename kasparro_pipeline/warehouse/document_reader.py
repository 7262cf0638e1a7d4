"""Reads all records of a document in their order, also those that it repeats from earlier documents.

What a record says is not read. What a document itself brought is read for validation by `raw_reader`.
"""

import io
from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice, pairwise

from kasparro_pipeline.warehouse import arrays
from kasparro_pipeline.warehouse.errors import RawRecordMissingError
from kasparro_pipeline.warehouse.ledger import Connection
from kasparro_pipeline.warehouse.tables import SCHEMA

AT_ONCE = 10_000
"""Records that are yielded together, roughly; and stretches of them that are looked up together."""
MOST_BYTES = 4 * 1024 * 1024
"""Their bytes, roughly, where records are large."""
ALONE_AT_ONCE = 50
"""Records that are read at once where each may lie in a row of its own."""
KEPT_ROWS, KEPT_BYTES = 64, 16 * 1024 * 1024
"""Rows of `raw_batch` that are kept at most, as the next stretches may be of them too, and their payload."""

_Stretch = tuple[int, int]
"""Raw id of the first record, and how many follow each other."""

_STRETCHES = f"""
select s.raw_id, s.length from (
    select first_position as position, first_id as raw_id, records as length
    from {SCHEMA}.raw_batch where document_id = %(document)s
    union all
    select s.* from {SCHEMA}.repeated_batch r
    cross join lateral unnest(r.positions, r.raw_ids, r.lengths) as s (position, raw_id, length)
    where r.document_id = %(document)s
) s order by s.position"""
ROWS = f"""
select b.first_id, b.records, b.payloads, b.each_a_line from {SCHEMA}.raw_batch b
where b.first_id = any (array(
    select r.first_id from unnest(%(raw_ids)s::bigint[], %(lengths)s::bigint[]) as s (raw_id, length)
    cross join lateral (
        select first_id from {SCHEMA}.raw_batch
        where first_id < s.raw_id + s.length and first_id >= coalesce(
            (select max(first_id) from {SCHEMA}.raw_batch where first_id <= s.raw_id), 0)
    ) r where r.first_id <> all (%(kept)s::bigint[])))"""


@dataclass(frozen=True, slots=True)
class DocumentRecords:
    """Records of a document that follow each other."""

    stretches: Sequence[_Stretch]
    payloads: list[bytes]
    each_a_line: bool = False
    """Whether it is known that none of them has a line break within."""


@dataclass(slots=True)
class _Row:
    """A row of `raw_batch`."""

    records: int
    payloads: bytes | list[bytes]
    """Of all its records; or of each of them, when they were cut."""
    size: int
    """Bytes of the payloads."""
    each_a_line: bool
    """Whether it is known that the records are a line each, or was found when they were cut."""


@dataclass(frozen=True, slots=True)
class Fetched:
    """The same, not cut yet: that may be done by another thread than the one that fetches."""

    stretches: Sequence[_Stretch]
    rows: Mapping[int, _Row]
    """By the raw id of their first record."""

    def cut(self, connection: Connection, *, of_lines: bool) -> DocumentRecords:
        """Each record by itself.

        `of_lines`: each is a line that ends with a line break of one byte, or several of them. If one is
        several, `connection` is asked where each ends.

        Raises:
            RawRecordMissingError: one of them is not in raw any more.
        """
        firsts = sorted(self.rows)
        found: list[bytes] = []
        each_a_line = True
        for raw_id, length in self.stretches:
            behind = raw_id + length
            while raw_id < behind:
                place = bisect_right(firsts, raw_id) - 1
                if place < 0 or firsts[place] + self.rows[firsts[place]].records <= raw_id:
                    raise RawRecordMissingError(
                        f"raw record {raw_id} is gone, though a document still has it"
                    )
                first = firsts[place]
                some = self._records(connection, first, of_lines=of_lines)[raw_id - first : behind - first]
                each_a_line &= self.rows[first].each_a_line
                found += some
                raw_id += len(some)  # noqa: PLW2901 - the rest of the stretch lies in the next row
        return DocumentRecords(self.stretches, found, each_a_line)

    def _records(self, connection: Connection, first: int, *, of_lines: bool) -> list[bytes]:
        row = self.rows[first]
        if isinstance(row.payloads, bytes):
            # as many lines as records are a line each: to cut them takes a tenth of reading where each ends
            lines = _lines(row, row.payloads) if of_lines else []
            row.each_a_line = len(lines) == row.records
            row.payloads = lines if row.each_a_line else _cut(connection, first, row.payloads)
        return row.payloads


def _lines(row: _Row, payloads: bytes) -> list[bytes]:
    lines = io.BytesIO(payloads).readlines() if row.each_a_line else []
    # what is quicker knows LF alone: where records are a line each it finds fewer if one ends with CR
    return lines if len(lines) == row.records else payloads.splitlines(keepends=True)


def _cut(connection: Connection, first_id: int, payloads: bytes) -> list[bytes]:
    row = connection.execute(
        f"select ends from {SCHEMA}.raw_batch where first_id = %s", (first_id,), binary=True
    ).fetchone()
    assert row is not None  # noqa: S101 - it was there a moment ago, and raw rows stay
    return [payloads[begin:end] for begin, end in pairwise([0, *row[0]])]


def fetch(connection: Connection, document_id: int, *, record_bytes: int) -> Generator[Fetched]:
    """The records of a document, in the order of their positions, which begin at 0; none is cut yet.

    `record_bytes`: of one of them, on average.
    """
    most = max(1, min(AT_ONCE, MOST_BYTES // record_bytes))
    kept: OrderedDict[int, _Row] = OrderedDict()
    # within one transaction: the stretches stay open while rows are fetched
    with connection.transaction(), connection.cursor(name="stretches") as cursor:
        cursor.itersize = AT_ONCE
        stretches = iter(cursor.execute(_STRETCHES, {"document": document_id}))
        while some := _some(stretches, most):
            yield _fetched(connection, some, kept)


def read(
    connection: Connection, document_id: int, *, record_bytes: int, of_lines: bool
) -> Generator[DocumentRecords]:
    """The records of a document, as `fetch` gives them; `of_lines` as for `Fetched.cut`.

    Raises:
        RawRecordMissingError: a record of it is not in raw any more.
    """
    for fetched in fetch(connection, document_id, record_bytes=record_bytes):
        yield fetched.cut(connection, of_lines=of_lines)


def payloads(connection: Connection, raw_ids: Sequence[int], *, of_lines: bool = False) -> Iterator[bytes]:
    """Some raw records, in the order of their ids, which rise; `of_lines` as for `Fetched.cut`.

    Raises:
        RawRecordMissingError: one of them is not in raw any more.
    """
    kept: OrderedDict[int, _Row] = OrderedDict()
    for start in range(0, len(raw_ids), ALONE_AT_ONCE):
        stretches = [(raw_id, 1) for raw_id in raw_ids[start : start + ALONE_AT_ONCE]]
        yield from _fetched(connection, stretches, kept).cut(connection, of_lines=of_lines).payloads


def _drop(kept: OrderedDict[int, _Row]) -> None:
    """Drop the oldest of the rows that were kept, if they are too many or too large."""
    size = sum(row.size for row in kept.values())
    while len(kept) > KEPT_ROWS or size > KEPT_BYTES:
        size -= kept.popitem(last=False)[1].size


def _some(stretches: Iterator[_Stretch], most: int) -> Sequence[_Stretch]:
    """The next stretches: as many as have `most` records together, and one at least."""
    found: list[_Stretch] = []
    size = 0
    for one in islice(stretches, most):
        found.append(one)
        size += one[1]
        if size >= most:
            break
    return found


def _fetched(connection: Connection, stretches: Sequence[_Stretch], kept: OrderedDict[int, _Row]) -> Fetched:
    """The records of some stretches; rows that are not among those that were kept are fetched and kept."""
    rows = connection.execute(
        ROWS,
        {
            "raw_ids": arrays.numbers(raw_id for raw_id, _ in stretches),
            "lengths": arrays.numbers(length for _, length in stretches),
            "kept": arrays.numbers(kept),
        },
        binary=True,
    ).fetchall()
    kept.update(
        (first_id, _Row(records, payloads, len(payloads), bool(each_a_line)))
        for first_id, records, payloads, each_a_line in rows
    )
    fetched = Fetched(stretches, dict(kept))
    _drop(kept)
    return fetched
