"""Where an extraction is: a request, what is known of the list it belongs to, and what an answer says."""

from dataclasses import dataclass, field

from kasparro_pipeline.extract.documents import KnownDocument
from kasparro_pipeline.extract.json_records import CutDocument
from kasparro_pipeline.extract.paging import Answer, Page


@dataclass(frozen=True, slots=True)
class Place:
    """A request: of which item, in which window, which page."""

    item: int
    window: int
    page: Page


@dataclass(slots=True)
class ListState:
    """What is known of the list that is being read."""

    place: tuple[int, int]
    """Its item and window."""
    pages: int | None
    """How many it has, if that is known."""
    taken: int = 0
    """Pages that were taken in this extraction."""
    digests: set[str] = field(default_factory=set)
    """SHA-256 of its pages: one that comes again is no page of it."""
    tokens: set[int | str | None] = field(default_factory=set)
    """What its pages were asked for with."""
    items: int = 0
    """Items that came in this extraction."""
    total: int | None = None
    """How many there are, as the upstream told last."""


@dataclass(frozen=True, slots=True)
class Read:
    """What an answer says: how its list goes on, and its records, or those that it says are unchanged."""

    answer: Answer
    cut: CutDocument | None
    known: KnownDocument | None
