"""Where the local stack keeps its files, listens, and finds its databases. Not the sources' settings."""

from pathlib import Path
from typing import Literal

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict


class StackSettings(BaseSettings):
    """The local stack's settings, from the environment and `.env`."""

    model_config = SettingsConfigDict(env_file=".env", env_ignore_empty=True, extra="ignore")

    home: Path = Field(
        default=Path(".kasparro"),
        validation_alias="KASPARRO_HOME",
        description="Folder of the local stack's state: databases, logs, Dagster's files.",
    )
    host: str = Field(
        default="127.0.0.1",
        validation_alias="KASPARRO_HOST",
        description="Address that the API, Dagster (which has no login) and the sandbox listen on.",
    )
    api_port: int = Field(
        default=8000, ge=1, le=65_535, validation_alias="KASPARRO_API_PORT", description="Port of the API."
    )
    dagster_port: int = Field(
        default=3000,
        ge=1,
        le=65_535,
        validation_alias="KASPARRO_DAGSTER_PORT",
        description="Port of the Dagster webserver.",
    )
    sandbox_port: int = Field(
        default=8900,
        ge=1,
        le=65_535,
        validation_alias="KASPARRO_SANDBOX_PORT",
        description="Port of the sandbox upstream.",
    )
    database_url: str | None = Field(
        default=None,
        validation_alias="DATABASE_URL",
        description="PostgreSQL 15 or later that holds the schema `kasparro`. Unset: the embedded server.",
    )
    dagster_database_url: str | None = Field(
        default=None,
        validation_alias="DAGSTER_DATABASE_URL",
        description="Dagster's own database. Unset: a database `dagster` on the server of DATABASE_URL.",
    )
    upstream: Literal["sandbox", "live"] = Field(
        default="sandbox",
        validation_alias="KASPARRO_UPSTREAM",
        description="`sandbox`: the project's own upstream on this machine; `live`: the public endpoints.",
    )
    log_format: Literal["text", "json"] = Field(
        default="text",
        validation_alias="KASPARRO_LOG_FORMAT",
        description="How log lines are written: for people, or one JSON object a line.",
    )

    @property
    def connect_host(self) -> str:
        """The address under which this machine reaches what listens on `host`."""
        return {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(self.host, self.host)  # noqa: S104 - not bound here

    def address(self, port: int) -> str:
        """The URL under which this machine reaches a port of the stack."""
        return f"http://{self.connect_host}:{port}"
