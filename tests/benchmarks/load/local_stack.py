"""`kasparro up` in a copy of the project whose only source is a folder of small files. Measures nothing."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import requests
import yaml

from kasparro_pipeline.stack import state
from tests.benchmarks.load import articles, multiprocess_job, sources

PROJECT = Path(__file__).parents[3]
SOURCE = multiprocess_job.SOURCE
RECORDS = 10
"""Of a small file."""
PATIENCE = 1800
"""Seconds: thirty runs one after the other take some minutes."""
REPOSITORY = {"repositoryName": "__repository__", "repositoryLocationName": "kasparro"}
_POLL = 0.5
"""Seconds. Seldom, for it costs what is measured; when a run began and ended, it says itself."""
DONE = {"SUCCESS", "FAILURE", "CANCELED"}

ADD_PARTITION = """
mutation ($key: String!, $definition: String!, $repository: RepositorySelector!) {
  addDynamicPartition(partitionKey: $key, partitionsDefName: $definition, repositorySelector: $repository) {
    __typename ... on Error { message } } }
"""
LAUNCH = """
mutation ($run: ExecutionParams!) { launchRun(executionParams: $run) { __typename
  ... on Error { message } ... on LaunchRunSuccess { run { runId } } } }
"""
BACKFILL = """
mutation ($backfill: LaunchBackfillParams!) { launchPartitionBackfill(backfillParams: $backfill) { __typename
  ... on Error { message } ... on LaunchBackfillSuccess { backfillId } } }
"""
RUNS = """
query ($filter: RunsFilter!) { runsOrError(filter: $filter) { __typename ... on Error { message }
  ... on Runs { results { status creationTime startTime endTime stepStats { startTime endTime } } } } }
"""


@dataclass(frozen=True)
class LocalStack:
    """A stack that runs."""

    dagster: str
    """Address of its webserver."""
    folder: Path
    """Where its source looks for files."""
    log: Path

    def add_file(self, name: str, first: int) -> None:
        """A new file of a few records, numbered from `first`, and its partition."""
        articles.prepared(self.folder, name, lambda: articles.few(first, RECORDS))
        variables = {"key": name, "definition": f"{SOURCE}_files", "repository": REPOSITORY}
        self._ask(ADD_PARTITION, variables, "addDynamicPartition")

    def launch(self, partition: str) -> list[dict[str, Any]]:
        """Launch a run of the source and wait for its end: the run, with its steps."""
        run = {
            "selector": {**REPOSITORY, "jobName": SOURCE},
            "executionMetadata": {"tags": [{"key": "dagster/partition", "value": partition}]},
        }
        run_id = self._ask(LAUNCH, {"run": run}, "launchRun")["run"]["runId"]
        return self._wait({"runIds": [run_id]}, 1)

    def backfill(self, job: str, partitions: Sequence[str]) -> list[dict[str, Any]]:
        """Launch a backfill of a job and wait for its end: its runs."""
        backfill = {
            "selector": {"partitionSetName": f"{job}_partition_set", "repositorySelector": REPOSITORY},
            "partitionNames": list(partitions),
        }
        identity = self._ask(BACKFILL, {"backfill": backfill}, "launchPartitionBackfill")["backfillId"]
        return self._wait({"tags": [{"key": "dagster/backfill", "value": identity}]}, len(partitions))

    def _wait(self, selection: dict[str, Any], count: int) -> list[dict[str, Any]]:
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            runs: list[dict[str, Any]] = self._ask(RUNS, {"filter": selection}, "runsOrError")["results"]
            if len(runs) == count and all(run["status"] in DONE for run in runs):
                break
            time.sleep(_POLL)
        else:
            raise RuntimeError(f"the runs did not end; {self.log} says more")
        if any(run["status"] != "SUCCESS" for run in runs):
            raise RuntimeError(f"a run failed; {self.log} says more")
        return runs

    def _ask(self, query: str, variables: dict[str, Any], field: str) -> dict[str, Any]:
        answer = requests.post(
            f"{self.dagster}/graphql", json={"query": query, "variables": variables}, timeout=75
        ).json()
        found: dict[str, Any] = (answer.get("data") or {}).get(field) or {}
        if "errors" in answer or "message" in found:
            raise RuntimeError(f"Dagster refuses {field}: {answer.get('errors') or found['message']}")
        return found


@contextmanager
def running(home: Path) -> Iterator[LocalStack]:
    """Make the copy, bring its stack up, and take both away at the end. Schedules and sensors are off."""
    copy = home / "project"
    shutil.rmtree(copy, ignore_errors=True)
    _copy_project(copy)
    api, dagster, sandbox = _free_ports(3)
    log = home / "stack.log"
    environment = {
        **{name: value for name, value in os.environ.items() if not _is_setting(name)},
        "PYTHONPATH": str(copy),
        "KASPARRO_HOME": str(copy / ".kasparro"),
        "KASPARRO_API_PORT": str(api),
        "KASPARRO_DAGSTER_PORT": str(dagster),
        "KASPARRO_SANDBOX_PORT": str(sandbox),
        "KASPARRO_AUTOMATION": "off",
    }
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "kasparro_pipeline.stack.cli", "up"],
            cwd=copy,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    stack = LocalStack(f"http://127.0.0.1:{dagster}", copy / "files", log)
    try:
        _wait_until(lambda: state.read(copy / ".kasparro").ready, process, log)
        yield stack
    finally:
        process.send_signal(signal.SIGINT)
        process.wait()
        shutil.rmtree(copy, ignore_errors=True)


def _copy_project(copy: Path) -> None:
    copy.mkdir(parents=True)
    for name in ("kasparro_pipeline", "kasparro_api", "data"):
        shutil.copytree(PROJECT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "dagster.yaml", "workspace.yaml"):
        shutil.copyfile(PROJECT / name, copy / name)
    (copy / "files").mkdir()
    defs = copy / "kasparro_pipeline" / "defs"
    shutil.rmtree(defs)
    (defs / SOURCE).mkdir(parents=True)
    (defs / SOURCE / "defs.yaml").write_text(
        yaml.safe_dump(
            {
                "type": "kasparro_pipeline.components.CsvSource",
                "attributes": sources.csv_source(copy / "files"),
            }
        )
    )
    (defs / multiprocess_job.JOB).mkdir()
    shutil.copyfile(str(multiprocess_job.__file__), defs / multiprocess_job.JOB / "definitions.py")


def _wait_until(reached: Callable[[], bool], process: "subprocess.Popen[bytes]", log: Path) -> None:
    deadline = time.monotonic() + 180
    while not reached():
        if process.poll() is not None or time.monotonic() > deadline:
            raise RuntimeError(f"the stack does not come up: {log.read_text()[-800:]}")
        time.sleep(0.2)


def _is_setting(name: str) -> bool:
    return name.startswith(("KASPARRO_", "DAGSTER_", "VIRTUAL_ENV")) or name == "DATABASE_URL"


def _free_ports(count: int) -> list[int]:
    probes = [socket.socket() for _ in range(count)]
    try:
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [probe.getsockname()[1] for probe in probes]
    finally:
        for probe in probes:
            probe.close()
