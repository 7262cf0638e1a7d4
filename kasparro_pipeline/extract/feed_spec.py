"""Which feeds a source reads, as a user writes it in a `defs.yaml`."""

from datetime import timedelta
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from kasparro_pipeline.contract.spec import StrictModel
from kasparro_pipeline.extract.opml import Subscription

FeedUrl = Annotated[str, Field(pattern=r"^https?://[^/\s?#@]+([/?#]\S*)?$")]
"""An address without user name and password: it is shown wherever the feed is."""


class FeedAddress(StrictModel):
    """A feed of a list, with what its records may say of it."""

    url: FeedUrl
    """Address of the feed."""
    title: str | None = None
    """What a contract maps as `$document.feed_title`."""
    category: str | None = None
    """What a contract maps as `$document.feed_category`."""


class FeedRequests(StrictModel):
    """Which feeds, and how often they are asked."""

    url: FeedUrl | None = None
    """Address of the feed: RSS 0.90 to 2.0, Atom 0.3 and 1.0, JSON Feed 1.0 and 1.1."""
    feeds: tuple[FeedUrl | FeedAddress, ...] = ()
    """More feeds, each an address, or a mapping of `url`, `title` and `category`."""
    opml: str | None = Field(default=None, min_length=1)
    """Path or address of an OPML file, whose outlines name more feeds, with title and category."""
    check_every: timedelta = Field(default=timedelta(minutes=1), ge=timedelta(seconds=10))
    """How often a feed is asked whether it changed (ISO 8601), unless it asks for more time."""
    longest_pause: timedelta = Field(default=timedelta(days=1), ge=timedelta(minutes=1), le=timedelta(days=1))
    """Longest time between two checks of a feed, whatever it asks for and however often it failed."""
    not_well_formed: Literal["read", "refuse"] = "read"
    """What becomes of a feed that breaks the rules of XML: its entries are read as far as they are whole, and
    the reason is told; or it counts as failed."""

    @model_validator(mode="after")
    def _names_a_feed(self) -> Self:
        if self.url is None and not self.feeds and self.opml is None:
            raise ValueError("no feed is named: give `url`, `feeds` or `opml`")
        if self.opml_is_address and "@" in (self.opml or "").split("/")[2]:
            raise ValueError("the address of the `opml` holds a user name or password")
        return self

    @property
    def opml_is_address(self) -> bool:
        """Whether the list is asked for over HTTP."""
        return self.opml is not None and self.opml.lower().startswith(("http://", "https://"))


def named(spec: FeedRequests, url: str | None, listed: list[Subscription]) -> list[Subscription]:
    """All feeds of a source, each address once: the one at `url`, those of the file, those of its OPML."""
    found = [Subscription(url)] if url else []
    found += [
        Subscription(one) if isinstance(one, str) else Subscription(one.url, one.title, one.category)
        for one in spec.feeds
    ]
    first: dict[str, Subscription] = {}
    for one in (*found, *listed):
        first.setdefault(one.url, one)
    return list(first.values())
