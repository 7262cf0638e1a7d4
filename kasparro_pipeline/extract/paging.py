"""What paginators have in common: the place of a page in its list, what an answer tells, where to stop.

A paginator says where a list begins, what a page's request is, and, of a whole answer, which page follows. It
sends nothing itself. The kinds are in `counted_pages` and `linked_pages`.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Literal

from pydantic import Field

from kasparro_pipeline.contract.mapping import MISSING
from kasparro_pipeline.contract.spec import StrictModel
from kasparro_pipeline.extract.body_path import value_in
from kasparro_pipeline.extract.errors import PermanentUpstreamError


@dataclass(frozen=True, slots=True)
class Page:
    """Where a page is in its list."""

    token: int | str | None
    """Its number, offset, cursor or address; None: the first one of a list without such."""
    number: int = 0
    """Pages before it."""
    size: int = 0
    """Records of the first page, once that has come."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What an answer says about how its list goes on."""

    url: str
    headers: Mapping[str, str]
    count: int
    """Items of the page."""
    last: object
    """The last one."""
    around: Callable[[], object] | None
    """Gives the body without its records; None where no body came, since it has not changed."""

    def told(self, path: str | None) -> object:
        """What the body says at a path; None where it says nothing."""
        if path is None or self.around is None:
            return None
        found = value_in(self.around(), path)
        return None if found is MISSING else found

    def flag(self, path: str | None) -> bool | None:
        """What the body says at a path, as true or false; None where it says nothing."""
        told = self.told(path)
        if told is None:
            return None
        return told.strip().lower() not in {"", "0", "false", "no"} if isinstance(told, str) else bool(told)

    def number(self, path: str | None) -> int | None:
        """The whole number, also as text, that the body has at a path; None where it has none."""
        told = self.told(path)
        if isinstance(told, bool):
            return None
        if isinstance(told, str) and told.isascii() and told.isdigit():
            return int(told)
        if isinstance(told, Decimal) and told.is_finite() and told == told.to_integral_value():
            told = int(told)  # 25.0
        return told if isinstance(told, int) and told >= 0 else None


class Paginator(StrictModel):
    """What all of them have in common."""

    max_pages: int = Field(default=1000, ge=1)
    """Most pages of a list that have records."""
    beyond_max_pages: Literal["fail", "stop"] = "fail"
    """What more pages mean: an error, since the upstream may never end; or `stop`, where only the first pages
    of a list are wanted."""

    def first(self) -> Page:
        """The first page."""
        return Page(None)

    def params(self, page: Page) -> dict[str, str]:  # noqa: ARG002 - for those that have some
        """Query parameters that ask for a page."""
        return {}

    def address(self, page: Page) -> str | None:  # noqa: ARG002 - for those that are told it
        """The address of a page, where the upstream has given it."""
        return None

    def following(self, page: Page, answer: Answer) -> Page | None:
        """The page behind an answer; None: it was the last one.

        Raises:
            PermanentUpstreamError: there are more than `max_pages`, or what names the next one is no name.
            TransientUpstreamError: the answer contradicts itself.
        """
        found = self._next(page, answer)
        if self.beyond_max_pages == "stop" and page.number + 1 >= self.max_pages:
            return None
        if page.number >= self.max_pages and (found is not None or answer.count):
            raise PermanentUpstreamError(f"more than max_pages, {self.max_pages} pages", answer.url)
        return found

    def guess(self, page: Page) -> Page | None:  # noqa: ARG002 - for those that can
        """The page behind one whose answer has not come, unless that is the last one; None: not known."""
        return None

    def pages(self, page: Page, answer: Answer) -> int | None:  # noqa: ARG002 - for those that are told it
        """How many pages the list has, if the answer tells it."""
        return None

    def total(self, answer: Answer) -> int | None:  # noqa: ARG002 - for those that are told it
        """How many items the whole list has, if the answer tells it."""
        return None

    def may_be_asked(self, page: Page) -> bool:
        """Whether a page is within `max_pages`, or the one behind, which tells whether there are more."""
        return page.number < self.max_pages + (self.beyond_max_pages == "fail")

    @property
    def always_pages(self) -> int | None:
        """How many pages every list has, if that is known beforehand."""
        return None

    @property
    def needs_body(self) -> bool:
        """Whether only the body tells what follows, so that "304 Not Modified" would hide it."""
        return True

    @property
    def repeats(self) -> Literal["fail", "stop"]:
        """What a page means that holds what an earlier one held."""
        return "fail"

    def _next(self, page: Page, answer: Answer) -> Page | None:
        raise NotImplementedError


class SinglePage(Paginator):
    """The whole list comes in one answer."""

    type: Literal["single_page"] = "single_page"
    """`single_page`"""
    max_pages: Literal[1] = 1
    """One."""

    @property
    def needs_body(self) -> bool:
        """Nothing follows."""
        return False

    def may_be_asked(self, page: Page) -> bool:
        """Whether a page is within `max_pages`, or the one behind, which tells whether there are more."""
        return page.number < self.max_pages + (self.beyond_max_pages == "fail")

    @property
    def always_pages(self) -> int:
        """One."""
        return 1

    def pages(self, page: Page, answer: Answer) -> int | None:  # noqa: ARG002 - always the same
        """One."""
        return 1

    def _next(self, page: Page, answer: Answer) -> Page | None:  # noqa: ARG002 - always the same
        return None
