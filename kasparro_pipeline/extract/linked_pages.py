"""Paginators whose next page is named by the answer before it: by a cursor, a header, or an address.

Such a list can only be read one page after the other.
"""

import re
from typing import Literal

from pydantic import model_validator

from kasparro_pipeline.contract.mapping import MISSING, value_at
from kasparro_pipeline.extract.errors import PermanentUpstreamError
from kasparro_pipeline.extract.paging import Answer, Page, Paginator
from kasparro_pipeline.extract.urls import joined

_PARAMETER = r';\s*([^\s;,="]+)(?:\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s;,"]*)))?'
_PARAMETERS = re.compile(_PARAMETER)
_LINK = re.compile(rf"<([^>]*)>((?:\s*{_PARAMETER})*)")


class Cursor(Paginator):
    """Each answer gives the cursor of the next page, until it gives none."""

    type: Literal["cursor"]
    """`cursor`"""
    cursor_param: str = "cursor"
    """Query parameter that carries the cursor."""
    cursor_path: str | None = None
    """Path of the next cursor in an answer: `next`, `meta.next`, `pages[0].cursor`."""
    record_path: str | None = None
    """Instead: path of it in the last record of a page (`id`)."""
    has_more_path: str | None = None
    """Path of what says whether there are more pages: true or false."""

    @model_validator(mode="after")
    def _one_path(self) -> "Cursor":
        if (self.cursor_path is None) == (self.record_path is None):
            raise ValueError("give either `cursor_path` or `record_path`")
        return self

    def params(self, page: Page) -> dict[str, str]:
        """The cursor, behind the first page."""
        return {} if page.token is None else {self.cursor_param: str(page.token)}

    def _next(self, page: Page, answer: Answer) -> Page | None:
        if answer.flag(self.has_more_path) is False:
            return None
        if self.record_path is None:
            return _named(answer.told(self.cursor_path), page, answer)
        token = value_at(answer.last, self.record_path, {}) if answer.count else None
        if token is MISSING:
            raise PermanentUpstreamError(
                f"the last record has nothing at `{self.record_path}`, where the next cursor should be",
                answer.url,
            )
        return _named(token, page, answer)


class LinkHeader(Paginator):
    """Each answer names the next page in its header Link (RFC 8288)."""

    type: Literal["link_header"]
    """`link_header`"""
    rel: str = "next"
    """Relation of the link to follow."""

    def address(self, page: Page) -> str | None:
        """The link of the page before."""
        return _address(page)

    @property
    def needs_body(self) -> bool:
        """The header is kept with the document."""
        return False

    def _next(self, page: Page, answer: Answer) -> Page | None:
        return _linked(links(answer.headers.get("link", "")).get(self.rel.lower()), page, answer)


class NextUrl(Paginator):
    """Each answer names the address of the next page in its body."""

    type: Literal["next_url"]
    """`next_url`"""
    next_path: str = "next"
    """Path of the address: `next`, `links[0].href`. A relative address counts from the answer's own."""

    def address(self, page: Page) -> str | None:
        """The address that the page before gave."""
        return _address(page)

    def _next(self, page: Page, answer: Answer) -> Page | None:
        return _linked(answer.told(self.next_path), page, answer)


def links(header: str) -> dict[str, str]:
    """Targets of a Link header (RFC 8288 3) by relation, in lower case; of several with one the first."""
    found: dict[str, str] = {}
    for link in _LINK.finditer(header):
        parameters = _PARAMETERS.findall(link[2])
        # of a doubled parameter the first counts (RFC 8288 3.3)
        relations = next((quoted or plain for name, quoted, plain in parameters if name.lower() == "rel"), "")
        for relation in relations.lower().split():
            found.setdefault(relation, link[1])
    return found


def _named(token: object, page: Page, answer: Answer) -> Page | None:
    if token is None or token is False or token == "":
        return None
    if not isinstance(token, (str, int)) or isinstance(token, bool):
        raise PermanentUpstreamError(
            f"what names the next page is neither text nor a number: {token!r}", answer.url
        )
    return Page(token, page.number + 1, page.size or answer.count)


def _linked(target: object, page: Page, answer: Answer) -> Page | None:
    return _named(joined(answer.url, target) if isinstance(target, str) and target else target, page, answer)


def _address(page: Page) -> str | None:
    return None if page.token is None else str(page.token)
