"""What every place of CSV files gives: a listing, and the bytes of a file. What is in them, others know."""

import re
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import BinaryIO, Protocol

from kasparro_pipeline.extract.documents import KnownDocument

SETTLE_SECONDS = 2
"""A file that was written to within this time may still grow, and is left for later."""
_WILDCARD = re.compile(r"[*?\[]")


@dataclass(frozen=True, slots=True)
class FoundFile:
    """A file of the listing. `name` is its path below the folder that the wildcards start in."""

    name: str
    size: int
    state: str = ""
    """What another text means that the file has changed; empty where only its bytes tell."""


@dataclass(frozen=True, slots=True)
class ReceivedFile:
    """The bytes of a file as they came, to be read more than once."""

    file: BinaryIO
    uri: str
    sha256: bytes
    size: int
    headers: Mapping[str, str]
    """What the document remembers of it, `state` among them."""
    require_same: Callable[[], None] = lambda: None
    """Raises TransientUpstreamError where the file has changed since."""
    opened: ExitStack = field(default_factory=ExitStack)
    """To be closed when the file is read."""


class Place(Protocol):
    """Where the files of a source are."""

    def listing(self, known: Callable[[str], KnownDocument | None]) -> list[FoundFile]:
        """The files, by name. Those that may still grow are left out.

        `known` gives the newest document of a file, for places that are asked whether it has changed.
        """

    def state(self, found: FoundFile) -> str:
        """What another text means that a listed file has changed."""

    def receive(self, name: str) -> ReceivedFile:
        """A file's bytes.

        Raises:
            PermanentUpstreamError: there is no such file, or it may not be had.
            TransientUpstreamError: it cannot be had now.
        """


def split_pattern(path: str) -> tuple[str, re.Pattern[str]]:
    """The folder in which the wildcards of a path start, and what the names below it look like.

    `*` and `?` stand for what is within a folder's name or a file's, `**` for folders, none or several.
    """
    parts = path.split("/")
    first = next((place for place, part in enumerate(parts) if _WILDCARD.search(part)), len(parts) - 1)
    return "/".join(parts[:first]), re.compile(_translated("/".join(parts[first:])), re.DOTALL)


def _translated(pattern: str) -> str:
    written, place = "", 0
    while place < len(pattern):
        if pattern.startswith("**/", place):
            written, place = written + "(?:.*/)?", place + 3
        elif pattern[place] == "*":
            written, place = written + "[^/]*", place + 1
        elif pattern[place] == "?":
            written, place = written + "[^/]", place + 1
        elif pattern[place] == "[" and (end := pattern.find("]", place + 2)) > 0:
            inside = pattern[place + 1 : end].replace("\\", "\\\\")
            written += f"[{'^' + inside[1:] if inside.startswith('!') else inside}]"
            place = end + 1
        else:
            written, place = written + re.escape(pattern[place]), place + 1
    return written
