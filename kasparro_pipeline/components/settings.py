"""What the code location reads from the environment: which upstream, and whether automation is on."""

import os
from collections.abc import Mapping
from typing import Literal
from urllib.parse import urlsplit

from dotenv import dotenv_values
from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict


class PipelineSettings(BaseSettings):
    """The code location's settings, from the environment and `.env`."""

    model_config = SettingsConfigDict(env_file=".env", env_ignore_empty=True, extra="ignore")

    upstream: Literal["sandbox", "live"] = Field(
        default="sandbox",
        validation_alias="KASPARRO_UPSTREAM",
        description="`sandbox`: the project's own upstream on this machine; `live`: the public endpoints.",
    )
    sandbox_url: str = Field(
        default="http://127.0.0.1:8900",
        validation_alias="KASPARRO_SANDBOX_URL",
        description="Where the sandbox upstream listens. `kasparro up` sets it from KASPARRO_SANDBOX_PORT.",
    )
    automation: Literal["on", "off"] = Field(
        default="on",
        validation_alias="KASPARRO_AUTOMATION",
        description="Whether schedules and sensors start switched on.",
    )
    api_url: str | None = Field(
        default=None,
        pattern=r"^https?://[^@\s]+$",
        validation_alias="KASPARRO_API_URL",
        description="The read API's address in links from Dagster's pages to records and runs. "
        "Unset: no links. `kasparro up` sets it.",
    )
    log_format: Literal["text", "json"] = Field(
        default="text",
        validation_alias="KASPARRO_LOG_FORMAT",
        description="How log lines are written: for people, or one JSON object a line.",
    )

    def base_url(self, live: str, sandbox: str | None) -> str:
        """The address to use: that of the stand-in in the sandbox if there is one and `live` is not set."""
        if self.upstream == "sandbox" and sandbox is not None:
            return f"{self.sandbox_url.rstrip('/')}{sandbox}"
        return live

    def private_hosts(self, sandbox: str | None) -> tuple[str, ...]:
        """The sandbox's host, where it is used: whoever runs the stack has named it."""
        host = urlsplit(self.sandbox_url).hostname
        return (host,) if self.upstream == "sandbox" and sandbox is not None and host else ()


def secrets() -> Mapping[str, str]:
    """What the environment and `.env` hold: the values of the names in a spec's `auth`."""
    written = {name: value for name, value in dotenv_values(".env").items() if value}
    return {**written, **os.environ}
