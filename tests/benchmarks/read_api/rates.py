"""Lists, deep pages and single records: the API beside pgbench, PostgREST and the usual way, in turn."""

import re
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from typing import Any
from urllib.parse import quote

import requests

from tests.benchmarks import servers
from tests.benchmarks.read_api import pgbench, postgrest, statements, wrk
from tests.benchmarks.read_api.bench import FEW, MANY, Bench
from tests.benchmarks.read_api.wrk import Load
from tests.benchmarks.servers import Server, ServerUnavailableError

SECTION = "rates"
NEWEST = "newest 100"
FILTERED = "100 of source+category"
DEEP = "100 at depth"
RECORD = "one by id"
SOURCE, CATEGORY = "newsfeed_rss", "macro"
DEPTH = 0.9
"""Of all records."""
_PAGE = 1000

API, CACHED, NOT_MODIFIED, BARE = "api", "api cached", "api 304", "api bare"
PGBENCH, POSTGREST, USUAL = "pgbench", "postgrest", "orm"
FLOOR, FLOOR_304 = "uvicorn alone", "uvicorn alone 304"


@dataclass(frozen=True)
class _Request:
    """A request in the spelling of one server."""

    path: str
    script: str | None = None
    headers: tuple[tuple[str, str], ...] = ()


def run(bench: Bench) -> None:
    """Measure every case with every variant, round by round; who begins changes from round to round."""
    with ExitStack() as stack:
        running = _start(bench, stack)
        requests_of = _requests(bench, running)
        floor = _floor(bench)
        for number in range(bench.settings.rounds):
            for case, asked in requests_of.items():
                variants = [*([PGBENCH] if case in floor else []), *asked]
                shift = number % len(variants)
                for variant in variants[shift:] + variants[:shift]:
                    for connections in (FEW, MANY):
                        load: Callable[[], Load]
                        server = None
                        if variant == PGBENCH:
                            load = partial(floor[case], connections, bench.settings.seconds)
                        else:
                            server = running[variant]
                            load = partial(_load, server, asked[variant], connections, bench.settings.seconds)
                            if number == 0:
                                _load(server, asked[variant], connections, 1)
                        bench.measure(
                            SECTION,
                            case,
                            variant,
                            load,
                            connections=connections,
                            number=number,
                            server=server,
                        )


def _load(server: Server, asked: _Request, connections: int, seconds: int) -> Load:
    headers = {**server.headers, **dict(asked.headers)}
    return wrk.load(server.address + asked.path, connections, seconds, headers, asked.script)


def _start(bench: Bench, stack: ExitStack) -> dict[str, Server]:
    """Every server that can be had, by variant; all wait while one is asked."""
    url, home = bench.dataset.url, bench.settings.home
    running = {
        API: stack.enter_context(bench.api()),
        CACHED: stack.enter_context(bench.api("api-cached", cached=True)),
        BARE: stack.enter_context(bench.api("api-bare", bare=True)),
    }
    running[NOT_MODIFIED] = running[CACHED]
    page = requests.get(f"{running[API].address}/data?limit=100", headers=_plain(running[API]), timeout=60)
    running[FLOOR] = running[FLOOR_304] = stack.enter_context(
        servers.running(
            [*servers.uvicorn("tests.benchmarks.read_api.floor:app")],
            {"BODY_BYTES": str(len(page.content))},
            home=home,
            name="floor",
            ready="/",
        )
    )
    try:
        program = postgrest.program(home)
        postgrest.prepare(url)
        running[POSTGREST] = stack.enter_context(
            servers.running(
                [str(program)],
                postgrest.environment(url),
                home=home,
                name="postgrest",
                ready="/record?limit=1",
            )
        )
    except ServerUnavailableError as error:
        bench.figures.skip(POSTGREST, str(error))
    try:
        running[USUAL] = stack.enter_context(
            servers.running(
                servers.uvicorn("tests.benchmarks.read_api.usual_way:app"),
                {"DATABASE_URL": url},
                home=home,
                name="usual-way",
                ready="/data?limit=1",
            )
        )
    except ServerUnavailableError as error:
        bench.figures.skip(USUAL, str(error))
    return running


def _requests(bench: Bench, running: Mapping[str, Server]) -> dict[str, dict[str, _Request]]:
    """By case and variant; what a server does not answer well is left out, with the reason."""
    api = running[API]
    cursor, last = place_at(api, int(bench.dataset.rows * DEPTH))
    newest = "/data?limit=100"
    filtered = f"{newest}&source={SOURCE}&category={CATEGORY}"
    place = f"before={quote(last['published_at'])}&before_id={last['id']}"
    behind = postgrest.behind(last["published_at"], last["id"])
    etag = requests.get(running[CACHED].address + newest, headers=dict(api.headers), timeout=30).headers.get(
        "etag", ""
    )
    wanted = {
        NEWEST: {
            POSTGREST: _Request(postgrest.newest()),
            API: _Request(newest),
            BARE: _Request(newest),
            USUAL: _Request(newest),
            CACHED: _Request(newest),
            NOT_MODIFIED: _Request(newest, headers=(("If-None-Match", etag),)),
            FLOOR: _Request("/"),
            FLOOR_304: _Request("/", headers=(("If-None-Match", etag),)),
        },
        FILTERED: {
            POSTGREST: _Request(postgrest.newest(source=SOURCE, category=CATEGORY)),
            API: _Request(filtered),
            USUAL: _Request(filtered),
        },
        DEEP: {
            POSTGREST: _Request(behind),
            API: _Request(f"{newest}&cursor={cursor}"),
            USUAL: _Request(f"{newest}&{place}"),
        },
        RECORD: {
            POSTGREST: _record(bench, postgrest.record()),
            API: _record(bench, "/data/%d"),
            BARE: _record(bench, "/data/%d"),
            USUAL: _record(bench, "/data/%d"),
        },
    }
    return {
        case: {
            variant: request
            for variant, request in asked.items()
            if variant in running and _answers(bench, f"{case}, {variant}", running[variant], request)
        }
        for case, asked in wanted.items()
    }


def _record(bench: Bench, path: str) -> _Request:
    """A random record each time, so that no cache helps."""
    script = wrk.RANDOM_RECORD.format(path=path, first=bench.dataset.first_id, last=bench.dataset.last_id)
    return _Request(path.replace("%d", str(bench.dataset.first_id)), script)


def _answers(bench: Bench, what: str, server: Server, asked: _Request) -> bool:
    headers = {**_plain(server), **dict(asked.headers)}
    answer = requests.get(server.address + asked.path, headers=headers, timeout=60)
    wanted = 304 if "If-None-Match" in headers else 200
    if answer.status_code != wanted:
        bench.figures.skip(what, f"answers {answer.status_code}, not {wanted}: {answer.text[:200]}")
        return False
    print(f"  {what}: {len(answer.content):,} bytes", flush=True)
    return True


def _plain(server: Server) -> dict[str, str]:
    return {**statements.PLAIN, **server.headers}


def place_at(server: Server, depth: int) -> tuple[str, dict[str, Any]]:
    """The cursor behind the newest `depth` records, found as a client would, and the record before it."""
    with requests.Session() as session:
        session.headers.update({**server.headers, **statements.PLAIN})
        cursor, last, left = None, {}, depth
        while left > 0:
            parameters: dict[str, str | int] = {"limit": min(left, _PAGE)}
            if cursor is not None:
                parameters["cursor"] = cursor
            answer = session.get(f"{server.address}/data", params=parameters, timeout=60)
            answer.raise_for_status()
            body = answer.json()
            cursor, last = body["pagination"]["next_cursor"], body["data"][-1]
            left -= len(body["data"])
    if cursor is None:
        raise RuntimeError(f"there are no {depth:,} records")
    return cursor, last


def _floor(bench: Bench) -> dict[str, Callable[[int, int], Load]]:
    """By case, pgbench running the statement that the API sends for it."""
    newest = "/data?limit=100"
    paths = {
        NEWEST: newest,
        FILTERED: f"{newest}&source={SOURCE}&category={CATEGORY}",
        RECORD: f"/data/{statements.NO_RECORD}",
    }
    sent = statements.sent_for(bench, paths)
    setting = f"\\set id random({bench.dataset.first_id}, {bench.dataset.last_id})"
    return {
        case: partial(
            _pgbench,
            bench.dataset.url,
            re.sub(f"'?{statements.NO_RECORD}'?", ":id", statement),
            setting if case == RECORD else "",
        )
        for case, statement in sent.items()
    }


def _pgbench(url: str, statement: str, setting: str, connections: int, seconds: int) -> Load:
    return pgbench.load(url, statement, connections, seconds, setting)
