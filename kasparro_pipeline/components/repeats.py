"""Tells which records of a document came before, byte for byte, in the document that came last.

They are a no-op for the whole chain, as a document is whose bytes have not changed: their raw records are
there, have their outcomes, and are merged. Taken anew is whatever an outcome could differ for: a record whose
key stands in several records, or stood there, or that was rejected. What is kept of it is in
`warehouse.repeated`.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from kasparro_pipeline.contract.keys import Keys
from kasparro_pipeline.contract.profile import Profile
from kasparro_pipeline.contract.profile_change import changed, positions
from kasparro_pipeline.contract.table import Table
from kasparro_pipeline.extract import csv_lines, csv_rows, records
from kasparro_pipeline.extract.documents import RawRecord, Rows
from kasparro_pipeline.warehouse.document_reader import DocumentRecords
from kasparro_pipeline.warehouse.raw import Repetition
from kasparro_pipeline.warehouse.repeated import Base, Stretches

WINDOW = 40_000
"""Records of the base around the place of the last repeated one that the next ones are looked for among."""
MOST_KEYS = 500_000
"""Keys of records taken anew that are remembered; once there are more, everything is taken anew."""


@dataclass(slots=True)
class _Window:
    """Records of the base that follow each other, from position `first` on."""

    first: int = 0
    raw_ids: list[int] = field(default_factory=list)
    payloads: list[bytes] = field(default_factory=list)
    taken: bytearray = field(default_factory=bytearray)
    places: dict[bytes, int] = field(default_factory=dict)
    """Where a payload is that may be repeated, as position in the base."""

    @property
    def behind(self) -> int:
        """The position behind the last one."""
        return self.first + len(self.payloads)

    def add(self, found: DocumentRecords, apart: frozenset[int]) -> None:
        """Add what follows. The records of `apart` are never repeated."""
        start = self.behind
        self.raw_ids += found.raw_ids
        self.payloads += found.payloads
        self.taken.extend(bytes(len(found.payloads)))
        self.places.update(zip(found.payloads, range(start, self.behind), strict=True))
        if not apart.isdisjoint(found.raw_ids):
            for payload, raw_id in zip(found.payloads, found.raw_ids, strict=True):
                if raw_id in apart:
                    self.places.pop(payload, None)

    def drop(self, count: int) -> list[tuple[int, bytes]]:
        """Forget the first ones.

        Returns:
            Position and payload of those of them that were not taken.
        """
        left = [(self.first + n, self.payloads[n]) for n in range(count) if not self.taken[n]]
        for number, payload in enumerate(self.payloads[:count], self.first):
            if self.places.get(payload) == number:
                del self.places[payload]
        del self.raw_ids[:count], self.payloads[:count], self.taken[:count]
        self.first += count
        return left


class Repeats:
    """Goes through a document and its base side by side.

    Raises:
        Whatever reading the base does.
    """

    def __init__(self, base: Base, stored: Iterator[DocumentRecords], keys: Keys) -> None:
        self.base = base
        self._stored = stored
        self._keys = keys
        self._window = _Window()
        self._at = 0
        """The position in the base behind the record that was repeated last."""
        self._anew: set[str] = set()
        """Keys of records that were taken anew."""
        self._profile = Profile.of([(0, base.profile)])
        self._gone, self._came = Profile(text_only=True), Profile(text_only=True)
        self._shown = positions(self._profile)
        self._moved: dict[int, int] = {}

    def split(self, found: Sequence[RawRecord]) -> Repetition:
        """Which records of a batch are taken anew, and which of the base the others repeat."""
        payloads = _payloads(found)
        self._read_on(len(payloads))
        # a record of the base is repeated once: one that comes twice is news the second time
        at = [self._window.places.pop(payload, -1) for payload in payloads]
        keys = self._keys_of(found)
        self._anew.update(key for key, place in zip(keys, at, strict=True) if place < 0)
        if len(self._anew) > MOST_KEYS:
            at = [-1] * len(at)
        elif not self._anew.isdisjoint(keys):
            # of equal keys the last one counts, and that may be one that is taken anew
            at = [-1 if key in self._anew else place for key, place in zip(keys, at, strict=True)]
        first = _first_position(found)
        own = [RawRecord(first + n, payloads[n], None) for n, place in enumerate(at) if place < 0]
        self._observe(self._came, [record.payload for record in own], [record.position for record in own])
        stretches = self._stretches(at, payloads, first)
        self._forget(self._at - WINDOW // 2)
        return Repetition(self.base, own, stretches)

    def came_before(self, payloads: Sequence[bytes]) -> list[bool]:
        """Whether each of the payloads that follow is a record of the base, as far as one is looked for."""
        self._read_on(len(payloads))
        return list(map(self._window.places.__contains__, payloads))

    def _read_on(self, count: int) -> None:
        """Read the base as far as the next records may be in it."""
        self._read_up_to(self._at + WINDOW // 2 + count)

    def share(self, found: Sequence[RawRecord]) -> float:
        """How large a part of the first batch is in the base, 0 to 1."""
        came = self.came_before(_payloads(found))
        return came.count(True) / len(came)

    def profile(self) -> Profile:
        """The profile of the document, once all of it was split."""
        self._read_up_to(None)
        return changed(self._profile, self._gone, self._came, self._moved)

    def _read_up_to(self, position: int | None) -> None:
        """Read the base up to a position; all of it without one, keeping nothing."""
        while (position is None or self._window.behind < position) and (more := next(self._stored, None)):
            self._window.add(more, self.base.apart)
            if position is None:
                self._forget(self._window.behind)
        if position is None:
            self._forget(self._window.behind)

    def _forget(self, before: int) -> None:
        """What lies before a position of the base is not looked for any more; what was not taken is gone."""
        if before <= self._window.first:
            return
        left = self._window.drop(before - self._window.first)
        self._observe(self._gone, [payload for _, payload in left], [position for position, _ in left])

    def _observe(self, profile: Profile, payloads: Sequence[bytes], positions: Sequence[int]) -> None:
        if not payloads:
            return
        values, _ = records.read_many(payloads, self.base.layout)
        if isinstance(values, Table):
            profile.observe_table(values, positions)
        else:
            profile.observe(values, positions)

    def _keys_of(self, found: Sequence[RawRecord]) -> Sequence[str]:
        columns, layout = self._keys.columns, self.base.layout
        if not isinstance(found, Rows):
            return self._keys.of([record.value for record in found])
        if columns is None or not set(columns) <= set(layout["columns"]):
            return self._keys.of(found.table)
        some = {name: csv_rows.column(found.payloads, layout, name) for name in columns}
        return self._keys.of(Table(some, len(found)))

    def _stretches(self, at: Sequence[int], payloads: Sequence[bytes], first: int) -> Stretches:
        """Stretches of the records with a place; `first` is the position of the first record of all."""
        window, encoding = self._window, self.base.layout["encoding"]
        begins: list[int] = []
        lengths: list[int] = []
        raw_ids: list[int] = []
        next_index = next_id = -1
        for index, place in enumerate(at):
            if place < 0:
                continue
            number = place - window.first
            raw_id = window.raw_ids[number]
            window.taken[number] = 1
            if index == next_index and raw_id == next_id:
                lengths[-1] += 1
            else:
                begins.append(index)
                lengths.append(1)
                raw_ids.append(raw_id)
            next_index, next_id = index + 1, raw_id + 1
            if place in self._shown:
                self._moved[place] = first + index
            self._at = place + 1
        lines = [
            csv_lines.count(b"".join(payloads[begin : begin + length]), encoding)
            for begin, length in zip(begins, lengths, strict=True)
        ]
        return Stretches([first + begin for begin in begins], lengths, raw_ids, lines)


def _payloads(found: Sequence[RawRecord]) -> Sequence[bytes]:
    return found.payloads if isinstance(found, Rows) else [record.payload for record in found]


def _first_position(found: Sequence[RawRecord]) -> int:
    return found.start if isinstance(found, Rows) else found[0].position if found else 0
