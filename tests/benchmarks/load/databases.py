"""The server of the benchmark, a database for whoever loads, and what a load leaves in it."""

import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psycopg
from psycopg import sql

from kasparro_pipeline.stack.databases import dagster_url
from kasparro_pipeline.stack.embedded import EmbeddedPostgres
from kasparro_pipeline.warehouse import migrate

DAGSTER, MIGRATED = "bench_dagster", "bench_migrated"
LAYERS = {
    "raw": ("raw", "document"),
    "validated": ("validated",),
    "rejected": ("rejected",),
    "history": ("unified_history", "unified_change", "history"),
    "unified": ("unified",),
}
"""A layer's tables, by how their names begin: the first that fits; what fits nowhere counts as `other`."""
_PROJECT = Path(__file__).parents[3]
_SETTLE_TIMEOUT = 120
Sizes = dict[str, tuple[int, int]]


@dataclass(frozen=True)
class Databases:
    """The running server."""

    server: EmbeddedPostgres
    home: Path

    def url(self, name: str) -> str:
        """The address of a database."""
        return self.server.url(name)

    def peers_url(self, name: str) -> str:
        """The address in a spelling that dlt takes: with a host, which the socket's folder then overrides."""
        return f"postgresql://postgres:x@localhost:5432/{name}?host={self.server.socket_folder}"

    @property
    def environment(self) -> dict[str, str]:
        """Where a run of ours finds Dagster's instance."""
        return {
            "DAGSTER_HOME": str(self.home / "dagster"),
            "DAGSTER_DATABASE_URL": dagster_url(self.url(DAGSTER)),
        }

    def make(self, name: str, *, migrated: bool) -> None:
        """Make a database anew: a warehouse, or an empty one."""
        self.drop(name)
        template = MIGRATED if migrated else "template1"
        with self._admin() as admin:
            query = sql.SQL("create database {} template {}")
            admin.execute(query.format(sql.Identifier(name), sql.Identifier(template)))

    def drop(self, name: str) -> None:
        """Drop a database if it is there."""
        with self._admin() as admin:
            admin.execute(sql.SQL("drop database if exists {} with (force)").format(sql.Identifier(name)))

    def settle(self) -> None:
        """Wait until the server has done what earlier loads left to it, and start from a checkpoint."""
        deadline = time.monotonic() + _SETTLE_TIMEOUT
        with self._admin() as admin:
            while time.monotonic() < deadline:
                query = "select count(*) from pg_stat_activity where backend_type = 'autovacuum worker'"
                row = admin.execute(query).fetchone()
                if row == (0,):
                    break
                time.sleep(0.2)
            admin.execute("checkpoint")

    def written(self) -> int:
        """Bytes of log that the server has ever written."""
        with self._admin() as admin:
            row = admin.execute("select pg_current_wal_insert_lsn() - '0/0'::pg_lsn").fetchone()
        assert row is not None
        return int(str(row[0]))

    def analyze(self, name: str) -> None:
        """What autovacuum does some time after a load, so that it does not happen during a measurement."""
        with psycopg.connect(self.url(name), autocommit=True) as connection:
            connection.execute("vacuum (analyze)")

    def sizes(self, name: str) -> Sizes:
        """Bytes of the tables and of their indexes, by layer."""
        with psycopg.connect(self.url(name)) as connection:
            found = connection.execute(
                "select relname, pg_table_size(c.oid), pg_indexes_size(c.oid)"
                " from pg_class c join pg_namespace n on n.oid = relnamespace"
                " where nspname = 'kasparro' and relkind = 'r'"
            ).fetchall()
        total: Sizes = {}
        for relation, table, indexes in found:
            layer = layer_of(relation)
            before = total.get(layer, (0, 0))
            total[layer] = (before[0] + table, before[1] + indexes)
        return total

    def _admin(self) -> "psycopg.Connection[tuple[object, ...]]":
        return psycopg.connect(self.server.url("postgres"), autocommit=True)


def layer_of(relation: str) -> str:
    """The layer that a table belongs to."""
    return next((layer for layer, names in LAYERS.items() if relation.startswith(names)), "other")


@contextmanager
def opened(home: Path) -> Iterator[Databases]:
    """Start the server with a fresh database for Dagster and a migrated one to copy; stop it at the end."""
    home.mkdir(parents=True, exist_ok=True)
    server = EmbeddedPostgres(home / "postgres")
    server.start()
    try:
        databases = Databases(server, home)
        for name in (DAGSTER, MIGRATED):
            databases.drop(name)
            server.create_database(name)
        migrate.upgrade(databases.url(MIGRATED))
        (home / "dagster").mkdir(exist_ok=True)
        shutil.copyfile(_PROJECT / "dagster.yaml", home / "dagster" / "dagster.yaml")
        yield databases
    finally:
        server.stop()
