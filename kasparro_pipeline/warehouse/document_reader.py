"""Reads all records of a document in their order, also those that it repeats from earlier documents.

What a record says is not read. What a document itself brought is read for validation by `raw_reader`.
"""

from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice, pairwise

from kasparro_pipeline.warehouse.errors import RawRecordMissingError
from kasparro_pipeline.warehouse.ledger import Connection
from kasparro_pipeline.warehouse.tables import SCHEMA

AT_ONCE = 10_000
"""Records that are yielded together, roughly; and stretches of them that are looked up together."""
ALONE_AT_ONCE = 50
"""Records that are read at once where each may lie in a row of its own."""
KEPT_ROWS = 64
"""Rows of `raw_batch` that are kept, as the next stretches may be of them too: a megabyte each at most."""

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
_ROWS = f"""
select b.first_id, b.records, b.payloads from (
    select distinct b.first_id from unnest(%(raw_ids)s::bigint[], %(lengths)s::bigint[]) as s (raw_id, length)
    join {SCHEMA}.raw_batch b on b.first_id < s.raw_id + s.length and b.first_id >= coalesce(
        (select max(first_id) from {SCHEMA}.raw_batch where first_id <= s.raw_id), 0)
    where b.first_id <> all (%(kept)s)
) wanted join {SCHEMA}.raw_batch b using (first_id)"""


@dataclass(frozen=True, slots=True)
class DocumentRecords:
    """Records of a document that follow each other."""

    stretches: Sequence[_Stretch]
    payloads: list[bytes]


def read(connection: Connection, document_id: int, *, of_lines: bool = False) -> Generator[DocumentRecords]:
    """The records of a document, in the order of their positions, which begin at 0.

    `of_lines`: each record is a line that ends with a line break of one byte, or several of them.

    Raises:
        RawRecordMissingError: a record of it is not in raw any more.
    """
    rows = _Rows(connection, of_lines)
    # within one transaction: the stretches stay open while rows are fetched
    with connection.transaction(), connection.cursor(name="stretches") as cursor:
        cursor.itersize = AT_ONCE
        stretches = iter(cursor.execute(_STRETCHES, {"document": document_id}))
        while some := _some(stretches):
            yield rows.records_of(some)


def payloads(connection: Connection, raw_ids: Sequence[int], *, of_lines: bool = False) -> Iterator[bytes]:
    """Some raw records, in the order of their ids, which rise. `of_lines` as in `read`.

    Raises:
        RawRecordMissingError: one of them is not in raw any more.
    """
    rows = _Rows(connection, of_lines)
    for start in range(0, len(raw_ids), ALONE_AT_ONCE):
        stretches = [(raw_id, 1) for raw_id in raw_ids[start : start + ALONE_AT_ONCE]]
        yield from rows.records_of(stretches).payloads


def _some(stretches: Iterator[_Stretch]) -> Sequence[_Stretch]:
    """The next stretches: as many as have AT_ONCE records together, and one at least."""
    found: list[_Stretch] = []
    size = 0
    for one in islice(stretches, AT_ONCE):
        found.append(one)
        size += one[1]
        if size >= AT_ONCE:
            break
    return found


class _Rows:
    """Rows of `raw_batch` by their first raw id."""

    def __init__(self, connection: Connection, of_lines: bool) -> None:
        self._connection = connection
        self._of_lines = of_lines
        self._kept: OrderedDict[int, list[bytes]] = OrderedDict()
        """The records of each row."""

    def records_of(self, stretches: Sequence[_Stretch]) -> DocumentRecords:
        """The records of some stretches."""
        self._fetch(stretches)
        firsts = sorted(self._kept)
        found: list[bytes] = []
        for raw_id, length in stretches:
            behind = raw_id + length
            while raw_id < behind:
                first, payloads = self._row_of(raw_id, firsts)
                some = payloads[raw_id - first : behind - first]
                found += some
                raw_id += len(some)  # noqa: PLW2901 - the rest of the stretch lies in the next row
        while len(self._kept) > KEPT_ROWS:
            self._kept.popitem(last=False)
        return DocumentRecords(stretches, found)

    def _row_of(self, raw_id: int, firsts: Sequence[int]) -> tuple[int, list[bytes]]:
        place = bisect_right(firsts, raw_id) - 1
        if place < 0 or firsts[place] + len(self._kept[firsts[place]]) <= raw_id:
            raise RawRecordMissingError(f"raw record {raw_id} is gone, though a document still has it")
        return firsts[place], self._kept[firsts[place]]

    def _fetch(self, stretches: Sequence[_Stretch]) -> None:
        for first_id, count, payloads in self._connection.execute(
            _ROWS,
            {
                "raw_ids": [raw_id for raw_id, _ in stretches],
                "lengths": [length for _, length in stretches],
                "kept": list(self._kept),
            },
            binary=True,
        ).fetchall():
            # as many lines as records are a line each: to cut them takes a tenth of reading where each ends
            lines: list[bytes] = payloads.splitlines(keepends=True) if self._of_lines else []
            self._kept[first_id] = lines if len(lines) == count else self._cut(first_id, payloads)

    def _cut(self, first_id: int, payloads: bytes) -> list[bytes]:
        row = self._connection.execute(
            f"select ends from {SCHEMA}.raw_batch where first_id = %s", (first_id,), binary=True
        ).fetchone()
        assert row is not None  # noqa: S101 - it was there a moment ago, and raw rows stay
        return [payloads[begin:end] for begin, end in pairwise([0, *row[0]])]
