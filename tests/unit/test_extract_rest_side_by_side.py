"""Lists of several items that name their next page themselves: read side by side, in order, without a gap."""

from __future__ import annotations

import json
import threading
import time
from contextlib import closing, contextmanager
from datetime import date
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, urlsplit

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kasparro_pipeline.extract.documents import Batch, Request
from kasparro_pipeline.extract.errors import PermanentUpstreamError, TransientUpstreamError
from kasparro_pipeline.extract.http import Client, HttpSettings
from kasparro_pipeline.extract.rest import RestExtraction
from kasparro_pipeline.extract.rest_spec import RestRequests
from tests.unit.conftest import ScriptedUpstream, reply

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from http.server import BaseHTTPRequestHandler

PAGINATORS: dict[str, dict[str, Any]] = {
    "cursor": {"type": "cursor", "cursor_path": "next"},
    "link_header": {"type": "link_header"},
    "next_url": {"type": "next_url"},
    "page_number": {"type": "page_number", "has_more_path": "more"},
    "offset": {"type": "offset", "limit": 1, "has_more_path": "more"},
}
LINKED = ("cursor", "link_header", "next_url")


class Lists:
    """Serves a list of some pages for each item, of one record a page; counts what is under way."""

    def __init__(self, upstream: ScriptedUpstream, *lengths: int) -> None:
        self.upstream, self.lengths = upstream, lengths
        self.delay: Callable[[int, int], float] = lambda _item, _page: 0
        self.broken: Callable[[int, int], bool] = lambda _item, _page: False
        self.at_once = self.most_at_once = self.served = 0
        self._lock = threading.Lock()
        upstream.answer = self._answer

    @property
    def records(self) -> list[str]:
        return [f"{item}.{page}" for item, length in enumerate(self.lengths) for page in range(length)]

    def spec(self, paginator: str) -> dict[str, Any]:
        names = [str(item) for item in range(len(self.lengths))]
        return {
            "path": "/{v}",
            "records": "data",
            "paginator": PAGINATORS[paginator],
            "for_each": {"param": "v", "values": names},
        }

    def _answer(self, handler: BaseHTTPRequestHandler) -> None:
        parts = urlsplit(handler.path)
        query = dict(parse_qsl(parts.query))
        item = int(parts.path.removeprefix("/"))
        page = int(query.get("cursor", query.get("offset", int(query.get("page", "1")) - 1)))
        with self._lock:
            self.at_once += 1
            self.most_at_once = max(self.most_at_once, self.at_once)
        time.sleep(self.delay(item, page))
        with self._lock:
            self.at_once -= 1
            self.served += 1
        if self.broken(item, page):
            reply(handler, 500)
            return
        more = page + 1 < self.lengths[item]
        body = {
            "data": [f"{item}.{page}"] if page < self.lengths[item] else [],
            "next": (str(page + 1) if "cursor" in self.kind else f"/{item}?cursor={page + 1}")
            if more
            else None,
            "more": more,
        }
        link = {"Link": f"</{item}?cursor={page + 1}>; rel=next"} if more else {}
        reply(handler, 200, json.dumps(body).encode(), link)

    kind = ""

    @contextmanager
    def extraction(self, paginator: str, progress: Any = None, **http: Any) -> Iterator[Iterator[Batch]]:
        self.kind = paginator
        spec = RestRequests.model_validate(self.spec(paginator))
        patient = HttpSettings(**{"attempts": 1, "backoff": 0} | http)
        with Client(patient.allowing(["127.0.0.1"])) as client:
            request = Request(date(2024, 1, 10), progress=progress)
            batches = iter(RestExtraction(spec, self.upstream.url, request, client))
            with closing(batches):  # type: ignore[type-var]  # a generator
                yield batches


def values(batches: list[Batch]) -> list[Any]:
    return [record.value for batch in batches for record in batch.records]


@pytest.mark.parametrize("paginator", PAGINATORS)
def test_lists_of_several_items_are_read_at_the_same_time_and_handed_over_in_order(
    paginator: str, upstream: ScriptedUpstream
) -> None:
    lists = Lists(upstream, *[2] * 12)
    lists.delay = lambda item, _page: 0.05 + 0.05 * (item % 3 == 0)
    with lists.extraction(paginator, concurrency=4) as batches:
        assert values(list(batches)) == lists.records
    assert lists.most_at_once == 4
    if paginator in LINKED:
        assert lists.served == 24  # nothing in vain


@pytest.mark.parametrize("paginator", LINKED)
def test_lists_of_several_items_take_a_fraction_of_the_time(
    paginator: str, upstream: ScriptedUpstream
) -> None:
    took = {}
    for concurrency in (1, 4):
        lists = Lists(upstream, *[2] * 12)
        lists.delay = lambda _item, _page: 0.05
        started = time.monotonic()
        with lists.extraction(paginator, concurrency=concurrency) as batches:
            assert len(list(batches)) == 24
        took[concurrency] = time.monotonic() - started
    assert took[1] > 1.2
    assert took[4] < took[1] / 2


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    lengths=st.lists(st.integers(1, 6), min_size=1, max_size=8),
    paginator=st.sampled_from(sorted(PAGINATORS)),
    concurrency=st.integers(1, 5),
    stops=st.lists(st.integers(1, 12), max_size=3),
)
def test_whatever_the_lists_and_wherever_they_are_interrupted_every_record_comes_once_and_in_order(
    lengths: list[int], paginator: str, concurrency: int, stops: list[int], upstream: ScriptedUpstream
) -> None:
    lists = Lists(upstream, *lengths)
    found: list[Batch] = []
    for stop in [*stops, 10**6]:
        if found and found[-1].done:
            break
        progress = json.loads(json.dumps(found[-1].cursor)) if found else None
        with lists.extraction(paginator, progress, concurrency=concurrency) as batches:
            for count, batch in enumerate(batches, 1):
                found.append(batch)
                if count == stop:
                    break
    assert values(found) == lists.records
    assert [batch.done for batch in found] == [False] * (len(found) - 1) + [True]


@pytest.mark.parametrize("paginator", ["cursor", "link_header"])
def test_a_page_that_fails_in_a_later_list_leaves_all_before_it_and_a_checkpoint_at_its_place(
    paginator: str, upstream: ScriptedUpstream
) -> None:
    lists = Lists(upstream, 3, 3, 3, 3)
    lists.broken = lambda item, page: (item, page) == (2, 1)
    found: list[Batch] = []
    with lists.extraction(paginator, concurrency=8) as batches, pytest.raises(TransientUpstreamError):
        found.extend(batches)
    assert values(found) == lists.records[:7]
    assert (found[-1].cursor["item"], found[-1].cursor["page"][1]) == ("2", 1)
    lists.broken = lambda _item, _page: False
    upstream.seen.clear()
    with lists.extraction(paginator, json.loads(json.dumps(found[-1].cursor)), concurrency=8) as batches:
        found.extend(batches)
    assert values(found) == lists.records
    assert not [path for path in upstream.paths if path.startswith(("/0", "/1"))]


def test_no_more_is_fetched_ahead_than_twice_what_may_be_under_way(upstream: ScriptedUpstream) -> None:
    lists = Lists(upstream, *[5] * 20)
    with lists.extraction("cursor", concurrency=3) as batches:
        for taken in range(1, 30):
            next(batches)
            time.sleep(0.03)  # a slow writer
            assert len(upstream.paths) <= taken + 2 * 3


def test_large_bodies_are_fetched_ahead_only_within_max_bytes(upstream: ScriptedUpstream) -> None:
    lists = Lists(upstream, *[5] * 20)
    size = len(json.dumps({"data": ["0.0"], "next": "1", "more": True}))
    with lists.extraction("cursor", concurrency=4, max_bytes=size * 2 + 10) as batches:
        next(batches)  # before the first one has come, nobody knows how large they are
        time.sleep(0.05)
        before = len(upstream.paths)
        for taken in range(1, 30):
            next(batches)
            time.sleep(0.03)
            assert len(upstream.paths) <= before + taken + 2


def test_with_a_concurrency_of_one_a_page_is_asked_for_when_the_one_before_it_is_taken(
    upstream: ScriptedUpstream,
) -> None:
    lists = Lists(upstream, 3, 3)
    with lists.extraction("cursor", concurrency=1) as batches:
        for taken in range(1, 7):
            next(batches)
            time.sleep(0.02)
            assert len(upstream.paths) == taken


def test_the_pages_of_a_list_that_loops_are_bounded_and_the_lists_before_it_are_handed_over(
    upstream: ScriptedUpstream,
) -> None:
    def answer(handler: BaseHTTPRequestHandler) -> None:
        item = urlsplit(handler.path).path.removeprefix("/")
        loops = item == "3"
        body = {"data": [handler.path], "next": "again" if loops else None}
        reply(handler, 200, json.dumps(body).encode())

    lists = Lists(upstream, *[1] * 6)
    upstream.answer = answer
    found: list[Batch] = []
    looped = pytest.raises(PermanentUpstreamError, match="leads back to a page that was read before")
    with lists.extraction("cursor", concurrency=4) as batches, looped:
        found.extend(batches)
    assert values(found)[:3] == ["/0", "/1", "/2"]
    assert len(upstream.paths) < 30
