"""JSON Feed 1.0 and 1.1 (jsonfeed.org): its items are entries, with the fields that those of XML have.

A value of a type that the format does not know is passed on as it is, for the contract to judge.
"""

from collections.abc import Mapping
from typing import Any

from kasparro_pipeline.contract.transforms import strip_html
from kasparro_pipeline.extract import json_records
from kasparro_pipeline.extract.errors import PermanentUpstreamError
from kasparro_pipeline.extract.feed_dates import instant
from kasparro_pipeline.extract.feed_entry import MAX_BYTES, sanitised
from kasparro_pipeline.extract.feed_fields import enclosure, identified, resolved, texts, web_address
from kasparro_pipeline.extract.feed_xml import MAX_ENTRIES
from kasparro_pipeline.extract.unreadable import UnreadableRecordError

VERSION = "https://jsonfeed.org/version/"
KNOWN = ("1", "1.1")


def looks_like_one(body: bytes) -> bool:
    """Whether a body begins as a JSON object does, and no XML."""
    mark, encoding = json_records.mark_and_encoding(body)
    start = body[len(mark) :][:64].decode(encoding, "replace").replace("\x00", "")
    return start.lstrip().startswith("{")


def cut(body: bytes, location: str) -> tuple[dict[str, Any], list[bytes], str | None]:
    """Layout and items of a JSON Feed, and what is odd about it.

    Raises:
        PermanentUpstreamError: not JSON to its last byte, or no JSON Feed.
    """
    document = json_records.cut(body, "items", location)
    around = document.around()
    told = around if isinstance(around, dict) else {}
    version = str(told.get("version", "")).replace("http://", "https://", 1)
    if not version.startswith(VERSION):
        raise PermanentUpstreamError(f"it is JSON, and no JSON Feed: `version` is not {VERSION}…", location)
    if len(document.records) > MAX_ENTRIES:
        raise PermanentUpstreamError(f"the feed has more than {MAX_ENTRIES:,} entries", location)
    odd = version.removeprefix(VERSION).strip("/") not in KNOWN
    problem = f"its version, {version[:100]!a}, is not known; read as 1.1" if odd else None
    home = told.get("home_page_url")
    base = web_address(home, location) if isinstance(home, str) else location
    layout = {"format": "feed", "syntax": "json", "encoding": document.layout["encoding"], "base": base}
    return layout, [record.payload for record in document.records], problem


def read(payload: bytes, layout: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of one stored item: see `feed_fields`.

    Raises:
        UnreadableRecordError: the item is no object, or too large to be read.
    """
    if len(payload) > MAX_BYTES:
        raise UnreadableRecordError("too_large", f"the entry has more than {MAX_BYTES:,} bytes")
    item = json_records.read(payload, {"encoding": layout["encoding"]})
    if not isinstance(item, dict):
        raise UnreadableRecordError("no_entry", "the item of the feed is no object")
    base = layout["base"]
    tags = item.get("tags")
    published, updated = item.get("date_published"), item.get("date_modified")
    content = item.get("content_html") or item.get("content_text")
    summary, text = _summary(item, base)
    given = {
        "id": _id(item.get("id")),
        "title": item.get("title"),
        "link": resolved(item.get("url") or item.get("external_url"), base),
        "summary": summary,
        "summary_text": text,
        "author": _author(item),
        "tags": [] if tags is None else tags,
        "category": next(iter(texts(tags)), None) if isinstance(tags, list) else None,
        "enclosures": _attachments(item.get("attachments"), base),
        "published": _date(published or updated),
        "updated": _date(updated or published),
    }
    return identified(given, content if isinstance(content, str) else "", payload)


def _id(value: object) -> str | None:
    """A number becomes text (JSON Feed 1.1, `id`)."""
    if value is None or isinstance(value, (bool, list, dict)):
        return None
    return str(value) or None


def _summary(item: Mapping[str, Any], base: str) -> tuple[object, str | None]:
    """The summary, else the content, and the same as plain text."""
    for name in ("summary", "content_text"):
        value = item.get(name)
        if value not in (None, ""):
            return value, " ".join(value.split()) if isinstance(value, str) else None
    markup = item.get("content_html")
    if isinstance(markup, str) and markup:
        safe = sanitised(markup, base)
        return safe, strip_html(safe)
    return markup, None


def _author(item: Mapping[str, Any]) -> str | None:
    authors = item.get("authors") or [item.get("author")]
    for one in authors if isinstance(authors, list) else []:
        if isinstance(one, dict) and (told := texts([one.get("name"), one.get("url")])):
            return told[0]
    return None


def _attachments(value: object, base: str) -> list[dict[str, Any]] | None:
    found = [
        enclosure(resolved(one["url"], base), one.get("mime_type"), one.get("size_in_bytes"))
        for one in (value if isinstance(value, list) else [])
        if isinstance(one, dict) and one.get("url")
    ]
    return found or None


def _date(value: object) -> object:
    return instant(value) if isinstance(value, str) else value
