"""`GET /changes`: everything that happened to the records, once and in order, whatever happens meanwhile."""

from __future__ import annotations

import itertools
import json
import random
import sqlite3
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
import requests
from psycopg.types.json import Jsonb

from tests.api.follower import TABLES

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.api.conftest import Service

Event = dict[str, Any]
FOLLOWER = Path(__file__).parent / "follower.py"


def put(connection: psycopg.Connection[Any], key: str, source: str = "a", **columns: object) -> int:
    """Insert a record, or change the one that is there; its id."""
    values: dict[str, object] = {
        "source": source,
        "source_id": key,
        "kind": "price",
        "epoch": 1,
        "version": 1,
        "content_hash": b"\x01",
        "raw_id": 1,
        "run_id": "run-1",
        "deleted_at": None,
        **columns,
    }
    sets = ", ".join(f"{name} = excluded.{name}" for name in values)
    bound = [Jsonb(value) if isinstance(value, dict) else value for value in values.values()]
    row = connection.execute(
        f"insert into kasparro.unified_record ({', '.join(values)})"
        f" values ({', '.join(['%s'] * len(values))})"
        f" on conflict (source, source_id) do update set {sets}, updated_at = now() returning id",
        bound,
    ).fetchone()
    assert row is not None
    return int(row[0])


def mark(connection: psycopg.Connection[Any], key: str, source: str = "a") -> None:
    """Delete a record as the pipeline does."""
    connection.execute(
        "update kasparro.unified_record set deleted_at = now(), raw_id = 0, run_id = 'run-2'"
        " where source = %s and source_id = %s",
        [source, key],
    )


def pages(service: Service, since: str | None = None, **parameters: Any) -> Iterator[list[Event]]:
    """Every page behind a place."""
    while True:
        answer = service.get("/changes", **parameters, **({"since": since} if since else {}))
        assert answer.status_code == 200, answer.text
        body = answer.json()
        yield body["data"]
        since = body["pagination"]["next_cursor"]
        assert since
        if not body["pagination"]["has_more"]:
            return


def events(service: Service, since: str | None = None, **parameters: Any) -> list[Event]:
    return [event for page in pages(service, since, **parameters) for event in page]


def newest(service: Service) -> str:
    """The cursor behind all that happened so far."""
    body = service.get("/changes", since="now").json()
    assert body["data"] == []
    return str(body["pagination"]["next_cursor"])


def told(found: list[Event]) -> list[tuple[str, str]]:
    return [(event["change"], event["source_id"]) for event in found]


def test_inserts_updates_and_deletes_are_told_in_order_with_what_changed(service: Service) -> None:
    start = newest(service)
    warehouse = service.warehouse
    record = put(
        warehouse,
        "told",
        title="Old",
        amount="1.50",
        tags=["x"],
        attributes={"rank": 1, "gone": True, "same": [1]},
    )
    put(
        warehouse,
        "told",
        title="New",
        amount="1.5",
        tags=["x", "y"],
        published_at="2026-11-01T12:00:00.000001Z",
        attributes={"rank": 2, "same": [1], "none": None},
        run_id="run-7",
    )
    shown = service.get(f"/data/{record}").json()["data"]
    mark(warehouse, "told")
    put(warehouse, "told", title="Back")
    warehouse.execute("delete from kasparro.unified_record where id = %s", [record])
    found = events(service, start)
    assert told(found) == [
        ("insert", "told"),
        ("update", "told"),
        ("delete", "told"),
        ("insert", "told"),
        ("delete", "told"),
    ]
    inserted, updated, deleted, back, removed = found
    assert {event["id"] for event in found} == {record}
    assert [event["at"] for event in found] == sorted({event["at"] for event in found})
    assert inserted["changed"] == {}
    assert inserted["record"]["title"] == "Old"
    assert updated["record"] == shown
    assert updated["run_id"] == "run-7"
    assert updated["changed"] == {
        "title": {"from": "Old", "to": "New"},
        "tags": {"from": ["x"], "to": ["x", "y"]},
        "published_at": {"from": None, "to": "2026-11-01T12:00:00.000001Z"},
        "attributes.rank": {"from": 1, "to": 2},
        "attributes.gone": {"from": True, "to": None},
    }
    assert (deleted["run_id"], deleted["record"], deleted["changed"]) == ("run-2", None, {})
    assert back["record"]["title"] == "Back"
    assert (removed["run_id"], removed["record"]) == (None, None)


def test_one_transaction_is_one_time_and_its_records_come_by_id(service: Service) -> None:
    start = newest(service)
    with service.warehouse.transaction():
        ids = [put(service.warehouse, f"batch-{number}") for number in range(25)]
        put(service.warehouse, "batch-3", title="x")
    found = events(service, start, limit=4)
    assert [event["id"] for event in found] == sorted(ids)
    assert len({event["at"] for event in found}) == 1
    assert {event["change"] for event in found} == {"insert"}
    sizes = [len(page) for page in pages(service, start, limit=5)]
    assert sizes == [5, 5, 5, 5, 5]


def test_what_nobody_could_see_is_not_told(service: Service) -> None:
    """Records that came and went within a transaction, that came as deleted, or changed while deleted."""
    start = newest(service)
    with service.warehouse.transaction():
        put(service.warehouse, "short")
        service.warehouse.execute("delete from kasparro.unified_record where source_id = 'short'")
    put(service.warehouse, "never", deleted_at="2026-11-01T00:00:00Z")
    mark(service.warehouse, "never")
    service.warehouse.execute("delete from kasparro.unified_record where source_id = 'never'")
    assert events(service, start) == []
    assert newest(service) != start


def test_a_record_that_is_changed_and_removed_at_once_is_only_deleted(service: Service) -> None:
    record = put(service.warehouse, "at once")
    for statement in ("delete from kasparro.unified_record where id = %s", None):
        start = newest(service)
        with service.warehouse.transaction():
            put(service.warehouse, "at once", title="x")
            if statement:
                service.warehouse.execute(statement, [record])
            else:
                service.warehouse.execute("truncate kasparro.unified_record")
        found = [event for event in events(service, start) if event["source_id"] == "at once"]
        assert [(event["change"], event["id"]) for event in found] == [("delete", record)]
        record = put(service.warehouse, "at once")


def test_a_table_that_was_emptied_is_a_delete_of_each(service: Service) -> None:
    keys = {f"emptied-{number}" for number in range(3)}
    for key in keys:
        put(service.warehouse, key)
    start = newest(service)
    service.warehouse.execute("truncate kasparro.unified_record")
    found = events(service, start)
    assert {event["change"] for event in found} == {"delete"}
    assert keys <= {event["source_id"] for event in found}


def test_the_feed_can_be_narrowed_to_sources_and_a_cursor_belongs_to_them(service: Service) -> None:
    start = newest(service)
    for source in "abcab":
        put(service.warehouse, f"of-{source}", source=source, title=start)
    narrow = service.get("/changes", since="now", source="b").json()["pagination"]["next_cursor"]
    time = service.get("/changes", since=start, limit=1).json()["data"][0]["at"]
    found = events(service, time, source=["b", "c"], limit=1)
    assert [event["source"] for event in found] == ["b", "c", "b"]
    answer = service.get("/changes", since=narrow)
    assert answer.status_code == 400
    assert answer.json()["type"] == "urn:kasparro:problem:invalid-cursor"
    assert answer.json()["errors"][0]["parameter"] == "since"
    assert events(service, narrow, source=["b"]) == []


def test_a_time_starts_the_feed_with_the_changes_at_it_or_later(service: Service) -> None:
    start = newest(service)
    for number in range(3):
        put(service.warehouse, f"timed-{number}")
    times = [event["at"] for event in events(service, start)]
    assert [event["source_id"] for event in events(service, times[1])] == ["timed-1", "timed-2"]
    later = service.get("/changes", since="2999-01-01T00:00:00Z").json()
    assert (later["data"], later["pagination"]["has_more"]) == ([], False)
    put(service.warehouse, "timed-3")
    assert events(service, later["pagination"]["next_cursor"]) == []
    everything = events(service)
    assert everything[-1]["source_id"] == "timed-3"
    assert everything == events(service, "1970-01-01", limit=1000)


@pytest.mark.parametrize(
    ("since", "status"),
    [
        ("nonsense", 400),
        ("2026-13-01", 422),
        ("A" * 100, 400),
        ("", 400),
        ("NOW", 400),
    ],
)
def test_a_place_that_there_is_not_is_a_problem(service: Service, since: str, status: int) -> None:
    answer = service.get("/changes", since=since)
    assert answer.status_code == status
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert answer.json()["errors"][0]["parameter"] == "since"


def test_a_cut_or_foreign_cursor_is_refused(service: Service) -> None:
    put(service.warehouse, "cut")
    cursor = newest(service)
    of_data = service.get("/data", limit=1).json()["pagination"]["next_cursor"]
    for wrong in filter(None, (cursor[:-1], cursor + "A", cursor[1:], of_data)):
        assert service.get("/changes", since=wrong).status_code == 400
    assert service.get("/data", cursor=cursor).status_code == 400


@pytest.mark.parametrize("parameters", [{"limit": 0}, {"limit": 1001}, {"cursor": "x"}, {"q": "x"}])
def test_other_parameters_are_refused(service: Service, parameters: dict[str, Any]) -> None:
    assert service.get("/changes", **parameters).status_code == 422


def test_the_link_leads_on_and_head_and_options_are_answered(service: Service) -> None:
    start = newest(service)
    for number in range(3):
        put(service.warehouse, f"linked-{number}")
    first = service.get("/changes", since=start, limit=2)
    following = requests.get(first.links["next"]["url"], timeout=10)
    assert told(following.json()["data"]) == [("insert", "linked-2")]
    assert "next" not in following.links
    head = requests.head(f"{service.url}/changes", timeout=10)
    assert (head.status_code, head.content) == (200, b"")
    assert requests.options(f"{service.url}/changes", timeout=10).headers["Allow"] == "GET, HEAD, OPTIONS"
    assert first.headers["Cache-Control"] == "no-store"
    assert service.get("/api/v1/changes", since=start, limit=2).json()["data"] == first.json()["data"]


def test_a_change_that_is_not_committed_is_told_later_and_not_skipped(service: Service) -> None:
    """The one that began first ends last: a consumer that read in between meets it all the same."""
    start = newest(service)
    with psycopg.connect(service.database_url) as slow:
        put(slow, "slow", source="slow")
        put(service.warehouse, "fast", source="fast")
        body = service.get("/changes", since=start).json()
        assert told(body["data"]) == [("insert", "fast")]
        slow.commit()
    assert told(events(service, body["pagination"]["next_cursor"])) == [("insert", "slow")]


SOURCES, KILLS, KEYS = 4, 5, 12


def write(database_url: str, source: str, seed: int, stop: threading.Event) -> None:
    """Random transactions of one source, some of them rolled back, some longer than others."""
    chance = random.Random(seed)  # noqa: S311 - no secret
    with psycopg.connect(database_url, autocommit=True) as connection:
        for number in itertools.count():
            if stop.is_set():
                return
            with connection.transaction(force_rollback=chance.random() < 0.1):
                for _ in range(chance.randint(1, 6)):
                    key = str(chance.randrange(KEYS))
                    what = chance.choice(["put", "put", "put", "mark", "remove"])
                    if what == "put":
                        put(connection, key, source, title=f"{number}")
                    elif what == "mark":
                        mark(connection, key, source)
                    else:
                        connection.execute(
                            "delete from kasparro.unified_record where source = %s and source_id = %s",
                            [source, key],
                        )
                time.sleep(chance.choice([0.005, 0.01, 0.06]))
                if chance.random() < 0.2:  # the change has its time, and its commit takes a while
                    connection.execute("set constraints all immediate")
                    time.sleep(0.01)


@contextmanager
def following(url: str, file: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A consumer at work; it is killed in the end."""
    process = subprocess.Popen([sys.executable, str(FOLLOWER), url, str(file)], stderr=subprocess.PIPE)
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def met(file: Path) -> list[tuple[str, int, str]]:
    """The changes that the consumer has stored, in the order in which it met them."""
    with closing(sqlite3.connect(file, timeout=30)) as store:
        store.executescript(TABLES)
        return store.execute("select at, id, change from event order by rowid").fetchall()


def has_met(file: Path, number: int) -> bool:
    return len(met(file)) >= number


def copied(file: Path) -> dict[int, Any]:
    with closing(sqlite3.connect(file, timeout=30)) as store:
        return {number: json.loads(body) for number, body in store.execute("select * from record")}


def test_a_consumer_that_is_killed_again_and_again_ends_with_the_table_and_meets_nothing_twice(
    service: Service, tmp_path: Path
) -> None:
    """Writers of several sources commit meanwhile, in another order than they began."""
    file = tmp_path / "copy.sqlite"
    start = len(events(service, limit=1000))
    stop = threading.Event()
    with ThreadPoolExecutor(SOURCES) as threads:
        writers = [
            threads.submit(write, service.database_url, f"source-{number}", number, stop)
            for number in range(SOURCES)
        ]
        try:
            for kill in range(KILLS):
                goal = len(met(file)) + 1
                with following(service.url, file) as process:
                    wait_for(process, partial(has_met, file, goal))
                    time.sleep(0.4 + kill * 0.013)  # it keeps up with the writers by then
        finally:
            stop.set()
        for writer in writers:
            writer.result()
    lines = service.get("/data.ndjson").text.splitlines()
    expected = {record["id"]: record for record in map(json.loads, lines)}
    with following(service.url, file) as process:
        wait_for(process, lambda: copied(file) == expected)
    found = met(file)
    assert len(found) > start + 100
    assert found == [(event["at"], event["id"], event["change"]) for event in events(service, limit=1000)]


def wait_for(process: subprocess.Popen[bytes], reached: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not reached():
        assert process.poll() is None, process.stderr and process.stderr.read()
        assert time.monotonic() < deadline
        time.sleep(0.01)
