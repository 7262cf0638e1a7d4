"""Reads an OPML subscription list (OPML 2.0): which feeds, with the titles and categories it gives them.

Nothing outside the text is read: no included list, no DTD, no entity that it declares.
"""

import re
from dataclasses import dataclass
from xml.parsers import expat

from kasparro_pipeline.extract.errors import PermanentUpstreamError
from kasparro_pipeline.extract.feed_text import RefusedError, decoded

MAX_DEPTH = 100
"""Nesting of elements."""
MAX_FEEDS = 10_000
"""Feeds of a list."""
_DECLARATION = re.compile(r"\A\s*<\?xml[^>]*\?>")
WEB = ("http://", "https://")


@dataclass(frozen=True, slots=True)
class Subscription:
    """One feed of a source. Its address is what it is known by, also when it has moved."""

    url: str
    title: str | None = None
    category: str | None = None


def subscriptions(body: bytes, location: str) -> list[Subscription]:
    """The feeds of a list, each address once, in order. A category is the feed's own, or the outlines around.

    Raises:
        PermanentUpstreamError: no OPML, not well-formed, without a feed, or refused for its size or entities.
    """
    reader = _Reader()
    try:
        reader.read(_text(body))
    except expat.ExpatError as error:
        place = f"line {error.lineno}, column {error.offset + 1}"
        problem = expat.errors.messages.get(error.code, str(error))
        raise PermanentUpstreamError(f"the OPML is not well-formed: {problem}, {place}", location) from error
    except RefusedError as error:
        raise PermanentUpstreamError(str(error), location) from error
    if not reader.found:
        said = "the OPML names no feed: no outline has an `xmlUrl` that begins with http:// or https://"
        raise PermanentUpstreamError(said, location)
    return list(reader.found.values())


def text_of(body: bytes) -> str:
    """The text of a list that `subscriptions` has read, without the encoding that it declares."""
    return _DECLARATION.sub("", _text(body), count=1)


def _text(body: bytes) -> str:
    found = decoded(body, None)
    if found.text is None:
        raise RefusedError(found.problem)
    return found.text


class _Reader:
    """Collects outlines that have an address."""

    def __init__(self) -> None:
        self.found: dict[str, Subscription] = {}
        self._path: list[str] = []

    def read(self, text: str) -> None:
        parser = expat.ParserCreate("utf-8")
        parser.EntityDeclHandler = self._entity
        parser.StartElementHandler = self._start
        parser.EndElementHandler = self._end
        parser.Parse(text.encode("utf-8", "surrogatepass").lstrip(), True)

    def _entity(self, name: str, *_rest: object) -> None:
        raise RefusedError(f"the OPML declares the entity `{name}`; entity declarations are refused")

    def _start(self, name: str, attributes: dict[str, str]) -> None:
        if not self._path and name.lower() != "opml":
            raise RefusedError(f"it is no OPML: its root is <{name}>")
        if len(self._path) >= MAX_DEPTH:
            raise RefusedError(f"outlines are nested deeper than {MAX_DEPTH}")
        told = {key.lower(): value.strip() for key, value in attributes.items()}
        label = told.get("title") or told.get("text") or ""
        address = told.get("xmlurl", "")
        if name.lower() == "outline" and address.lower().startswith(WEB):
            self._require_no_secret(address, label)
            category = told.get("category") or "/".join(filter(None, self._path)) or None
            self.found.setdefault(address, Subscription(address, label or None, category))
            if len(self.found) > MAX_FEEDS:
                raise RefusedError(f"the OPML names more than {MAX_FEEDS:,} feeds")
            label = ""
        self._path.append(label if name.lower() == "outline" else "")

    def _end(self, _name: str) -> None:
        self._path.pop()

    @staticmethod
    def _require_no_secret(address: str, label: str) -> None:
        if "@" in re.split(r"[/?#]", address.partition("://")[2], maxsplit=1)[0]:
            raise RefusedError(f"the address of the feed `{label}` holds a user name or password")
