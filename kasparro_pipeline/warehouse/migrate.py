"""Brings the schema to the revision that this code was written for; `migrations/versions` holds them."""

from pathlib import Path

from alembic import command
from alembic.config import Config


def alembic_config(database_url: str) -> Config:
    """Alembic's configuration for the warehouse at `database_url` (`postgresql://…`)."""
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    # attributes, not options: an option would read the percent signs of a URL as interpolation
    config.attributes["url"] = database_url.replace("postgresql://", "postgresql+psycopg://", 1)
    return config


def upgrade(database_url: str) -> None:
    """Apply the revisions that the database does not have yet; several callers at once are safe."""
    command.upgrade(alembic_config(database_url), "head")
