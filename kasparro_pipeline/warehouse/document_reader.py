"""Reads all records of a document in their order, also those that it repeats from earlier documents.

What a record says is not read. What a document itself brought is read for validation by `raw_reader`.
"""

from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

from kasparro_pipeline.warehouse.errors import RawRecordMissingError
from kasparro_pipeline.warehouse.ledger import Connection
from kasparro_pipeline.warehouse.tables import SCHEMA

AT_ONCE = 10_000
"""Records that are yielded together, roughly; and stretches of them that are looked up together."""
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
select b.first_id, b.ends, b.payloads from (
    select distinct b.first_id from unnest(%(raw_ids)s::bigint[], %(lengths)s::bigint[]) as s (raw_id, length)
    join {SCHEMA}.raw_batch b on b.first_id < s.raw_id + s.length and b.first_id >= coalesce(
        (select max(first_id) from {SCHEMA}.raw_batch where first_id <= s.raw_id), 0)
    where b.first_id <> all (%(kept)s)
) wanted join {SCHEMA}.raw_batch b using (first_id)"""


@dataclass(frozen=True, slots=True)
class DocumentRecords:
    """Records of a document that follow each other."""

    raw_ids: list[int]
    payloads: list[bytes]


def read(connection: Connection, document_id: int) -> Generator[DocumentRecords]:
    """The records of a document, in the order of their positions, which begin at 0.

    Raises:
        RawRecordMissingError: a record of it is not in raw any more.
    """
    rows = _Rows(connection)
    # within one transaction: the stretches stay open while rows are fetched
    with connection.transaction(), connection.cursor(name="stretches") as cursor:
        cursor.itersize = AT_ONCE
        stretches = iter(cursor.execute(_STRETCHES, {"document": document_id}))
        while some := _some(stretches):
            yield rows.records_of(some)


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

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._kept: OrderedDict[int, tuple[Sequence[int], bytes]] = OrderedDict()

    def records_of(self, stretches: Sequence[_Stretch]) -> DocumentRecords:
        """The records of some stretches."""
        self._fetch(stretches)
        firsts = sorted(self._kept)
        found = DocumentRecords([], [])
        for raw_id, length in stretches:
            behind = raw_id + length
            while raw_id < behind:
                first, ends, payloads = self._row_of(raw_id, firsts)
                stop = min(behind - first, len(ends))
                begin = ends[raw_id - first - 1] if raw_id > first else 0
                for end in ends[raw_id - first : stop]:
                    found.payloads.append(payloads[begin:end])
                    begin = end
                found.raw_ids.extend(range(raw_id, first + stop))
                raw_id = first + stop  # noqa: PLW2901 - the rest of the stretch lies in the next row
        while len(self._kept) > KEPT_ROWS:
            self._kept.popitem(last=False)
        return found

    def _row_of(self, raw_id: int, firsts: Sequence[int]) -> tuple[int, Sequence[int], bytes]:
        place = bisect_right(firsts, raw_id) - 1
        if place < 0 or firsts[place] + len(self._kept[firsts[place]][0]) <= raw_id:
            raise RawRecordMissingError(f"raw record {raw_id} is gone, though a document still has it")
        return (firsts[place], *self._kept[firsts[place]])

    def _fetch(self, stretches: Sequence[_Stretch]) -> None:
        for first_id, ends, payloads in self._connection.execute(
            _ROWS,
            {
                "raw_ids": [raw_id for raw_id, _ in stretches],
                "lengths": [length for _, length in stretches],
                "kept": list(self._kept),
            },
            binary=True,
        ):
            self._kept[first_id] = ends, payloads
