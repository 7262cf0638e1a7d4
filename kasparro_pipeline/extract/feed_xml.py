"""Cuts a feed of well-formed XML into its entries, to the byte, and keeps the tags around them.

What is not well-formed goes to `feed_broken`; what an entry holds is read by `feed_entry`. Nothing outside
the body is ever read: declared entities are refused, a DTD is not looked up.
"""

import re
from dataclasses import dataclass, field
from xml.parsers import expat

from kasparro_pipeline.extract.feed_text import FeedText, RefusedError

ENTRY_NAMES = frozenset({"item", "entry"})
ROOTS = frozenset({"rss", "rdf", "feed"})
MAX_DEPTH = 200
"""Nesting of elements."""
MAX_ENTRIES = 100_000
"""Entries of a feed."""
MAX_HEAD = 65_536
"""Characters of the tags around the entries: each entry is read inside them."""
TAG = rb"""(?:[^>"']|"[^"]*"|'[^']*')*+>"""
_TAG = re.compile(TAG)


class NotWellFormedError(ValueError):
    """The body breaks the rules of XML."""


@dataclass(slots=True)
class CutFeed:
    """A feed's entries, and what of the rest they are read with."""

    encoding: str
    root: str = ""
    """Name of the root, without prefix, in lower case."""
    head: str = ""
    tail: str = ""
    before: str = ""
    """What stands before the first entry: the feed's own title, link, ttl."""
    payloads: list[bytes] = field(default_factory=list)
    problem: str | None = None


def cut(given: FeedText) -> CutFeed:
    """The entries of a feed.

    Raises:
        NotWellFormedError: with line and column; or an entry is not found again in the body's own encoding.
        RefusedError: no feed, too deep, too many entries, or one that declares entities.
    """
    if given.text is None:
        raise NotWellFormedError(given.problem)
    # XML wants its declaration first; many feeds begin with an empty line, which means nothing else
    cutter = _Cutter(given.text.encode("utf-8", "surrogatepass").lstrip())
    try:
        cutter.run()
    except expat.ExpatError as error:
        raise NotWellFormedError(f"not well-formed XML: {_told(error)}") from error
    found = cutter.found
    found.encoding = given.encoding
    found.problem = "; ".join(filter(None, (given.problem, cutter.fault_of_names()))) or None
    found.payloads = _in_own_bytes(found.payloads, given)
    return found


def _told(error: expat.ExpatError) -> str:
    place = f"line {error.lineno}, column {error.offset + 1}"
    return f"{expat.errors.messages.get(error.code, str(error))}, {place}"


def _in_own_bytes(payloads: list[bytes], given: FeedText) -> list[bytes]:
    """Entries in UTF-8 as they stand in the body (P7)."""
    if given.encoding == "utf-8":
        return payloads
    own, index = [], 0
    for payload in payloads:
        written = payload.decode().encode(given.encoding, "replace")
        index = given.body.find(written, index)
        if index < 0:
            raise NotWellFormedError(f"an entry is written in another way than {given.encoding} would be")
        index += len(written)
        own.append(written)
    return own


class _Cutter:
    """Finds where each entry begins and ends in a body of UTF-8."""

    def __init__(self, body: bytes) -> None:
        self.found = CutFeed("utf-8")
        self._body = body
        self._open: list[str] = []
        self._entry_depth: int | None = None
        self._entry_start = self._entry_tag_end = 0

    def run(self) -> None:
        self._parser = parser = expat.ParserCreate("utf-8")
        parser.EntityDeclHandler = self._entity
        parser.StartElementHandler = self._start
        parser.EndElementHandler = self._end
        parser.Parse(self._body, True)
        if not self.found.payloads:
            self.found.before = self._body.decode("utf-8", "surrogatepass")

    def fault_of_names(self) -> str | None:
        """What is wrong with the namespaces of a body that is well-formed: a prefix that is not declared."""
        try:
            expat.ParserCreate("utf-8", " ").Parse(self._body, True)
        except expat.ExpatError as error:
            return f"its namespaces are not well-formed: {_told(error)}"
        return None

    def _entity(self, name: str, *_rest: object) -> None:
        raise RefusedError(f"the feed declares the entity `{name}`; entity declarations are refused")

    def _start(self, name: str, _attributes: dict[str, str]) -> None:
        local = name.rpartition(":")[2].lower()
        if not self._open:
            self.found.root = local
            if local not in ROOTS:
                raise RefusedError(f"the document is no RSS or Atom feed: its root is <{name}>")
        if len(self._open) >= MAX_DEPTH:
            raise RefusedError(f"elements are nested deeper than {MAX_DEPTH}")
        start = self._parser.CurrentByteIndex
        if self._entry_depth is None:
            if local in ENTRY_NAMES:
                self._begin(start)
            elif not self._open or local == "channel":
                self._outer(name, start)
        self._open.append(name)

    def _begin(self, start: int) -> None:
        if not self.found.payloads:
            self.found.before = self._body[:start].decode("utf-8", "surrogatepass")
        self._entry_depth, self._entry_start = len(self._open), start
        self._entry_tag_end = self._after_tag(start)

    def _outer(self, name: str, start: int) -> None:
        """Keep the tag of the root and of an RSS channel: entries are read again inside them."""
        tag = self._body[start : self._after_tag(start)].decode("utf-8", "surrogatepass")
        self.found.head += tag if not tag.endswith("/>") else tag[:-2] + ">"
        self.found.tail = f"</{name}>{self.found.tail}"
        if len(self.found.head) > MAX_HEAD:
            raise RefusedError(f"the tags around its entries are longer than {MAX_HEAD:,} characters")

    def _end(self, _name: str) -> None:
        self._open.pop()
        if self._entry_depth == len(self._open):
            # of an empty element's tag (`<item/>`), expat reports the end as being behind it
            empty = self._body.endswith(b"/>", self._entry_start, self._entry_tag_end)
            end = self._entry_tag_end if empty else self._after_tag(self._parser.CurrentByteIndex)
            self.found.payloads.append(self._body[self._entry_start : end])
            self._entry_depth = None
            require_not_too_many(self.found.payloads)

    def _after_tag(self, start: int) -> int:
        """Index behind the tag that begins at `start`; a `>` inside a quoted attribute does not end it."""
        tag = _TAG.match(self._body, start)
        return tag.end() if tag else len(self._body)


def require_not_too_many(payloads: list[bytes]) -> None:
    """Refuse a feed that would take up the machine.

    Raises:
        RefusedError: it has more than MAX_ENTRIES.
    """
    if len(payloads) > MAX_ENTRIES:
        raise RefusedError(f"the feed has more than {MAX_ENTRIES:,} entries")
