"""Where the warehouse is. Nothing about upstreams, ports or processes belongs here."""

from pydantic import Field, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from kasparro_pipeline.warehouse.errors import WarehouseNotConfiguredError


class WarehouseSettings(BaseSettings):
    """The warehouse's settings, from the environment and `.env`."""

    model_config = SettingsConfigDict(env_file=".env", env_ignore_empty=True, extra="ignore")

    database_url: str | None = Field(
        default=None,
        validation_alias="DATABASE_URL",
        description="PostgreSQL 15 or later that holds the schema `kasparro`. Unset: the embedded server.",
    )
    connect_timeout: int = Field(
        default=10,
        ge=1,
        validation_alias="KASPARRO_DB_CONNECT_TIMEOUT",
        description="Seconds to wait for one connection to the warehouse.",
    )
    lock_timeout: int = Field(
        default=30,
        ge=1,
        validation_alias="KASPARRO_DB_LOCK_TIMEOUT",
        description="Seconds that a statement of the pipeline waits for a lock before its run fails.",
    )

    @field_validator("database_url")
    @classmethod
    def _plain_scheme(cls, url: str | None) -> str | None:
        """Take the SQLAlchemy spellings too: psycopg wants `postgresql://`."""
        if url is None:
            return None
        scheme, separator, rest = url.partition("://")
        if not separator or scheme.partition("+")[0] not in {"postgresql", "postgres"}:
            raise ValueError("must be a PostgreSQL URL: postgresql://user:password@host:5432/database")
        return f"postgresql://{rest}"

    def require_database_url(self) -> str:
        """The warehouse's URL for psycopg.

        Raises:
            WarehouseNotConfiguredError: no `DATABASE_URL` is set.
        """
        if self.database_url is None:
            raise WarehouseNotConfiguredError(
                "DATABASE_URL is not set. `make up` starts an embedded PostgreSQL and sets it for its own "
                'processes; in another terminal run `eval "$(kasparro env)"`, or set DATABASE_URL in .env.'
            )
        return self.database_url
