"""Extraction from CSV files: a file is a document, a row is a record, and its payload is the row's own bytes.

Cells are text; an empty one is null. Dialects and encodings are declared, not guessed.
"""

import codecs
import glob
import hashlib
import io
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from pydantic import Field

from kasparro_pipeline.contract.mapping import is_encodable
from kasparro_pipeline.contract.spec import StrictModel
from kasparro_pipeline.extract import csv_rows
from kasparro_pipeline.extract.documents import Batch, Document, KnownDocument, Request
from kasparro_pipeline.extract.errors import PermanentUpstreamError, TransientUpstreamError
from kasparro_pipeline.extract.json_records import mark_and_encoding

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
        lines = csv_rows.Lines(text, mark)
        try:
            header = csv_rows.first(lines, spec.delimiter, spec.quote)
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
            for records, complete in csv_rows.batches(lines, layout, skip):
                if complete:
                    _require_same(path, before, sha, lines)
                cursor = {"sha256": sha.hex(), "records": records[-1].position + 1 if records else skip}
                yield Batch(found, records, cursor, complete=complete, done=complete)
        except UnicodeError as error:
            raise PermanentUpstreamError(
                f"the file is not {encoding}: {error}; set `encoding`", str(path)
            ) from error


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


def _require_same(path: Path, before: os.stat_result, sha: bytes, lines: csv_rows.Lines) -> None:
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
