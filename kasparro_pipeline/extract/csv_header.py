"""The column names of a CSV file, from its header rows or without any."""

from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import zip_longest
from typing import Any, Literal

from kasparro_pipeline.contract.mapping import is_encodable
from kasparro_pipeline.extract import csv_rows
from kasparro_pipeline.extract.csv_lines import Lines
from kasparro_pipeline.extract.errors import PermanentUpstreamError

MAX_COLUMNS = 5_000
"""Columns of a file: more are a file with another delimiter, or an attack."""
NAMED = 20
"""Names that a message shows."""


def columns(
    lines: Lines, layout: Mapping[str, Any], header_rows: int, duplicates: Literal["reject", "number"]
) -> list[str]:
    """The names of the columns; the lines then begin with the first record.

    Without header rows they are numbered, as many as the first row has cells.

    Raises:
        PermanentUpstreamError: no header, or one that names no columns.
    """
    if header_rows == 0:
        cells = _first(lines, layout, "first row") or []
        lines.read_again()
        return [f"column_{number}" for number in range(1, _counted(cells) + 1)]
    rows = []
    for number in range(1, header_rows + 1):
        cells = _first(lines, layout, "header")
        if not cells:
            which = "" if header_rows == 1 else f" {number}"
            raise PermanentUpstreamError(
                f"the file has no header row{which}; if lines stand before it, say how many in `skip_rows`"
            )
        lines.take()
        rows.append(cells)
    return _named(rows, duplicates)


def _first(lines: Lines, layout: Mapping[str, Any], which: str) -> Sequence[str]:
    cells = csv_rows.first(lines, layout)
    if cells is None:
        raise PermanentUpstreamError(f"the {which}'s quotes are stray or do not end, or a cell is too long")
    return cells


def _counted(cells: Sequence[str]) -> int:
    if len(cells) > MAX_COLUMNS:
        raise PermanentUpstreamError(
            f"the file has {len(cells)} columns, at most {MAX_COLUMNS} are taken; is `delimiter` right?"
        )
    return len(cells)


def _named(rows: Sequence[Sequence[str]], duplicates: Literal["reject", "number"]) -> list[str]:
    _counted(max(rows, key=len))
    parts = zip_longest(*rows, fillvalue="")
    joined = (" ".join(filter(None, (part.strip() for part in column))) for column in parts)
    names = [name or f"column_{number}" for number, name in enumerate(joined, start=1)]
    if any("\x00" in name or not is_encodable(name) for name in names):
        raise PermanentUpstreamError(
            "the header holds NUL or bytes that the encoding does not have; set `encoding`"
        )
    doubled = [name for name, times in Counter(names).items() if times > 1]
    if doubled and duplicates == "reject":
        more = " …" if len(doubled) > NAMED else ""
        raise PermanentUpstreamError(
            f"columns that come twice in the header: {', '.join(sorted(doubled)[:NAMED])}{more}; correct the"
            " file, or set `duplicate_headers: number`"
        )
    return _numbered(names)


def _numbered(names: Sequence[str]) -> list[str]:
    """The second column of a name is `name_2`, unless a column is called that, and so on."""
    taken, seen, found = set(names), set[str](), []
    for name in names:
        number, own = 1, name
        while own in seen or (own != name and own in taken):
            number += 1
            own = f"{name}_{number}"
        seen.add(own)
        found.append(own)
    return found
