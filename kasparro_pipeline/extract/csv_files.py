"""Extraction from CSV files: a file is a document, a row is a record, its payload the row's own bytes.

Cells are text; an empty one is null. Of a ZIP file each CSV member is a document, and the file itself one
more without records, which is stored behind them: it says that all of them are.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from fnmatch import fnmatch
from functools import partial
from pathlib import PurePosixPath
from typing import Any

from kasparro_pipeline.extract import csv_rows
from kasparro_pipeline.extract.csv_dialect import detect
from kasparro_pipeline.extract.csv_encoding import Encoding, encoding_of
from kasparro_pipeline.extract.csv_header import columns
from kasparro_pipeline.extract.csv_lines import Lines, codec_name
from kasparro_pipeline.extract.csv_place import Place
from kasparro_pipeline.extract.csv_spec import CsvFiles
from kasparro_pipeline.extract.decompression import Archive, Stream, content, digest, kind_of
from kasparro_pipeline.extract.documents import (
    Batch,
    CameBefore,
    Document,
    KnownDocument,
    Request,
    behind_last,
)
from kasparro_pipeline.extract.errors import PermanentUpstreamError, TransientUpstreamError, UpstreamError

SAMPLE = 1024 * 1024
"""Characters that a dialect is found out from."""
NAMED = 20
"""Members that are named of those that are left."""
TOLD = frozenset(
    {
        "compression", "header_rows", "encoding_confidence", "dialect_confidence", "dialect_rows",
        "members", "left", "left_members",
    }
)  # fmt: skip
"""Headers of a document that say how it was read."""
NOT_TOLD = frozenset({"columns", "first_line", "format"})
"""Parts of the layout that the contract and the records tell better."""
_DAY = re.compile(r"\d{4}-\d{2}-\d{2}")


def is_loaded(spec: CsvFiles, known: KnownDocument, state: str) -> bool:
    """Whether the newest document is of a file in this state, read as the spec says now."""
    return known.headers.get("state", known.sha256.hex()) == state and reads_alike(spec, known)


def reads_alike(spec: CsvFiles, known: KnownDocument) -> bool:
    """Whether a stored document was read as the spec says now."""
    if "reading" in known.headers:
        return known.headers["reading"] == spec.reading()
    # stored when there was only this to declare
    layout = known.layout
    expected = codec_name(spec.encoding) if spec.encoding and "encoding" not in spec.detects else "utf-"
    plain = spec.model_copy(update={"delimiter": ",", "quote": '"', "encoding": None}).reading() == "{}"
    same_dialect = (spec.delimiter, spec.quote) == (layout["delimiter"], layout["quote"])
    return plain and same_dialect and layout["encoding"].startswith(expected)


class CsvExtraction:
    """The batches of one file, behind what an interrupted extraction of the same bytes has stored.

    Raises:
        PermanentUpstreamError: no such file, no header, a column name that comes twice, a dialect or encoding
            that cannot be told, a compressed file that is cut or damaged.
        TransientUpstreamError: the file changed while it was read, or cannot be had now.
    """

    def __init__(self, spec: CsvFiles, place: Place, name: str, request: Request) -> None:
        self._spec, self._name, self._request = spec, name, request
        self._received = place.receive(name)
        self._kind = kind_of(self._received.file) if spec.compression == "auto" else spec.compression
        self.one_document = self._kind != "zip"
        """Whether all batches are of one document, and ask the warehouse nothing behind the first of them."""
        self._came_before: CameBefore | None = None

    def compare_with(self, came_before: CameBefore) -> None:
        """Let rows that came before be no more than cut, from the next batch on."""
        self._came_before = came_before

    def __iter__(self) -> Iterator[Batch]:
        """The batches, once."""
        received, known = self._received, self._request.known(self._name)
        with received.opened, _located(received.uri):
            sha = received.sha256.hex()
            if known and _file_sha(known) == sha and reads_alike(self._spec, known):
                yield Batch(None, [], {"sha256": sha}, done=True, same_as=known.id)
            elif received.size > self._spec.max_bytes:
                raise PermanentUpstreamError(
                    f"the file has {received.size} bytes, more than `max_bytes`, {self._spec.max_bytes}"
                )
            elif self._kind == "zip":
                yield from self._members()
            else:
                opened = partial(content, received.file, self._kind, self._spec.limits)
                found = (received.sha256, received.size) if self._kind == "none" else digest(opened())
                yield from self._rows(self._name, opened, found, done=True)

    def _members(self) -> Iterator[Batch]:
        received, spec = self._received, self._spec
        archive = Archive(received.file, spec.limits)
        wanted = [name for name in archive.names if _is_wanted(name, spec.members)]
        left = [name for name in archive.names if name not in set(wanted)]
        if not wanted:
            raise PermanentUpstreamError(
                f"no member of the archive is called {spec.members}; it has {_named(left) or 'none at all'};"
                " correct `members`"
            )
        used = 0
        for name in wanted:
            opened = partial(archive.member, name, used)
            with _located(f"{received.uri}!{name}"):
                sha, size = digest(opened())
                location = f"{self._name}!{name}"
                known = self._request.known(location)
                if known and known.sha256 == sha and reads_alike(spec, known):
                    yield Batch(None, [], {"sha256": sha.hex()}, same_as=known.id)
                else:
                    yield from self._rows(location, opened, (sha, size), done=False)
            used += size
        headers = {"members": str(len(wanted)), "left": str(len(left)), "left_members": _named(left)}
        receipt = self._document(self._name, (received.sha256, received.size), {"format": "zip"}, headers)
        yield Batch(receipt, [], {"sha256": received.sha256.hex()}, done=True)

    def _rows(
        self, location: str, opened: Callable[[], Stream], found: tuple[bytes, int], *, done: bool
    ) -> Iterator[Batch]:
        """The batches of one document, whose content has the digest and size that were found."""
        sha = found[0]
        partial_document = self._request.partial(location)
        skip = partial_document.records if partial_document and partial_document.sha256 == sha else 0
        encoding = encoding_of(self._spec, opened)
        layout, told = self._dialect(opened, encoding)
        header_rows = int(told["header_rows"])
        lines = self._lines(opened, encoding)
        layout["columns"] = columns(lines, layout, header_rows, self._spec.duplicate_headers)
        layout["first_line"] = lines.taken + 1
        document = self._document(location, found, layout, told)
        for records, complete in csv_rows.batches(lines, layout, skip, lambda: self._came_before):
            if complete:
                self._received.require_same()
                if lines.sha256() != sha:
                    raise TransientUpstreamError("the file changed while it was read, but for size and time")
            cursor = {"sha256": sha.hex(), "records": behind_last(records) if records else skip}
            yield Batch(document, records, cursor, complete=complete, done=complete and done)

    def _lines(self, opened: Callable[[], Stream], encoding: Encoding) -> Lines:
        stream, left = opened(), len(encoding.mark)
        while left:
            left -= len(stream.read(left))
        lines = Lines(stream, encoding.mark, encoding.name, self._spec.comment)
        lines.skip(self._spec.skip_rows)
        return lines

    def _dialect(
        self, opened: Callable[[], Stream], encoding: Encoding
    ) -> tuple[dict[str, Any], dict[str, str]]:
        """The layout without the columns, and what is told of how it was found."""
        spec, detects = self._spec, self._spec.detects
        layout: dict[str, Any] = {
            "format": "csv",
            "delimiter": spec.delimiter,
            "quote": spec.quote,
            "encoding": encoding.name,
        }
        layout |= {name: one for name in ("escape", "comment") if (one := getattr(spec, name)) is not None}
        told = {"header_rows": str(spec.header_rows)}
        if encoding.confidence is not None:
            told["encoding_confidence"] = f"{encoding.confidence:.3f}"
        if detects:
            sample, size = list[str](), 0
            lines = self._lines(opened, encoding)
            while size < SAMPLE and (line := next(lines, None)) is not None:
                lines.take()
                sample.append(line)
                size += len(line)
            layout["header_rows"] = spec.header_rows
            found = detect(sample, layout, detects, whole=size < SAMPLE)
            del layout["header_rows"]
            layout |= {"delimiter": found.delimiter, "quote": found.quote}
            told |= {
                "header_rows": str(found.header_rows),
                "dialect_confidence": f"{found.confidence:.3f}",
                "dialect_rows": str(found.rows),
            }
        return layout, told

    def _document(
        self, location: str, found: tuple[bytes, int], layout: Mapping[str, Any], told: Mapping[str, str]
    ) -> Document:
        received = self._received
        _, _, member = location.partition(f"{self._name}!")
        context = {"file": self._name} | ({"member": member} if member else {})
        if day := _DAY.search(member) or _DAY.search(self._name):
            context["file_date"] = day.group()
        headers = {
            **received.headers,
            "reading": self._spec.reading(),
            "file_sha256": received.sha256.hex(),
            "compression": self._kind,
            **told,
        }
        return Document(location, found[1], found[0], datetime.now(UTC), layout, context, headers)


def reading(known: KnownDocument) -> dict[str, Any]:
    """How a document was read, for people: what was declared, and what was found out with what confidence."""
    layout = {name: one for name, one in known.layout.items() if name not in NOT_TOLD}
    return layout | {name: one for name, one in known.headers.items() if name in TOLD}


def _file_sha(known: KnownDocument) -> str:
    return known.headers.get("file_sha256", known.sha256.hex())


def _is_wanted(member: str, pattern: str) -> bool:
    """Whether a member is to be read. What macOS adds to archives is no data."""
    path = PurePosixPath(member)
    hidden = path.name.startswith(".") or path.parts[0] == "__MACOSX"
    return not hidden and fnmatch(member.lower(), pattern.lower())


def _named(names: list[str]) -> str:
    return ", ".join(names[:NAMED]) + (" …" if len(names) > NAMED else "")


@contextmanager
def _located(location: str) -> Iterator[None]:
    """Say of an error where it was met."""
    try:
        yield
    except UpstreamError as error:
        error.location = error.location or location
        raise
