"""Stretches of repeated records that wait until it is decided about them: many of them in little room.

What is decided is in `repeats`; what is kept of them in `warehouse.repeated`.
"""

from array import array
from bisect import bisect_right
from collections.abc import Callable, Sequence
from itertools import pairwise

from kasparro_pipeline.warehouse.repeated import Stretches


class Waiting:
    """Stretches of records whose positions and raw ids rise by one, in the order of their positions."""

    def __init__(self) -> None:
        self._positions, self._raw_ids, self._lengths = array("q"), array("q"), array("q")
        self._lines: dict[int, Sequence[int]] = {}
        """Lines of each record in its file, by the number of the stretch, where they are not one each."""

    def __len__(self) -> int:
        return len(self._positions)

    def add(self, position: int, raw_id: int, length: int, lines: Sequence[int] | None) -> None:
        """Let one wait. `lines` of each record in its file; None: it is one."""
        if lines is not None:
            self._lines[len(self)] = lines
        self._positions.append(position)
        self._raw_ids.append(raw_id)
        self._lengths.append(length)

    def without(self, raw_ids: Sequence[int]) -> tuple[Stretches, list[tuple[int, int]]]:
        """What is left without some raw ids, which rise.

        Returns:
            The stretches that are left; and raw id and position of those records that they are without.
        """
        left = Stretches(array("q"), array("q"), array("q"), array("q"))
        gone: list[tuple[int, int]] = []
        of_number: dict[int, list[int]] = {}
        place_of = self._place_of()
        for raw_id in raw_ids:
            number, place = place_of(raw_id)
            if place >= 0:
                of_number.setdefault(number, []).append(place)
        done = 0
        for number in sorted(of_number):
            self._pass_on(left, done, number)
            done = number + 1
            position, first, length = self._positions[number], self._raw_ids[number], self._lengths[number]
            lines = self._lines.get(number)
            for before, behind in pairwise([-1, *of_number[number], length]):
                start = before + 1
                if start < behind:
                    left.positions.append(position + start)
                    left.lengths.append(behind - start)
                    left.raw_ids.append(first + start)
                    left.lines.append(behind - start if lines is None else sum(lines[start:behind]))
            gone += [(first + place, position + place) for place in of_number[number]]
        self._pass_on(left, done, len(self))
        return left, gone

    def _pass_on(self, left: Stretches, begin: int, end: int) -> None:
        """Add those from one number to before another as they are, all at once."""
        left.positions.extend(self._positions[begin:end])
        left.raw_ids.extend(self._raw_ids[begin:end])
        left.lengths.extend(self._lengths[begin:end])
        lines = self._lengths[begin:end]
        for number in range(begin, end) if self._lines else ():
            if number in self._lines:
                lines[number - begin] = sum(self._lines[number])
        left.lines.extend(lines)

    def position_of(self) -> Callable[[int], int]:
        """What tells the position of a record by its raw id; -1 if it is in none of them."""
        place_of = self._place_of()

        def position(raw_id: int) -> int:
            number, place = place_of(raw_id)
            return -1 if place < 0 else self._positions[number] + place

        return position

    def _place_of(self) -> Callable[[int], tuple[int, int]]:
        """What tells the number of the stretch that has a raw id, and its place there; -1 without one."""
        order = sorted(range(len(self)), key=self._raw_ids.__getitem__)
        firsts = array("q", [self._raw_ids[number] for number in order])

        def place(raw_id: int) -> tuple[int, int]:
            found = bisect_right(firsts, raw_id) - 1
            if found < 0 or raw_id - firsts[found] >= self._lengths[order[found]]:
                return -1, -1
            return order[found], raw_id - firsts[found]

        return place
