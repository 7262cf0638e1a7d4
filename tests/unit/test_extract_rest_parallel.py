"""Pages fetched in parallel: in order, within bounds, and no more of them than asked for."""

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from datetime import date
from http.server import BaseHTTPRequestHandler
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kasparro_pipeline.extract.documents import Batch, Request
from kasparro_pipeline.extract.errors import TransientUpstreamError
from kasparro_pipeline.extract.http import Client, HttpSettings
from kasparro_pipeline.extract.rest import RestExtraction
from kasparro_pipeline.extract.rest_spec import RestRequests
from tests.unit.conftest import ScriptedUpstream, reply

TODAY = date(2024, 1, 10)
FAST: dict[str, Any] = {"attempts": 1, "backoff": 0, "max_wait": 0.1}
NUMBERED: dict[str, Any] = {"path": "/x", "records": "data", "paginator": {"type": "page_number"}}


class PagedUpstream:
    """Serves `records` in pages of `size`; counts what is asked for, and how much of it at the same time."""

    def __init__(self, upstream: ScriptedUpstream, records: int, size: int, *, told: bool = False) -> None:
        self.upstream, self.records, self.size, self.told = upstream, list(range(records)), size, told
        self.delays: Callable[[int], float] = lambda _page: 0
        self.broken: Callable[[int], bool] = lambda _page: False
        self.at_once = self.most_at_once = 0
        self._lock = threading.Lock()
        upstream.answer = self._answer

    @property
    def pages(self) -> list[int]:
        return [int(dict(parse_qsl(urlsplit(path).query))["page"]) for path in self.upstream.paths]

    def _answer(self, handler: BaseHTTPRequestHandler) -> None:
        page = int(dict(parse_qsl(urlsplit(handler.path).query))["page"])
        with self._lock:
            self.at_once += 1
            self.most_at_once = max(self.most_at_once, self.at_once)
        time.sleep(self.delays(page))
        with self._lock:
            self.at_once -= 1
        if self.broken(page):
            reply(handler, 500)
            return
        found: dict[str, Any] = {"data": self.records[(page - 1) * self.size : page * self.size]}
        if self.told:
            found["total"] = len(self.records)
        reply(handler, 200, json.dumps(found).encode())


@contextmanager
def extraction(
    upstream: ScriptedUpstream, spec: dict[str, Any], progress: Any = None, **http: Any
) -> Iterator[Iterator[Batch]]:
    made = RestRequests.model_validate(NUMBERED | spec)
    request = Request(TODAY, progress=progress)
    with Client(HttpSettings(**FAST | http).allowing(["127.0.0.1"])) as client:
        batches = iter(RestExtraction(made, upstream.url, request, client))
        with closing(batches):  # type: ignore[type-var]  # a generator
            yield batches


def values(batches: list[Batch]) -> list[Any]:
    return [record.value for batch in batches for record in batch.records]


TOTAL = {"paginator": {"type": "page_number", "total_path": "total"}}


@pytest.mark.parametrize("told", [True, False])
def test_pages_are_fetched_at_the_same_time_and_handed_over_in_order(
    upstream: ScriptedUpstream, *, told: bool
) -> None:
    paged = PagedUpstream(upstream, 200, 5, told=told)
    paged.delays = lambda page: 0.02 + 0.02 * (page % 3 == 0)
    with extraction(upstream, TOTAL, concurrency=4) as batches:
        assert values(list(batches)) == paged.records
    assert paged.most_at_once == 4


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    records=st.integers(0, 60),
    size=st.integers(1, 7),
    concurrency=st.integers(1, 6),
    told=st.booleans(),
    stop=st.integers(0, 30),
)
def test_whatever_the_list_and_wherever_it_is_interrupted_every_record_comes_once_and_in_order(
    records: int, size: int, concurrency: int, *, told: bool, stop: int, upstream: ScriptedUpstream
) -> None:
    paged = PagedUpstream(upstream, records, size, told=told)
    found: list[Batch] = []
    with extraction(upstream, TOTAL, concurrency=concurrency) as batches:
        for batch in batches:
            found.append(batch)
            if len(found) == stop:
                break
    progress = None if not found or found[-1].done else json.loads(json.dumps(found[-1].cursor))
    if not found or progress:
        with extraction(upstream, TOTAL, progress, concurrency=concurrency) as batches:
            found.extend(batches)
    assert values(found) == paged.records
    assert found[-1].done
    assert not any(batch.done for batch in found[:-1])


FAULTS: dict[str, Callable[[BaseHTTPRequestHandler], object]] = {
    "503": lambda handler: reply(handler, 503),
    "429": lambda handler: reply(handler, 429, headers={"Retry-After": "0"}),
    "cut": lambda handler: reply(
        handler, 200, b'{"data": [', {"Content-Length": "999", "Connection": "close"}
    ),
    "gone": lambda handler: setattr(handler, "close_connection", True),
    "garbage": lambda handler: handler.wfile.write(b"nonsense\r\n\r\n"),
}


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    faults=st.dictionaries(
        st.integers(1, 8), st.lists(st.sampled_from(sorted(FAULTS)), min_size=1, max_size=3), max_size=4
    ),
    concurrency=st.integers(1, 5),
    told=st.booleans(),
)
def test_whatever_goes_wrong_on_the_way_what_comes_is_whole_and_without_a_gap(
    faults: dict[int, list[str]], concurrency: int, *, told: bool, upstream: ScriptedUpstream
) -> None:
    paged = PagedUpstream(upstream, 30, 5, told=told)
    served, left, lock = (
        upstream.answer,
        {page: list(kinds) for page, kinds in faults.items()},
        threading.Lock(),
    )

    def answer(handler: BaseHTTPRequestHandler) -> None:
        page = int(dict(parse_qsl(urlsplit(handler.path).query))["page"])
        with lock:
            kind = left[page].pop(0) if left.get(page) else None
        if kind is None:
            served(handler)
            return
        FAULTS[kind](handler)
        if kind in {"cut", "garbage"}:
            handler.close_connection = True

    upstream.answer = answer
    asked = 6 if told else 7  # without a total the empty page behind the last one is part of the list
    fatal = [page for page, kinds in faults.items() if len(kinds) >= 3 and page <= asked]
    found: list[Batch] = []
    failed = False
    with extraction(upstream, TOTAL, concurrency=concurrency, attempts=3) as batches:
        try:
            for batch in batches:
                found.append(batch)  # noqa: PERF402 - what came before the error counts
        except TransientUpstreamError:
            failed = True
    # a connection that was kept open and is gone is opened again without counting as an attempt
    surely = [page for page in fatal if "gone" not in faults[page] and "garbage" not in faults[page]]
    assert failed or not surely
    assert not failed or fatal
    assert values(found) == paged.records[: len(values(found))]
    if not failed:
        assert values(found) == paged.records
        assert found[-1].done


def test_a_total_bounds_what_is_asked_for(upstream: ScriptedUpstream) -> None:
    paged = PagedUpstream(upstream, 100, 10, told=True)
    with extraction(upstream, TOTAL, concurrency=8) as batches:
        list(batches)
    assert sorted(paged.pages) == list(range(1, 11))


@pytest.mark.parametrize("pages", [0, 1, 2, 3, 5, 8])
def test_without_a_total_no_more_pages_are_asked_for_in_vain_than_there_are(
    pages: int, upstream: ScriptedUpstream
) -> None:
    paged = PagedUpstream(upstream, pages * 10, 10)
    with extraction(upstream, {}, concurrency=8) as batches:
        assert values(list(batches)) == paged.records
    assert len(paged.pages) <= 1 + 2 * pages


def test_no_page_is_asked_for_in_vain_where_only_the_first_are_wanted(upstream: ScriptedUpstream) -> None:
    paged = PagedUpstream(upstream, 1000, 10)
    first = {"paginator": {"type": "page_number", "max_pages": 6, "beyond_max_pages": "stop"}}
    with extraction(upstream, first, concurrency=8) as batches:
        assert values(list(batches)) == list(range(60))
    assert sorted(paged.pages) == [1, 2, 3, 4, 5, 6]


def test_a_list_of_one_short_page_is_one_request(upstream: ScriptedUpstream) -> None:
    paged = PagedUpstream(upstream, 3, 10)
    short = {"paginator": {"type": "page_number", "page_size": 10, "last_page": "short"}}
    with extraction(upstream, short) as batches:
        assert values(list(batches)) == [0, 1, 2]
    assert paged.pages == [1]


def test_a_page_behind_the_last_one_may_fail(upstream: ScriptedUpstream) -> None:
    paged = PagedUpstream(upstream, 30, 10)
    paged.broken = lambda page: page > 4
    with extraction(upstream, {}, concurrency=8) as batches:
        assert values(list(batches)) == paged.records


def test_a_page_that_fails_leaves_those_before_it_and_no_gap(upstream: ScriptedUpstream) -> None:
    paged = PagedUpstream(upstream, 100, 10, told=True)
    paged.broken = lambda page: page == 5
    with extraction(upstream, TOTAL, concurrency=8) as batches:
        found = [next(batches) for _ in range(4)]
        with pytest.raises(TransientUpstreamError):
            next(batches)
    assert values(found) == list(range(40))
    assert found[-1].cursor["page"] == [5, 4, 10]


def test_no_more_is_fetched_ahead_than_twice_what_may_be_under_way(upstream: ScriptedUpstream) -> None:
    paged = PagedUpstream(upstream, 1000, 10, told=True)
    with extraction(upstream, TOTAL, concurrency=3) as batches:
        for taken in range(1, 20):
            next(batches)
            time.sleep(0.05)  # a slow writer
            assert max(paged.pages) <= taken + 2 * 3


def test_large_bodies_are_fetched_ahead_only_within_max_bytes(upstream: ScriptedUpstream) -> None:
    paged = PagedUpstream(upstream, 1000, 10, told=True)
    size = len(json.dumps({"data": list(range(100, 110)), "total": 1000}))
    with extraction(upstream, TOTAL, concurrency=4, max_bytes=size * 2) as batches:
        for taken in range(1, 20):
            next(batches)
            time.sleep(0.05)
            assert max(paged.pages) <= taken + 2


def test_values_with_a_list_of_one_answer_each_are_asked_for_at_the_same_time(
    upstream: ScriptedUpstream,
) -> None:
    names = [f"v{number}" for number in range(20)]
    barrier = threading.Barrier(4, timeout=5)

    def answer(handler: BaseHTTPRequestHandler) -> None:
        barrier.wait()
        reply(handler, 200, json.dumps([handler.path]).encode())

    upstream.answer = answer
    spec = {
        "path": "/{v}",
        "records": "",
        "paginator": {"type": "single_page"},
        "for_each": {"param": "v", "values": names},
    }
    with extraction(upstream, spec, concurrency=4) as batches:
        assert values(list(batches)) == [f"/{name}" for name in names]
    assert len(upstream.seen) == len(names)


def test_an_extraction_that_is_left_ends_at_once(upstream: ScriptedUpstream) -> None:
    paged = PagedUpstream(upstream, 1000, 10, told=True)
    paged.delays = lambda page: 0 if page < 3 else 3
    started = time.monotonic()
    with extraction(upstream, TOTAL, concurrency=4, attempts=5) as batches:
        next(batches)
    assert time.monotonic() - started < 2
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("fetch")]


def test_requests_are_spaced_as_the_spec_says_whatever_the_concurrency(upstream: ScriptedUpstream) -> None:
    paged = PagedUpstream(upstream, 100, 10, told=True)
    moments: list[float] = []

    def note(_page: int) -> float:
        moments.append(time.monotonic())
        return 0

    paged.delays = note
    with extraction(upstream, TOTAL, concurrency=8, requests_per_second=40) as batches:
        list(batches)
    assert len(moments) == 10
    assert max(moments) - min(moments) >= 9 / 40 * 0.9


def test_the_spacing_holds_from_one_run_to_the_next(upstream: ScriptedUpstream) -> None:
    PagedUpstream(upstream, 20, 10, told=True)
    started = time.monotonic()
    for _ in range(4):
        with extraction(upstream, TOTAL, concurrency=4, requests_per_second=10) as batches:
            list(batches)
    assert len(upstream.seen) == 8
    assert time.monotonic() - started >= 7 / 10 * 0.95


def test_a_host_that_asks_for_a_rest_gets_one_from_all_threads(upstream: ScriptedUpstream) -> None:
    paged = PagedUpstream(upstream, 200, 10, told=True)
    served = upstream.answer
    refused: list[float] = []
    moments: list[float] = []

    def answer(handler: BaseHTTPRequestHandler) -> None:
        moments.append(time.monotonic())
        if "page=7" in handler.path and not refused:
            refused.append(time.monotonic())
            reply(handler, 429, headers={"Retry-After": "1"})
        else:
            served(handler)

    upstream.answer = answer
    with extraction(upstream, TOTAL, concurrency=4, attempts=2, max_wait=5) as batches:
        assert values(list(batches)) == paged.records
    after = [moment - refused[0] for moment in moments if moment > refused[0] + 0.2]
    assert min(after) >= 0.9
