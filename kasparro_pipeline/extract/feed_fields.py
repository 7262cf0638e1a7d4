"""The fields of an entry, the same for every format of feed, and the rule that gives it its id.

`id`, `id_rule`, `title`, `link`, `summary`, `summary_text`, `author`, `tags`, `category`, `enclosures`,
`published`, `updated`. What an entry does not have is left out. Nothing is invented: a date that does not
exist stays as it is written, for the contract to judge.
"""

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

from kasparro_pipeline.contract.transforms import strip_html
from kasparro_pipeline.extract.errors import PermanentUpstreamError
from kasparro_pipeline.extract.feed_dates import instant
from kasparro_pipeline.extract.urls import joined

WEB = ("http://", "https://")


def fields(entry: dict[str, Any], payload: bytes, base: str) -> dict[str, Any]:
    """The fields of an entry as feedparser read it from its `payload`, inside a feed with that base."""
    tags = [tag.term for tag in entry.get("tags", []) if tag.get("term")]
    # feedparser's own `get` answers the one date for the other, and warns that it will stop doing so
    published, updated = dict.get(entry, "published") or "", dict.get(entry, "updated") or ""
    link = entry.get("link")
    if link == entry.get("id") and not str(link).lower().startswith(WEB):
        link = None  # a guid counts as the link too, unless it says that it is none; that needs an address
    content = "\x1f".join(one.get("value") or "" for one in entry.get("content", []))
    given = {
        "id": entry.get("id"),
        "title": entry.get("title"),
        "link": link,
        "summary": entry.get("summary"),
        "summary_text": plain(entry),
        "author": entry.get("author"),
        "tags": tags,
        "category": tags[0] if tags else None,
        "enclosures": [_enclosure(one, base) for one in entry.get("enclosures", [])] or None,
        "published": instant(published or updated) or None,
        "updated": instant(updated or published) or None,
    }
    return identified(given, content, payload)


def identified(given: Mapping[str, Any], content: str, payload: bytes) -> dict[str, Any]:
    """The fields that an entry has, with its `id` and the `id_rule` that gave it.

    The id is what the entry gives as its own (guid, atom:id, rdf:about, the id of a JSON Feed), as it is
    written; else its address; else a hash of title, summary and content; else one of all its bytes.
    """
    told = [str(given.get(name) or "") for name in ("title", "summary")]
    if content and content != told[1]:
        told.append(content)
    if given.get("id"):
        key, rule = given["id"], "id"
    elif given.get("link"):
        key, rule = given["link"], "url"
    elif any(told):
        key, rule = _hash("\x1f".join(told).encode("utf-8", "replace")), "title_and_content"
    else:
        key, rule = _hash(payload), "bytes"
    named = {**given, "id": key, "id_rule": rule}
    return {name: value for name, value in named.items() if value is not None}


def plain(entry: Mapping[str, Any]) -> str | None:
    """The summary without markup, on one line."""
    summary = entry.get("summary")
    if summary is None:
        return None
    detail = entry.get("summary_detail") or {}
    is_text = detail.get("type") == "text/plain"
    return " ".join(summary.split()) if is_text else strip_html(summary)


def enclosure(url: object, kind: object, length: object) -> dict[str, Any]:
    """A file that belongs to an entry: `url`, and where they are told `type` and `length` in bytes."""
    if isinstance(length, str) and length.isascii() and length.isdigit() and len(length) < 19:  # noqa: PLR2004 - 64 bits
        length = int(length)
    named = {"url": url, "type": kind, "length": length}
    return {name: value for name, value in named.items() if value not in (None, "")}


def resolved(address: object, base: str) -> object:
    """Where a relative address leads to; what is no text, or no address, as it is."""
    if not isinstance(address, str) or not address:
        return address or None
    try:
        return joined(base, address)
    except PermanentUpstreamError:
        return address


def web_address(address: str, base: str) -> str:
    """Where a feed's link to its site leads to; its own address, `base`, where that is none of the web."""
    found = resolved(address, base)
    usable = isinstance(found, str) and found.isprintable() and found.lower().startswith(WEB)
    return str(found) if usable else base


def _enclosure(link: Mapping[str, Any], base: str) -> dict[str, Any]:
    return enclosure(resolved(link.get("href"), base), link.get("type"), link.get("length"))


def _hash(told: bytes) -> str:
    return f"sha256:{hashlib.sha256(told).hexdigest()}"


def texts(values: Sequence[object]) -> list[str]:
    """Those of some values that are texts with something in them."""
    return [value for value in values if isinstance(value, str) and value]
