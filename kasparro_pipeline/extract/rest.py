"""Extraction from a REST API: which requests to send, in which order, and how far that has come.

One answer is one document. Requests are repeated for each value of `for_each`, each through its pages; the
cursor after a page names the next one, so that an interrupted extraction goes on where it stopped.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any, Literal
from urllib.parse import quote

import requests
from pydantic import Field

from kasparro_pipeline.contract.mapping import value_at
from kasparro_pipeline.contract.spec import StrictModel
from kasparro_pipeline.extract import json_records
from kasparro_pipeline.extract.documents import Batch, Cursor, Document, RawRecord, Request, sha256
from kasparro_pipeline.extract.errors import PermanentUpstreamError
from kasparro_pipeline.extract.http import HttpSettings, Response, fetch

_DAY = re.compile(r"\d{4}-\d{2}-\d{2}", re.ASCII)


class SinglePage(StrictModel):
    """The whole list comes in one answer."""

    type: Literal["single_page"] = "single_page"
    """`single_page`"""


class PageNumber(StrictModel):
    """Numbered pages, until one is empty."""

    type: Literal["page_number"]
    """`page_number`"""
    page_param: str = "page"
    """Query parameter that carries the number."""
    first_page: int = 1
    """Number of the first page."""
    max_pages: int = Field(default=1000, ge=1)
    """More pages with records than this is an error, since the upstream may never end."""


class ForEach(StrictModel):
    """Repeats the request for each of some values."""

    param: str
    """Name of the value: `{name}` in the path stands for it, a contract reads it as `$document.<name>`."""
    values: tuple[str, ...] = Field(min_length=1)
    """The values."""


class DateWindow(StrictModel):
    """The upstream keeps history and answers for a range of days."""

    start_param: str
    """Query parameter of the first day, `YYYY-MM-DD`."""
    end_param: str
    """Query parameter of the last day, inclusive."""
    cursor: str
    """Path of a record's own day or instant: the newest one seen is where the next extraction starts."""
    lookback_window: timedelta = Field(default=timedelta(days=1), ge=timedelta(0))
    """How far before the cursor the next extraction starts: for records that come late or change."""


class RestRequests(StrictModel):
    """What is asked of the API."""

    path: str
    """Path of the endpoint, below `base_url`."""
    params: dict[str, str | int | float | bool] = Field(default_factory=dict)
    """Query parameters of every request."""
    headers: dict[str, str] = Field(default_factory=dict)
    """Headers of every request."""
    records: str = ""
    """Where the list of records is in an answer: keys joined by dots. Default: the answer is the list."""
    paginator: SinglePage | PageNumber = Field(default=SinglePage(), discriminator="type")
    """How a list goes on."""
    for_each: ForEach | None = None
    """Repeats the requests for each of some values."""
    date_window: DateWindow | None = None
    """Set where a past day can be asked for again; without it only the current day's partition runs."""


@dataclass(frozen=True, slots=True)
class _Position:
    """The next request to send: which value of `for_each`, which page."""

    item: int
    page: int


@dataclass(slots=True)
class _Page:
    """What one request gave, reduced to what decides how to go on."""

    response: Response
    location: str
    document: Document | None
    records: list[RawRecord]
    record_count: int


class RestExtraction:
    """One extraction of a REST source; iterate it to get its batches."""

    def __init__(
        self,
        spec: RestRequests,
        base_url: str,
        request: Request,
        http: HttpSettings,
        session: requests.Session,
    ) -> None:
        self._spec, self._base_url, self._request = spec, base_url.rstrip("/"), request
        self._http, self._session = http, session
        self._days = self._window()
        self._seen: dict[str, str] = {}
        self._previous: str | None = None
        requests_only = spec.model_dump_json(include=set(RestRequests.model_fields))
        self._asked = sha256(f"{base_url} {requests_only}".encode()).hex()[:16]

    def __iter__(self) -> Iterator[Batch]:
        """The batches, each with the cursor that holds once it is stored.

        Raises:
            PermanentUpstreamError: an answer that is no list of records, or pages that do not end.
            TransientUpstreamError: the upstream stayed away through all retries.
        """
        position: _Position | None = self._resume()
        previous = self._previous
        while position is not None:
            page = self._fetch(position)
            digest = page.document.sha256.hex() if page.document else None
            if digest is not None and digest == previous and page.record_count:
                raise PermanentUpstreamError(
                    f"page {position.page} repeats the page before it: the upstream ignores "
                    f"`{self._page_param()}`, or its pages loop",
                    page.location,
                )
            self._observe(position, page)
            following = self._next(position, page)
            previous = digest if following and following.item == position.item else None
            cursor = self._cursor(following, previous)
            yield Batch(page.document, page.records, cursor, done=following is None)
            position = following

    def _window(self) -> tuple[date, date] | None:
        window = self._spec.date_window
        if window is None:
            return None
        if self._request.days is not None:
            return self._request.days
        through = (self._request.source_cursor or {}).get("through")
        newest = min(date.fromisoformat(through), self._request.today) if through else self._request.today
        # whole days, rounded up: a window of 36 hours reaches into the day before yesterday
        return newest - timedelta(days=-(-window.lookback_window // timedelta(days=1))), self._request.today

    def _resume(self) -> _Position:
        progress = self._request.progress
        if progress and (progress.get("days"), progress.get("asked")) == (self._days_as_json(), self._asked):
            self._seen = dict(progress["seen"])
            self._previous = progress["previous"]
            return _Position(progress["item"], progress["page"])
        return _Position(0, self._first_page())

    def _fetch(self, position: _Position) -> _Page:
        context: dict[str, Any] = {}
        path = self._spec.path
        params = {name: _as_text(value) for name, value in self._spec.params.items()}
        if self._spec.for_each:
            value = self._spec.for_each.values[position.item]
            context[self._spec.for_each.param] = value
            path = path.replace(f"{{{self._spec.for_each.param}}}", quote(value, safe=""))
        if self._spec.date_window and self._days:
            params[self._spec.date_window.start_param] = self._days[0].isoformat()
            params[self._spec.date_window.end_param] = self._days[1].isoformat()
        if isinstance(self._spec.paginator, PageNumber):
            params[self._spec.paginator.page_param] = str(position.page)
        location = _url(self._base_url + path, params)
        known = self._request.known(location)
        if known and (known.context != context or known.layout.get("records") != self._spec.records):
            known = None  # stored by another reading of the answer: it has to be read anew
        response = fetch(
            self._session, location, settings=self._http, headers=self._spec.headers, known=known
        )
        if response.body is None:
            return _Page(response, location, None, [], known.record_count if known else 0)
        layout, records = json_records.records(response.body, self._spec.records, location)
        digest = sha256(response.body)
        document = Document(
            location,
            len(response.body),
            digest,
            response.fetched_at,
            {**layout, "records": self._spec.records},
            context,
            response.headers,
        )
        return _Page(response, location, document, records, len(records))

    def _next(self, position: _Position, page: _Page) -> _Position | None:
        paginator = self._spec.paginator
        if isinstance(paginator, PageNumber) and page.record_count:
            if position.page - paginator.first_page >= paginator.max_pages:
                raise PermanentUpstreamError(
                    f"more than max_pages, {paginator.max_pages} pages", page.location
                )
            return _Position(position.item, position.page + 1)
        items = len(self._spec.for_each.values) if self._spec.for_each else 1
        return _Position(position.item + 1, self._first_page()) if position.item + 1 < items else None

    def _observe(self, position: _Position, page: _Page) -> None:
        """Remember the newest day that each value of `for_each` has records of."""
        if not self._spec.date_window or not self._days:
            return
        cursor = self._spec.date_window.cursor
        days = [_day(value_at(record.value, cursor, {})) for record in page.records]
        if page.document is None:
            # nothing new here: this value stands where the cursor stands, others may be ahead of it
            days = [_day((self._request.source_cursor or {}).get("through"))]
        key = str(position.item)
        for day in days:
            # a day beyond the window is the upstream's mistake, and must not carry the cursor away
            if day is not None and day <= self._days[1]:
                self._seen[key] = max(day.isoformat(), self._seen.get(key, ""))

    def _cursor(self, following: _Position | None, previous: str | None) -> Cursor:
        if following:
            return {
                "asked": self._asked,
                "days": self._days_as_json(),
                "seen": self._seen.copy(),
                "item": following.item,
                "page": following.page,
                "previous": previous,
            }
        if self._spec.date_window and self._seen:
            return {"through": min(self._seen.values())}
        return self._request.source_cursor or {}

    def _first_page(self) -> int:
        return self._spec.paginator.first_page if isinstance(self._spec.paginator, PageNumber) else 1

    def _page_param(self) -> str:
        return self._spec.paginator.page_param if isinstance(self._spec.paginator, PageNumber) else "page"

    def _days_as_json(self) -> list[str] | None:
        return [day.isoformat() for day in self._days] if self._days else None


def _day(value: object) -> date | None:
    """The day that text begins with, `YYYY-MM-DD`; None where there is none."""
    if not isinstance(value, str) or not _DAY.match(value):
        return None
    try:
        return date.fromisoformat(value[:10])
    except ValueError:
        return None


def _url(base: str, params: dict[str, str]) -> str:
    try:
        return requests.Request("GET", base, params=params).prepare().url or base
    except requests.exceptions.RequestException as error:
        raise PermanentUpstreamError(f"not a usable address: {error}", base) from error


def _as_text(value: str | float | bool) -> str:
    """A query parameter as JSON writes it: `true`, not Python's `True`."""
    return str(value).lower() if isinstance(value, bool) else str(value)


def lookback_of(spec: RestRequests) -> timedelta | None:
    """The lookback window that is stored beside the source's cursor."""
    return spec.date_window.lookback_window if spec.date_window else None
