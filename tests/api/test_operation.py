"""How the service starts, stops, watches itself and its database, and answers Prometheus."""

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest
import requests
from prometheus_client.parser import text_string_to_metric_families
from psycopg.conninfo import conninfo_to_dict

from kasparro_pipeline.stack.embedded import EmbeddedPostgres, programs
from tests.conftest import Server

Get = Callable[..., requests.Response]


@contextmanager
def uvicorn_of(database_url: str, *arguments: str, **environment: str) -> Iterator[tuple[str, Any]]:
    """The service as an operator starts it: its address and process."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    process = subprocess.Popen(
        [
            *(sys.executable, "-m", "uvicorn", "kasparro_api.app:create_app", "--factory"),
            *("--host", "127.0.0.1", "--port", str(port), *arguments),
        ],
        env={**os.environ, "DATABASE_URL": database_url, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        url = f"http://127.0.0.1:{port}"
        deadline = time.monotonic() + 60
        while True:
            try:
                requests.get(f"{url}/health", timeout=5)
                break
            except requests.ConnectionError:
                assert process.poll() is None, process.communicate()[0]
                assert time.monotonic() < deadline
                time.sleep(0.05)
        yield url, process
    finally:
        if process.poll() is None:
            process.terminate()
        process.communicate(timeout=60)


def samples(text: str) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    """Every sample of a scrape by name and labels."""
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def requests_counted(text: str, **labels: str) -> float:
    """The sum of the request counters with these labels."""
    return sum(
        value
        for (name, found), value in samples(text).items()
        if name == "http_requests_total" and labels.items() <= dict(found).items()
    )


def test_requests_are_counted_and_timed_by_the_template_of_their_route(
    get: Get, add_record: Callable[..., int]
) -> None:
    record = add_record()
    before = get("/metrics").text
    get(f"/data/{record}")
    get(f"/data/{record + 1}")
    get("/data", limit=1)
    get("/data", limit=1)  # from the cache
    get("/nowhere")
    after = get("/metrics").text

    def more(**labels: str) -> float:
        return requests_counted(after, **labels) - requests_counted(before, **labels)

    assert more(route="/data/{id}", status="200") == 1
    assert more(route="/data/{id}", status="404") == 1
    assert more(route="/data", method="GET", status="200") == 2
    assert more(route="unmatched", status="404") == 1
    key = ("http_request_duration_seconds_count", (("method", "GET"), ("route", "/data")))
    assert samples(after)[key] - samples(before).get(key, 0) == 2


def test_the_names_keep_prometheus_rules(get: Get) -> None:
    families = list(text_string_to_metric_families(get("/metrics").text))
    assert {family.name for family in families} >= {"http_requests", "http_request_duration_seconds"}
    for family in families:
        assert re.fullmatch(r"[a-z][a-z0-9_]*", family.name)
        assert family.documentation
        assert not re.search(r"_(ms|milliseconds|minutes|kb|mb)(_|$)", family.name), "base units only"
        if family.type == "counter":
            assert all(sample.name.endswith("_total") for sample in family.samples)


def test_metrics_without_a_database_are_those_of_the_service_itself(serve: Callable[..., str]) -> None:
    base = serve("postgresql://127.0.0.1:1/none", KASPARRO_API_POOL_TIMEOUT=0.2)
    response = requests.get(f"{base}/metrics", timeout=10)
    assert response.status_code == 200
    assert samples(response.text)["kasparro_database_up", ()] == 0


def test_several_workers_answer_as_one(database_url: str, tmp_path: Path) -> None:
    folder = tmp_path / "metrics"
    folder.mkdir()
    with uvicorn_of(database_url, "--workers", "2", PROMETHEUS_MULTIPROC_DIR=str(folder)) as (url, _):
        sent = 0
        deadline = time.monotonic() + 60
        while len(list(folder.glob("counter_*.db"))) < 2:  # until both workers have served
            assert time.monotonic() < deadline
            with ThreadPoolExecutor(8) as threads:
                answers = threads.map(lambda _: requests.get(f"{url}/stats", timeout=30), range(20))
                assert {answer.status_code for answer in answers} == {200}
            sent += 20
        scrapes = [requests.get(f"{url}/metrics", timeout=30).text for _ in range(6)]
    assert {requests_counted(text, route="/stats") for text in scrapes} == {float(sent)}


def test_several_workers_without_a_shared_folder_are_warned_of(database_url: str) -> None:
    with uvicorn_of(database_url, "--workers", "2") as (_, process):
        process.terminate()
        output = process.communicate(timeout=60)[0]
    assert "PROMETHEUS_MULTIPROC_DIR" in output


def test_a_stop_finishes_the_requests_that_are_under_way(
    database_url: str, warehouse: psycopg.Connection[Any], add_record: Callable[..., int]
) -> None:
    add_record()
    with (
        uvicorn_of(database_url, "--timeout-graceful-shutdown", "20") as (url, process),
        ThreadPoolExecutor(1) as threads,
    ):
        with warehouse.transaction():
            warehouse.execute("lock table kasparro.unified_record in access exclusive mode")
            answer = threads.submit(requests.get, f"{url}/data", timeout=30)
            deadline = time.monotonic() + 10
            waiting = "select count(*) from pg_locks where not granted"
            while warehouse.execute(waiting).fetchone() == (0,):
                assert time.monotonic() < deadline
                time.sleep(0.02)
            process.send_signal(signal.SIGTERM)
            time.sleep(0.5)
            assert process.poll() is None, "it waits for the request"
        response = answer.result()
        assert response.status_code == 200
        assert len(response.json()["data"]) == 1
        output = process.communicate(timeout=30)[0]
    # the server ends itself by the signal that it was sent
    assert process.returncode == -signal.SIGTERM
    assert "Application shutdown complete" in output
    assert "Traceback" not in output


@contextmanager
def forwarded(database_url: str, after: float) -> Iterator[str]:
    """The address of a port that begins to lead to the database only after some seconds."""
    target = Path(str(conninfo_to_dict(database_url)["host"])) / ".s.PGSQL.5432"
    held = socket.socket()
    held.bind(("127.0.0.1", 0))
    connections: list[socket.socket] = [held]

    def pump(source: socket.socket, sink: socket.socket) -> None:
        try:
            while data := source.recv(65536):
                sink.sendall(data)
        except OSError:
            return

    def serve() -> None:
        time.sleep(after)
        held.listen()
        while True:
            try:
                client, _ = held.accept()
            except OSError:
                return
            server = socket.socket(socket.AF_UNIX)
            server.connect(str(target))
            connections.extend((client, server))
            for pair in ((client, server), (server, client)):
                threading.Thread(target=pump, args=pair, daemon=True).start()

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        name = conninfo_to_dict(database_url)["dbname"]
        yield f"postgresql://postgres@127.0.0.1:{held.getsockname()[1]}/{name}?sslmode=disable"
    finally:
        for connection in connections:
            connection.close()


@pytest.mark.skipif("TEST_POSTGRES_URL" in os.environ, reason="needs the embedded server's socket")
def test_the_start_waits_for_the_database(serve: Callable[..., str], database_url: str) -> None:
    started = time.monotonic()
    with forwarded(database_url, after=1.5) as late:
        base = serve(late, KASPARRO_API_START_TIMEOUT=20)
        assert 1.2 < time.monotonic() - started < 15
        assert requests.get(f"{base}/data", timeout=10).status_code == 200


def test_the_start_does_not_wait_for_ever(serve: Callable[..., str]) -> None:
    started = time.monotonic()
    base = serve("postgresql://127.0.0.1:1/none", KASPARRO_API_START_TIMEOUT=0.5)
    assert time.monotonic() - started < 10
    assert requests.get(f"{base}/health", timeout=10).json()["status"] == "degraded"
    assert requests.get(f"{base}/health/ready", timeout=10).status_code == 503


@pytest.fixture
def replica(postgres: Server, database_url: str) -> Iterator[tuple[str, EmbeddedPostgres]]:
    """The same database on a streaming replica of the embedded server."""
    if not isinstance(postgres, EmbeddedPostgres):
        pytest.skip("needs the embedded server, whose files a replica can be made from")
    folder = Path(tempfile.mkdtemp(prefix="kasparro-replica-"))
    standby = EmbeddedPostgres(folder)
    try:
        subprocess.run(
            [
                *(str(programs() / "pg_basebackup"), "--host", str(postgres.socket_folder)),
                *("--username", "postgres", "--pgdata", str(standby.data), "--write-recovery-conf"),
                *("--checkpoint", "fast", "--wal-method", "stream"),
            ],
            check=True,
        )
        owner = postgres.data.stat()
        for path in (folder, *folder.rglob("*")):
            os.chown(path, owner.st_uid, owner.st_gid)
        standby.start()
        yield standby.url(str(conninfo_to_dict(database_url)["dbname"])), standby
    finally:
        standby.stop()
        shutil.rmtree(folder)


def test_a_replica_serves_and_is_ready_until_it_is_too_far_behind(
    replica: tuple[str, EmbeddedPostgres],
    serve: Callable[..., str],
    warehouse: psycopg.Connection[Any],
    add_record: Callable[..., int],
) -> None:
    url, _ = replica
    base = serve(url, KASPARRO_API_MAX_REPLICA_LAG=0.2)
    add_record(title="on the primary")
    deadline = time.monotonic() + 20
    while not requests.get(f"{base}/data", timeout=10).json()["data"]:
        assert time.monotonic() < deadline, "the replica does not follow"
        time.sleep(0.05)
    ready = requests.get(f"{base}/health/ready", timeout=10)
    assert ready.status_code == 200
    assert ready.json()["replica"]["is_replica"] is True

    with psycopg.connect(url, autocommit=True) as admin:
        admin.execute("select pg_wal_replay_pause()")
        add_record(title="not replayed")
        deadline = time.monotonic() + 20
        while (behind := requests.get(f"{base}/health/ready", timeout=10)).status_code == 200:
            assert time.monotonic() < deadline, "the lag is not seen"
            time.sleep(0.05)
        assert behind.status_code == 503
        assert behind.json()["type"] == "urn:kasparro:problem:replica-behind"
        assert behind.json()["replica"]["lag_seconds"] > 0.2
        assert requests.get(f"{base}/health", timeout=10).json()["status"] == "degraded"
        admin.execute("select pg_wal_replay_resume()")
    assert warehouse.execute("select pg_is_in_recovery()").fetchone() == (False,)
