"""Starts the servers under measurement, and ends each. What they are asked stands elsewhere."""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import requests

START_TIMEOUT = 60
STOP_TIMEOUT = 20


class ServerUnavailableError(RuntimeError):
    """A server cannot be had here; the message says why."""


@dataclass(frozen=True)
class Server:
    """A server that answers."""

    address: str
    pid: int
    headers: Mapping[str, str]
    """What every request to it carries."""


def uvicorn(application: str, *, factory: bool = False) -> list[str]:
    """The command of one worker, as in production; its port follows."""
    command = [sys.executable, "-m", "uvicorn", application, "--no-access-log", "--log-level", "warning"]
    return [*command, *(["--factory"] if factory else []), "--host", "127.0.0.1", "--port"]


@contextmanager
def running(
    command: Sequence[str],
    environment: Mapping[str, str],
    *,
    home: Path,
    name: str,
    ready: str,
    headers: Mapping[str, str] | None = None,
) -> Iterator[Server]:
    """Start a server and wait until it answers `ready` with 200; `{port}` in the environment is its port.

    Raises:
        ServerUnavailableError: it ended, or did not answer in time.
    """
    port = _free_port()
    log = home / f"{name}.log"
    settings = {key: value.format(port=port) for key, value in environment.items()}
    address = f"http://127.0.0.1:{port}"
    with log.open("wb") as output:
        # in its own folder: no .env of the project reaches it
        process = subprocess.Popen(
            [*command, *([str(port)] if command[-1] == "--port" else [])],
            env={**_plain_environment(), **settings},
            cwd=home,
            stdout=output,
            stderr=output,
        )
    try:
        _wait(process, address + ready, headers or {}, log)
        yield Server(address, process.pid, headers or {})
    finally:
        process.terminate()
        try:
            process.wait(STOP_TIMEOUT)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _wait(process: "subprocess.Popen[bytes]", url: str, headers: Mapping[str, str], log: Path) -> None:
    deadline = time.monotonic() + START_TIMEOUT
    said = ""
    while time.monotonic() < deadline:
        if process.poll() is not None:
            break
        try:
            answer = requests.get(url, headers=dict(headers), timeout=5)
        except requests.RequestException as error:
            said = str(error)
        else:
            if answer.ok:
                return
            said = f"{answer.status_code} {answer.text[:300]}"
        time.sleep(0.05)
    lines = log.read_text(errors="replace").strip().splitlines()[-2:]
    reason = " / ".join(lines) if process.poll() is not None else f"no good answer in time: {said}"
    raise ServerUnavailableError(f"{log.stem} does not start: {reason}")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


def _plain_environment() -> dict[str, str]:
    return {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("KASPARRO_", "PGRST_")) and name != "DATABASE_URL"
    }
