"""Cuts the text of a CSV file into rows without losing a byte of any, and reads stored rows again.

Many lines are read at once. Where each of them is a row with a cell for each column, that is all; a row over
several lines, stray quotes or a ragged row are looked at one by one, with the same outcome.
"""

import csv
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

from kasparro_pipeline.contract.table import Table
from kasparro_pipeline.extract.csv_columns import columns_of
from kasparro_pipeline.extract.csv_lines import KEPT, UNDECODABLE, Lines, bytes_of
from kasparro_pipeline.extract.documents import CameBefore, RawRecord, Rows
from kasparro_pipeline.extract.unreadable import UnreadableRecordError

BATCH_ROWS = 20_000
"""Rows that are stored in one transaction, at most."""
FIRST_ROWS = 1_000
"""Rows of each of the first two batches, at most: from the first one tells whether cells of others are
needed, and the second is cut by then."""
MAX_FIELD = 16 * 1024 * 1024
"""Characters of one cell."""
csv.field_size_limit(MAX_FIELD)  # of the process: for the file, and for a stored row that is read again

_CUT_AT_BYTES = frozenset({"utf-8", "ascii"})
"""Encodings in which no byte of one character is that of another one."""
_LINE_END = re.compile(r"\r\n?|\n")
Cells = list[str]


def reader(lines: Iterable[str], layout: Mapping[str, Any]) -> Iterator[Cells]:
    """The CSV reader of a document's dialect. A blank line is a row without cells."""
    quote = layout["quote"]
    return csv.reader(
        lines,
        delimiter=layout["delimiter"],
        quotechar=quote or None,
        quoting=csv.QUOTE_MINIMAL if quote else csv.QUOTE_NONE,
        escapechar=layout.get("escape"),
        strict=True,
    )


def first(lines: Lines, layout: Mapping[str, Any]) -> Cells | None:
    """The cells of the next row; none without one; None where stray quotes leave none."""
    try:
        return next(reader(lines, layout), [])
    except csv.Error:
        return None


def batches(
    lines: Lines,
    layout: Mapping[str, Any],
    skip: int,
    came_before: Callable[[], CameBefore | None] = lambda: None,
) -> Iterator[tuple[Sequence[RawRecord], bool]]:
    """The records behind the first `skip`, BATCH_ROWS at a time; and whether they are the last ones.

    What `came_before` gives, asked before each batch, spares the cells of rows that are known to be a row
    each: they are read only if somebody asks for them.
    """
    waiting: Sequence[RawRecord] = ()
    start = 0
    for records in _runs(lines, layout, came_before):
        fresh = records[max(0, skip - start) :]
        start += len(records)
        if waiting and fresh:
            yield waiting, False
        waiting = fresh or waiting
    yield waiting, True


def _runs(
    lines: Lines, layout: Mapping[str, Any], came_before: Callable[[], CameBefore | None]
) -> Iterator[Sequence[RawRecord]]:
    """All records of the file, at most BATCH_ROWS at a time."""
    position = 0
    while True:
        known = came_before()
        most = BATCH_ROWS if position > FIRST_ROWS else min(FIRST_ROWS, BATCH_ROWS)
        ahead = lines.many(most, by_lf=known is not None)
        if not ahead:
            return
        # one that came before as a row begins and ends outside of quotes, or has quotes that do not end and
        # is told to be unreadable as before: all are rows if the others are
        places = () if known is None else known(ahead)
        texts = lines.texts(ahead if known is None else [ahead[place] for place in places])
        table = None if texts is None else _table_of(texts, layout)
        if table is None:
            lines.put_back(ahead)
            lines.recut()
            records: Sequence[RawRecord] = list(_one_by_one(lines, layout, position))
        elif known is None:
            taken = lines.take_many(ahead)
            # what stands before the first one was taken with it
            records = Rows(position, taken, table, each_a_line=len(taken[0]) == len(ahead[0]))
        else:
            records = _RowsToRead(position, lines.take_many(ahead), layout, places, table)
        position += len(records)
        yield records


class _RowsToRead(Rows):
    """Regular rows, of which only some were read: nobody may ask for the cells of the others."""

    def __init__(
        self,
        start: int,
        payloads: Sequence[bytes],
        layout: Mapping[str, Any],
        places: Sequence[int],
        table: Table,
    ) -> None:
        super().__init__(start, payloads)
        self._layout = layout
        self._places, self._of_places = places, table

    def read_before(self, places: Sequence[int]) -> Table | None:
        """The cells of those at some places, if just those were read already."""
        return self._of_places if places == self._places else None

    def value(self, place: int) -> object:
        """The cells of one of them, without a look at the others."""
        return read(self.payloads[place], self._layout)

    def _read(self) -> Table:
        table = read_many(self.payloads, self._layout)
        assert table is not None  # noqa: S101 - each is a regular row
        return table


def column(payloads: Sequence[bytes], layout: Mapping[str, Any], name: str) -> Sequence[str | None]:
    """One cell of each of some stored rows that are regular, by the name of its column."""
    place, is_last = layout["columns"].index(name), layout["columns"][-1] == name
    if is_last or layout["encoding"] not in _CUT_AT_BYTES or layout.get("escape") or layout.get("comment"):
        return _parsed_column(payloads, layout, name)
    delimiter, quote = layout["delimiter"].encode(), (layout["quote"] or "\0").encode()
    cells = [payload.split(delimiter, place + 1)[place] for payload in payloads]
    texts = b"\n".join(cells).decode().split("\n")
    # in quotes there may be delimiters, and blank lines may stand before a row
    others = [n for n, payload in enumerate(payloads) if quote in payload or payload[0] in b"\r\n"]
    if len(texts) != len(cells):
        return _parsed_column(payloads, layout, name)
    found: list[str | None] = [text or None for text in texts]
    for index in others:
        found[index] = read(payloads[index], layout)[name]
    return found


def _parsed_column(payloads: Sequence[bytes], layout: Mapping[str, Any], name: str) -> Sequence[str | None]:
    table = read_many(payloads, layout)
    return [read(one, layout)[name] for one in payloads] if table is None else table.columns[name]


def _cells_of(lines: Sequence[str], layout: Mapping[str, Any]) -> list[Cells] | None:
    """The cells of lines that are a regular row each; None if they are not."""
    try:
        rows = list(reader(lines, layout))
    except csv.Error:
        return None
    # each row takes one line at least: as many rows as lines are a row a line
    if len(rows) != len(lines) or not set(map(len, rows)) <= {len(layout["columns"])}:
        return None
    return rows


def _table_of(lines: Sequence[str], layout: Mapping[str, Any]) -> Table | None:
    """The cells of lines that are a regular row each; None if they are not."""
    columns = columns_of(lines, layout, MAX_FIELD, partial(_cells_of, layout=layout))
    if columns is None:
        return None
    named = zip(layout["columns"], columns, strict=True)
    return Table(
        {name: column if all(column) else [cell or None for cell in column] for name, column in named},
        len(lines),
    )


def _one_by_one(lines: Lines, layout: Mapping[str, Any], position: int) -> Iterator[RawRecord]:
    """The records of lines that were read ahead, and of those that their last row goes on in."""
    rows = reader(lines, layout)
    behind = position + BATCH_ROWS
    while lines.are_ahead and position < behind:
        try:
            cells = next(rows)
        except StopIteration:
            return
        except csv.Error:
            # a quote that does not end would swallow the good rows behind it
            yield RawRecord(position, lines.take_first(), None)
            position += 1
        else:
            if cells:
                yield RawRecord(position, lines.take(), _value(cells, layout["columns"]))
                position += 1
            else:
                lines.pass_over()


def _value(cells: Cells, columns: Sequence[str]) -> dict[str, str | None] | None:
    """None for a row that cannot be read: it is kept like any other, and validation says why."""
    if len(cells) != len(columns):
        return None
    text = "".join(cells)
    if not text.isascii() and UNDECODABLE.search(text):
        return None
    return _by_column(cells, columns)


def read(payload: bytes, layout: Mapping[str, Any]) -> dict[str, str | None]:
    """The cells of one stored row by column name.

    Raises:
        UnreadableRecordError: bytes that the encoding does not have, more or fewer cells than columns, a cell
            over MAX_FIELD, or quotes that do not end.
    """
    text = payload.decode(layout["encoding"], KEPT)
    text = text[_leading(text, layout)[1] :]
    if found := UNDECODABLE.search(text):
        byte = bytes_of(found.group())[0]
        raise UnreadableRecordError(
            "undecodable_byte",
            f"the byte 0x{byte:02X} behind {found.start()} characters of the row is not {layout['encoding']};"
            " correct the file, or set `encoding`",
        )
    try:
        rows = list(reader([text], layout))
    except csv.Error as error:
        if len(text) > MAX_FIELD:
            message = f"the row has {len(text)} characters, and a cell of more than {MAX_FIELD}"
            raise UnreadableRecordError("cell_too_long", message) from error
        raise UnreadableRecordError(
            "csv_quotes", f"the row's quotes do not end, or are stray: {error}"
        ) from error
    cells, columns = rows[0] if rows else [], layout["columns"]
    if len(cells) != len(columns):
        message = f"the row has {len(cells)} cells, the header {len(columns)}"
        raise UnreadableRecordError("ragged_row", message)
    return _by_column(cells, columns)


def lines_before(payload: bytes, layout: Mapping[str, Any]) -> int:
    """How many blank lines and comments stand before the row in its payload."""
    return _leading(payload.decode(layout["encoding"], KEPT), layout)[0]


def _leading(text: str, layout: Mapping[str, Any]) -> tuple[int, int]:
    """Lines and characters of blank lines and comments that a payload begins with."""
    marks = ("\r", "\n", layout["comment"]) if layout.get("comment") else ("\r", "\n")
    lines, place = 0, 0
    while text.startswith(marks, place) and (end := _LINE_END.search(text, place)):
        lines, place = lines + 1, end.end()
    return lines, place


def read_many(payloads: Sequence[bytes], layout: Mapping[str, Any]) -> Table | None:
    """The cells of stored rows, if each is a regular row; None if one has to be read by itself."""
    encoding, comment = layout["encoding"], layout.get("comment")
    try:
        lines = [payload.decode(encoding) for payload in payloads]
    except UnicodeDecodeError:
        return None
    if comment and any(line.startswith(comment) for line in lines):
        return None
    return _table_of(lines, layout)


def _by_column(cells: Cells, columns: Sequence[str]) -> dict[str, str | None]:
    return {column: cell or None for column, cell in zip(columns, cells, strict=True)}
