"""Cuts lines of a CSV file that are a row each into columns, all lines at once.

Where no line holds a quote or an escape, the delimiter alone tells the cells. The lines that do are left to a
reader of rows, as all are where they are many, or where the text is in any way unusual.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

FEW = 4
"""Of as many lines one, at most, may be left to the reader."""
Cells = Sequence[str]
Read = Callable[[Sequence[str]], Sequence[Cells] | None]
"""Gives the cells of lines that are a row each, with a cell for each column; None if they are not."""


def columns_of(
    lines: Sequence[str], layout: Mapping[str, Any], longest: int, read: Read
) -> list[Cells] | None:
    """The cells of lines by column; None if not each of them is a row with a cell for each column.

    `longest`: characters of a cell that `read` still accepts.
    """
    width, delimiter = len(layout["columns"]), layout["delimiter"]
    if not lines:
        return [()] * width
    marks = [mark for mark in (layout["quote"], layout.get("escape")) if mark]
    others = sorted({place for mark in marks for place, line in enumerate(lines) if mark in line})
    if width == 1 or len(others) * FEW > len(lines):  # in one column a blank line is no cell
        return _by_row(lines, read)
    some, end = lines, "\r\n" if lines[0].endswith("\r\n") else "\n"
    if others:
        some = list(lines)
        for place in others:
            some[place] = delimiter * (width - 1) + end
    columns = _cut("".join(some), len(lines), width, delimiter, end, longest)
    if columns is None:
        return _by_row(lines, read)
    rows = read([lines[place] for place in others]) if others else ()
    if rows is None:
        return None
    for place, row in zip(others, rows, strict=True):
        for column, cell in zip(columns, row, strict=True):
            column[place] = cell
    return list(columns)


def _by_row(lines: Sequence[str], read: Read) -> list[Cells] | None:
    rows = read(lines)
    return None if rows is None else list(zip(*rows, strict=True))


def _cut(
    text: str, length: int, width: int, delimiter: str, end: str, longest: int
) -> list[list[str]] | None:
    """The columns of so many lines without quotes; None if they are not as many, or not of that width."""
    if not text.endswith(end):
        text += end
    text = text.replace(end, f"\n{delimiter}")
    if text.count("\n") != length or "\r" in text or len(text) > longest:
        return None
    cells = text.split(delimiter)
    cells.pop()  # behind the last line
    if len(cells) != length * width:
        return None
    columns = [cells[place::width] for place in range(width)]
    # as many cells, each of the last column with the end of a line: each line has its own
    columns[-1] = "".join(columns[-1]).split("\n")
    columns[-1].pop()
    return columns if len(columns[-1]) == length else None
