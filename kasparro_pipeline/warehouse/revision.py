"""Which revision of the schema a database is at, and which one this code was written for.

Every connection of a run asks. Alembic, which takes longer to be imported than most runs take to do their
work, is only needed to bring a database there: `migrate`.
"""

from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import psycopg
from psycopg import sql

from kasparro_pipeline.warehouse.errors import MigrationsPendingError
from kasparro_pipeline.warehouse.tables import SCHEMA

if TYPE_CHECKING:
    from psycopg.rows import TupleRow

VERSIONS = Path(__file__).parent / "migrations" / "versions"
"""One module a revision, named like it and numbered in their order: `0001_first_tables.py` is `0001`."""


@cache
def head() -> str:
    """The newest revision that this code knows."""
    return max(path.stem.split("_")[0] for path in VERSIONS.glob("[0-9]*_*.py"))


def current_and_head(connection: "psycopg.Connection[TupleRow]") -> tuple[str | None, str]:
    """The database's revision (None for an empty database) and the newest one."""
    table = sql.Identifier(SCHEMA, "alembic_version")
    try:
        with connection.transaction():
            row = connection.execute(sql.SQL("select version_num from {}").format(table)).fetchone()
    except psycopg.errors.UndefinedTable:
        return None, head()
    return (row[0] if row else None), head()


def require_head(connection: "psycopg.Connection[TupleRow]") -> None:
    """Refuse a database of another revision.

    Raises:
        MigrationsPendingError: with what to run.
    """
    current, newest = current_and_head(connection)
    if current != newest:
        raise MigrationsPendingError(
            f"The warehouse is at revision {current or 'none (empty)'}, this code needs {newest}. "
            "Run `kasparro migrate`."
        )
