"""One measurement: a process of its own, and what it cost it and the server. Not what it does."""

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
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
    with machine.watched({"postgres": postgres}) as usage:
        process = subprocess.Popen(
            [python, "-m", f"tests.benchmarks.load.{module}", json.dumps(order)],
            cwd=PROJECT,
            env={**_plain_environment(), **environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        with _sampled(postgres, process.pid) as peak:
            try:
                output, errors = process.communicate()
            except BaseException:  # Ctrl-C: nothing is left running
                process.kill()
                process.wait()
                raise
    if process.returncode != 0:
        raise MeasurementFailedError(f"{module}: {(errors or output).strip()[-800:]}")
    figures: dict[str, float] = json.loads(output.strip().splitlines()[-1])
    return {
        **figures,
        "client_mib": max(figures["client_mib"], peak.client),
        "postgres_cpu": usage.cpu["postgres"],
        "server_mib": peak.server,
        "wal_mib": (databases.written() - written) / 2**20,
        "foreign_cores": usage.foreign_cores,
    }


@dataclass
class _Peak:
    """The highest memory of each side, in MiB."""

    client: float = 0.0
    server: float = 0.0


@contextmanager
def _sampled(postgres: int, client: int) -> Iterator[_Peak]:
    """Look at both sides while the block runs."""
    peak, over = _Peak(), threading.Event()

    def sample() -> None:
        while not over.wait(_SAMPLE_EVERY):
            peak.server = max(peak.server, _own_memory(postgres, children_alone=True))
            peak.client = max(peak.client, _own_memory(client, children_alone=False))

    thread = threading.Thread(target=sample)
    thread.start()
    try:
        yield peak
    finally:
        over.set()
        thread.join()


def _own_memory(pid: int, *, children_alone: bool) -> float:
    """Memory that a process's children hold for themselves beside what they share, with all of its own."""
    total = 0
    with suppress(psutil.NoSuchProcess):
        process = psutil.Process(pid)
        total = 0 if children_alone else process.memory_info().rss
        for child in process.children(recursive=True):
            with suppress(psutil.NoSuchProcess):
                memory = child.memory_info()
                shared = getattr(memory, "shared", None)  # Linux
                total += memory.rss - shared if shared is not None else child.memory_full_info().uss
    return total / 2**20


def _plain_environment() -> dict[str, str]:
    return {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("KASPARRO_", "DAGSTER_", "DLT_")) and name != "DATABASE_URL"
    }
