"""A document beside the one before it: which of its records that one has, byte for byte."""

from __future__ import annotations

from itertools import accumulate, count
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kasparro_pipeline.components import matching
from kasparro_pipeline.components.matching import Matching
from kasparro_pipeline.warehouse.document_reader import DocumentRecords

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

rows = st.lists(st.integers(0, 20).map(lambda number: b"%d\n" % number), max_size=120)
sizes = st.lists(st.integers(1, 40), min_size=1, max_size=12)
WINDOW = 60


@pytest.fixture(autouse=True)
def small_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(matching, "FIRST_COMPARED", 4)
    monkeypatch.setattr(matching, "MOST_COMPARED", 16)
    monkeypatch.setattr(matching, "NEAR", 3)


def stored(base: Sequence[bytes], sizes: Sequence[int] = (10,)) -> Iterator[DocumentRecords]:
    """The base as it is read: raw ids have a gap behind each part."""
    start = 0
    for number, end in enumerate(accumulate(sizes[n % len(sizes)] for n in count())):
        if start >= len(base):
            return
        part = list(base[start:end])
        yield DocumentRecords([(raw_id_of(start, number), len(part))], part)
        start = end


def raw_id_of(position: int, part: int) -> int:
    return 100 + position + part


def matched(
    found: Matching, document: Sequence[bytes], sizes: Sequence[int], *, looks: bool
) -> dict[int, int]:
    """By the place of each matched record its position in the base."""
    pairs: dict[int, int] = {}
    start = 0
    for end in accumulate(sizes[n % len(sizes)] for n in count()):
        if start >= len(document):
            return pairs
        batch = document[start:end]
        unknown = found.unknown(batch) if looks else []
        here = set()
        for match in found.take(batch):
            for n in range(match.length):
                assert start + match.place + n not in pairs
                pairs[start + match.place + n] = match.position + n
                here.add(match.place + n)
        assert here.isdisjoint(unknown) or not looks
        found.pass_on()
        start = end
    raise AssertionError


@given(base=rows, document=rows, parts=sizes, batches=sizes, looks=st.booleans())
def test_what_is_matched_is_the_same_and_matched_once(
    *, base: list[bytes], document: list[bytes], parts: list[int], batches: list[int], looks: bool
) -> None:
    found = Matching(stored(base, parts), WINDOW)
    pairs = matched(found, document, batches, looks=looks)
    assert all(document[place] == base[position] for place, position in pairs.items())
    assert len(set(pairs.values())) == len(pairs)


@st.composite
def edits(draw: st.DrawFn) -> tuple[list[bytes], list[bytes]]:
    """A base of rows that all differ; and a document where some changed, are gone, or have new ones before.

    One of the three: a new row and a missing one close to each other look like changed ones.
    """
    kind = draw(st.sampled_from(["changed", "gone", "new"]))
    base = [b"%d\n" % number for number in range(draw(st.integers(20, 150)))]
    document: list[bytes] = []
    for row in base:
        what = draw(st.sampled_from(["same"] * 6 + [kind]))
        if what in {"changed", "new"}:
            document.append(b"other than " + row)
        if what in {"same", "new"}:
            document.append(row)
    return base, document


@given(files=edits(), parts=sizes, batches=sizes, looks=st.booleans())
def test_every_row_that_stayed_is_found_whatever_changed_around_it(
    *, files: tuple[list[bytes], list[bytes]], parts: list[int], batches: list[int], looks: bool
) -> None:
    base, document = files
    found = Matching(stored(base, parts), WINDOW)
    pairs = matched(found, document, batches, looks=looks)
    assert [document[place] for place in sorted(pairs)] == [row for row in document if row in set(base)]


@given(base=rows, document=rows, parts=sizes)
def test_what_is_left_of_the_base_is_what_was_not_matched(
    *, base: list[bytes], document: list[bytes], parts: list[int]
) -> None:
    found = Matching(stored(base, parts), WINDOW)
    pairs = {match.position + n for match in found.take(document) for n in range(match.length)}
    left = [one for some in found.rest() for one in some]
    assert left == [(position, base[position]) for position in range(len(base)) if position not in pairs]


def parts_of(length: int, sizes: Sequence[int]) -> Iterator[range]:
    start = 0
    for end in accumulate(sizes[n % len(sizes)] for n in count()):
        if start >= length:
            return
        yield range(start, min(end, length))
        start = end


class Compared(bytes):
    """A row that counts how often one of its kind is compared."""

    times = 0

    def __eq__(self, other: object) -> bool:
        Compared.times += 1
        return bytes.__eq__(self, other)

    __hash__ = bytes.__hash__


def test_what_was_looked_for_is_not_looked_for_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Compared, "times", 0)
    base = [b"%d\n" % number for number in range(30)]
    first, second, third = ([Compared(row) for row in base[n : n + 10]] for n in (0, 10, 20))
    found = Matching(stored(base), WINDOW)
    # the second is cut by when the first one shows that its base is worth a look
    assert found.unknown(first) == []
    found.take(first)
    assert found.unknown(third) == []
    assert sum(match.length for match in found.take(second)) == len(second)
    Compared.times = 0
    assert found.take(third)[0].position == 20
    assert Compared.times == 0


def test_a_row_that_moved_is_found_in_the_window_on_either_side() -> None:
    base = [b"%d\n" % number for number in range(60)]
    document = [*base[:10], base[22], *base[10:22], *base[23:40], base[5] + b"?", *base[40:]]
    found = Matching(stored(base), WINDOW)
    pairs = matched(found, document, (25,), looks=True)
    assert len(pairs) == 60
    assert pairs[10] == 22


def test_raw_ids_that_go_on_are_one_stretch_wherever_the_base_was_cut() -> None:
    base = [b"%d\n" % number for number in range(9)]
    window = matching.Window()
    for start in range(0, 9, 3):
        raw_id = 7 + start if start < 6 else 100
        window.add(DocumentRecords([(raw_id, 3)], base[start : start + 3]))
    matches = [matching.Match(10, 1, 7), matching.Match(20, 8, 1), matching.Match(30, 0, 1)]
    assert list(window.stretches(matches)) == [(10, 8, 5), (15, 100, 2), (20, 102, 1), (30, 7, 1)]
    assert window.drop(7)[-1] == (6, b"6\n")
    assert list(window.stretches([matching.Match(0, 7, 2)])) == [(0, 101, 2)]
