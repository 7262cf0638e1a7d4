"""An API of numbered pages, 20 ms each: all of it, then again when nothing is new; and an unchanged feed."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime

import requests

from tests.benchmarks import servers
from tests.benchmarks.load import measured, sources, upstream
from tests.benchmarks.load.bench import FETCH, OURS, REST, Bench
from tests.benchmarks.servers import Server

SECTION, FEED = "w2", "feed"
PAGE_SIZES = (100, 1000)
UNCHANGED, AGAIN = "tick, unchanged", "run, unchanged"


def page_sizes(rows: int) -> list[int]:
    """Those that are worth measuring: a larger one must need several pages."""
    return [size for size in PAGE_SIZES if size == min(PAGE_SIZES) or size < rows]


def first(page_size: int) -> str:
    """Name of the case: everything."""
    return f"{page_size:,} a page"


def again(page_size: int) -> str:
    """Name of the case: nothing new since."""
    return f"{page_size:,} a page, again"


def run(bench: Bench) -> None:
    """Every page size, in alternation."""
    rows = bench.settings.rows // 10
    with _upstream(bench, rows) as server:
        for number in range(bench.settings.rounds):
            for page_size in page_sizes(rows):
                _round(bench, server, page_size, rows, number)


def run_feed(bench: Bench) -> None:
    """A feed is loaded; then its sensor's tick, and a run that somebody asks for all the same."""
    with _upstream(bench, 0) as server:
        source = sources.feed_source(f"{server.address}/feed.xml")
        for number in range(bench.settings.rounds):
            database = bench.make(OURS, FEED)
            for case in ("first load", UNCHANGED, AGAIN):
                before = _requests(server)
                values = bench.run(database, "FeedSource", source, _today(), sensor=case == UNCHANGED)
                values["requests"] = _requests(server) - before
                bench.keep(FEED, case, OURS, number, values, upstream.ENTRIES)
            bench.databases.drop(database)


def _round(bench: Bench, server: Server, page_size: int, rows: int, number: int) -> None:
    order = {"address": server.address, "page_size": page_size}
    source = sources.rest_source(server.address, page_size)
    loaders = [OURS, REST] if bench.measures(REST) else [OURS]
    made = {variant: bench.make(variant, SECTION) for variant in loaders}
    for case in (first(page_size), again(page_size)):
        for variant, database in made.items():
            before = _requests(server)
            if variant == OURS:
                values = bench.run(database, "RestSource", source, _today())
                values["written"] = sum(values[name] for name in ("extracted", "inserted", "updated"))
            else:
                values = bench.run_peer(variant, database, order)
            values["requests"] = _requests(server) - before
            bench.keep(SECTION, case, variant, number, values, rows)
    for database in made.values():
        bench.databases.drop(database)
    floor = {**order, "floor": "fetch", "side_by_side": sources.SIDE_BY_SIDE}
    bench.keep(SECTION, first(page_size), FETCH, number, measured.floor(bench.databases, floor), rows)


@contextmanager
def _upstream(bench: Bench, records: int) -> Iterator[Server]:
    with servers.running(
        servers.uvicorn("tests.benchmarks.load.upstream:create_app", factory=True),
        {upstream.RECORDS: str(records)},
        home=bench.settings.home,
        name="upstream",
        ready="/requests",
    ) as server:
        yield server


def _requests(server: Server) -> int:
    return int(requests.get(f"{server.address}/requests", timeout=10).json()["requests"])


def _today() -> str:
    return datetime.now(UTC).date().isoformat()
