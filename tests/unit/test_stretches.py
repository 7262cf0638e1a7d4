"""Stretches of repeated records that wait: what is left of them without some."""

from __future__ import annotations

from itertools import chain
from typing import TYPE_CHECKING

from hypothesis import given
from hypothesis import strategies as st

from kasparro_pipeline.components.stretches import Waiting

if TYPE_CHECKING:
    from kasparro_pipeline.warehouse.repeated import Stretches

lengths = st.lists(st.integers(1, 5), max_size=12)


def waiting(sizes: list[int], order: list[int], lines: dict[int, int]) -> tuple[Waiting, dict[int, int]]:
    """Stretches of some lengths, whose raw ids are in another order; and the position of each raw id."""
    first_ids = {number: 100 * place for place, number in enumerate(order)}
    found, positions, position = Waiting(), dict[int, int](), 3
    for number, size in enumerate(sizes):
        own = [lines.get(place, 1) for place in range(position, position + size)]
        found.add(position, first_ids[number], size, None if set(own) == {1} else own)
        positions |= {first_ids[number] + place: position + place for place in range(size)}
        position += size + number % 2
    return found, positions


def records(left: Stretches) -> dict[int, int]:
    """The position of each raw id of stretches."""
    columns = zip(left.raw_ids, left.positions, left.lengths, strict=True)
    return dict(
        chain.from_iterable(((raw_id + n, at + n) for n in range(size)) for raw_id, at, size in columns)
    )


@given(sizes=lengths, data=st.data())
def test_what_is_left_is_all_but_what_is_taken_out_with_its_lines(
    sizes: list[int], data: st.DataObject
) -> None:
    order = data.draw(st.permutations(range(len(sizes))))
    lines = data.draw(st.dictionaries(st.integers(0, 40), st.integers(2, 4), max_size=5))
    found, positions = waiting(sizes, order, lines)
    others = st.integers(-5, 1500)
    out = sorted(
        data.draw(st.sets(st.one_of(st.sampled_from(sorted(positions)), others) if sizes else others))
    )

    left, gone = found.without(out)

    assert dict(gone) == {raw_id: positions[raw_id] for raw_id in out if raw_id in positions}
    assert len(gone) == len(dict(gone))
    assert records(left) | dict(gone) == positions
    assert left.records == len(positions) - len(gone)
    assert list(left.positions) == sorted(left.positions)
    for at, size, taken in zip(left.positions, left.lengths, left.lines, strict=True):
        assert taken == sum(lines.get(place, 1) for place in range(at, at + size))


@given(sizes=lengths, data=st.data())
def test_each_record_is_found_by_its_raw_id_and_no_other_is(sizes: list[int], data: st.DataObject) -> None:
    found, positions = waiting(sizes, data.draw(st.permutations(range(len(sizes)))), {})
    position = found.position_of()
    assert len(found) == len(sizes)
    for raw_id in range(-2, 100 * len(sizes) + 9):
        assert position(raw_id) == positions.get(raw_id, -1)
