"""Extraction from CSV files: a file is a document, a row is a record, and its payload is the row's own bytes.

Cells are text; an empty one is null. Dialects and encodings are declared, not guessed.
"""

import codecs
import csv
import glob
import hashlib
import io
import os
import re
from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pydantic import Field

from kasparro_pipeline.contract.mapping import is_encodable
from kasparro_pipeline.contract.spec import StrictModel
from kasparro_pipeline.extract.documents import Batch, Document, KnownDocument, RawRecord, Request
from kasparro_pipeline.extract.errors import PermanentUpstreamError, TransientUpstreamError
from kasparro_pipeline.extract.json_records import mark_and_encoding
from kasparro_pipeline.extract.unreadable import UnreadableRecordError

BATCH_ROWS = 20_000
"""Rows that are stored in one transaction. Fixed: a batch is also what decides which duplicate wins."""
MAX_FIELD = 16 * 1024 * 1024
"""Characters of one cell."""
csv.field_size_limit(MAX_FIELD)  # of the process: for the file, and for a stored row that is read again
SETTLE_SECONDS = 2
"""A file that was written to within this time may still grow, and is left for later."""
_DAY = re.compile(r"\d{4}-\d{2}-\d{2}")


class CsvFiles(StrictModel):
    """Which files, and how they are written."""

    files: str
    """A path with wildcards (`data/coin_reference/*.csv`; `**` for folders below), from the project."""
    delimiter: str = Field(default=",", min_length=1, max_length=1)
    """What separates cells."""
    quote: str = Field(default='"', min_length=1, max_length=1)
    """What encloses a cell that holds a delimiter or a line break."""
    encoding: str | None = None
    """Default: UTF-8, or what a byte order mark says."""


@dataclass(frozen=True, slots=True)
class FoundFile:
    """A file of the listing. `name` is its path below the folder that the wildcards start in."""

    name: str
    path: Path
    size: int
    modified_ns: int


def list_files(spec: CsvFiles) -> list[FoundFile]:
    """The files, by name. Those that may still grow are left out.

    Raises:
        PermanentUpstreamError: the folder does not exist, which is not the same as holding no file.
    """
    folder = _folder(spec.files)
    if not folder.is_dir():
        raise PermanentUpstreamError("the folder does not exist; create it or correct `files`", str(folder))
    found = []
    now = datetime.now(UTC).timestamp()
    for name in glob.iglob(spec.files, recursive=True):  # noqa: PTH207 - a pattern, possibly absolute
        path = Path(name)
        if not path.is_file():
            continue
        state = path.stat()
        if abs(now - state.st_mtime) >= SETTLE_SECONDS:
            found.append(
                FoundFile(path.relative_to(folder).as_posix(), path, state.st_size, state.st_mtime_ns)
            )
    return sorted(found, key=lambda file: file.name)


def path_of(spec: CsvFiles, name: str) -> Path:
    """The path of a listed file.

    Raises:
        PermanentUpstreamError: the name leads out of the source's folder.
    """
    folder = _folder(spec.files)
    path = folder / name
    if not path.resolve().is_relative_to(folder.resolve()):
        raise PermanentUpstreamError("the file is outside the source's folder", name)
    return path


def digest_of(path: Path) -> bytes:
    """SHA-256 of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").digest()


def is_loaded(spec: CsvFiles, known: KnownDocument, sha: bytes) -> bool:
    """Whether the file's newest document has these bytes, read in the dialect that the spec says now."""
    layout = known.layout
    try:
        expected = codecs.lookup(spec.encoding).name.removesuffix("-sig") if spec.encoding else "utf-"
    except LookupError:
        return False  # the extraction says what is wrong
    same_encoding = layout["encoding"].startswith(expected)
    same_dialect = (spec.delimiter, spec.quote) == (layout["delimiter"], layout["quote"])
    return known.sha256 == sha and same_dialect and same_encoding


def extract(spec: CsvFiles, name: str, request: Request) -> Iterator[Batch]:
    """The batches of one file, behind what an interrupted extraction of the same bytes has stored.

    Raises:
        PermanentUpstreamError: no such file, no header, a column name that comes twice, an encoding that is
            unknown or not the file's.
        TransientUpstreamError: the file changed while it was read.
    """
    path = path_of(spec, name)
    if not path.is_file():
        raise PermanentUpstreamError("the file is gone; its records stay as they are", str(path))
    before, sha = path.stat(), digest_of(path)
    known, partial = request.known(name), request.partial(name)
    if known is not None and is_loaded(spec, known, sha):
        yield Batch(None, [], {"sha256": sha.hex()}, done=True)
        return
    skip = partial.records if partial is not None and partial.sha256 == sha else 0
    mark, encoding = _encoding(spec.encoding, path)
    with path.open("rb") as file:
        file.seek(len(mark))
        text = io.TextIOWrapper(file, encoding=encoding, errors="surrogateescape", newline="")
        lines = _Lines(text, mark)
        rows = _rows(lines, spec)
        try:
            _, header = next(rows, (b"", []))
            layout = {
                "format": "csv",
                "columns": _header(header, path),
                "delimiter": spec.delimiter,
                "quote": spec.quote,
                "encoding": encoding,
            }
            found = Document(
                name,
                before.st_size,
                sha,
                datetime.now(UTC),
                layout,
                _context(name),
                {"path": path.as_posix()},
            )
            for records, complete in _batches(rows, layout, skip):
                if complete:
                    _require_same(path, before, sha, lines)
                cursor = {"sha256": sha.hex(), "records": records[-1].position + 1 if records else skip}
                yield Batch(found, records, cursor, complete=complete, done=complete)
        except UnicodeError as error:
            raise PermanentUpstreamError(
                f"the file is not {encoding}: {error}; set `encoding`", str(path)
            ) from error


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


def _cells(row: list[str], columns: list[str]) -> dict[str, str | None]:
    if len(row) != len(columns):
        raise UnreadableRecordError("ragged_row", f"the row has {len(row)} cells, the header {len(columns)}")
    return {column: cell or None for column, cell in zip(columns, row, strict=True)}


class _Lines:
    """Hands lines to the CSV reader, and keeps those of the row under way: the row's own bytes."""

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
        self._again.extendleft(reversed(self._row[1:]))
        del self._row[1:]
        return self.take()

    def sha256(self) -> bytes:
        """SHA-256 of all that was taken."""
        return self._digest.digest()


def _rows(lines: _Lines, spec: CsvFiles) -> Iterator[tuple[bytes, list[str] | None]]:
    """Bytes and cells of each row; None for cells where stray quotes or a cell over MAX_FIELD leave none."""
    reader = csv.reader(lines, delimiter=spec.delimiter, quotechar=spec.quote, strict=True)
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


def _batches(
    rows: Iterator[tuple[bytes, list[str] | None]], layout: dict[str, Any], skip: int
) -> Iterator[tuple[list[RawRecord], bool]]:
    batch: list[RawRecord] = []
    position = 0
    for payload, row in rows:
        if row == []:
            continue  # a blank line is no record
        if position >= skip:
            if len(batch) == BATCH_ROWS:
                yield batch, False
                batch = []
            batch.append(_record(position, payload, row, layout))
        position += 1
    yield batch, True


def _record(position: int, payload: bytes, row: list[str] | None, layout: dict[str, Any]) -> RawRecord:
    try:
        return RawRecord(position, payload, None if row is None else _cells(row, layout["columns"]))
    except UnreadableRecordError:
        # kept like any other; validation meets the same error and says so
        return RawRecord(position, payload, None)


def _encoding(declared: str | None, path: Path) -> tuple[bytes, str]:
    """The byte order mark to pass over, and the codec of what follows it: exact both ways, row by row."""
    with path.open("rb") as file:
        mark, marked = mark_and_encoding(file.read(4))
    if declared is None:
        return mark, marked
    try:
        io.TextIOWrapper(io.BytesIO(), encoding=declared)
    except (LookupError, ValueError) as error:
        raise PermanentUpstreamError(f"unknown encoding {declared!r}", str(path)) from error
    name = codecs.lookup(declared).name.removesuffix("-sig")
    if name in {"utf-16", "utf-32"}:
        if not marked.startswith(name):
            raise PermanentUpstreamError(
                f"the file has no byte order mark of {name}; set `encoding` to {name}-le or {name}-be",
                str(path),
            )
        return mark, marked
    return (mark if marked == name else b""), name


def _header(row: list[str] | None, path: Path) -> list[str]:
    if row is None:
        raise PermanentUpstreamError("the header's quotes are stray or do not end", str(path))
    if not row:
        raise PermanentUpstreamError("the file has no header row", str(path))
    columns = [name.strip() or f"column_{number}" for number, name in enumerate(row, start=1)]
    if any("\x00" in name or not is_encodable(name) for name in columns):
        raise PermanentUpstreamError(
            "the header holds NUL or bytes that the encoding does not have; set `encoding`", str(path)
        )
    doubled = sorted({name for name in columns if columns.count(name) > 1})
    if doubled:
        raise PermanentUpstreamError(
            f"columns that come twice in the header: {', '.join(doubled)}", str(path)
        )
    return columns


def _context(name: str) -> dict[str, str]:
    day = _DAY.search(name)
    return {"file": name} | ({"file_date": day.group()} if day else {})


def _require_same(path: Path, before: os.stat_result, sha: bytes, lines: _Lines) -> None:
    """Nothing moved under the reading, and what was read is the file, byte for byte."""
    try:
        after = path.stat()
    except FileNotFoundError as error:
        raise TransientUpstreamError("the file went away while it was read", str(path)) from error
    if (after.st_size, after.st_mtime_ns) != (before.st_size, before.st_mtime_ns):
        raise TransientUpstreamError("the file changed while it was read", str(path))
    if lines.sha256() != sha:
        raise PermanentUpstreamError(
            "the encoding does not give the file's bytes back, so rows cannot be kept exactly; "
            "convert the file to UTF-8",
            str(path),
        )


def _folder(pattern: str) -> Path:
    parts = Path(pattern).parts
    first_wildcard = next((i for i, part in enumerate(parts) if glob.has_magic(part)), len(parts) - 1)
    return Path(*parts[:first_wildcard])
