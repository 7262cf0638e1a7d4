"""What extraction hands over: documents, their raw records, and the cursor that holds once stored."""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Any

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


@dataclass(frozen=True, slots=True)
class Batch:
    """Records of one document that are stored in one transaction, with the cursor that then holds.

    `document` is None where the upstream said that nothing changed. `complete` says that the document's last
    record is in this batch. `done` says that nothing more comes after it.
    """

    document: Document | None
    records: Sequence[RawRecord]
    cursor: Cursor
    complete: bool = True
    done: bool = False


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

    sha256: bytes
    records: int
    profile: Mapping[str, Any]
    """The profile of those records, as stored."""


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
