"""A CSV source made from the first rows of its newest file: encoding, dialect, key, contract."""

import codecs
import csv
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from itertools import islice
from pathlib import Path

from pydantic import ValidationError

from kasparro_pipeline.extract.csv_files import CsvExtraction
from kasparro_pipeline.extract.csv_folder import Folder
from kasparro_pipeline.extract.csv_place import SETTLE_SECONDS, split_pattern
from kasparro_pipeline.extract.csv_spec import CsvFiles
from kasparro_pipeline.extract.documents import Request
from kasparro_pipeline.extract.json_records import mark_and_encoding
from kasparro_pipeline.scaffold import sampling
from kasparro_pipeline.scaffold.contract import infer
from kasparro_pipeline.scaffold.defs_text import DefsText, begun
from kasparro_pipeline.scaffold.errors import ScaffoldError
from kasparro_pipeline.scaffold.params import CsvParams
from kasparro_pipeline.scaffold.rest_text import placeholders

TYPE = "kasparro_pipeline.components.CsvSource"
CONTROLS = range(0x80, 0xA0)
"""Where Latin-1 has control characters, which nobody writes, and Windows-1252 has letters."""
LOOKED_AT = 1 << 20
"""Bytes that the encoding is told from."""
ROWS = 1000
"""Rows that key and contract are inferred from."""
DELIMITERS = (",", ";", "\t", "|")
FEWEST_CELLS = 2


@dataclass(frozen=True, slots=True)
class _Dialect:
    """How a file is written, and what was seen of it."""

    delimiter: str
    columns: int
    regular: float
    """Share of the rows that have as many cells as the header."""


def make(params: CsvParams, name: str, kind: str, project: Path, today: date) -> str:
    """The text of the source's `defs.yaml`. `project`: the folder that `files` counts from.

    Raises:
        ScaffoldError: there is no file, or none that a source can be made from.
    """
    _ = today  # files have no first day
    if not params.sample:
        return _skeleton(params, name, kind)
    if "://" in params.files:
        raise ScaffoldError(
            f"A sample is read from files of this machine, and {params.files} is elsewhere."
            f" {sampling.INSTEAD}"
        )
    with sampling.asking("`files`"):
        path = _newest(params.files, project)
    with path.open("rb") as opened:
        body = opened.read(LOOKED_AT)
    encoding, why = _encoding(body, params.encoding)
    dialect = _dialect(body, encoding or mark_and_encoding(body)[1], params.delimiter, path)
    with sampling.asking("`files`, `delimiter` or `encoding`"):
        spec = _spec(path, dialect.delimiter, encoding)
        batch = next(
            iter(CsvExtraction(spec, Folder(spec.files), path.name, Request(datetime.now(UTC).date())))
        )
    written = {"delimiter": dialect.delimiter} if dialect.delimiter != "," else {}
    written |= {"encoding": encoding} if encoding else {}
    records = [record.value for record in islice(batch.records, ROWS)]
    readable = [record for record in records if record is not None]
    if not readable:
        raise ScaffoldError(
            f"{path} has no row below its header that can be read. Name a file that has some in `files`,"
            f" or correct `delimiter`. {sampling.INSTEAD}"
        )
    key = sampling.key_of(params.key, readable, kind, str(path))
    inferred = infer(kind, key.paths, readable, text_only=True)
    text = begun(name, f"{len(records)} rows of {path.name}", TYPE)
    text.comment(
        "A partition is a file; a new or changed one is taken by itself. `**` stands for folders below."
    )
    text.key("files", params.files)
    text.comment(why)
    for option, value in written.items():
        text.key(option, value)
    text.comment(f"{dialect.columns} columns; {dialect.regular:.0%} of the rows have as many cells.")
    text.off("quote", '"', "what encloses a cell that holds a delimiter")
    text.off("check_every", "PT30S", "how often the folder is listed")
    text.gap()
    text.key("kind", kind)
    text.key("key", key.paths[0] if len(key.paths) == 1 else list(key.paths), sampling.seen_of(key))
    text.comment("Where a file of a newer date holds newer versions, and its name tells the date:")
    text.off("version", {"path": "$document.file_date", "type": "date"})
    text.contract(inferred)
    return text.text()


def _newest(files: str, project: Path) -> Path:
    pattern = str(project / files)
    place = Folder(pattern)
    found = place.listing()
    if not found:
        time.sleep(SETTLE_SECONDS)  # one that was just written is not listed yet
        found = place.listing()
    if not found:
        raise ScaffoldError(
            f"No file matches {files!r} (looked for {pattern}). Correct `files`, or put a file there."
            f" {sampling.INSTEAD}"
        )
    folder = Path(split_pattern(pattern)[0])
    return max((folder / file.name for file in found), key=lambda path: path.stat().st_mtime_ns)


def _spec(path: Path, delimiter: str, encoding: str | None) -> CsvFiles:
    try:
        return CsvFiles(files=str(path), delimiter=delimiter, encoding=encoding)
    except ValidationError as error:
        raise ScaffoldError(f"Correct the params: {error.errors()[0]['msg']}.") from error


def _encoding(body: bytes, given: str | None) -> tuple[str | None, str]:
    """What `encoding` has to be, None where it may be left out; and why."""
    if given is not None:
        return given, f"encoding: {given}, as given."
    mark, marked = mark_and_encoding(body)
    if mark:
        return None, f"A byte order mark says that the file is {marked}."
    try:
        codecs.getincrementaldecoder("utf-8")().decode(body)
    except UnicodeDecodeError as error:
        is_windows = any(byte in CONTROLS for byte in body)
        name = "cp1252" if is_windows and _decodes(body, "cp1252") else "latin-1"
        return name, (
            f"The file is not UTF-8 (byte {error.object[error.start]:#04x} at {error.start}). {name} reads"
            " it; look whether letters with accents are right: kasparro source try."
        )
    plain = "is ASCII, which is UTF-8 too" if body.isascii() else "is UTF-8"
    return None, f"The file {plain}."


def _decodes(body: bytes, encoding: str) -> bool:
    try:
        body.decode(encoding)
    except UnicodeDecodeError:
        return False
    return True


def _dialect(body: bytes, encoding: str, given: str | None, path: Path) -> _Dialect:
    try:
        text = codecs.getincrementaldecoder(encoding)("replace").decode(body)
    except LookupError as error:
        raise ScaffoldError(f"There is no encoding {encoding!r}. Correct `encoding`.") from error
    lines = text.splitlines(keepends=True)
    if len(body) == LOOKED_AT:
        lines = lines[:-1]  # cut in the middle
    found = [_read_with(lines, one) for one in ((given,) if given else DELIMITERS)]
    best = max(found, key=lambda one: (one.columns >= FEWEST_CELLS, one.regular, one.columns))
    if not lines or not best.columns:
        raise ScaffoldError(f"{path} is empty. Name a file that has rows in `files`. {sampling.INSTEAD}")
    return best


def _read_with(lines: Sequence[str], delimiter: str) -> _Dialect:
    rows = [row for row in islice(csv.reader(lines, delimiter=delimiter), ROWS) if row]
    columns = len(rows[0]) if rows else 0
    same = Counter(map(len, rows))[columns]
    return _Dialect(delimiter, columns, same / len(rows) if rows else 0)


def _skeleton(params: CsvParams, name: str, kind: str) -> str:
    text: DefsText = begun(name, "the params alone: no file was read", TYPE)
    text.key("files", params.files)
    for option, value, otherwise in (
        ("delimiter", params.delimiter, ";"),
        ("encoding", params.encoding, "latin-1"),
    ):
        if value is None:
            text.off(option, otherwise)
        else:
            text.key(option, value)
    text.gap()
    placeholders(text, kind, params.key)
    return text.text()
