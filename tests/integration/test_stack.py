"""The first day of a user, in a copy of the tree: `make up`, look, backfill, Ctrl-C, `make up` again."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import psutil
import pytest
import requests

from tests.conftest import PROJECT

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

SOURCES = ("coin_reference", "coingecko_markets", "coinpaprika_ohlcv", "coinpaprika_tickers", "crypto_news")
PATIENCE = 300
"""Seconds to wait for anything before the test gives up; how long it really takes is measured elsewhere."""

BACKFILL = """
mutation ($params: LaunchBackfillParams!) { launchPartitionBackfill(backfillParams: $params) {
  __typename ... on LaunchBackfillSuccess { backfillId } ... on PythonError { message } } }
"""
BACKFILL_STATUS = """
query ($id: String!) { partitionBackfillOrError(backfillId: $id) {
  __typename ... on PartitionBackfill { status } ... on PythonError { message } } }
"""
LAUNCH = """
mutation ($run: ExecutionParams!) { launchRun(executionParams: $run) {
  __typename ... on LaunchRunSuccess { run { runId } } ... on PythonError { message } } }
"""
RUN_STATUS = "query ($id: ID!) { runOrError(runId: $id) { __typename ... on Run { status } } }"


@dataclass
class Stack:
    """A copy of the tree with its own state, ports and processes."""

    folder: Path
    environment: dict[str, str]
    api: str
    dagster: str
    process: subprocess.Popen[bytes] | None = None

    def up(self) -> None:
        """`make up`, as the leader of its own process group, as in a terminal."""
        with (self.folder / "up.log").open("ab") as log:
            self.process = subprocess.Popen(
                ["make", "up"],
                cwd=self.folder,
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self.wait_for("an answer of /health", self.is_healthy)

    def interrupt(self) -> None:
        """Ctrl-C: SIGINT to the whole foreground process group."""
        assert self.process is not None
        os.killpg(self.process.pid, signal.SIGINT)
        self.process.wait(PATIENCE)

    def is_healthy(self) -> bool:
        """Whether /health answers 200."""
        try:
            return requests.get(f"{self.api}/health", timeout=10).ok
        except requests.ConnectionError:
            return False

    def wait_for(self, what: str, reached: Callable[[], bool]) -> None:
        """Poll until `reached`; a stack that ended, or too long a wait, fails with the log."""
        deadline = time.monotonic() + PATIENCE
        while not reached():
            ended = self.process is not None and self.process.poll() is not None
            if ended or time.monotonic() > deadline:
                log = (self.folder / "up.log").read_text()[-4000:]
                pytest.fail(f"{'the stack ended' if ended else 'no ' + what}:\n{log}")
            time.sleep(0.5)

    def get(self, path: str, **parameters: Any) -> Any:
        """A JSON answer of the API."""
        answer = requests.get(f"{self.api}{path}", params=parameters, timeout=30)
        assert answer.ok, answer.text
        return answer.json()

    def records(self, source: str) -> list[dict[str, Any]]:
        """Up to 1,000 unified records of a source."""
        data: list[dict[str, Any]] = self.get("/data", source=source, limit=1000)["data"]
        return data

    def stats(self, source: str) -> dict[str, Any]:
        """What /stats says of a source."""
        [found] = [item for item in self.get("/stats")["sources"] if item["source"] == source]
        return dict(found)

    def ask(self, query: str, **variables: Any) -> dict[str, Any]:
        """A GraphQL answer of the Dagster webserver: its only field."""
        answer = requests.post(
            f"{self.dagster}/graphql", json={"query": query, "variables": variables}, timeout=60
        )
        body = answer.json()
        assert "errors" not in body, body
        return dict(next(iter(body["data"].values())))

    def launch(self, source: str, partition: str, *layers: str) -> str:
        """Launch a run of a partition, of some layers or all, and wait for it; its final status."""
        selector: dict[str, Any] = {
            "repositoryLocationName": "kasparro",
            "repositoryName": "__repository__",
            "pipelineName": source,
        }
        if layers:
            selector["assetSelection"] = [{"path": [layer, source]} for layer in layers]
        run = {
            "selector": selector,
            "mode": "default",
            "executionMetadata": {"tags": [{"key": "dagster/partition", "value": partition}]},
        }
        launched = self.ask(LAUNCH, run=run)
        assert launched["__typename"] == "LaunchRunSuccess", launched
        run_id = launched["run"]["runId"]
        final = {"SUCCESS", "FAILURE", "CANCELED"}
        self.wait_for(f"end of run {run_id}", lambda: self.ask(RUN_STATUS, id=run_id)["status"] in final)
        status: str = self.ask(RUN_STATUS, id=run_id)["status"]
        return status

    def processes(self) -> list[psutil.Process]:
        """Every process that works in the copy or was started from it."""
        found = []
        for process in psutil.process_iter():
            try:
                where = [process.cwd(), *process.cmdline()]
            except (psutil.NoSuchProcess, psutil.AccessDenied, psutil.ZombieProcess):
                continue
            if process.pid != os.getpid() and any(str(self.folder) in text for text in where):
                found.append(process)
        return found


def free_ports(count: int) -> list[int]:
    """Ports of 127.0.0.1 that nothing listens on now."""
    sockets = [socket.socket() for _ in range(count)]
    try:
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]
    finally:
        for one in sockets:
            one.close()


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    folder = tmp_path_factory.mktemp("fresh") / "kasparro"
    ignored = shutil.ignore_patterns(
        ".venv*", ".git", ".kasparro*", "__pycache__", ".*_cache", ".hypothesis", ".env"
    )
    shutil.copytree(PROJECT, folder, ignore=ignored)
    api, dagster, sandbox = free_ports(3)
    environment = {
        **{
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("KASPARRO_", "VIRTUAL_ENV"))
        },
        "KASPARRO_API_PORT": str(api),
        "KASPARRO_DAGSTER_PORT": str(dagster),
        "KASPARRO_SANDBOX_PORT": str(sandbox),
    }
    made = Stack(folder, environment, f"http://127.0.0.1:{api}", f"http://127.0.0.1:{dagster}")
    try:
        yield made
    finally:
        if made.process is not None and made.process.poll() is None:
            made.interrupt()


@pytest.mark.stack
def test_make_up_takes_a_fresh_tree_to_unified_data_and_ctrl_c_leaves_nothing(stack: Stack) -> None:
    before = {path.name for path in stack.folder.iterdir()}
    stack.up()

    stack.wait_for("records of every source", lambda: all(stack.records(source) for source in SOURCES))
    stack.wait_for("the second file", lambda: len(stack.records("coin_reference")) == 362)
    assert {item["source"] for item in stack.get("/health")["sources"]} == set(SOURCES)

    _backfill_past_days_of_the_source_with_history(stack)
    _ask_for_a_past_day_of_a_source_without(stack)
    _make_validated_and_unified_again_from_raw(stack)

    stack.interrupt()
    assert stack.processes() == []
    assert {path.name for path in stack.folder.iterdir()} - before == {".venv", ".kasparro", "up.log"}


def _backfill_past_days_of_the_source_with_history(stack: Stack) -> None:
    today = datetime.now(UTC).date()
    days = [(today - timedelta(days=back)).isoformat() for back in (12, 11, 10)]
    started = stack.ask(
        BACKFILL,
        params={
            "assetSelection": [
                {"path": [layer, "coinpaprika_ohlcv"]} for layer in ("raw", "validated", "unified")
            ],
            "partitionNames": days,
        },
    )
    assert started["__typename"] == "LaunchBackfillSuccess", started
    over = {"COMPLETED", "COMPLETED_SUCCESS", "COMPLETED_FAILED", "FAILED", "CANCELED"}
    stack.wait_for(
        "end of the backfill",
        lambda: stack.ask(BACKFILL_STATUS, id=started["backfillId"])["status"] in over,
    )
    assert stack.ask(BACKFILL_STATUS, id=started["backfillId"])["status"] == "COMPLETED_SUCCESS"
    served = [record["published_at"][:10] for record in stack.records("coinpaprika_ohlcv")]
    assert {day: served.count(day) for day in days} == dict.fromkeys(days, 5)


def _ask_for_a_past_day_of_a_source_without(stack: Stack) -> None:
    yesterday = (datetime.now(UTC).date() - timedelta(days=1)).isoformat()
    before = len(stack.records("coingecko_markets"))

    assert stack.launch("coingecko_markets", yesterday) == "FAILURE"

    last = stack.stats("coingecko_markets")["last_run"]
    assert last["status"] == "failed"
    assert "keeps no history" in last["error"]
    assert len(stack.records("coingecko_markets")) >= before


def _make_validated_and_unified_again_from_raw(stack: Stack) -> None:
    today = datetime.now(UTC).date().isoformat()

    assert stack.launch("coingecko_markets", today, "validated", "unified") == "SUCCESS"

    last = stack.stats("coingecko_markets")["last_run"]
    assert last["status"] == "success"
    assert last["counts"]["read"] >= 250
    assert last["counts"]["inserted"] == last["counts"]["updated"] == 0


@pytest.mark.stack
def test_a_second_make_up_continues_where_it_stopped_and_ingests_nothing_twice(stack: Stack) -> None:
    stack.up()
    runs = {
        source: stack.stats(source)["last_run"]["run_id"] for source in SOURCES if source != "coin_reference"
    }

    def all_ran_again() -> bool:
        last = {source: stack.stats(source)["last_run"] for source in runs}
        return all(last[source]["run_id"] != runs[source] and last[source]["finished_at"] for source in runs)

    stack.wait_for("the next run of every source", all_ran_again)

    assert len(stack.records("coin_reference")) == 362
    for source in SOURCES:
        records = stack.records(source)
        assert len({record["source_id"] for record in records}) == len(records)
        totals = stack.stats(source)["totals"]
        assert totals["counts"]["inserted"] == totals["unified_records"]
    stack.interrupt()
    assert stack.processes() == []
