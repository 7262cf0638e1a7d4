"""Finds out how the rows of a CSV file are written: delimiter, quote, header. Pure; the sample is given.

A dialect fits if it cuts each row of the sample into the same number of cells, two at least, without a stray
quote. Where dialects fit that give different cells, that is an error which names them, never a guess.
"""

import csv
import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from kasparro_pipeline.extract import csv_rows
from kasparro_pipeline.extract.errors import PermanentUpstreamError

DELIMITERS = (",", ";", "\t", "|")
QUOTES = ('"', "'")
"""The usual one first: where neither encloses anything, it is what a later row will use (RFC 4180)."""
MAX_UNFINISHED = 100
"""Lines of a row that goes on behind the sample."""
_NUMBER = re.compile(r"[+-]?(\d+|\d{1,3}([ .,']\d{3})+)([.,]\d+)?([eE][+-]?\d+)?\s?%?")
_DATE = re.compile(r"\d{4}-\d\d-\d\d|\d{1,2}[./]\d{1,2}[./]\d{2,4}|\d{4}/\d\d/\d\d")
_MOMENT = re.compile(r"(\d{4}-\d\d-\d\d[T ])?\d{1,2}:\d\d(:\d\d([.,]\d+)?)?(Z|[+-]\d\d:?\d\d)?")
_FLAG = re.compile(r"true|false|yes|no|y|n|t|f", re.IGNORECASE)
_MISSING = re.compile(r"n/?a|#n/a|nan|null|none|nil|-+|\?|\\?n|unknown|missing", re.IGNORECASE)
_NEVER_A_NAME = re.compile(r"[+-].*|.*[.,:T].*")
"""Of numbers, dates and moments those that name no column; a year or a day may head one."""


@dataclass(frozen=True, slots=True)
class Dialect:
    """What was found out. `confidence`: how likely the next row fits too, by Laplace's rule of succession."""

    delimiter: str
    quote: str
    header_rows: int
    confidence: float
    rows: int
    """Rows that were looked at."""


@dataclass(frozen=True, slots=True)
class _Candidate:
    delimiter: str
    quote: str
    rows: list[list[str]]
    encloses: bool

    def __str__(self) -> str:
        return f"delimiter {self.delimiter!r} with quote {self.quote!r} ({len(self.rows[0])} columns)"


def detect(lines: Sequence[str], layout: dict[str, Any], detects: frozenset[str], *, whole: bool) -> Dialect:
    """The dialect of a sample of lines; `layout` has what is declared, `detects` names what is not.

    `whole`: the sample is all of the file.

    Raises:
        PermanentUpstreamError: none fits, or several that differ.
    """
    delimiters = DELIMITERS if "delimiter" in detects else (layout["delimiter"],)
    quotes = QUOTES if "quote" in detects else (layout["quote"],)
    fitting = [
        found
        for delimiter in delimiters
        if any(delimiter in line for line in lines)
        for quote in quotes
        if (found := _fit(lines, layout | {"delimiter": delimiter, "quote": quote}, whole=whole))
    ]
    best = _only(_without_idle_quotes(fitting, quotes))
    header = _header_rows(best.rows) if "header_rows" in detects else layout["header_rows"]
    rows = len(best.rows)
    return Dialect(best.delimiter, best.quote, header, (rows + 1) / (rows + 2), rows)


def _fit(lines: Sequence[str], layout: dict[str, Any], *, whole: bool) -> _Candidate | None:
    """The rows of the sample in a dialect; None if it does not fit."""
    reader = csv_rows.reader(lines, layout)
    rows: list[list[str]] = []
    used = 0
    while True:
        try:
            cells = next(reader)
        except StopIteration:
            break
        except csv.Error:
            # the last row may go on behind the sample, and no other one
            if whole or not rows or len(lines) - used > MAX_UNFINISHED:
                return None
            break
        used = reader.line_num  # type: ignore[attr-defined]  # of csv.reader
        if cells:
            rows.append(cells)
    if not rows or len(rows[0]) == 1 or any(len(one) != len(other) for one, other in pairwise(rows)):
        return None
    plain = csv_rows.reader(lines, layout | {"quote": ""})
    try:
        encloses = bool(layout["quote"]) and list(filter(None, plain)) != rows
    except csv.Error:
        encloses = True
    return _Candidate(layout["delimiter"], layout["quote"], rows, encloses)


def _without_idle_quotes(fitting: list[_Candidate], quotes: Sequence[str]) -> list[_Candidate]:
    """Where nothing is enclosed the usual quote counts; of a delimiter, it gives way to one that encloses."""
    busy = {found.delimiter for found in fitting if found.encloses}
    return [
        found
        for found in fitting
        if found.encloses or (found.quote == quotes[0] and found.delimiter not in busy)
    ]


def _only(fitting: list[_Candidate]) -> _Candidate:
    different: list[_Candidate] = []
    for found in fitting:
        if all(found.rows != other.rows for other in different):
            different.append(found)
    if not different:
        raise PermanentUpstreamError(
            "no dialect fits: none of comma, semicolon, tab and bar cuts each row into the same number of"
            " cells, two at least; declare `delimiter`, `quote` and `header_rows`"
        )
    if len(different) > 1:
        raise PermanentUpstreamError(
            f"the file can be read in several ways: {'; '.join(map(str, different))}; declare `delimiter` and"
            " `quote`"
        )
    return different[0]


def _header_rows(rows: Sequence[Sequence[str]]) -> int:
    """1 if the first row names the columns, 0 if it is a record.

    A header is a row of different names in which no column of numbers, dates or flags has one of these. A
    record in the first row shows by a value that is no name: a fraction, a moment, a sign before a number, in
    a column of the like.
    """
    first, rest = rows[0], rows[1:]
    names = [cell.strip() for cell in first]
    typed = [_type_of([row[place] for row in rest]) for place in range(len(first))]
    same = [kind is not None and _type(name) == kind for name, kind in zip(names, typed, strict=True)]
    distinct = all(names) and len(set(names)) == len(names)
    if distinct and any(typed) and not any(same) and not any(map(_MISSING.fullmatch, names)):
        return 1
    if any(alike and _NEVER_A_NAME.fullmatch(name) for name, alike in zip(names, same, strict=True)):
        return 0
    raise PermanentUpstreamError(
        f"it cannot be told whether the first row is a header (it has {', '.join(names[:5])!r}): declare"
        " `header_rows` as 1 or 0"
    )


def _type_of(cells: Sequence[str]) -> str | None:
    """The one type that all cells have which hold a value, other than text."""
    kinds = {_type(cell) for cell in cells if cell.strip() and not _MISSING.fullmatch(cell.strip())}
    return kinds.pop() if len(kinds) == 1 else None


def _type(cell: str) -> str | None:
    text = cell.strip()
    patterns = {"number": _NUMBER, "date": _DATE, "moment": _MOMENT, "flag": _FLAG}
    return next((kind for kind, pattern in patterns.items() if pattern.fullmatch(text)), None)
