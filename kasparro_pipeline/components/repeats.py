"""Decides which records of a document repeat those of the one before it, the base, and which are taken anew.

What repeats is a no-op for the whole chain, as a document is whose bytes have not changed: its raw records
are there, have their outcomes, and are merged. So of each key either all records repeat those that the base
has of it, in their order, or all are taken anew: then they compete among themselves, as in any document.
A rejected record that repeats stays in quarantine where it came first. What is kept of it is in
`warehouse.repeated`; which bytes are the same is told by `matching`.
"""

from bisect import bisect_left
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

from kasparro_pipeline.components.differing import Differing
from kasparro_pipeline.components.matching import Match, Matching
from kasparro_pipeline.components.stretches import Waiting
from kasparro_pipeline.contract.keys import Keys
from kasparro_pipeline.contract.profile import Profile
from kasparro_pipeline.contract.profile_change import changed, positions
from kasparro_pipeline.extract import csv_lines
from kasparro_pipeline.extract.documents import RawRecord, Rows, payloads_of
from kasparro_pipeline.warehouse.base_keys import Groups
from kasparro_pipeline.warehouse.raw import Repetition
from kasparro_pipeline.warehouse.repeated import Base

MOST_BYTES = 48 * 1024 * 1024
"""Memory of records to be taken anew that wait until it is decided about those around them."""
OF_A_RECORD = 200
"""Bytes that one takes beside its payload."""
MOST_STRETCHES = 1_000_000
"""Stretches of repeated records that wait: half as many has a million rows of which 1% changed 25 times."""
MOST_TOUCHED = 250_000
"""Keys of records that came or are gone for which the base is asked; above that, for all that share a key."""


class Asked(NamedTuple):
    """What the warehouse is asked about the base."""

    groups: Callable[[], Groups]
    """The records that share a key."""
    with_keys: Callable[[Sequence[str]], Sequence[int]]
    """Raw ids of the records that have one of some keys; and of others, which the base has not."""
    payloads: Callable[[Sequence[int]], Iterable[bytes]]
    """Payloads by raw ids, which rise."""


class Repeats:
    """Goes through a document and its base side by side.

    Batches are looked at one after the other; `settle` then decides about all that were looked at since.

    Raises:
        Whatever reading the base does.
    """

    def __init__(self, base: Base, matching: Matching, keys: Keys, asked: Asked) -> None:
        self.base = base
        self._asked = asked
        self._matching = matching
        self._news: list[RawRecord] = []
        """Records that the base has not."""
        self._stretches = Waiting()
        """Records that the base has."""
        self._bytes = 0
        self._unexplained: set[str] = set()
        """Keys of news, without those whose record in the base is gone."""
        self._touched: set[str] | None = set()
        """Keys of all that came or is gone; None if these do not tell what is taken anew."""
        self._highest = 0
        """The position in the base behind the last of all matched records."""
        self._contested: set[int] = set()
        """Raw ids of records of the base with the key of news."""
        self._profile = Profile.of([(0, base.profile)])
        self._came, self._gone = Differing(keys, base.layout), Differing(keys, base.layout)
        self._shown = sorted(positions(self._profile))
        self._moved: dict[int, int] = {}

    def unknown(self, payloads: Sequence[bytes]) -> list[int]:
        """The places of those of the payloads that follow which are not found in the base."""
        return self._matching.unknown(payloads)

    def look(self, found: Sequence[RawRecord]) -> None:
        """Compare the records that follow with the base."""
        if not found:
            return
        payloads = payloads_of(found)
        matches, lines = self._matching.take(payloads), self._lines(found)
        first, place = _first_position(found), 0
        others: list[int] = []
        for match in matches:
            others += range(place, match.place)
            place = match.place + match.length
            if match.position < self._highest:
                self._touched = None  # records changed their order
            self._highest = max(self._highest, match.position + match.length)
        others += range(place, len(payloads))
        self._keep(first, matches, lines)
        news = [RawRecord(first + place, payloads[place], None) for place in others]
        self._news += news
        self._bytes += sum(len(record.payload) + OF_A_RECORD for record in news)
        table = found.read_before(others) if isinstance(found, Rows) else None
        self._came.add([(record.position, record.payload) for record in news], table)
        self._gone.add(self._matching.pass_on())
        if self._came.are_many or self._gone.are_many:
            self._take_keys()

    @property
    def is_full(self) -> bool:
        """Whether so much waits that it has to be decided about."""
        return self._bytes >= MOST_BYTES or len(self._stretches) >= MOST_STRETCHES

    def settle(self, *, whole: bool) -> Repetition:
        """Which of the records looked at are taken anew, and which of the base the others repeat.

        `whole`: these are the last ones of the document.
        """
        if whole:
            for left in self._matching.rest():
                self._gone.add(left)
                if self._gone.are_many:
                    self._take_keys()
        else:
            self._touched = None
            self._gone.add(self._matching.forget(self._matching.reached))
        self._take_keys()
        kept, anew = self._stretches.without(self._broken())
        anew.sort()
        payloads = self._asked.payloads([raw_id for raw_id, _ in anew]) if anew else ()
        own = [RawRecord(at, payload, None) for (_, at), payload in zip(anew, payloads, strict=True)]
        own = sorted([*self._news, *own], key=lambda record: record.position)
        self._news, self._stretches, self._bytes = [], Waiting(), 0
        self._unexplained.clear()
        return Repetition(self.base, own, kept)

    def profile(self) -> Profile:
        """The profile of the document, once all of it is settled."""
        return changed(self._profile, self._gone.profile, self._came.profile, self._moved)

    def _keep(self, first: int, matches: Sequence[Match], lines: Sequence[int] | None) -> None:
        """Let matched records wait to be repeated; `first` is the position of their batch."""
        for place, raw_id, length in self._matching.window.stretches(matches):
            same = None if lines is None else lines[place : place + length]
            self._stretches.add(first + place, raw_id, length, same)
        begin = min((match.position for match in matches), default=0)
        end = max((match.position + match.length for match in matches), default=0)
        shown = self._shown[bisect_left(self._shown, begin) : bisect_left(self._shown, end)]
        for place, position, length in matches if shown else ():
            low = bisect_left(shown, position)
            for one in shown[low : bisect_left(shown, position + length, lo=low)]:
                self._moved[one] = first + place + one - position

    def _lines(self, found: Sequence[RawRecord]) -> Sequence[int] | None:
        """Lines of each record in its file; None if each is one."""
        payloads, encoding = payloads_of(found), self.base.layout["encoding"]
        # what is cut at LF alone is a line if a record of the base is that, byte for byte
        is_cut = self._matching.each_a_line or not csv_lines.is_bytewise(encoding)
        if isinstance(found, Rows) and is_cut and csv_lines.count(payloads[0], encoding) <= 1:
            return None  # only before the first of them there may be others
        return [csv_lines.count(payload, encoding) for payload in payloads]

    def _broken(self) -> list[int]:
        """Raw ids of records that are taken anew though they are matched, in rising order; and of others."""
        if self._touched is not None:
            # of any other key all records are matched, in their order, and there is no other one
            return sorted(set(self._asked.with_keys(sorted(self._touched)))) if self._touched else []
        if self._unexplained:
            self._contested.update(self._asked.with_keys(sorted(self._unexplained)))
        broken = set(self._contested)
        position = self._stretches.position_of()
        for group in self._asked.groups():
            places = [position(raw_id) for raw_id in group]
            if min(places) < 0 or places != sorted(places) or not broken.isdisjoint(group):
                broken.update(group)
        return sorted(broken)

    def _take_keys(self) -> None:
        """Keep the keys of what came and of what is gone, as far as something follows from them."""
        came, gone = self._came.keys(), self._gone.keys()
        self._unexplained.update(came)
        self._unexplained.difference_update(gone)
        if self._touched is not None:
            self._touched.update(came, gone)
            if len(self._touched) > MOST_TOUCHED:
                self._touched = None


def _first_position(found: Sequence[RawRecord]) -> int:
    return found.start if isinstance(found, Rows) else found[0].position
