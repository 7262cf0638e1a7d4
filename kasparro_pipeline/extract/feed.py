"""A feed's body is a document, an entry is a record: RSS, Atom and JSON Feed, also where they are broken.

An entry's payload is its own XML or JSON, cut out of the body to the byte. What cuts and what reads is in
`feed_xml`, `feed_broken`, `feed_json` and `feed_entry`; how feeds are asked is in `feeds`.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from kasparro_pipeline.extract import feed_broken, feed_entry, feed_json, feed_xml
from kasparro_pipeline.extract.documents import RawRecord
from kasparro_pipeline.extract.errors import PermanentUpstreamError
from kasparro_pipeline.extract.feed_fields import web_address
from kasparro_pipeline.extract.feed_text import RefusedError, decoded
from kasparro_pipeline.extract.feed_xml import CutFeed, NotWellFormedError
from kasparro_pipeline.extract.unreadable import UnreadableRecordError

_COMMENT = re.compile(r"<!--.*?(?:-->|\Z)", re.DOTALL)
_LINK = re.compile(r"<link\s*>\s*(?:<!\[CDATA\[)?\s*([^<\]\s]{1,2000})")


@dataclass(frozen=True, slots=True)
class FeedBody:
    """What a feed's body holds."""

    layout: dict[str, Any]
    records: list[RawRecord]
    before: str = ""
    """What stands before the first entry of an XML feed, without comments."""
    problem: str | None = None
    """Why it is no whole feed by the rules of its format."""


def entries(body: bytes, location: str, content_type: str | None = None, *, lenient: bool = True) -> FeedBody:
    """The layout and the entries of a feed's body.

    Raises:
        PermanentUpstreamError: no feed, nothing in it can be read, it is refused (entity declarations, depth,
            size), or it is broken and not `lenient`. With the place, where there is one.
    """
    if feed_json.looks_like_one(body):
        layout, payloads, problem = feed_json.cut(body, location)
        return FeedBody(layout, _records(payloads, layout), "", problem)
    try:
        found = _cut(body, content_type, lenient=lenient)
    except (RefusedError, NotWellFormedError) as error:
        raise PermanentUpstreamError(str(error), location) from error
    before = _COMMENT.sub("", found.before)
    layout = {
        "format": "feed",
        "encoding": found.encoding,
        "head": found.head,
        "tail": found.tail,
        "base": location if found.root == "feed" else _base(before, location),
    }
    return FeedBody(layout, _records(found.payloads, layout), before, found.problem)


def read(payload: bytes, layout: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of one stored entry: see `feed_fields`.

    Raises:
        UnreadableRecordError: with the reason.
    """
    if layout.get("syntax") == "json":
        return feed_json.read(payload, layout)
    return feed_entry.read(payload, layout)


def _cut(body: bytes, content_type: str | None, *, lenient: bool) -> CutFeed:
    text = decoded(body, content_type)
    try:
        return feed_xml.cut(text)
    except NotWellFormedError as error:
        if not lenient:
            raise
        problem = "; ".join(filter(None, dict.fromkeys((text.problem, str(error)))))
        return feed_broken.cut(text, problem)


def _base(before: str, location: str) -> str:
    """What relative links of an RSS feed begin at: the site that it names, else its own address."""
    link = _LINK.search(before)
    return web_address(link[1].replace("&amp;", "&"), location) if link else location


def _records(payloads: list[bytes], layout: Mapping[str, Any]) -> list[RawRecord]:
    return [_record(position, payload, layout) for position, payload in enumerate(payloads)]


def _record(position: int, payload: bytes, layout: Mapping[str, Any]) -> RawRecord:
    try:
        return RawRecord(position, payload, read(payload, layout))
    except (UnreadableRecordError, ValueError, RecursionError):
        # kept like any other; validation meets the same error and says so
        return RawRecord(position, payload, None)
