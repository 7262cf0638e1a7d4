"""Reads one entry of an XML feed, inside the tags that were kept around it. Knows no other entry of the feed.

feedparser does the reading: strictly, and leniently what is no XML. It gets text, never an address or a file.
"""

import html
import io
import xml.sax
import xml.sax.handler
import xml.sax.xmlreader
from collections.abc import Mapping
from typing import Any, ClassVar

from feedparser import api
from feedparser.exceptions import UndeclaredNamespace

from kasparro_pipeline.extract.feed_fields import fields
from kasparro_pipeline.extract.unreadable import UnreadableRecordError

MAX_BYTES = 4 * 1024 * 1024
"""Bytes of an entry that is read; a larger one stays in raw, and is rejected."""
MAX_MARKUP = 100_000
"""Tags and entities of an entry that is read: feedparser takes up to quadratic time for them."""
MAX_COMMENTS = 1_000
"""Comments of an entry that is read, for the same reason."""
WITHOUT_IDS = frozenset(api.StrictFeedParser.can_be_relative_uri) - {"id"}
"""What is resolved against the base. An id is compared as it is written (RFC 4287 4.2.6.1)."""


class _Strict(api.StrictFeedParser):  # type: ignore[misc]  # feedparser has no types
    can_be_relative_uri: ClassVar = WITHOUT_IDS


class _Lenient(api.LooseFeedParser):  # type: ignore[misc]
    can_be_relative_uri: ClassVar = WITHOUT_IDS


def read(payload: bytes, layout: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of one stored entry: see `feed_fields`.

    Raises:
        UnreadableRecordError: feedparser finds no entry in it, or it is too large to be read.
    """
    if len(payload) > MAX_BYTES:
        raise UnreadableRecordError("too_large", f"the entry has more than {MAX_BYTES:,} bytes")
    text = payload.decode(layout["encoding"], "replace")
    base = layout["base"]
    return fields(parsed(f"{layout['head']}{text}{layout['tail']}", base), payload, base)


def parsed(text: str, base: str) -> dict[str, Any]:
    """The first entry of an XML feed, as feedparser names its parts.

    Raises:
        UnreadableRecordError: there is none, or it holds too much markup.
    """
    if text.count("!--") > MAX_COMMENTS or text.count("<") + text.count("&") > MAX_MARKUP:
        said = f"the entry has more than {MAX_MARKUP:,} tags and entities, or {MAX_COMMENTS:,} comments"
        raise UnreadableRecordError("too_much_markup", said)
    try:
        found = _strictly(text, base)
    except (xml.sax.SAXException, UndeclaredNamespace, UnicodeEncodeError):
        found = _leniently(text, base)
    if not found:
        raise UnreadableRecordError("no_entry", "there is no entry in it")
    return found[0]


def sanitised(markup: str, base: str) -> str:
    """HTML without scripts and styles, with its addresses resolved against a base.

    Raises:
        UnreadableRecordError: it holds too much markup.
    """
    written = html.escape("".join(one for one in markup if one in "\t\n\r" or one >= " "))
    entry = f'<entry><summary type="html">{written}</summary></entry>'
    found = parsed(f'<feed xmlns="http://www.w3.org/2005/Atom">{entry}</feed>', base)
    return str(found.get("summary") or "")


def _strictly(text: str, base: str) -> list[dict[str, Any]]:
    handler = _set(_Strict(base, None, "utf-8"))
    reader = xml.sax.make_parser()  # noqa: S317 - as above
    reader.setFeature(xml.sax.handler.feature_namespaces, True)
    reader.setFeature(xml.sax.handler.feature_external_ges, False)
    reader.setContentHandler(handler)
    reader.setErrorHandler(handler)
    source = xml.sax.xmlreader.InputSource()
    source.setByteStream(io.BytesIO(text.encode()))
    source.setEncoding("utf-8")
    reader.parse(source)
    return list(handler.entries)


def _leniently(text: str, base: str) -> list[dict[str, Any]]:
    handler = _set(_Lenient(base, None, "utf-8", {}))
    try:
        handler.feed(text)
    except (AssertionError, AttributeError, LookupError, TypeError, ValueError) as error:
        # of an SGML parser that was written for less
        raise UnreadableRecordError("unreadable", f"the entry cannot be read: {error}") from error
    return list(handler.entries)


def _set(handler: Any) -> Any:  # noqa: ANN401 - of feedparser
    handler.sanitize_html = handler.resolve_relative_uris = True
    return handler
