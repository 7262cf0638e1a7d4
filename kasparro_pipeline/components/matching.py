"""Finds which records of a document another one, the base, has too: byte for byte, both read side by side.

Most of what comes again stands where it stood, so stretches are compared at once, and single records only
around a difference. What a record that was not found means is told in `repeats`.
"""

import re
from bisect import bisect_right
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from operator import eq, gt
from typing import NamedTuple

from kasparro_pipeline.warehouse.document_reader import DocumentRecords

FIRST_COMPARED = 32
"""Records that are compared at once behind a difference; twice as many after each time without another."""
MOST_COMPARED = 2_048
NEAR = 16
"""Records in a row that may differ in their place, as changed ones do, before they are looked for elsewhere;
and records of the base that may be missing, before the whole window is looked through."""
_RUN = re.compile(b"\1+")


class Match(NamedTuple):
    """Records that follow each other in a batch as they do in the base."""

    place: int
    """Of the first one in the batch."""
    position: int
    """Of the first one in the base."""
    length: int


@dataclass(slots=True)
class Window:
    """Records of the base that follow each other, from position `first` on."""

    first: int = 0
    payloads: list[bytes] = field(default_factory=list)
    taken: bytearray = field(default_factory=bytearray)
    """Of each whether it was matched."""
    begins: list[int] = field(default_factory=list)
    """Positions at which a stretch of rising raw ids begins."""
    raw_ids: list[int] = field(default_factory=list)
    """Of the first record of each stretch."""
    _places: dict[bytes, int] | None = None
    """Where a payload is, by number in the window; made when it is needed."""

    @property
    def behind(self) -> int:
        """The position behind the last one."""
        return self.first + len(self.payloads)

    def add(self, found: DocumentRecords) -> None:
        """Add what follows."""
        position = self.behind
        for raw_id, length in found.stretches:
            if not self.begins or self.raw_ids[-1] + position - self.begins[-1] != raw_id:
                self.begins.append(position)
                self.raw_ids.append(raw_id)
            position += length
        self.payloads += found.payloads
        self.taken.extend(bytes(len(found.payloads)))
        self._places = None

    def drop(self, count: int) -> list[tuple[int, bytes]]:
        """Forget the first ones.

        Returns:
            Position and payload of those of them that were not matched.
        """
        left: list[tuple[int, bytes]] = []
        number = self.taken.find(0, 0, count)
        while number >= 0:
            left.append((self.first + number, self.payloads[number]))
            number = self.taken.find(0, number + 1, count)
        del self.payloads[:count], self.taken[:count]
        self.first += count
        over = bisect_right(self.begins, self.first) - 1
        if over > 0:
            del self.begins[:over], self.raw_ids[:over]
        self._places = None
        return left

    def stretches(self, matches: Iterable[Match]) -> Iterator[tuple[int, int, int]]:
        """Of matched records the stretches of rising raw ids: place in the batch, first raw id, length."""
        begin = end = raw_id = 0
        for place, position, length in matches:
            while length:
                if not begin <= position < end:
                    number = bisect_right(self.begins, position) - 1
                    begin, raw_id = self.begins[number], self.raw_ids[number]
                    end = self.begins[number + 1] if number + 1 < len(self.begins) else self.behind
                here = min(length, end - position)
                yield place, raw_id + position - begin, here
                place, position, length = place + here, position + here, length - here  # noqa: PLW2901 - the rest

    def find(self, payload: bytes, number: int) -> int:
        """The number of a record that is not matched, by preference soon behind `number`; -1 without one."""
        try:
            found = self.payloads.index(payload, number, number + NEAR)
        except ValueError:
            if self._places is None:
                self._places = dict(zip(self.payloads, range(len(self.payloads)), strict=True))
            found = self._places.get(payload, -1)
        return -1 if found >= 0 and self.taken[found] else found


class Matching:
    """Goes through a document and its base side by side, of which `size` records are in the window.

    Raises:
        Whatever reading the base does.
    """

    def __init__(self, stored: Iterator[DocumentRecords], size: int) -> None:
        self._stored = stored
        self._reach = size // 2
        """Records of the base that are looked at on either side of the last match."""
        self.window = Window()
        self.reached = 0
        """The position in the base behind the last match."""
        self._others = 0
        """The position behind the last records of the base that are not known to be a line each."""
        self._found = 0
        """The same of what was only looked for: a batch may be, before the one before it is taken."""
        self._looked_for: deque[tuple[Sequence[bytes], list[Match]]] = deque()
        """Batches that are not taken yet, with their matches."""

    def unknown(self, payloads: Sequence[bytes]) -> list[int]:
        """The places of those of the next payloads that are not found in the base, as far as one looks."""
        matches = self._matches(payloads, taking=False)
        self._looked_for.append((payloads, matches))
        found: list[int] = []
        place = 0
        for match in matches:
            found += range(place, match.place)
            place = match.place + match.length
        found += range(place, len(payloads))
        return found

    def take(self, payloads: Sequence[bytes]) -> list[Match]:
        """The matches of the next payloads, in their order. A record of the base is matched once."""
        # others may be looked for already that come later; what was cut anew since is never asked for
        while any(looked_for is payloads for looked_for, _ in self._looked_for):
            looked_for, matches = self._looked_for.popleft()
            if looked_for is payloads and self._taken(matches):
                return matches
        return self._matches(payloads, taking=True)

    def _taken(self, matches: Sequence[Match]) -> bool:
        """Take matches that were looked for, if nothing of them is taken: of equal records one is enough."""
        taken, first = self.window.taken, self.window.first
        for number, match in enumerate(matches):
            begin = match.position - first
            if begin < 0 or taken.find(1, begin, begin + match.length) >= 0:
                for other in matches[:number]:
                    begin = other.position - first
                    taken[begin : begin + other.length] = bytes(other.length)
                return False
            taken[begin : begin + match.length] = b"\1" * match.length
        if matches:
            self.reached = matches[-1].position + matches[-1].length
        return True

    def _matches(self, payloads: Sequence[bytes], *, taking: bool) -> list[Match]:
        start = self.reached if taking else max(self.reached, self._found)
        self.read_up_to(start + self._reach + len(payloads))
        window, found = self.window, list[Match]()
        place, number, size = 0, start - window.first, FIRST_COMPARED
        while place < len(payloads):
            same = bytes(map(eq, payloads[place : place + size], window.payloads[number : number + size]))
            position, done = window.first + number, 0
            for begin, end in self._runs(same, number):
                found.append(Match(place + begin, position + begin, end - begin))
                if taking:
                    window.taken[number + begin : number + end] = b"\1" * (end - begin)
                done = end
            if done and taking:
                self.reached = position + done
            elif done:
                self._found = position + done
            place, number = place + done, number + done
            if done and len(same) - done <= NEAR:
                size = min(2 * size, MOST_COMPARED)  # where the last ones are, is seen with those behind them
            elif (elsewhere := window.find(payloads[place], number)) >= 0:
                number, size = elsewhere, FIRST_COMPARED
            else:
                place, size = place + 1, FIRST_COMPARED
        return found

    def _runs(self, same: bytes, number: int) -> Iterator[tuple[int, int]]:
        """The runs of what is the same and not matched yet, as far as only few differ between them."""
        taken = self.window.taken
        if taken.find(1, number, number + len(same)) >= 0:
            same = bytes(map(gt, same, taken[number : number + len(same)]))
        done = 0
        for run in _RUN.finditer(same):
            begin, end = run.span()
            if begin - done > NEAR:
                return
            yield begin, end
            done = end

    def read_up_to(self, position: int) -> None:
        """Read the base up to a position, if it reaches so far."""
        while self.window.behind < position and (more := next(self._stored, None)):
            self.window.add(more)
            if not more.each_a_line:
                self._others = self.window.behind

    @property
    def each_a_line(self) -> bool:
        """Whether the records in the window, which alone can match, are known to be a line each."""
        return self._others <= self.window.first

    def pass_on(self) -> list[tuple[int, bytes]]:
        """Forget what lies too far before the last match: see `forget`."""
        return self.forget(self.reached - self._reach)

    def forget(self, before: int) -> list[tuple[int, bytes]]:
        """What lies before a position of the base is not looked for any more.

        Returns:
            Position and payload of what was not matched there.
        """
        count = min(before, self.window.behind) - self.window.first
        return self.window.drop(count) if count > 0 else []

    def rest(self) -> Iterator[list[tuple[int, bytes]]]:
        """All that was not matched, once the document has no more records."""
        yield self.forget(self.window.behind)
        while more := next(self._stored, None):
            self.window.add(more)
            yield self.forget(self.window.behind)
