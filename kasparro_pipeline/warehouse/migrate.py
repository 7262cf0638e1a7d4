"""Brings the schema to the revision that this code was written for; `migrations/versions` holds them."""

from pathlib import Path
from typing import TYPE_CHECKING

import psycopg
from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from psycopg import sql

from kasparro_pipeline.warehouse.errors import MigrationsPendingError
from kasparro_pipeline.warehouse.tables import SCHEMA

if TYPE_CHECKING:
    from psycopg.rows import TupleRow


def alembic_config(database_url: str) -> Config:
    """Alembic's configuration for the warehouse at `database_url` (`postgresql://…`)."""
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    # attributes, not options: an option would read the percent signs of a URL as interpolation
    config.attributes["url"] = database_url.replace("postgresql://", "postgresql+psycopg://", 1)
    return config


def head() -> str:
    """The newest revision that this code knows."""
    revision = ScriptDirectory.from_config(alembic_config("postgresql://")).get_current_head()
    assert revision is not None, "the package holds no revision"  # noqa: S101 - a packaging fault, not input
    return revision


def upgrade(database_url: str) -> None:
    """Apply the revisions that the database does not have yet; several callers at once are safe."""
    command.upgrade(alembic_config(database_url), "head")


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
