"""One measurement: a process of its own, and what it cost it and the server. Not what it does."""

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil

from tests.benchmarks import machine
from tests.benchmarks.load.databases import Databases
from tests.benchmarks.load.settings import PEERS_PYTHON

PROJECT = Path(__file__).parents[3]
_SAMPLE_EVERY = 0.1


class MeasurementFailedError(RuntimeError):
    """A measured process ended badly; the message has the end of what it said."""


def ours(databases: Databases, order: Mapping[str, Any]) -> dict[str, float]:
    """The figures of a run of ours."""
    return _measured(databases, sys.executable, "ours", order, databases.environment)


def floor(databases: Databases, order: Mapping[str, Any]) -> dict[str, float]:
    """The figures of a floor."""
    return _measured(databases, sys.executable, "floors", order, {})


def dlt(databases: Databases, order: Mapping[str, Any]) -> dict[str, float]:
    """The figures of a run of dlt."""
    environment = {
        "DLT_DATA_DIR": str(databases.home / "dlt"),
        "RUNTIME__DLTHUB_TELEMETRY": "false",
        "RUNTIME__LOG_LEVEL": "ERROR",
    }
    return _measured(databases, str(PEERS_PYTHON), "dlt_run", order, environment)


def _measured(
    databases: Databases,
    python: str,
    module: str,
    order: Mapping[str, Any],
    environment: Mapping[str, str],
) -> dict[str, float]:
    databases.settle()
    postgres = databases.server.pid or 0
    written = databases.written()
    with machine.watched({"postgres": postgres}) as usage, _server_memory(postgres) as peak:
        done = subprocess.run(
            [python, "-m", f"tests.benchmarks.load.{module}", json.dumps(order)],
            cwd=PROJECT,
            env={**_plain_environment(), **environment},
            capture_output=True,
            text=True,
            check=False,
        )
    if done.returncode != 0:
        raise MeasurementFailedError(f"{module}: {(done.stderr or done.stdout).strip()[-800:]}")
    figures: dict[str, float] = json.loads(done.stdout.strip().splitlines()[-1])
    return {
        **figures,
        "postgres_cpu": usage.cpu["postgres"],
        "server_mib": peak[0],
        "wal_mib": (databases.written() - written) / 2**20,
        "foreign_cores": usage.foreign_cores,
    }


@contextmanager
def _server_memory(postgres: int) -> Iterator[list[float]]:
    """The highest memory that the server's processes hold for themselves, in MiB; not what they share."""
    peak, over = [0.0], threading.Event()
    server = psutil.Process(postgres)

    def sample() -> None:
        while not over.wait(_SAMPLE_EVERY):
            total = 0
            for process in server.children():
                with suppress(psutil.NoSuchProcess):
                    total += _own_memory(process)
            peak[0] = max(peak[0], total / 2**20)

    thread = threading.Thread(target=sample)
    thread.start()
    try:
        yield peak
    finally:
        over.set()
        thread.join()


def _own_memory(process: psutil.Process) -> int:
    memory = process.memory_info()
    shared = getattr(memory, "shared", None)  # Linux
    return memory.rss - shared if shared is not None else process.memory_full_info().uss


def _plain_environment() -> dict[str, str]:
    return {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("KASPARRO_", "DAGSTER_", "DLT_")) and name != "DATABASE_URL"
    }
