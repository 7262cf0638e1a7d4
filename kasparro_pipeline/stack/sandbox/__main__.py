"""`python -m kasparro_pipeline.stack.sandbox`: the sandbox on its own port, until it is told to stop."""

import socket
import sys
from contextlib import suppress
from pathlib import Path

import uvicorn
from pydantic import AwareDatetime, Field
from pydantic_settings import BaseSettings, SettingsConfigDict

from kasparro_pipeline.stack.sandbox.app import create_app
from kasparro_pipeline.stack.sandbox.coins import SandboxDataError


class SandboxSettings(BaseSettings):
    """The sandbox's settings, from the environment and `.env`."""

    model_config = SettingsConfigDict(env_file=".env", env_ignore_empty=True, extra="ignore")

    host: str = Field(default="127.0.0.1", validation_alias="KASPARRO_HOST")
    port: int = Field(default=8900, ge=1, le=65_535, validation_alias="KASPARRO_SANDBOX_PORT")
    data: Path = Field(default=Path("data"), validation_alias="KASPARRO_DATA")
    opened: AwareDatetime | None = Field(
        default=None,
        validation_alias="KASPARRO_SANDBOX_OPENED",
        description="When the listing of new coins began (RFC 3339). Unset: when the process started.",
    )


def main() -> int:
    """Serve until SIGINT or SIGTERM; the exit status is 1 if the data cannot be read or the port is taken."""
    settings = SandboxSettings()
    try:
        app = create_app(settings.data, opened=settings.opened)
    except SandboxDataError as error:
        print(error, file=sys.stderr)
        return 1
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    with socket.socket(family) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((settings.host, settings.port))
        except OSError as error:
            print(
                f"The sandbox cannot listen on {settings.host}:{settings.port}: {error.strerror}. "
                "Stop what uses that port, or set KASPARRO_SANDBOX_PORT to a free one.",
                file=sys.stderr,
            )
            return 1
        # uvicorn stops cleanly and then raises the signal that stopped it once more.
        with suppress(KeyboardInterrupt):
            uvicorn.Server(uvicorn.Config(app, log_level="warning", lifespan="off")).run(sockets=[listener])
    return 0


if __name__ == "__main__":
    sys.exit(main())
