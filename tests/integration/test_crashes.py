"""A run that dies in the middle: the next one goes on, nothing is lost, nothing is doubled."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

import pytest

from kasparro_pipeline.components import CsvSource, RestSource
from tests.integration.conftest import today

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.integration.conftest import Pipeline, Upstream

PAGES = 5
PAGE_SIZE = 10
START_LIMIT = 60
"""Seconds within which a child must have come to the point where it is killed."""


def start(
    component: str, attributes: dict[str, Any], database_url: str, partition: str
) -> subprocess.Popen[bytes]:
    asked = {
        "component": component,
        "attributes": attributes,
        "database_url": database_url,
        "partition": partition,
    }
    return subprocess.Popen(
        [sys.executable, "-W", "ignore", "-m", "tests.reliability.run_once", json.dumps(asked)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


def paged(upstream: Upstream, concurrency: int = 1) -> dict[str, Any]:
    """A REST source of `{id, name}` in numbered pages, as its `defs.yaml` would say it."""
    return {
        "base_url": upstream.address,
        "http": {"allow_private_hosts": ["127.0.0.1"], "concurrency": concurrency},
        "path": "/things",
        "paginator": {"type": "page_number"},
        "kind": "thing",
        "key": "id",
        "fields": {"title": {"path": "name", "required": True}},
    }


def test_p1_p4_a_run_killed_between_two_pages_is_resumed_at_the_page_where_it_stopped(
    upstream: Upstream, pipeline_of: Callable[..., Pipeline], database_url: str
) -> None:
    children: list[subprocess.Popen[bytes]] = []

    def page(query: dict[str, str], _headers: dict[str, str]) -> Any:
        number = int(query["page"])
        if number == 3 and children:
            os.kill(children.pop().pid, signal.SIGKILL)
        if number > PAGES:
            return []
        first = (number - 1) * PAGE_SIZE
        return [{"id": first + n, "name": f"name {first + n}"} for n in range(PAGE_SIZE)]

    upstream.answers["/things"] = page
    attributes = paged(upstream)
    pipeline = pipeline_of(RestSource, attributes)
    child = start("RestSource", attributes, database_url, today())
    children.append(child)
    assert child.wait(START_LIMIT) == -signal.SIGKILL

    assert pipeline.value("select count(*) from kasparro.raw_record") == 2 * PAGE_SIZE
    cursor = pipeline.value("select cursor from kasparro.checkpoint")
    assert cursor["page"][0] == 3
    assert pipeline.one("select status from kasparro.etl_run") == {"status": "running"}

    upstream.requests.clear()
    run = pipeline.run("it")

    assert run.success
    assert [target.partition("page=")[2] for target in upstream.requests] == ["3", "4", "5", "6"]
    assert run.counts("extracted", "read", "validated", "inserted") == (30, 50, 50, 50)
    assert len(pipeline.unified("it")) == PAGES * PAGE_SIZE
    assert pipeline.value("select count(*) from kasparro.raw_record") == PAGES * PAGE_SIZE
    statuses = pipeline.rows("select status, error from kasparro.etl_run order by started_at")
    assert [row["status"] for row in statuses] == ["failed", "success"]
    assert run.result.run_id in statuses[0]["error"]


@pytest.mark.parametrize("killed_at", [2, 4, 5])
def test_p1_p4_a_run_killed_while_pages_are_fetched_ahead_leaves_no_gap(
    killed_at: int, upstream: Upstream, pipeline_of: Callable[..., Pipeline], database_url: str
) -> None:
    children: list[subprocess.Popen[bytes]] = []

    def page(query: dict[str, str], _headers: dict[str, str]) -> Any:
        number = int(query["page"])
        if number == killed_at and children:
            os.kill(children.pop().pid, signal.SIGKILL)
        first = (number - 1) * PAGE_SIZE
        found = [{"id": first + n, "name": f"name {first + n}"} for n in range(PAGE_SIZE)]
        return {"data": found if number <= PAGES else [], "total": PAGES * PAGE_SIZE}

    upstream.answers["/things"] = page
    attributes = paged(upstream, concurrency=4) | {"records": "data"}
    attributes["paginator"] = {"type": "page_number", "total_path": "total"}
    pipeline = pipeline_of(RestSource, attributes)
    child = start("RestSource", attributes, database_url, today())
    children.append(child)
    assert child.wait(START_LIMIT) == -signal.SIGKILL

    stored = [
        json.loads(row["payload"])["id"]
        for row in pipeline.rows("select payload from kasparro.raw_record order by id")
    ]
    assert stored == list(range(len(stored)))
    if stored:
        cursor = pipeline.value("select cursor from kasparro.checkpoint")
        assert cursor["page"][0] == len(stored) // PAGE_SIZE + 1

    run = pipeline.run("it")

    assert run.success
    assert run.ledger["extracted"] == PAGES * PAGE_SIZE - len(stored)
    assert pipeline.value("select count(*) from kasparro.raw_record") == PAGES * PAGE_SIZE
    assert len(pipeline.unified("it")) == PAGES * PAGE_SIZE


def test_a_file_whose_load_is_killed_goes_on_behind_what_was_stored(
    folder: Path, pipeline_of: Callable[..., Pipeline], database_url: str
) -> None:
    rows = 130_000
    with (folder / "big.csv").open("w") as file:
        file.write("id,name\n")
        file.writelines(f"{n},name {n}\n" for n in range(rows))
    old = time.time() - 60
    os.utime(folder / "big.csv", (old, old))
    fields = {"title": {"path": "name", "required": True}}
    attributes = {"files": f"{folder}/*.csv", "kind": "thing", "key": "id", "fields": fields}
    pipeline = pipeline_of(CsvSource, attributes)
    pipeline.add_files("it", "big.csv")

    child = start("CsvSource", attributes, database_url, "big.csv")
    deadline = time.monotonic() + START_LIMIT
    while pipeline.value("select count(*) from kasparro.raw_record") == 0:
        assert time.monotonic() < deadline
        assert child.poll() is None
    child.kill()
    child.wait()
    stored = pipeline.value("select count(*) from kasparro.raw_record")
    assert 0 < stored < rows
    assert stored % 20_000 == 1_000  # whole batches, of which the first is small
    assert pipeline.value("select loaded_at from kasparro.document") is None

    run = pipeline.run("it", "big.csv")

    assert run.success
    assert run.counts("extracted", "read", "inserted") == (rows - stored, rows, rows)
    assert pipeline.value("select count(*) from kasparro.document") == 1
    assert pipeline.value("select record_count from kasparro.document") == rows
    profile = pipeline.value("select profile from kasparro.document")
    assert profile["records"] == rows
    positions = pipeline.one(
        "select count(distinct position) as n, max(position) as last from kasparro.raw_record"
    )
    assert positions == {"n": rows, "last": rows - 1}


def test_p6_a_merge_killed_in_the_middle_shows_whole_batches_and_is_finished_by_the_next_run(
    upstream: Upstream, pipeline_of: Callable[..., Pipeline], database_url: str
) -> None:
    upstream.answers["/things"] = [{"id": n, "name": f"name {n}"} for n in range(20_000)]
    fields = {"title": {"path": "name", "required": True}}
    attributes = {
        "base_url": upstream.address,
        "http": {"allow_private_hosts": ["127.0.0.1"]},
        "path": "/things",
        "kind": "thing",
        "key": "id",
        "fields": fields,
    }
    pipeline = pipeline_of(RestSource, attributes)
    child = start("RestSource", attributes, database_url, today())
    deadline = time.monotonic() + START_LIMIT
    while pipeline.value("select count(*) from kasparro.validated_record") == 0:
        assert time.monotonic() < deadline
        assert child.poll() is None
    child.kill()
    child.wait()
    assert pipeline.value("select count(*) from kasparro.unified_record") in {0, 20_000}

    run = pipeline.run("it")

    assert run.success
    assert run.ledger["documents_unchanged"] == 1
    assert len(pipeline.unified("it")) == 20_000
    before = pipeline.everything()
    pipeline.run("it")
    assert pipeline.everything() == before


def test_an_interrupted_run_is_marked_cancelled_and_keeps_what_it_had_stored(
    upstream: Upstream, pipeline_of: Callable[..., Pipeline], database_url: str
) -> None:
    children: list[subprocess.Popen[bytes]] = []

    def page(query: dict[str, str], _headers: dict[str, str]) -> Any:
        number = int(query["page"])
        if number == 2 and children:
            children.pop().send_signal(signal.SIGINT)
            time.sleep(2)
        return [{"id": number, "name": "x"}] if number <= PAGES else []

    upstream.answers["/things"] = page
    attributes = paged(upstream)
    pipeline = pipeline_of(RestSource, attributes)
    child = start("RestSource", attributes, database_url, today())
    children.append(child)
    assert child.wait(START_LIMIT) != 0

    ended = pipeline.one("select status, error, finished_at is not null as closed from kasparro.etl_run")
    assert ended["status"] == "cancelled"
    assert ended["closed"]
    assert pipeline.value("select count(*) from kasparro.raw_record") == 1
    assert pipeline.run("it").counts("extracted", "inserted") == (PAGES - 1, PAGES)
