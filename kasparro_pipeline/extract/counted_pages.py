"""Paginators whose pages can be named beforehand, by number or offset: they are fetched in parallel.

The last page is known by what the upstream tells (whether there are more, a total); where it tells nothing, a
list ends with an empty page, or with a short one if the spec says so.
"""

from typing import Literal

from pydantic import Field, model_validator

from kasparro_pipeline.extract.errors import TransientUpstreamError
from kasparro_pipeline.extract.paging import Answer, Page, Paginator


class _Counted(Paginator):
    last_page: Literal["empty", "short"] = "empty"
    """How the last page is known where the upstream does not tell it. `short` saves a request, but ends too
    early where an upstream gives fewer records than it was asked for."""
    total_path: str | None = None
    """Path of the number of records in the whole list: `total`, `meta.total`."""
    has_more_path: str | None = None
    """Path of what says whether there are more pages: true or false."""
    repeated_page: Literal["fail", "stop"] = "fail"
    """What a page means that holds what an earlier one held: an error, or the end of the list."""

    @property
    def needs_body(self) -> bool:
        """A page with records is followed by another one, if nothing else is told."""
        return False

    @property
    def repeats(self) -> Literal["fail", "stop"]:
        """What a page means that holds what an earlier one held."""
        return self.repeated_page

    def pages(self, page: Page, answer: Answer) -> int | None:
        """How many pages the list has, if the answer tells it."""
        total = answer.number(self.total_path)
        if not total:
            return total
        size = page.size or answer.count
        if not size:
            raise TransientUpstreamError(
                f"the first page is empty, and `{self.total_path}` says that there are {total} records",
                answer.url,
            )
        return -(-total // size)

    def total(self, answer: Answer) -> int | None:
        """How many items the whole list has, if the answer tells it."""
        return answer.number(self.total_path)

    def _next(self, page: Page, answer: Answer) -> Page | None:
        return self._behind(page, answer.count) if self._goes_on(page, answer) else None

    def _goes_on(self, page: Page, answer: Answer) -> bool:
        if (told := answer.flag(self.has_more_path)) is not None:
            return told
        if (pages := self.pages(page, answer)) is not None:
            return page.number + 1 < pages
        least = self._full_page if self.last_page == "short" else 1
        return answer.count >= least

    def _behind(self, page: Page, count: int) -> Page:
        raise NotImplementedError

    @property
    def _full_page(self) -> int:
        raise NotImplementedError


class PageNumber(_Counted):
    """Numbered pages."""

    type: Literal["page_number"]
    """`page_number`"""
    page_param: str = "page"
    """Query parameter that carries the number."""
    first_page: int = 1
    """Number of the first page."""
    page_size: int | None = Field(default=None, ge=1)
    """Records of a full page, where `page_size_param` or `last_page: short` need it."""
    page_size_param: str | None = None
    """Query parameter that carries `page_size`."""
    total_pages_path: str | None = None
    """Path of the number of pages in the whole list."""

    @model_validator(mode="after")
    def _size_is_given(self) -> "PageNumber":
        if self.page_size is None and (self.page_size_param or self.last_page == "short"):
            raise ValueError("`page_size_param` and `last_page: short` need a `page_size`")
        return self

    def first(self) -> Page:
        """The first page."""
        return Page(self.first_page)

    def params(self, page: Page) -> dict[str, str]:
        """The size, if it is sent, and the number."""
        size = {self.page_size_param: str(self.page_size)} if self.page_size_param else {}
        return {**size, self.page_param: str(page.token)}

    def guess(self, page: Page) -> Page | None:
        """The next number."""
        return self._behind(page, 0)

    def pages(self, page: Page, answer: Answer) -> int | None:
        """How many pages the list has, if the answer tells it."""
        pages = answer.number(self.total_pages_path)
        return super().pages(page, answer) if pages is None else pages

    def _behind(self, page: Page, count: int) -> Page:
        return Page(self.first_page + page.number + 1, page.number + 1, page.size or count)

    @property
    def _full_page(self) -> int:
        return self.page_size or 1


class Offset(_Counted):
    """Pages by offset and limit."""

    type: Literal["offset"]
    """`offset`"""
    offset_param: str = "offset"
    """Query parameter that carries the offset: how many records are before the page."""
    limit: int = Field(default=100, ge=1)
    """Records of a full page."""
    limit_param: str | None = "limit"
    """Query parameter that carries `limit`."""

    def first(self) -> Page:
        """The first page."""
        return Page(0)

    def params(self, page: Page) -> dict[str, str]:
        """Limit and offset."""
        limit = {self.limit_param: str(self.limit)} if self.limit_param else {}
        return {**limit, self.offset_param: str(page.token)}

    def guess(self, page: Page) -> Page | None:
        """The offset behind a page of the size of the first one."""
        return self._behind(page, page.size)

    def pages(self, page: Page, answer: Answer) -> int | None:
        """How many pages the list has, if the answer tells it."""
        total = answer.number(self.total_path)
        if total is None:
            return None
        left = total - int(page.token or 0) - (answer.count or self.limit)
        return page.number + 1 + max(0, -(-left // (page.size or answer.count or self.limit)))

    def _behind(self, page: Page, count: int) -> Page:
        # by what came: an upstream may give fewer than it was asked for
        behind = int(page.token or 0) + (count or self.limit)
        return Page(behind, page.number + 1, page.size or count)

    @property
    def _full_page(self) -> int:
        return self.limit
