"""Extraction from RSS and Atom feeds: a feed's body is a document, an entry is a record.

An entry's payload is its own XML, cut out of the body by byte offset. Its fields are read by feedparser from
that XML inside the feed's own outer tags, so that namespaces hold. Entities that a feed declares are refused.
"""

import codecs
import hashlib
import io
from calendar import timegm
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any
from xml.parsers import expat

import feedparser
from pydantic import Field

from kasparro_pipeline.contract.spec import StrictModel
from kasparro_pipeline.extract.documents import Batch, Document, KnownDocument, RawRecord, Request, sha256
from kasparro_pipeline.extract.errors import PermanentUpstreamError
from kasparro_pipeline.extract.http import Client
from kasparro_pipeline.extract.unreadable import UnreadableRecordError

ENTRY_NAMES = frozenset({"item", "entry"})
MAX_DEPTH = 200
"""Nesting of elements."""


class FeedRequest(StrictModel):
    """Which feed."""

    url: str = Field(pattern=r"^https?://[^/\s]+")
    """Address of the feed."""


def extract(location: str, request: Request, client: Client) -> Iterator[Batch]:
    """The feed's one batch, or one without a document if the feed did not change.

    Raises:
        PermanentUpstreamError: not a feed, or one that declares entities.
        TransientUpstreamError: the upstream stayed away through all retries.
    """
    response = client.fetch(location, known=request.known(location))
    if response.body is None:
        yield Batch(None, [], {}, done=True)
        return
    layout, records = entries(response.body, location)
    document = Document(
        location,
        len(response.body),
        sha256(response.body),
        response.fetched_at,
        layout,
        headers=response.headers,
    )
    yield Batch(document, records, {}, done=True)


def has_changed(location: str, known: KnownDocument | None, client: Client) -> str | None:
    """Ask conditionally. None: unchanged; else a token that names the feed's new state."""
    response = client.fetch(location, known=known)
    if response.body is None:
        return None
    digest = sha256(response.body)
    return None if known is not None and known.sha256 == digest else digest.hex()


def entries(body: bytes, location: str) -> tuple[dict[str, str], list[RawRecord]]:
    """The layout and the entries of a feed's body.

    Raises:
        PermanentUpstreamError: not well-formed XML (with line and column), or no feed.
    """
    cutter = _Cutter()
    try:
        cutter.cut(body)
    except expat.ExpatError as error:
        place = f"line {error.lineno}, column {error.offset + 1}"
        problem = expat.errors.messages.get(error.code, str(error))
        raise PermanentUpstreamError(
            f"the feed is not well-formed XML: {problem}, {place}", location
        ) from error
    except (LookupError, ValueError) as error:
        # expat asks Python's codecs, and takes none that needs several bytes for a character but UTF-8
        raise PermanentUpstreamError(
            f"the feed's encoding cannot be read: {error}; ask the publisher for UTF-8", location
        ) from error
    except _RefusedError as error:
        raise PermanentUpstreamError(str(error), location) from error
    layout = {
        "format": "feed",
        "encoding": cutter.encoding,
        "head": cutter.head.decode(cutter.encoding),
        "tail": cutter.tail,
        "base": location,
    }
    return layout, [_record(position, payload, layout) for position, payload in enumerate(cutter.payloads)]


def read(payload: bytes, layout: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of one stored entry: id, title, link, summary, author, tags, category, published, updated.

    `id` is the entry's guid or id, else its link, else a hash of title and summary, else of all of it.
    Instants are ISO 8601.

    Raises:
        UnreadableRecordError: feedparser finds no entry in it.
    """
    xml = layout["head"] + payload.decode(layout["encoding"]) + layout["tail"]
    parsed = feedparser.parse(
        io.BytesIO(xml.encode()),
        response_headers={
            "content-type": "application/xml; charset=utf-8",
            "content-location": layout["base"],
        },
    )
    if not parsed.entries:
        raise UnreadableRecordError("no_entry", f"no entry in it: {parsed.get('bozo_exception', 'unknown')}")
    entry = parsed.entries[0]
    tags = [tag.term for tag in entry.get("tags", []) if tag.get("term")]
    # feedparser's own `get` answers the one for the other, and warns that it will stop doing so
    published, updated = dict.get(entry, "published_parsed"), dict.get(entry, "updated_parsed")
    fields = {
        "id": entry.get("id") or entry.get("link") or _hash_of(entry, payload),
        "title": entry.get("title"),
        "link": entry.get("link"),
        "summary": entry.get("summary"),
        "author": entry.get("author"),
        "tags": tags,
        "category": tags[0] if tags else None,
        "published": _instant(published or updated),
        "updated": _instant(updated or published),
    }
    return {name: value for name, value in fields.items() if value is not None}


def _record(position: int, payload: bytes, layout: Mapping[str, Any]) -> RawRecord:
    try:
        return RawRecord(position, payload, read(payload, layout))
    except (UnreadableRecordError, ValueError):
        # kept like any other; validation meets the same error and says so
        return RawRecord(position, payload, None)


def _hash_of(entry: Mapping[str, Any], payload: bytes) -> str:
    title, summary = entry.get("title", ""), entry.get("summary", "")
    told = f"{title}\x1f{summary}".encode() if title or summary else payload
    return f"sha256:{hashlib.sha256(told).hexdigest()}"


def _instant(parsed: Any) -> str | None:  # noqa: ANN401 - feedparser's struct_time, untyped
    if parsed is None:
        return None
    try:
        return datetime.fromtimestamp(timegm(parsed), UTC).isoformat().replace("+00:00", "Z")
    except (ValueError, OverflowError, OSError):
        return None


class _RefusedError(Exception):
    pass


class _Cutter:
    """Finds where each entry begins and ends in the body, in bytes."""

    def __init__(self) -> None:
        self.payloads: list[bytes] = []
        self.head = b""
        self.tail = ""
        self.encoding = "utf-8"
        self._open: list[str] = []
        self._entry_depth: int | None = None
        self._entry_start = self._entry_tag_end = 0

    def cut(self, body: bytes) -> None:
        parser = expat.ParserCreate()
        if b"\x00" in body[:4]:
            raise _RefusedError("the feed is UTF-16, which is not supported yet; ask the publisher for UTF-8")
        # XML wants its declaration first; many feeds begin with an empty line, which means nothing else
        self._body, self._parser = body.removeprefix(codecs.BOM_UTF8).lstrip(), parser
        parser.XmlDeclHandler = self._declared
        parser.EntityDeclHandler = self._entity
        parser.StartElementHandler = self._start
        parser.EndElementHandler = self._end
        parser.Parse(self._body, True)

    def _declared(self, _version: str, encoding: str | None, _standalone: int) -> None:
        if encoding:
            self.encoding = encoding.lower()

    def _entity(self, name: str, *_rest: object) -> None:
        raise _RefusedError(f"the feed declares the entity `{name}`; entity declarations are refused")

    def _start(self, name: str, _attributes: dict[str, str]) -> None:
        local = name.rpartition(":")[2].lower()
        if not self._open and local not in {"rss", "rdf", "feed"}:
            raise _RefusedError(f"the document is no RSS or Atom feed: its root is <{name}>")
        if len(self._open) >= MAX_DEPTH:
            raise _RefusedError(f"elements are nested deeper than {MAX_DEPTH}")
        start = self._parser.CurrentByteIndex
        if self._entry_depth is None:
            if local in ENTRY_NAMES:
                self._entry_depth, self._entry_start = len(self._open), start
                self._entry_tag_end = self._after_tag(start)
            elif not self._open or local == "channel":
                self._outer(name, start)
        self._open.append(name)

    def _outer(self, name: str, start: int) -> None:
        """Keep the tag of the root and of an RSS channel: entries are read again inside them."""
        tag = self._body[start : self._after_tag(start)]
        self.head += tag if not tag.endswith(b"/>") else tag[:-2] + b">"
        self.tail = f"</{name}>{self.tail}"

    def _end(self, _name: str) -> None:
        self._open.pop()
        if self._entry_depth == len(self._open):
            # of an empty element's tag (`<item/>`), expat reports the end as being behind it
            empty = self._body.endswith(b"/>", self._entry_start, self._entry_tag_end)
            end = self._entry_tag_end if empty else self._after_tag(self._parser.CurrentByteIndex)
            self.payloads.append(self._body[self._entry_start : end])
            self._entry_depth = None

    def _after_tag(self, start: int) -> int:
        """Index behind the tag that begins at `start`; a `>` inside a quoted attribute does not end it."""
        quote = 0
        for index in range(start, len(self._body)):
            byte = self._body[index]
            if quote:
                quote = 0 if byte == quote else quote
            elif byte in b"\"'":
                quote = byte
            elif byte == ord(">"):
                return index + 1
        return len(self._body)
