"""A real server on 127.0.0.1 over the embedded PostgreSQL, and rows to serve."""

import itertools
import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

import psycopg
import pytest
import requests
import uvicorn
from fastapi import FastAPI
from psycopg import sql
from psycopg.types.json import Jsonb

from kasparro_api.app import create_app
from kasparro_api.operation import log
from kasparro_api.settings import ApiSettings
from kasparro_pipeline.warehouse import api_keys, connection
from kasparro_pipeline.warehouse.settings import WarehouseSettings
from tests.conftest import TEMPLATE, WORKER, Server

CLIENT_TIMEOUT = 30
_databases = itertools.count()
Parameter = str | int | list[str]
Get = Callable[..., requests.Response]
LogLines = Callable[[Literal["text", "json"]], list[str]]


@contextmanager
def serving(app: FastAPI) -> Iterator[str]:
    """A server for `app`, as its address."""
    server = uvicorn.Server(
        uvicorn.Config(app, host="127.0.0.1", port=0, log_config=None, access_log=False, ws="none")
    )
    thread = threading.Thread(target=server.run)
    thread.start()
    deadline = time.monotonic() + CLIENT_TIMEOUT
    try:
        while not server.started:
            assert thread.is_alive(), "the server ended before it served"
            assert time.monotonic() < deadline, "the server does not start"
            time.sleep(0.005)
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join()


def settings_of(database_url: str, **settings: object) -> ApiSettings:
    """Settings of a test: the start waits for no database that is away, unless the test says so."""
    return ApiSettings.model_validate(
        {"_env_file": None, "DATABASE_URL": database_url, "KASPARRO_API_START_TIMEOUT": 0, **settings}
    )


@pytest.fixture
def serve_app() -> Iterator[Callable[[FastAPI], str]]:
    """`serve_app(app)` starts a server that ends with the test, and gives its address."""
    with ExitStack() as stack:
        yield lambda app: stack.enter_context(serving(app))


@pytest.fixture
def serve(serve_app: Callable[[FastAPI], str]) -> Callable[..., str]:
    """`serve(database_url, **settings)` starts a server of the API, and gives its address."""
    return lambda database_url, **settings: serve_app(create_app(settings_of(database_url, **settings)))


@pytest.fixture
def base_url(serve: Callable[..., str], database_url: str) -> str:
    """The address of a server over a fresh, migrated database."""
    return serve(database_url)


@pytest.fixture
def get(base_url: str) -> Iterator[Get]:
    """`get(path, headers=…, **parameters)` asks the server of `base_url`."""
    with requests.Session() as session:
        yield asking(session, base_url)


@dataclass(frozen=True)
class Service:
    """A server with its warehouse, for tests that fill the tables anew each time."""

    url: str
    database_url: str
    warehouse: psycopg.Connection[Any]
    get: Get

    def restart_database(self) -> None:
        """End every other connection to the database, as a restart of the server would."""
        self.warehouse.execute(
            "select pg_terminate_backend(pid) from pg_stat_activity"
            " where datname = current_database() and pid <> pg_backend_pid()"
        )


@contextmanager
def service_of(postgres: Server, **settings: object) -> Iterator[Service]:
    """A server over a database of its own, without a limit of requests."""
    name = f"kasparro_test_api{WORKER}_{next(_databases)}"
    url = postgres.url(name)
    with psycopg.connect(postgres.url("postgres"), autocommit=True) as admin:
        admin.execute(f"drop database if exists {name} with (force)")
        admin.execute(f"create database {name} template {TEMPLATE}")
        app = create_app(settings_of(url, KASPARRO_API_RATE_LIMIT=0, **settings))
        warehouse_settings = WarehouseSettings.model_validate({"DATABASE_URL": url})
        with (
            serving(app) as base_url,
            requests.Session() as session,
            connection.connect(warehouse_settings) as warehouse,
        ):
            yield Service(base_url, url, warehouse, asking(session, base_url))
        admin.execute(f"drop database {name} with (force)")


@pytest.fixture(scope="module")
def service(postgres: Server) -> Iterator[Service]:
    """One `Service` for all tests of a module."""
    with service_of(postgres) as running:
        yield running


@pytest.fixture(scope="session")
def url_without_database() -> Iterator[str]:
    """The address of a server that has no database, for answers that need none."""
    with serving(create_app(settings_of("postgresql://127.0.0.1:1/none"))) as url:
        yield url


@pytest.fixture(scope="session")
def ask(url_without_database: str) -> Iterator[Get]:
    """As `get`, of the server of `url_without_database`."""
    with requests.Session() as session:
        yield asking(session, url_without_database)


def asking(session: requests.Session, base_url: str) -> Get:
    def get(
        path: str, *, headers: dict[str, str] | None = None, **parameters: Parameter
    ) -> requests.Response:
        return session.get(base_url + path, params=parameters, headers=headers, timeout=CLIENT_TIMEOUT)

    return get


@pytest.fixture
def walk(get: Get) -> Callable[..., Iterator[list[dict[str, Any]]]]:
    """`walk(**parameters)` gives every page of `/data` from the first on, by `next_cursor`."""

    def pages(**parameters: Parameter) -> Iterator[list[dict[str, Any]]]:
        while True:
            page = get("/data", **parameters)
            assert page.status_code == 200, page.text
            body = page.json()
            yield body["data"]
            if not body["pagination"]["has_more"]:
                return
            parameters["cursor"] = body["pagination"]["next_cursor"]

    return pages


@pytest.fixture
def add_record(warehouse: psycopg.Connection[Any]) -> Callable[..., int]:
    """`add_record(**columns)` inserts a unified record and gives its id."""
    added = iter(range(1, 1_000_000))

    def add(**columns: object) -> int:
        number = next(added)
        values: dict[str, object] = {
            "source": "prices",
            "source_id": f"record-{number}",
            "kind": "price",
            "epoch": 1,
            "version": 1,
            "content_hash": number.to_bytes(32, "big"),
            "raw_id": number,
            "run_id": "run-1",
            **columns,
        }
        record_id = _insert(warehouse, "unified_record", values, returning="id")
        assert isinstance(record_id, int)
        return record_id

    return add


@pytest.fixture
def add_run(warehouse: psycopg.Connection[Any]) -> Callable[..., str]:
    """`add_run(status, started_at, **columns)` inserts a run and gives its id."""
    added = iter(range(1, 1_000_000))

    def add(status: str, started_at: datetime, **columns: object) -> str:
        values: dict[str, object] = {
            "run_id": f"run-{next(added)}",
            "source": "prices",
            "partition_key": "2026-11-01",
            "fence": 1,
            "status": status,
            "started_at": started_at,
            **columns,
        }
        return str(_insert(warehouse, "etl_run", values, returning="run_id"))

    return add


def _insert(
    connection: psycopg.Connection[Any], table: str, values: dict[str, object], *, returning: str
) -> object:
    statement = sql.SQL("insert into {} ({}) values ({}) returning {}").format(
        sql.Identifier("kasparro", table),
        sql.SQL(", ").join(map(sql.Identifier, values)),
        sql.SQL(", ").join(sql.Placeholder() * len(values)),
        sql.Identifier(returning),
    )
    bound = [Jsonb(value) if isinstance(value, dict) else value for value in values.values()]
    [[key]] = connection.execute(statement, bound).fetchall()
    return key


class Lines(logging.Handler):
    """Keeps what the API's own handler writes."""

    def __init__(self, log_format: Literal["text", "json"]) -> None:
        super().__init__()
        self.setFormatter(log.formatter(log_format))
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(self.format(record))


@pytest.fixture
def log_lines(request: pytest.FixtureRequest) -> LogLines:
    """`log_lines(format)` starts keeping the API's log lines."""
    logger = logging.getLogger(log.LOGGER)

    def start(log_format: Literal["text", "json"]) -> list[str]:
        handler = Lines(log_format)
        logger.addHandler(handler)
        request.addfinalizer(lambda: logger.removeHandler(handler))
        return handler.lines

    return start


@pytest.fixture
def key(warehouse: psycopg.Connection[Any]) -> Callable[..., str]:
    """`key(scopes)` makes a key."""
    return lambda scopes=("read",): api_keys.create(warehouse, "test", scopes)


@pytest.fixture
def open_url(serve: Callable[..., str], database_url: str) -> str:
    """A server whose reads are open."""
    return serve(database_url)
