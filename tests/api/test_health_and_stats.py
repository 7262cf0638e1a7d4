"""`GET /health` and `GET /stats`, with the database up, away, silent, and at another revision."""

import contextlib
import os
import signal
import socket
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import urlencode

import psycopg
import pytest
import requests
from psycopg.conninfo import conninfo_to_dict

from kasparro_pipeline.warehouse import revision
from kasparro_pipeline.warehouse.tables import COUNT_COLUMNS

Get = Callable[..., requests.Response]

NOON = datetime(2026, 11, 1, 12, tzinfo=UTC)


class Server(Protocol):
    """What the fixture `postgres` gives."""

    def url(self, database: str) -> str: ...


AWAY = "postgresql://127.0.0.1:{port}/none"
BOUND = 5
"""Seconds within which an answer must come, whatever the database does."""


@pytest.fixture
def closed_port() -> Iterator[int]:
    """A port on which nothing listens, held so that nobody else takes it."""
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        yield held.getsockname()[1]


@pytest.fixture
def silent_port() -> Iterator[int]:
    """A port that takes connections and never says a word."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        yield listening.getsockname()[1]


def wait_until_locked(warehouse: psycopg.Connection[Any]) -> None:
    """Until a statement of the API waits for a lock."""
    waiting = (
        "select count(*) from pg_stat_activity where application_name = 'kasparro-api' "
        "and datname = current_database() and wait_event_type = 'Lock'"
    )
    deadline = time.monotonic() + BOUND
    while warehouse.execute(waiting).fetchall() == [(0,)]:
        assert time.monotonic() < deadline
        time.sleep(0.01)


def minutes(number: float) -> timedelta:
    return timedelta(minutes=number)


def test_health_says_ok_with_database_migrations_and_sources(get: Get, add_run: Callable[..., str]) -> None:
    now = datetime.now(UTC)
    add_run("success", now - minutes(60), finished_at=now - minutes(50))
    add_run("failed", now - minutes(40), finished_at=now - minutes(39))
    add_run("failed", NOON, source="news", finished_at=NOON)
    add_run("partial", now - minutes(9), source="coins", finished_at=now - minutes(8))
    response = get("/health")
    assert response.status_code == 200
    body = response.json()
    assert body["status"] == "ok"
    assert body["database"]["reachable"] is True
    assert body["database"]["latency_ms"] > 0
    assert body["migrations"] == {"current": revision.head(), "head": revision.head(), "at_head": True}
    coins, news, prices = body["sources"]
    assert (coins["source"], coins["last_status"]) == ("coins", "partial")
    assert coins["seconds_since_success"] == pytest.approx(8 * 60, abs=30)
    assert news == {
        "source": "news",
        "last_status": "failed",
        "last_success_at": None,
        "seconds_since_success": None,
    }
    assert (prices["source"], prices["last_status"]) == ("prices", "failed")
    assert datetime.fromisoformat(prices["last_success_at"]) == now - minutes(50)
    assert prices["last_success_at"].endswith("Z")
    assert prices["seconds_since_success"] == pytest.approx(50 * 60, abs=30)


@pytest.mark.parametrize("path", ["/health/ready", "/data", "/stats", "/api/v1/health/ready"])
@pytest.mark.parametrize("port", ["closed_port", "silent_port"])
def test_without_a_database_the_answer_is_503_within_a_bound(
    serve: Callable[..., str], request: pytest.FixtureRequest, path: str, port: str
) -> None:
    base = serve(
        AWAY.format(port=request.getfixturevalue(port)),
        KASPARRO_API_POOL_TIMEOUT=0.5,
        KASPARRO_DB_CONNECT_TIMEOUT=2,
    )
    started = time.monotonic()
    response = requests.get(base + path, timeout=30)
    assert time.monotonic() - started < BOUND
    assert response.status_code == 503
    assert int(response.headers["Retry-After"]) > 0
    assert response.headers["Content-Type"] == "application/problem+json"
    assert response.headers["X-Request-ID"] == response.json()["request_id"]
    assert response.json()["type"] == "urn:kasparro:problem:database-unavailable"
    assert "127.0.0.1" not in response.text


@pytest.mark.parametrize("port", ["closed_port", "silent_port"])
def test_a_service_without_a_database_lives_and_says_that_it_is_degraded(
    serve: Callable[..., str], request: pytest.FixtureRequest, port: str
) -> None:
    base = serve(
        AWAY.format(port=request.getfixturevalue(port)),
        KASPARRO_API_POOL_TIMEOUT=0.5,
        KASPARRO_DB_CONNECT_TIMEOUT=2,
    )
    for path in ("/health", "/api/v1/health"):
        started = time.monotonic()
        response = requests.get(base + path, timeout=30)
        assert time.monotonic() - started < BOUND
        assert response.status_code == 200
        assert response.json()["status"] == "degraded"
        assert response.json()["database"]["reachable"] is False
        assert "127.0.0.1" not in response.text


@pytest.mark.parametrize("path", ["/health", "/health/ready"])
def test_health_without_a_database_says_which_part_failed(
    serve: Callable[..., str], closed_port: int, path: str
) -> None:
    base = serve(AWAY.format(port=closed_port), KASPARRO_API_POOL_TIMEOUT=0.2)
    body = requests.get(base + path, timeout=30).json()
    assert body["database"] == {"reachable": False, "latency_ms": None, "error": "OperationalError"}
    assert body["migrations"] == {"current": None, "head": revision.head(), "at_head": None}
    assert body["sources"] == []


@pytest.fixture
def empty_database(postgres: Server, database_url: str) -> Iterator[str]:
    """The address of a database without a single table."""
    name = "api_without_tables"
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute(f"drop database if exists {name}")
        connection.execute(f"create database {name} template template0")
        yield postgres.url(name)
        connection.execute(f"drop database {name} with (force)")


def test_health_of_an_empty_database_says_that_migrations_are_missing(
    serve: Callable[..., str], empty_database: str
) -> None:
    base = serve(empty_database)
    alive = requests.get(base + "/health", timeout=30)
    assert (alive.status_code, alive.json()["status"]) == (200, "degraded")
    response = requests.get(base + "/health/ready", timeout=30)
    assert response.status_code == 503
    body = response.json()
    assert body["type"] == "urn:kasparro:problem:migrations-pending"
    assert "kasparro migrate" in body["detail"]
    assert body["database"]["reachable"] is True
    assert body["migrations"] == {"current": None, "head": revision.head(), "at_head": False}
    for path in ("/data", "/stats"):
        answer = requests.get(base + path, timeout=30)
        assert answer.status_code == 503
        assert answer.json()["type"] == "urn:kasparro:problem:migrations-pending"


def test_health_of_a_database_at_another_revision_is_503(
    get: Get, warehouse: psycopg.Connection[Any]
) -> None:
    warehouse.execute("update kasparro.alembic_version set version_num = 'older'")
    response = get("/health/ready")
    assert response.status_code == 503
    for body in (response.json(), get("/health").json()):
        assert body["migrations"] == {"current": "older", "head": revision.head(), "at_head": False}


def test_a_database_that_comes_later_is_found_without_a_restart(
    serve: Callable[..., str], database_url: str, tmp_path: Path
) -> None:
    connection = conninfo_to_dict(database_url)
    if not str(connection.get("host", "")).startswith("/"):
        pytest.skip("the server has no socket folder that a link could stand for")
    folder = tmp_path / "sockets"
    query = urlencode({"host": folder, "port": connection.get("port", 5432)})
    base = serve(
        f"postgresql://{connection['user']}@/{connection['dbname']}?{query}", KASPARRO_API_POOL_TIMEOUT=0.5
    )
    for _ in range(3):
        assert requests.get(base + "/data", timeout=30).status_code == 503
    folder.symlink_to(str(connection["host"]))
    assert requests.get(base + "/data", timeout=30).status_code == 200
    assert requests.get(base + "/health/ready", timeout=30).status_code == 200


def test_connections_that_the_server_ended_cost_no_request(
    get: Get, warehouse: psycopg.Connection[Any]
) -> None:
    assert get("/data").status_code == 200
    warehouse.execute(
        "select pg_terminate_backend(pid) from pg_stat_activity "
        "where datname = current_database() and pid <> pg_backend_pid()"
    )
    assert get("/data").status_code == 200


def test_a_query_over_its_time_is_503_and_the_next_one_works(
    serve: Callable[..., str], database_url: str, warehouse: psycopg.Connection[Any]
) -> None:
    base = serve(database_url, KASPARRO_API_STATEMENT_TIMEOUT=0.3)
    with warehouse.transaction():
        warehouse.execute("lock table kasparro.unified_record in access exclusive mode")
        response = requests.get(base + "/data", timeout=30)
    assert response.status_code == 503
    assert response.json()["type"] == "urn:kasparro:problem:query-timeout"
    assert requests.get(base + "/data", timeout=30).status_code == 200


def test_a_server_that_falls_silent_is_503_within_a_bound(
    serve: Callable[..., str], database_url: str, warehouse: psycopg.Connection[Any]
) -> None:
    base = serve(
        database_url,
        KASPARRO_API_POOL_SIZE=1,
        KASPARRO_API_POOL_TIMEOUT=0.5,
        KASPARRO_API_STATEMENT_TIMEOUT=0.5,
    )
    for path in ("/data", "/health/ready"):
        assert requests.get(base + path, timeout=30).status_code == 200
    # those of the pages, of what watches, and of the data's version
    pids = [
        pid
        for (pid,) in warehouse.execute(
            "select pid from pg_stat_activity where application_name = 'kasparro-api' "
            "and datname = current_database()"
        )
    ]
    assert len(pids) == 3
    try:
        try:
            for pid in pids:
                os.kill(pid, signal.SIGSTOP)
        except PermissionError:
            pytest.skip("the server's processes belong to another user")
        # not asked for before, so that no kept answer will do; each finds its connection silent
        for path, status in {"/health/ready": 503, "/data?limit=3": 503, "/health": 200}.items():
            started = time.monotonic()
            assert requests.get(base + path, timeout=30).status_code == status
            assert time.monotonic() - started < BOUND
    finally:
        for pid in pids:
            with contextlib.suppress(PermissionError):
                os.kill(pid, signal.SIGCONT)


def test_a_pool_that_is_used_up_is_503(
    serve: Callable[..., str], database_url: str, warehouse: psycopg.Connection[Any]
) -> None:
    base = serve(database_url, KASPARRO_API_POOL_SIZE=1, KASPARRO_API_POOL_TIMEOUT=0.2)
    with psycopg.connect(database_url) as locking:
        locking.execute("lock table kasparro.unified_record in access exclusive mode")
        with ThreadPoolExecutor() as clients:
            # that one waits for the lock, this one for its connection
            slow = clients.submit(requests.get, base + "/data", timeout=30)
            wait_until_locked(warehouse)
            assert requests.get(base + "/data", timeout=30).status_code == 503
            # what watches the service does not wait behind its pages
            assert requests.get(base + "/health/ready", timeout=30).status_code == 200
            locking.rollback()
            assert slow.result().status_code == 200
    assert requests.get(base + "/data", timeout=30).status_code == 200


def test_stats_of_nothing_has_the_shape_of_stats(get: Get) -> None:
    body = get("/stats").json()
    assert body["sources"] == []
    assert body["totals"] == {
        "sources": 0,
        "unified_records": 0,
        "runs": {"running": 0, "success": 0, "partial": 0, "failed": 0, "cancelled": 0},
        "counts": dict.fromkeys(COUNT_COLUMNS, 0),
    }


def test_stats_show_the_last_run_and_the_totals_of_each_source(
    get: Get, add_run: Callable[..., str], add_record: Callable[..., int]
) -> None:
    add_run("success", NOON, finished_at=NOON + minutes(1), read=10, inserted=8, superseded=2)
    add_run("cancelled", NOON + minutes(2), finished_at=NOON + minutes(3), read=1)
    add_run("failed", NOON + minutes(4), finished_at=NOON + minutes(5), error="no route")
    last = add_run(
        "partial",
        NOON + minutes(6),
        partition_key="2026-11-02",
        finished_at=NOON + minutes(6) + timedelta(seconds=1.5),
        read=5,
        rejected=1,
        inserted=1,
        updated=2,
        unchanged=1,
    )
    add_run("failed", NOON, source="news", finished_at=NOON + minutes(1), error="gone")
    for _ in range(3):
        add_record()
    add_record(deleted_at=NOON)
    add_record(source="imported")

    body = get("/stats").json()
    imported, news, prices = body["sources"]
    assert prices["source"] == "prices"
    assert prices["last_run"] == {
        "run_id": last,
        "partition_key": "2026-11-02",
        "status": "partial",
        "started_at": "2026-11-01T12:06:00Z",
        "finished_at": "2026-11-01T12:06:01.5Z",
        "duration_seconds": 1.5,
        "counts": {
            **dict.fromkeys(COUNT_COLUMNS, 0),
            "read": 5,
            "rejected": 1,
            "inserted": 1,
            "updated": 2,
            "unchanged": 1,
        },
        "error": None,
    }
    assert prices["last_success_at"] == "2026-11-01T12:06:01.5Z"
    assert prices["last_failure_at"] == "2026-11-01T12:05:00Z"
    assert prices["totals"] == {
        "unified_records": 3,
        "runs": {"running": 0, "success": 1, "partial": 1, "failed": 1, "cancelled": 1},
        "counts": {
            **dict.fromkeys(COUNT_COLUMNS, 0),
            "read": 16,
            "inserted": 9,
            "updated": 2,
            "unchanged": 1,
            "rejected": 1,
            "superseded": 2,
        },
    }
    assert news["last_run"]["error"] == "gone"
    assert (news["last_success_at"], news["last_failure_at"]) == (None, "2026-11-01T12:01:00Z")
    assert imported["last_run"] is None
    assert imported["totals"]["unified_records"] == 1
    assert imported["totals"]["counts"]["read"] == 0
    assert body["totals"]["sources"] == 3
    assert body["totals"]["unified_records"] == 4
    assert body["totals"]["runs"]["failed"] == 2
    assert body["totals"]["counts"]["read"] == 16


def test_stats_of_a_run_under_way_show_its_duration_so_far(get: Get, add_run: Callable[..., str]) -> None:
    started = datetime.now(UTC) - minutes(2)
    add_run("success", started - minutes(10), finished_at=started - minutes(9))
    running = add_run("running", started, read=4)
    [source] = get("/stats").json()["sources"]
    assert source["last_run"]["run_id"] == running
    assert source["last_run"]["status"] == "running"
    assert source["last_run"]["finished_at"] is None
    assert source["last_run"]["duration_seconds"] == pytest.approx(120, abs=30)
    assert source["last_run"]["counts"]["read"] == 4
    assert datetime.fromisoformat(source["last_success_at"]) == started - minutes(9)
    assert source["totals"]["runs"]["running"] == 1


def test_stats_show_how_fresh_a_source_is(
    get: Get, add_run: Callable[..., str], add_record: Callable[..., int]
) -> None:
    ended = datetime.now(UTC) - minutes(10)
    add_run("success", ended - minutes(1), finished_at=ended)
    add_run("failed", ended, finished_at=ended + minutes(1))
    add_record(published_at=NOON)
    add_record(published_at=NOON - minutes(1))
    add_record(published_at=NOON + minutes(1), deleted_at=NOON)
    add_record(source="dateless")
    add_record(source="gone", published_at=NOON, deleted_at=NOON)
    dateless, gone, prices = get("/stats").json()["sources"]
    assert prices["seconds_since_success"] == pytest.approx(600, abs=30)
    assert prices["newest_published_at"] == "2026-11-01T12:00:00Z"
    assert (dateless["newest_published_at"], dateless["seconds_since_success"]) == (None, None)
    assert (gone["newest_published_at"], gone["totals"]["unified_records"]) == (None, 0)


def test_stats_show_the_median_duration_of_the_last_thirty_runs(
    get: Get, add_run: Callable[..., str]
) -> None:
    for number in range(40):
        started = NOON + minutes(number)
        # of the last thirty the first half took 1 s, the others 3 s; those before them 50 s
        took = 50 if number < 10 else 1 if number < 25 else 3
        add_run("success", started, finished_at=started + timedelta(seconds=took))
    assert get("/stats").json()["sources"][0]["median_duration_seconds"] == 2
    add_run("failed", NOON + minutes(50), finished_at=NOON + minutes(90))
    add_run("running", NOON + minutes(60))
    assert get("/stats").json()["sources"][0]["median_duration_seconds"] == 3
    add_run("failed", NOON, source="news", finished_at=NOON)
    assert get("/stats").json()["sources"][0]["median_duration_seconds"] is None


def test_stats_keep_the_totals_of_runs_that_the_ledger_no_longer_holds(
    get: Get, add_run: Callable[..., str], warehouse: psycopg.Connection[Any]
) -> None:
    add_run("success", NOON, finished_at=NOON + minutes(1), read=10)
    add_run("failed", NOON, finished_at=NOON + minutes(2), read=3)
    before = get("/stats").json()
    warehouse.execute("delete from kasparro.etl_run")
    after = get("/stats").json()
    assert after["totals"] == before["totals"]
    [source] = after["sources"]
    assert source["last_run"] is None
    assert source["totals"]["counts"]["read"] == 13
    assert source["last_success_at"] == "2026-11-01T12:01:00Z"
    assert source["last_failure_at"] == "2026-11-01T12:02:00Z"


def test_a_change_of_a_contract_alone_makes_no_source(get: Get, warehouse: psycopg.Connection[Any]) -> None:
    warehouse.execute(
        "insert into kasparro.contract_version (source, version, digest, contract, version_rule, epoch)"
        " values ('prices', 1, '', '{}', 'null', 1)"
    )
    assert get("/stats").json()["sources"] == []
