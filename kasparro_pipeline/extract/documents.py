"""What extraction hands over: documents, their raw records, and the cursor that holds once stored."""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Any, overload

from kasparro_pipeline.contract.table import Table

Cursor = Mapping[str, Any]
"""How far extraction has come: JSON, opaque to all but the extractor that wrote it."""


@dataclass(frozen=True, slots=True)
class Document:
    """One body as it came. `sha256` is over the bytes of the body (after content decoding, RFC 9110 8.4)."""

    location: str
    byte_count: int
    sha256: bytes
    fetched_at: datetime
    layout: Mapping[str, Any]
    """How its records are read again: `format` and what that format needs."""
    context: Mapping[str, Any] = field(default_factory=dict)
    """What a contract may map beside the record: request parameters, a file's date."""
    headers: Mapping[str, str] = field(default_factory=dict)
    """The response headers that matter, by lower-case name."""


@dataclass(frozen=True, slots=True)
class RawRecord:
    """One item of a document: its bytes exactly as received, and the value they hold."""

    position: int
    payload: bytes
    value: Any


class Rows(Sequence[RawRecord]):
    """Consecutive records of a document whose values are a table: many of them in little room."""

    def __init__(
        self,
        start: int,
        payloads: Sequence[bytes],
        table: Table | None = None,
        *,
        each_a_line: bool = False,
    ) -> None:
        self.start = start
        """Position of the first."""
        self.payloads = payloads
        self.each_a_line = each_a_line
        """Whether each is known to be a line of its file, without a line break within."""
        self._table = table

    @property
    def table(self) -> Table:
        """The values; if none were given, they are read now."""
        if self._table is None:
            self._table = self._read()
        return self._table

    def _read(self) -> Table:
        raise NotImplementedError("rows without a table are of a class that reads it")

    def read_before(self, _places: Sequence[int]) -> Table | None:
        """The values of the records at some places, if just those were read already."""
        return None

    def value(self, place: int) -> object:
        """The value of one of the records."""
        return self.table.record(place)

    def __len__(self) -> int:
        return len(self.payloads)

    @overload
    def __getitem__(self, index: int) -> RawRecord: ...
    @overload
    def __getitem__(self, index: slice) -> "Rows": ...
    def __getitem__(self, index: int | slice) -> "RawRecord | Rows":
        """One of the records; of a slice without a step, those in it."""
        if isinstance(index, int):
            place = range(len(self))[index]
            return RawRecord(self.start + place, self.payloads[place], self.value(place))
        start, stop, step = index.indices(len(self))
        if step != 1:
            raise ValueError("records are taken in their order, without gaps")
        if (start, stop) == (0, len(self)):
            return self
        columns = {name: column[start:stop] for name, column in self.table.columns.items()}
        payloads = self.payloads[start:stop]
        table = Table(columns, len(payloads))
        return Rows(self.start + start, payloads, table, each_a_line=self.each_a_line)


def payloads_of(found: Sequence[RawRecord]) -> Sequence[bytes]:
    """The bytes of each record."""
    return found.payloads if isinstance(found, Rows) else [record.payload for record in found]


def behind_last(found: Sequence[RawRecord]) -> int:
    """The position behind the last of some records, which is not read: it may be unreadable."""
    return found.start + len(found) if isinstance(found, Rows) else found[-1].position + 1


CameBefore = Callable[[Sequence[bytes]], Sequence[int]]
"""Of the next payloads of a document the places of those that no earlier document, of the same layout, is
known to have as one record each."""


@dataclass(frozen=True, slots=True)
class Batch:
    """Records of one document that are stored in one transaction, with the cursor that then holds.

    `document` is None where the upstream said that nothing changed. `complete` says that the document's last
    record is in this batch. `done` says that nothing more comes after it. `more_is_there`: the next one can
    be had at once, so the two may be stored together. `same_as` is the id of the stored document that has not
    changed, if it is known. `doubt`, with `done`: why the extraction may not have seen all there is.
    """

    document: Document | None
    records: Sequence[RawRecord]
    cursor: Cursor
    complete: bool = True
    done: bool = False
    more_is_there: bool = False
    same_as: int | None = None
    doubt: str | None = None


@dataclass(frozen=True, slots=True)
class KnownDocument:
    """The newest document of a location that is wholly stored."""

    id: int
    sha256: bytes
    record_count: int
    headers: Mapping[str, str]
    layout: Mapping[str, Any]
    context: Mapping[str, Any]

    def read_as(self, document: Document) -> bool:
        """Whether its records were cut and read in the same way as the document's would be."""
        return self.layout == document.layout and self.context == document.context


@dataclass(frozen=True, slots=True)
class PartialDocument:
    """A document of which the first `records` records are stored: an interrupted extraction goes on there."""

    id: int
    sha256: bytes
    records: int
    profile: Mapping[str, Any] | None
    """The profile of those records, as stored; None if they have none yet."""


@dataclass(frozen=True, slots=True)
class Request:
    """What one extraction is asked for.

    `days` is the window of a past partition, first and last day; None asks for what is new since the source's
    cursor. `progress` is the cursor of an interrupted extraction of the same partition.
    """

    today: date
    days: tuple[date, date] | None = None
    source_cursor: Cursor | None = None
    progress: Cursor | None = None
    known: Callable[[str], KnownDocument | None] = lambda _location: None
    partial: Callable[[str], PartialDocument | None] = lambda _location: None
    parents: Callable[[str, Sequence[str]], Sequence[Mapping[str, str]]] = lambda _source, _names: ()
    """Some fields of each unified record of a source, in order of `id`, its source_id."""


def sha256(body: bytes) -> bytes:
    """SHA-256 of a body."""
    return hashlib.sha256(body).digest()
