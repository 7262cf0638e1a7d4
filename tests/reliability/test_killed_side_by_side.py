"""A run that is killed while the lists of several items are read side by side: what is stored has no gap."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from typing import TYPE_CHECKING, Any

import pytest

from kasparro_pipeline.components import RestSource
from tests.integration.conftest import today

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.integration.conftest import Pipeline, Upstream

LISTS, PAGES = 8, 3
START_LIMIT = 60
"""Seconds within which a child must have come to the point where it is killed."""


@pytest.mark.parametrize("killed_at", [2, 9, 15])
def test_p1_p4_a_run_killed_while_lists_are_read_side_by_side_is_resumed_without_a_gap(
    killed_at: int, upstream: Upstream, pipeline_of: Callable[..., Pipeline], database_url: str
) -> None:
    children: list[subprocess.Popen[bytes]] = []
    lock = threading.Lock()

    def answer(item: int) -> Callable[[dict[str, str], dict[str, str]], Any]:
        def page(query: dict[str, str], _headers: dict[str, str]) -> Any:
            number = int(query.get("cursor", "0"))
            with lock:
                if len(upstream.requests) >= killed_at and children:
                    os.kill(children.pop().pid, signal.SIGKILL)
            more = str(number + 1) if number + 1 < PAGES else None
            return {"data": [{"id": item * PAGES + number, "name": "x"}], "next": more}

        return page

    for item in range(LISTS):
        upstream.answers[f"/{item}"] = answer(item)
    attributes: dict[str, Any] = {
        "base_url": upstream.address,
        "http": {"allow_private_hosts": ["127.0.0.1"], "concurrency": 4},
        "path": "/{v}",
        "records": "data",
        "for_each": {"param": "v", "values": [str(item) for item in range(LISTS)]},
        "paginator": {"type": "cursor", "cursor_path": "next"},
        "kind": "thing",
        "key": "id",
        "fields": {"title": {"path": "name", "required": True}},
    }
    pipeline = pipeline_of(RestSource, attributes)
    asked = {
        "component": "RestSource",
        "attributes": attributes,
        "database_url": database_url,
        "partition": today(),
    }
    child = subprocess.Popen(
        [sys.executable, "-W", "ignore", "-m", "tests.reliability.run_once", json.dumps(asked)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    children.append(child)
    assert child.wait(START_LIMIT) == -signal.SIGKILL

    stored = [
        json.loads(row["payload"])["id"]
        for row in pipeline.rows("select payload from kasparro.raw_record order by id")
    ]
    assert stored == list(range(len(stored)))
    if stored:
        cursor = pipeline.value("select cursor from kasparro.checkpoint")
        assert (int(cursor["item"]), cursor["page"][1]) == divmod(len(stored), PAGES)

    run = pipeline.run("it")

    assert run.success, run.failure
    assert run.ledger["extracted"] == LISTS * PAGES - len(stored)
    kept = [
        json.loads(row["payload"])["id"]
        for row in pipeline.rows("select payload from kasparro.raw_record order by id")
    ]
    assert kept == list(range(LISTS * PAGES))
    assert len(pipeline.unified("it")) == LISTS * PAGES
