"""The server of the benchmark and the data in it, made once and kept between runs."""

import hashlib
import json
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path

import psycopg
from psycopg import sql

from kasparro_pipeline.stack.embedded import EmbeddedPostgres
from kasparro_pipeline.warehouse import migrate, revision
from tests.benchmarks.read_api import pipeline, records
from tests.benchmarks.read_api.settings import BenchSettings


@dataclass(frozen=True)
class Dataset:
    """A loaded database."""

    server: EmbeddedPostgres
    name: str
    rows: int
    first_id: int
    last_id: int

    @property
    def url(self) -> str:
        """Its address."""
        return self.server.url(self.name)

    @contextmanager
    def copy(self) -> Iterator[str]:
        """The address of a copy that may be written to, and that goes away; nobody may use this one then."""
        name = f"{self.name}_copy"
        with _admin(self.server) as admin:
            drop = sql.SQL("drop database if exists {} with (force)").format(sql.Identifier(name))
            admin.execute(drop)
            create = sql.SQL("create database {} template {} strategy file_copy")
            admin.execute(create.format(sql.Identifier(name), sql.Identifier(self.name)))
            try:
                with psycopg.connect(self.server.url(name), autocommit=True) as connection:
                    connection.execute("analyze")
                yield self.server.url(name)
            finally:
                admin.execute(drop)


@contextmanager
def prepared(settings: BenchSettings) -> Iterator[Dataset]:
    """Start the server, make the data unless they are there, and stop the server at the end."""
    server = EmbeddedPostgres(settings.home / "postgres")
    server.start()
    try:
        name = f"bench_{settings.rows}"
        stamp = _stamp(settings.rows)
        if _stamp_of(server, name) != stamp:
            _build(server, name, settings.rows)
            _set_stamp(server, name, stamp)
        with psycopg.connect(server.url(name)) as connection:
            row = connection.execute("select min(id), max(id) from kasparro.unified_record").fetchone()
        assert row is not None
        yield Dataset(server, name, settings.rows, *row)
    finally:
        server.stop()


def _build(server: EmbeddedPostgres, name: str, rows: int) -> None:
    print(f"making {rows:,} records through the pipeline; they are kept for later runs", flush=True)
    started = time.monotonic()
    with _admin(server) as admin:
        admin.execute(sql.SQL("drop database if exists {} with (force)").format(sql.Identifier(name)))
        admin.execute(sql.SQL("create database {}").format(sql.Identifier(name)))
    migrate.upgrade(server.url(name))
    # Two at a time, as runs of several sources are
    largest, *others = records.PUBLISHERS
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as processes:
        for loading in [
            processes.submit(pipeline.load, server.url(name), publishers, rows)
            for publishers in ([largest], others)
        ]:
            loading.result()
    with psycopg.connect(server.url(name), autocommit=True) as connection:
        connection.execute("vacuum (analyze)")
        connection.execute("checkpoint")
        row = connection.execute(
            "select count(*), max(id) - min(id) + 1, pg_size_pretty(pg_database_size(current_database()))"
            " from kasparro.unified_record"
        ).fetchone()
    assert row is not None
    # ids without gaps, so that a random one is always one of a record
    if row[:2] != (rows, rows):
        raise RuntimeError(f"the pipeline left {row[0]:,} records under {row[1]:,} ids, not {rows:,}")
    print(f"made in {time.monotonic() - started:,.0f} s: {row[2]} with raw and validated records", flush=True)


def _stamp(rows: int) -> str:
    """What the data in a database were made of: its schema to the letter, and the generator."""
    versions = Path(migrate.__file__).parent / "migrations" / "versions"
    schema = b"".join(path.read_bytes() for path in sorted(versions.glob("*.py")))
    return json.dumps(
        {
            "rows": rows,
            "revision": revision.head(),
            "schema": hashlib.sha256(schema).hexdigest()[:12],
            "records": records.fingerprint(),
        }
    )


def _stamp_of(server: EmbeddedPostgres, name: str) -> str | None:
    with _admin(server) as admin:
        row = admin.execute(
            "select shobj_description(oid, 'pg_database') from pg_database where datname = %s", (name,)
        ).fetchone()
    return str(row[0]) if row else None


def _set_stamp(server: EmbeddedPostgres, name: str, stamp: str) -> None:
    """As the database's comment: it comes last, and goes with the database."""
    with _admin(server) as admin:
        admin.execute(sql.SQL("comment on database {} is {}").format(sql.Identifier(name), stamp))


def _admin(server: EmbeddedPostgres) -> "psycopg.Connection[tuple[object, ...]]":
    return psycopg.connect(server.url("postgres"), autocommit=True)
