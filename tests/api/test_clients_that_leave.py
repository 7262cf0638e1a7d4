"""Slow statements: those of clients that left are cancelled, those over their time are 503."""

import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
import pytest

from tests.api.conftest import Service, service_of
from tests.conftest import Server


@pytest.fixture(scope="module")
def service(postgres: Server) -> Iterator[Service]:
    """A service with two connections for pages."""
    with service_of(postgres, KASPARRO_API_POOL_SIZE=2, KASPARRO_API_STATEMENT_TIMEOUT=3) as running:
        yield running


@contextmanager
def locked(service: Service, table: str = "unified_record") -> Iterator[psycopg.Connection[Any]]:
    """Every statement over the table waits."""
    with psycopg.connect(service.database_url) as locking:
        locking.execute(f"lock table kasparro.{table} in access exclusive mode")
        yield locking
        locking.rollback()


def waiting(service: Service) -> int:
    """Statements of the API that are under way."""
    [[number]] = service.warehouse.execute(
        "select count(*) from pg_stat_activity where application_name = 'kasparro-api'"
        " and datname = current_database() and state = 'active'"
    ).fetchall()
    return int(number)


def wait_until(holds: Callable[[], bool], seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, "not in time"
        time.sleep(0.02)


@pytest.mark.parametrize(
    "path", ["/data", "/data/1", "/data?count=exact&author=x", "/categories", "/sources", "/data.csv"]
)
def test_the_statement_of_a_client_that_left_is_cancelled(service: Service, path: str) -> None:
    host, port = service.url.removeprefix("http://").split(":")
    with locked(service):
        with socket.create_connection((host, int(port)), timeout=10) as client:
            client.sendall(f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
            wait_until(lambda: waiting(service) == 1, 2)
        wait_until(lambda: waiting(service) == 0, 2)
    assert service.get(path).status_code in {200, 404}


def test_many_clients_that_leave_take_no_connection_from_others(service: Service) -> None:
    host, port = service.url.removeprefix("http://").split(":")
    with locked(service):
        clients = [socket.create_connection((host, int(port)), timeout=10) for _ in range(10)]
        for client in clients:
            client.sendall(b"GET /data HTTP/1.1\r\nHost: x\r\n\r\n")
        wait_until(lambda: waiting(service) == 2, 2)
        for client in clients:
            client.close()
        wait_until(lambda: waiting(service) == 0, 4)
    for _ in range(20):
        assert service.get("/data").status_code == 200


def test_a_client_that_waits_gets_its_answer(service: Service) -> None:
    host, port = service.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=10) as client:
        with locked(service):
            client.sendall(b"GET /data HTTP/1.1\r\nHost: x\r\n\r\n")
            time.sleep(1)
        assert client.recv(65536).startswith(b"HTTP/1.1 200")


# not asked for before: a kept answer needs no slow statement
@pytest.mark.parametrize("path", ["/data?limit=7", "/data/7", "/categories?limit=7", "/sources"])
def test_a_statement_over_its_time_is_503(service: Service, path: str) -> None:
    with locked(service):
        response = service.get(path)
    assert response.status_code == 503
    assert response.json()["type"] == "urn:kasparro:problem:query-timeout"
    assert int(response.headers["Retry-After"]) > 0
    assert service.get("/data").status_code == 200


def test_after_a_restart_of_the_database_every_next_request_answers(service: Service) -> None:
    for path in ("/data", "/data", "/data?source=x", "/categories", "/sources", "/health/ready", "/stats"):
        service.restart_database()
        assert service.get(path).status_code == 200, path
