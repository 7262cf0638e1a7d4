"""Cuts the text of a CSV file into rows without losing a byte of any, and reads stored rows again.

Many lines are read at once. Where each of them is a row with a cell for each column, that is all; a row over
several lines, stray quotes or a ragged row are looked at one by one, with the same outcome.
"""

import csv
import hashlib
import io
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from kasparro_pipeline.contract.table import Table
from kasparro_pipeline.extract.documents import RawRecord, Rows
from kasparro_pipeline.extract.unreadable import UnreadableRecordError

BATCH_ROWS = 20_000
"""Rows that are stored in one transaction, at most."""
BATCH_CHARACTERS = 3 * 1024 * 1024
"""Text that is read at once, up to the end of a line."""
MAX_FIELD = 16 * 1024 * 1024
"""Characters of one cell."""
csv.field_size_limit(MAX_FIELD)  # of the process: for the file, and for a stored row that is read again

Cells = list[str]


class Lines:
    """The lines of a file, for the CSV reader; and those of the row under way: the row's own bytes."""

    def __init__(self, text: io.TextIOWrapper, mark: bytes) -> None:
        self._text = text
        self._again: deque[str] = deque()
        self._row: list[str] = []
        self._digest = hashlib.sha256(mark)

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        line = self._again.popleft() if self._again else next(self._text)
        self._row.append(line)
        return line

    def take(self) -> bytes:
        """The bytes of the row that was just read."""
        payload = "".join(self._row).encode(self._text.encoding, "surrogateescape")
        self._row = []
        self._digest.update(payload)
        return payload

    def take_first(self) -> bytes:
        """The bytes of its first line alone; the lines behind it are read again, as rows of their own."""
        self.put_back(self._row[1:])
        del self._row[1:]
        return self.take()

    def many(self, most: int) -> list[str]:
        """The next lines; none of them counts as taken yet."""
        if not self._again:
            self._again.extend(self._text.readlines(BATCH_CHARACTERS))
        return [self._again.popleft() for _ in range(min(most, len(self._again)))]

    def take_many(self, lines: Sequence[str]) -> list[bytes]:
        """The bytes of lines that are a row each."""
        encoding = self._text.encoding
        payloads = [line.encode(encoding, "surrogateescape") for line in lines]
        self._digest.update(b"".join(payloads))
        return payloads

    def put_back(self, lines: Sequence[str]) -> None:
        """Let lines be read again."""
        self._again.extendleft(reversed(lines))

    @property
    def are_ahead(self) -> bool:
        """Whether there are lines that were read from the file, and not taken yet."""
        return bool(self._again)

    def sha256(self) -> bytes:
        """SHA-256 of all that was taken."""
        return self._digest.digest()


def first(lines: Lines, delimiter: str, quote: str) -> Cells | None:
    """The cells of the first row; none without one; None where stray quotes leave none."""
    return next(_rows(lines, delimiter, quote), (b"", []))[1]


def batches(lines: Lines, layout: Mapping[str, Any], skip: int) -> Iterator[tuple[Sequence[RawRecord], bool]]:
    """The records behind the first `skip`, BATCH_ROWS at a time; and whether they are the last ones."""
    waiting: Sequence[RawRecord] = ()
    start = 0
    for records in _runs(lines, layout):
        fresh = records[max(0, skip - start) :]
        start += len(records)
        if waiting and fresh:
            yield waiting, False
        waiting = fresh or waiting
    yield waiting, True


def _runs(lines: Lines, layout: Mapping[str, Any]) -> Iterator[Sequence[RawRecord]]:
    """All records of the file, at most BATCH_ROWS at a time."""
    position = 0
    while ahead := lines.many(BATCH_ROWS):
        cells = _cells_of(ahead, layout)
        if cells is None:
            lines.put_back(ahead)
            records: Sequence[RawRecord] = list(_one_by_one(lines, layout, position))
        else:
            records = Rows(position, lines.take_many(ahead), _table(cells, layout["columns"]))
        position += len(records)
        yield records


def _cells_of(lines: Sequence[str], layout: Mapping[str, Any]) -> list[Cells] | None:
    """The cells of lines that are a regular row each; None if they are not."""
    try:
        rows = list(csv.reader(lines, delimiter=layout["delimiter"], quotechar=layout["quote"], strict=True))
    except csv.Error:
        return None
    # each row takes one line at least: as many rows as lines are a row a line
    if len(rows) != len(lines) or set(map(len, rows)) != {len(layout["columns"])}:
        return None
    return rows


def _table(rows: Sequence[Cells], columns: Sequence[str]) -> Table:
    cells = zip(columns, zip(*rows, strict=True), strict=True)
    return Table(
        {name: [cell or None for cell in column] if "" in column else column for name, column in cells},
        len(rows),
    )


def _one_by_one(lines: Lines, layout: Mapping[str, Any], position: int) -> Iterator[RawRecord]:
    """The records of the lines that were read ahead, and of those that their last row goes on in."""
    for payload, row in _rows(lines, layout["delimiter"], layout["quote"]):
        if row != []:  # a blank line is no record
            yield _record(position, payload, row, layout)
            position += 1
        if not lines.are_ahead:
            return


def _rows(lines: Lines, delimiter: str, quote: str) -> Iterator[tuple[bytes, Cells | None]]:
    """Bytes and cells of each row; None for cells where stray quotes or a cell over MAX_FIELD leave none."""
    reader = csv.reader(lines, delimiter=delimiter, quotechar=quote, strict=True)
    while True:
        try:
            row = next(reader)
        except StopIteration:
            return
        except csv.Error:
            # a quote that does not end would swallow the good rows behind it
            yield lines.take_first(), None
        else:
            yield lines.take(), row


def _record(position: int, payload: bytes, row: Cells | None, layout: Mapping[str, Any]) -> RawRecord:
    try:
        return RawRecord(position, payload, None if row is None else _cells(row, layout["columns"]))
    except UnreadableRecordError:
        # kept like any other; validation meets the same error and says so
        return RawRecord(position, payload, None)


def read(payload: bytes, layout: Mapping[str, Any]) -> dict[str, str | None]:
    """The cells of one stored row by column name.

    Raises:
        UnreadableRecordError: more or fewer cells than columns, or quotes that do not end.
    """
    text = payload.decode(layout["encoding"], "surrogateescape")
    try:
        rows = list(csv.reader([text], delimiter=layout["delimiter"], quotechar=layout["quote"], strict=True))
    except csv.Error as error:
        raise UnreadableRecordError(
            "csv_quotes", f"the row's quotes do not end or are stray, or a cell is too long: {error}"
        ) from error
    return _cells(rows[0] if rows else [], layout["columns"])


def read_many(payloads: Sequence[bytes], layout: Mapping[str, Any]) -> Table | None:
    """The cells of stored rows, if each is a regular row; None if one has to be read by itself."""
    lines = [payload.decode(layout["encoding"], "surrogateescape") for payload in payloads]
    rows = _cells_of(lines, layout)
    return None if rows is None else _table(rows, layout["columns"])


def _cells(row: Cells, columns: Sequence[str]) -> dict[str, str | None]:
    if len(row) != len(columns):
        raise UnreadableRecordError("ragged_row", f"the row has {len(row)} cells, the header {len(columns)}")
    return {column: cell or None for column, cell in zip(columns, row, strict=True)}
