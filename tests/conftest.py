"""What every test can ask for: a real PostgreSQL, and in it a fresh, migrated warehouse of its own."""

from __future__ import annotations

import itertools
import os
import shutil
import tempfile
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import psycopg
import pytest
from hypothesis import settings

from kasparro_pipeline.stack.embedded import EmbeddedPostgres
from kasparro_pipeline.warehouse import connection, migrate
from kasparro_pipeline.warehouse.settings import WarehouseSettings

if TYPE_CHECKING:
    from collections.abc import Iterator

PROJECT = Path(__file__).parent.parent
CORPORA = PROJECT.parent / "shared" / "corpora"
WORKER = os.environ.get("PYTEST_XDIST_WORKER", "")
"""Each process that runs tests has databases of its own."""
TEMPLATE = f"kasparro_test_template{WORKER}"
# How long an example takes says something of the machine, not of the code
settings.register_profile("kasparro", deadline=None)
settings.load_profile("kasparro")
_numbers = itertools.count()
MEMORY = Path("/dev/shm")  # noqa: S108 - a folder of a random name within it
ROOM = 4 * 2**30
"""Bytes that have to be free there: several hundred databases are made and dropped, a few at a time."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the slow tests, so that no process is left with all of them at the end.

    pytest-xdist keeps this order because of `--no-loadscope-reorder` in the Makefile.
    """
    items.sort(key=_is_quick)


def _is_quick(item: pytest.Item) -> bool:
    return not any(item.get_closest_marker(name) for name in ("stack", "commands"))


def corpus(name: str) -> Path:
    """A file or folder of the shared test material; the test skips where it is absent."""
    path = CORPORA / name
    if not path.exists():
        pytest.skip(f"{name} of the shared corpora is not beside this checkout")
    return path


@pytest.fixture(autouse=True)
def _plain_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """No setting of the person who runs the tests reaches them."""
    for name in os.environ:
        if name.startswith(("KASPARRO_", "DAGSTER_")) or name == "DATABASE_URL":
            monkeypatch.delenv(name)


class Server(Protocol):
    """A PostgreSQL server whose databases a test may make."""

    def url(self, database: str) -> str:
        """The address of a database."""


@dataclass(frozen=True)
class GivenServer:
    """The server of TEST_POSTGRES_URL, so that the suite can run on other versions than the embedded one."""

    address: str

    def url(self, database: str) -> str:
        """The address of a database."""
        return self.address.rpartition("/")[0] + f"/{database}"


@pytest.fixture(scope="session")
def postgres() -> Iterator[Server]:
    """A server with a migrated database to copy: that of TEST_POSTGRES_URL, else the embedded one."""
    with ExitStack() as stack:
        server: Server
        if address := os.environ.get("TEST_POSTGRES_URL"):
            server = GivenServer(address)
        else:
            in_memory = MEMORY.is_dir() and shutil.disk_usage(MEMORY).free > ROOM
            folder = Path(tempfile.mkdtemp(prefix="kasparro-test-", dir=MEMORY if in_memory else None))
            stack.callback(shutil.rmtree, folder)
            server = embedded = EmbeddedPostgres(folder)
            stack.callback(embedded.stop)
            embedded.start()
            with psycopg.connect(embedded.url("postgres"), autocommit=True) as admin:
                # Nobody needs these databases after a failure of the machine; each test makes one
                admin.execute("alter system set fsync = off")
                # A test makes a replica of it, which the server of a user does not allow
                admin.execute("alter system set wal_level = replica")
                admin.execute("alter system set max_wal_senders = 4")
            embedded.stop()
            embedded.start()
        with psycopg.connect(server.url("postgres"), autocommit=True) as admin:
            admin.execute(f"drop database if exists {TEMPLATE} with (force)")
            admin.execute(f"create database {TEMPLATE}")
        migrate.upgrade(server.url(TEMPLATE))
        yield server


@pytest.fixture
def database_url(postgres: Server) -> Iterator[str]:
    """The URL of a fresh, migrated warehouse."""
    name = f"kasparro_test{WORKER}_{next(_numbers)}"
    with psycopg.connect(postgres.url("postgres"), autocommit=True) as admin:
        admin.execute(f"drop database if exists {name} with (force)")
        admin.execute(f"create database {name} template {TEMPLATE}")
        yield postgres.url(name)
        admin.execute(f"drop database {name} with (force)")


@pytest.fixture
def warehouse(database_url: str) -> Iterator[psycopg.Connection[Any]]:
    """A connection to the test's own warehouse."""
    settings = WarehouseSettings.model_validate({"DATABASE_URL": database_url})
    with connection.connect(settings) as opened:
        yield opened
