"""The programs of the local stack: their commands, their environment, and how to see that they answer."""

import os
import socket
import sys
import sysconfig
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import requests

from kasparro_pipeline.stack import groups
from kasparro_pipeline.stack.databases import Databases
from kasparro_pipeline.stack.processes import Program
from kasparro_pipeline.stack.settings import StackSettings

LOCATION = "kasparro"
"""Name of the code location; pyproject.toml and workspace.yaml say the same."""

TEMPORARY_PATH_LIMIT = 70
"""Bytes of a folder in which the code server's socket still has a path that every system takes."""


@dataclass(frozen=True)
class Programs:
    """Every program of the stack; no sandbox when the public endpoints are used."""

    api: Program
    code: Program
    webserver: Program
    daemon: Program
    sandbox: Program | None


def programs(settings: StackSettings, code_port: int) -> Programs:
    """The commands for these settings."""

    def listen(port: int) -> tuple[str, ...]:
        return "--host", settings.host, "--port", str(port)

    python = sys.executable
    log_format = ("--log-format", "json" if settings.log_format == "json" else "colored")
    dagster_address = settings.address(settings.dagster_port)
    sandbox = Program(
        "sandbox",
        (python, "-m", "kasparro_pipeline.stack.sandbox"),
        lambda: answers(f"{settings.address(settings.sandbox_port)}/health"),
    )
    return Programs(
        api=Program(
            "api",
            (
                *(python, "-m", "uvicorn", "kasparro_api.app:create_app", "--factory"),
                # A stop lets requests end, but not for ever; each request is logged by the API itself
                *("--timeout-graceful-shutdown", "20", "--no-access-log"),
                *listen(settings.api_port),
            ),
            lambda: answers(f"{settings.address(settings.api_port)}/health"),
        ),
        # `dagster api grpc` would be there 2 s earlier, but cannot load a changed defs.yaml without a restart
        code=Program(
            "code-server",
            (
                *(_script("dagster"), "code-server", "start", "--location-name", LOCATION),
                *("--module-name", "kasparro_pipeline.definitions"),
                *("--host", "127.0.0.1", "--port", str(code_port), *log_format),
            ),
            lambda: accepts("127.0.0.1", code_port),
        ),
        webserver=Program(
            "webserver",
            (
                *(_script("dagster-webserver"), "--workspace", "workspace.yaml"),
                *(*listen(settings.dagster_port), *log_format),
            ),
            lambda: answers(f"{dagster_address}/server_info"),
        ),
        daemon=Program(
            "daemon", (_script("dagster-daemon"), "run", "--workspace", "workspace.yaml", *log_format)
        ),
        sandbox=sandbox if settings.upstream == "sandbox" else None,
    )


def shared_environment(settings: StackSettings, databases: Databases) -> dict[str, str]:
    """What every program of the stack, and a command beside it, needs to find the others."""
    return {
        "DATABASE_URL": databases.warehouse_url,
        "DAGSTER_DATABASE_URL": databases.dagster_url,
        "DAGSTER_HOME": str(dagster_home(settings)),
        "KASPARRO_UPSTREAM": settings.upstream,
        "KASPARRO_SANDBOX_URL": settings.address(settings.sandbox_port),
        "KASPARRO_DAGSTER_URL": settings.address(settings.dagster_port),
        "KASPARRO_API_URL": settings.address(settings.api_port),
        "KASPARRO_LOG_FORMAT": settings.log_format,
    }


def children_environment(
    settings: StackSettings, shared: Mapping[str, str], code_port: int, opened: str
) -> dict[str, str]:
    """The environment of the stack's processes; `opened` is when the sandbox's listing of coins began."""
    environment = {
        **os.environ,
        **shared,
        "KASPARRO_HOST": settings.host,
        "KASPARRO_SANDBOX_PORT": str(settings.sandbox_port),
        "KASPARRO_SANDBOX_OPENED": opened,
        "KASPARRO_CODE_SERVER_HOST": "127.0.0.1",
        "KASPARRO_CODE_SERVER_PORT": str(code_port),
        "DAGSTER_DISABLE_TELEMETRY": "1",
        "PYTHONUNBUFFERED": "1",
        groups.MARK: mark(settings),
    }
    temporary = settings.home.absolute() / "tmp"
    if len(os.fsencode(temporary)) <= TEMPORARY_PATH_LIMIT:
        environment["TMPDIR"] = str(temporary)
    return environment


def mark(settings: StackSettings) -> str:
    """What the processes of this stack carry in their environment."""
    return str(settings.home.absolute())


def dagster_home(settings: StackSettings) -> Path:
    """Dagster's own folder."""
    return settings.home.absolute() / "dagster"


def answers(url: str) -> bool:
    """Whether there is an HTTP answer, whatever it says."""
    try:
        requests.get(url, timeout=5)
    except requests.RequestException:
        return False
    return True


def accepts(host: str, port: int) -> bool:
    """Whether a TCP connection is taken. The code server opens its port once the code is loaded."""
    try:
        socket.create_connection((host, port), timeout=1).close()
    except OSError:
        return False
    return True


def _script(name: str) -> str:
    return str(Path(sysconfig.get_path("scripts")) / name)
