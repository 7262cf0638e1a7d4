"""Stretches of repeated records that wait until it is decided about them: many of them in little room.

What is decided is in `repeats`; what is kept of them in `warehouse.repeated`.
"""

from array import array
from bisect import bisect_left, bisect_right
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
        wanted = set(raw_ids)
        for number, (position, raw_id, length) in enumerate(
            zip(self._positions, self._raw_ids, self._lengths, strict=True)
        ):
            if length == 1 and raw_id not in wanted and not self._lines:  # half of many, and soon told
                left.positions.append(position)
                left.lengths.append(1)
                left.raw_ids.append(raw_id)
                left.lines.append(1)
                continue
            low = bisect_left(raw_ids, raw_id)
            high = bisect_left(raw_ids, raw_id + length, lo=low)
            taken = [found - raw_id for found in raw_ids[low:high]] if low < high else ()
            for before, behind in pairwise([-1, *taken, length]):
                start, lines = before + 1, self._lines.get(number)
                if start < behind:
                    left.positions.append(position + start)
                    left.lengths.append(behind - start)
                    left.raw_ids.append(raw_id + start)
                    left.lines.append(behind - start if lines is None else sum(lines[start:behind]))
            gone += [(raw_id + place, position + place) for place in taken]
        return left, gone

    def position_of(self) -> Callable[[int], int]:
        """What tells the position of a record by its raw id; -1 if it is in none of them."""
        order = sorted(range(len(self)), key=self._raw_ids.__getitem__)
        firsts = array("q", [self._raw_ids[number] for number in order])

        def position(raw_id: int) -> int:
            place = bisect_right(firsts, raw_id) - 1
            if place < 0 or raw_id - firsts[place] >= self._lengths[order[place]]:
                return -1
            return self._positions[order[place]] + raw_id - firsts[place]

        return position
