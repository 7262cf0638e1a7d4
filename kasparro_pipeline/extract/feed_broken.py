"""Cuts a feed that is no well-formed XML as far as its entries can be told, each to the byte.

An entry begins at its tag and ends at its closing tag, or where the next one of that name begins. One that
the body ends in the middle of is left out: what is cut off may be its id. Entities are never expanded.
"""

import re
from xml.parsers import expat

from kasparro_pipeline.extract.feed_text import FeedText, RefusedError
from kasparro_pipeline.extract.feed_xml import MAX_HEAD, ROOTS, CutFeed, require_not_too_many

_REST_OF_TAG = rb"""(?:[^<>"']|"[^"]{0,4096}"|'[^']{0,4096}')*+>"""
_TOKEN = re.compile(
    rb"<!--.*?(?:-->|\Z)|<!\[CDATA\[.*?(?:\]\]>|\Z)"
    rb"|<(?P<end>/?)(?P<name>(?:[\w.-]{1,40}:)?(?:item|entry))(?=[\s/>])" + _REST_OF_TAG,
    re.DOTALL | re.IGNORECASE,
)
_PROLOG = re.compile(rb"(?:[^<]|<!--.*?-->|<[?!][^<>]*>?)*+", re.DOTALL)
_OUTER = re.compile(rb"<(?P<name>(?:[\w.-]{1,40}:)?[A-Za-z][\w.-]{0,40})(?=[\s/>])" + _REST_OF_TAG)
_CHANNEL = re.compile(rb"<(?P<name>(?:[\w.-]{1,40}:)?channel)(?=[\s/>])" + _REST_OF_TAG, re.IGNORECASE)
_PREFIXES = {"item": "http://backend.userland.com/rss2", "entry": "http://www.w3.org/2005/Atom"}
"""What a prefix stands for that entries have and nobody declares."""


def cut(given: FeedText, problem: str) -> CutFeed:
    """The entries that can be told apart. `problem` says why the feed is no XML.

    Raises:
        RefusedError: no feed, one without an entry that is whole, or one that declares entities.
    """
    body = given.body
    if given.is_wide:
        body = body.decode(given.encoding, "replace").encode("utf-8")
    found = CutFeed(given.encoding)
    spans, cut_off, first_name = _entries(body)
    before = body[: spans[0][0]] if spans else body
    if b"<!ENTITY" in before.upper():
        raise RefusedError("the feed declares entities; entity declarations are refused")
    _outer_tags(found, before, given.encoding, first_name)
    if not spans:
        raise RefusedError(f"{problem}; no entry in it is whole")
    for start, end in spans:
        payload = body[start:end]
        found.payloads.append(payload.decode().encode(given.encoding) if given.is_wide else payload)
        require_not_too_many(found.payloads)
    found.before = _text(before, given)
    found.problem = problem + ("; its last entry is cut off and was left out" if cut_off else "")
    return found


def _entries(body: bytes) -> tuple[list[tuple[int, int]], bool, str]:
    """Begin and end of each entry, whether the last one has no end, and the name of their tag."""
    spans: list[tuple[int, int]] = []
    opened: tuple[bytes, int] | None = None
    name = ""
    for token in _TOKEN.finditer(body):
        if token["name"] is None:
            continue
        if token["end"]:
            if opened is not None and token["name"] == opened[0]:
                spans.append((opened[1], token.end()))
                opened = None
        elif opened is None or token["name"] == opened[0]:
            if opened is not None:
                spans.append((opened[1], token.start()))
            name = name or token["name"].decode()
            opened = (token["name"], token.start())
            if token[0].endswith(b"/>"):
                spans.append(token.span())
                opened = None
    return spans, opened is not None, name


def _outer_tags(found: CutFeed, before: bytes, encoding: str, entry: str) -> None:
    """Keep the tags around the entries as far as they are XML."""
    prolog = _PROLOG.match(before)
    root = _OUTER.match(before, prolog.end() if prolog else 0)
    name = root["name"].decode() if root else "?"
    found.root = name.rpartition(":")[2].lower()
    if root is None or found.root not in ROOTS:
        raise RefusedError(f"the document is no RSS or Atom feed: its root is <{name}>")
    for tag in filter(None, (root, _CHANNEL.search(before, root.end()))):
        text = tag[0].decode("utf-8" if encoding.startswith("utf") else encoding, "replace")
        found.head += _usable(text, tag["name"].decode())
        found.tail = f"</{tag['name'].decode()}>{found.tail}"
    prefix, colon, local = entry.partition(":")
    if colon and f"xmlns:{prefix}" not in found.head and local.lower() in _PREFIXES:
        # inside both, so that whatever the outer tags are, the prefix is known
        found.head += f'<kasparro xmlns:{prefix}="{_PREFIXES[local.lower()]}">'
        found.tail = f"</kasparro>{found.tail}"


def _usable(tag: str, name: str) -> str:
    """An opening tag, or a plain one of its name where it is no XML."""
    opening = tag[:-2] + ">" if tag.endswith("/>") else tag
    try:
        expat.ParserCreate("utf-8").Parse(f"{opening}</{name}>".encode(), True)
    except (expat.ExpatError, UnicodeEncodeError):
        return f"<{name}>"
    return opening if len(opening) <= MAX_HEAD // 2 else f"<{name}>"


def _text(before: bytes, given: FeedText) -> str:
    return before.decode("utf-8" if given.is_wide else given.encoding, "replace")
