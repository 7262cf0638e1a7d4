"""Extraction from a REST API: which requests to send, in which order, and how far that has come.

One answer is one document. Requests are repeated for each item (a value of `for_each`), each through its
pages; the cursor after a page names the next one, so that an interrupted extraction goes on where it stopped.
Pages are fetched ahead where they can be named beforehand, and handed over in order.
"""

import sys
from bisect import bisect_left
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import timedelta
from typing import Any

from kasparro_pipeline.extract import json_records
from kasparro_pipeline.extract.documents import (
    Batch,
    Document,
    KnownDocument,
    RawRecord,
    Request,
    sha256,
)
from kasparro_pipeline.extract.errors import PermanentUpstreamError, UpstreamError
from kasparro_pipeline.extract.exploded import exploded
from kasparro_pipeline.extract.http import Client
from kasparro_pipeline.extract.http_answer import Response
from kasparro_pipeline.extract.increments import Days, Whole
from kasparro_pipeline.extract.lookahead import Lookahead
from kasparro_pipeline.extract.paging import Answer, Page
from kasparro_pipeline.extract.rest_items import Item, as_text, items_of
from kasparro_pipeline.extract.rest_places import ListState, Place, Read
from kasparro_pipeline.extract.rest_progress import progress_of
from kasparro_pipeline.extract.rest_spec import RestRequests
from kasparro_pipeline.extract.since import Since
from kasparro_pipeline.extract.urls import of_same_origin, with_params

AHEAD = 2
"""Pages fetched ahead, for each request that may be under way."""
LAST = sys.maxsize
"""A window behind all of an item's."""


class RestExtraction:
    """One extraction of a REST source; iterate it once to get its batches. Its client ends with it."""

    def __init__(self, spec: RestRequests, base_url: str, request: Request, client: Client) -> None:
        self._spec, self._base_url, self._request = spec, base_url.rstrip("/"), request
        self._client, self._paginator = client, spec.paginator
        self._items = items_of(spec, request)
        self._increment = _increment(spec, request)
        self._list = ListState((0, 0), self._paginator.always_pages)
        self._last: tuple[Response, Read] | None = None
        asked = spec.model_dump_json(include=set(RestRequests.model_fields))
        self._asked = sha256(f"{base_url} {asked}".encode()).hex()[:16]
        self._doubt: str | None = None

    def __iter__(self) -> Iterator[Batch]:
        """The batches, each with the cursor that holds once it is stored.

        Raises:
            PermanentUpstreamError: an answer that is no list of records, or pages that do not end.
            TransientUpstreamError: the upstream stayed away through all retries.
        """
        place: Place | None = self._resume()
        with Lookahead(self._client, self) as lookahead:
            while place is not None:
                if self._list.place != (place.item, place.window):
                    self._list = ListState((place.item, place.window), self._paginator.always_pages)
                response = lookahead.take(place)
                try:
                    batch, following = self._take(place, response)
                except RecursionError as error:
                    # what could just be cut may be too deep to be read again, a few calls further down
                    raise PermanentUpstreamError(json_records.TOO_DEEP, response.url) from error
                yield replace(batch, more_is_there=lookahead.has(following))
                place = following

    def _resume(self) -> Place | None:
        progress = progress_of(self._request.progress, self._asked)
        if progress is not None and self._increment_resumed():
            keys = [item.key for item in self._items]
            if progress.item not in keys and self._spec.parent:
                # gone meanwhile: parents are in order, so the one behind it comes next
                index = bisect_left(keys, progress.item)
                return self._next_list(index - 1, LAST) if index else self._next_list(-1, 0)
            if progress.item in keys:
                place = Place(keys.index(progress.item), progress.window, progress.as_page)
                self._list = ListState((place.item, place.window), self._paginator.always_pages)
                self._list.digests |= set(progress.digests)
                return place
        return self._next_list(-1, 0)

    def _increment_resumed(self) -> bool:
        try:
            return self._increment.resume(self._request.progress or {})
        except (LookupError, TypeError, ValueError, AttributeError):
            return False  # written by another release

    def ask(self, place: Place) -> Callable[[], Response]:
        """Prepare a request, and give what sends it."""
        location = self._location(place)
        known = self._known(location, self._items[place.item])
        if self._paginator.needs_body:
            known = None
        return lambda: self._client.fetch(location, headers=self._spec.headers, known=known)

    def _location(self, place: Place) -> str:
        if (given := self._paginator.address(place.page)) is not None:
            return given
        item = self._items[place.item]
        path = item.put_into(self._spec.path, quoted=True)
        params = {name: item.put_into(as_text(value)) for name, value in self._spec.params.items()}
        params |= self._increment.params(item.key, place.window)
        # what stands for a value must not run into the host's name
        base = f"{self._base_url}/{path.removeprefix('/')}" if path else self._base_url
        return with_params(base, params | self._paginator.params(place.page))

    def _known(self, location: str, item: Item) -> KnownDocument | None:
        known = self._request.known(location)
        if known and known.context == item.context and self._cut_as().items() <= known.layout.items():
            return known
        return None  # stored by another reading of the answer: it has to be read anew

    def guess(self, place: Place) -> Place | None:
        """The place behind one whose answer has not come, as far as can be said."""
        same_list = self._list.place == (place.item, place.window)
        pages = self._list.pages if same_list else self._paginator.always_pages
        if pages is not None and place.page.number + 1 >= pages:
            known = self._paginator.always_pages is not None
            return self._next_list(place.item, place.window + 1) if known else None
        if not same_list:
            return None  # how long a list behind this one is, is not known
        page = self._paginator.guess(place.page)
        if page is None or not self._paginator.may_be_asked(page):
            return None
        return Place(place.item, place.window, page)

    def behind(self, place: Place, response: Response) -> Place | None:
        """The place behind an answer in its list, or None; errors are told when the answer is taken."""
        try:
            read = self._read(place, response)
            if read.cut and self._increment.ends_at(self._items[place.item].key, read.cut.records):
                return None
            page = self._page_behind(place, read.answer)
        except (UpstreamError, RecursionError):
            return None
        return None if page is None else Place(place.item, place.window, page)

    def next_list(self, place: Place) -> Place | None:
        """The first page of the list behind one of unknown length; those of a known one are guessed."""
        known = self._paginator.always_pages is not None
        return None if known else self._next_list(place.item, place.window + 1)

    def ahead(self) -> tuple[int, int]:
        """How many pages to fetch ahead: of one list few at first, where nothing tells how many there are."""
        concurrency = self._client.settings.concurrency
        most = AHEAD * concurrency if concurrency > 1 else 0
        return (min(most, self._list.taken) if self._list.pages is None else most), most

    def _next_list(self, item: int, window: int) -> Place | None:
        if item < 0 or window >= self._increment.windows(self._items[item].key):
            item, window = item + 1, 0
        return Place(item, window, self._paginator.first()) if item < len(self._items) else None

    def _read(self, place: Place, response: Response) -> Read:
        """What an answer says; that of the last one that was asked about is kept in mind."""
        if self._last is not None and self._last[0] is response:
            return self._last[1]
        if response.body is None:
            known = None if response.ignored else self._known(response.url, self._items[place.item])
            count = known.layout.get("items", known.record_count) if known else 0
            headers = known.headers if known else response.headers
            read = Read(Answer(response.url, headers, count, None, None), None, known)
        else:
            spec = self._spec
            cut = json_records.cut(response.body, spec.records, response.url, one_record=spec.one_record)
            last = cut.records[-1].value if cut.records else None
            answer = Answer(response.url, response.headers, len(cut.records), last, cut.around)
            read = Read(answer, cut, None)
        self._last = response, read
        return read

    def _take(self, place: Place, response: Response) -> tuple[Batch, Place | None]:
        """The batch of an answer, and where to go on."""
        item = self._items[place.item]
        read = self._read(place, response)
        self._last = None
        answer, cut = read.answer, read.cut
        document: Document | None = None
        records: list[RawRecord] = []
        ended = False
        if cut is None or response.body is None:
            if read.known is not None:
                self._increment.unchanged(item.key)
            else:
                self._doubt = f"{response.url} gave nothing, as an error rule ignores what it answered"
        else:
            layout = cut.layout | self._cut_as()
            records = self._increment.take(item.key, cut.records, response.headers)
            if self._spec.explode:
                layout["items"] = answer.count
                records = exploded(self._spec.explode, records, cut.layout["encoding"])
            document = self._document(response, response.body, layout, item)
            ended = self._increment.ends_at(item.key, cut.records)
        if self._repeats(place, answer, document):
            document, records, ended = None, [], True
        else:
            self._list.items += answer.count
            told = self._paginator.total(answer)
            self._list.total = self._list.total if told is None else told
        following = self._next_list(place.item, place.window + 1) if ended else self._following(place, answer)
        if not records and self._increment.skips_empty:
            document = None
        if following is None or (following.item, following.window) != (place.item, place.window):
            self._compare_total(response.url)
        batch = self._batch(document, records, following)
        return replace(batch, same_as=read.known.id if read.known else None), following

    def _compare_total(self, url: str) -> None:
        if self._list.total not in {None, self._list.items}:
            self._doubt = f"{self._list.items} records came of {self._list.total} that {url} tells of"

    def _cut_as(self) -> dict[str, Any]:
        """How an answer is cut into records: part of what tells documents apart."""
        explode = self._spec.explode.model_dump(mode="json") if self._spec.explode else None
        one = {"one_record": True} if self._spec.one_record else {}
        return {"records": self._spec.records} | one | ({"explode": explode} if explode else {})

    def _document(self, response: Response, body: bytes, layout: dict[str, Any], item: Item) -> Document:
        return Document(
            response.url,
            len(body),
            sha256(body),
            response.fetched_at,
            layout,
            item.context,
            response.headers,
        )

    def _repeats(self, place: Place, answer: Answer, document: Document | None) -> bool:
        """Whether the page ends its list by holding what an earlier one held."""
        self._list.taken += 1
        if document is None or not answer.count:
            return False
        digest = document.sha256.hex()
        if digest not in self._list.digests:
            self._list.digests.add(digest)
            return False
        if self._paginator.repeats == "stop":
            return True
        raise PermanentUpstreamError(
            f"page {place.page.number + 1} of the list holds the same as an earlier one: the upstream ignores"
            " what the paginator asks for, or its pages loop",
            answer.url,
        )

    def _following(self, place: Place, answer: Answer) -> Place | None:
        page = self._page_behind(place, answer)
        self._list.pages = self._paginator.pages(place.page, answer)
        self._list.tokens.add(place.page.token)
        if page is None:
            return self._next_list(place.item, place.window + 1)
        if page.token in self._list.tokens:
            raise PermanentUpstreamError(
                f"the answer leads back to a page that was read before: {page.token!r}", answer.url
            )
        return Place(place.item, place.window, page)

    def _page_behind(self, place: Place, answer: Answer) -> Page | None:
        page = self._paginator.following(place.page, answer)
        if page is None or (given := self._paginator.address(page)) is None:
            return page
        # an upstream may repeat the key that it was asked with
        own = self._client.credentials.unsign(of_same_origin(given, self._base_url))
        return replace(page, token=own)

    def _batch(self, document: Document | None, records: list[RawRecord], following: Place | None) -> Batch:
        if following is None:
            return Batch(document, records, self._increment.cursor(), done=True, doubt=self._doubt)
        same_list = self._list.place == (following.item, following.window)
        page = following.page
        cursor = {
            "asked": self._asked,
            **self._increment.progress(),
            "item": self._items[following.item].key,
            "window": following.window,
            "page": [page.token, page.number, page.size],
            "digests": [document.sha256.hex()] if document and records and same_list else [],
        }
        return Batch(document, records, cursor)


def _increment(spec: RestRequests, request: Request) -> Whole:
    if spec.date_window:
        return Days(spec.date_window, request, by_item=spec.parent is not None)
    return Since(spec.incremental, request) if spec.incremental else Whole(request)


def lookback_of(spec: RestRequests) -> timedelta | None:
    """The lookback window that is stored beside the source's cursor."""
    if spec.date_window:
        return spec.date_window.lookback_window
    window = spec.incremental.lookback_window if spec.incremental else None
    return window if isinstance(window, timedelta) else None


def start_param_of(spec: RestRequests) -> str | None:
    """The query parameter that moves with the source's checkpoint, if there is one and the same for all."""
    if spec.parent or (spec.incremental and spec.for_each):
        return None  # each item moves by itself
    if spec.date_window:
        return spec.date_window.start_param
    return spec.incremental.param if spec.incremental else None
