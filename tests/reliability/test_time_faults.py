"""Faults of time and of releases through a real source: clocks that differ, a release in between."""

from __future__ import annotations

import json
import threading
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, urlsplit

import pytest

from kasparro_pipeline.components import RestSource

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.integration.conftest import Pipeline, Upstream

    Built = Callable[..., Pipeline]

THING: dict[str, Any] = {
    "path": "/things",
    "kind": "thing",
    "key": "id",
    "fields": {"title": {"path": "name"}},
}


class Elsewhere:
    """An upstream whose clock is not this machine's."""

    def __init__(self) -> None:
        self.address = ""
        self.ahead = timedelta(0)
        """How far its clock is ahead of this machine's."""
        self.rows: list[dict[str, Any]] = []

    def now(self) -> datetime:
        return datetime.now(UTC) + self.ahead

    def add(self, *minutes_ago: int) -> None:
        for minutes in minutes_ago:
            stamp = (self.now() - timedelta(minutes=minutes)).isoformat()
            self.rows.append({"id": len(self.rows), "name": "x", "at": stamp})


@pytest.fixture
def elsewhere() -> Iterator[Elsewhere]:
    made = Elsewhere()

    class Handler(BaseHTTPRequestHandler):
        def date_time_string(self, timestamp: float | None = None) -> str:
            assert timestamp is None
            return format_datetime(made.now(), usegmt=True)

        def do_GET(self) -> None:
            since = dict(parse_qsl(urlsplit(self.path).query)).get("since", "")
            body = json.dumps([row for row in made.rows if row["at"] >= since]).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        made.address = f"http://127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield made
        server.shutdown()
        thread.join()


@pytest.mark.parametrize("days", [-1, 1])
def test_fault_20_a_local_clock_that_is_off_by_a_day_moves_no_checkpoint(
    days: int, elsewhere: Elsewhere, pipeline_of: Built
) -> None:
    elsewhere.ahead = timedelta(days=days)
    incremental = {"cursor": "at", "param": "since"}
    pipeline = pipeline_of(RestSource, THING | {"base_url": elsewhere.address, "incremental": incremental})
    for minutes in ((50, 40), (30, 20), (10, 0)):
        elsewhere.add(*minutes)
        assert pipeline.run("it").counts("inserted", "updated") == (2, 0)
        newest = elsewhere.rows[-1]["at"]
        cursors = pipeline.rows("select cursor from kasparro.checkpoint where cursor is not null")
        assert [row["cursor"]["items"][""]["value"] for row in cursors] == [newest]
    before = pipeline.everything()
    pipeline.run("it")
    assert pipeline.everything() == before
    assert len(pipeline.unified("it")) == 6


def test_fault_19_what_another_release_left_of_an_interrupted_run_is_taken_up_or_begun_anew(
    upstream: Upstream, pipeline_of: Built
) -> None:
    """Whatever stands in the checkpoint, nothing is lost, nothing is doubled, and no hand is needed."""
    left: list[dict[str, Any]] = []
    pages = [2]

    def page(query: dict[str, str], _headers: dict[str, str]) -> Any:
        number = int(query["page"])
        if number == 3 and not left:  # what this release writes where it would be interrupted
            left.append(pipeline.value("select cursor from kasparro.checkpoint"))
        return [{"id": 2 * number + n, "name": "x"} for n in range(2)] if number <= pages[0] else []

    upstream.answers["/things"] = page
    more = {
        "base_url": upstream.address,
        "paginator": {"type": "page_number"},
        "http": {"attempts": 1, "concurrency": 1},
    }
    pipeline = pipeline_of(RestSource, THING | more)
    assert pipeline.run("it").success
    [ours] = left
    assert ours["page"][0] == 3
    others: list[Any] = [
        ours,
        {"page": 3},
        ours | {"asked": "in another way"},
        {"asked": ours["asked"]},
        {"asked": ours["asked"], "place": [3]},
        ours | {"page": 3},
        ours | {"page": {"number": 3}},
        ours | {"page": [3, 2, 2, "more"]},
        ours | {"window": None},
        ours | {"digests": None},
        [3],
    ]
    for written in others:
        pages[0] += 1
        pipeline.warehouse.execute("update kasparro.checkpoint set cursor = %s", (json.dumps(written),))

        run = pipeline.run("it")

        assert run.success, run.failure
        assert pipeline.value("select count(*) from kasparro.raw_record") == 2 * pages[0]
        assert len(pipeline.unified("it")) == 2 * pages[0]
        read, validated, rejected, superseded = run.counts("read", "validated", "rejected", "superseded")
        assert read == validated + rejected + superseded


def test_fault_19_a_database_of_another_revision_is_refused_with_what_to_do(
    upstream: Upstream, pipeline_of: Built
) -> None:
    upstream.answers["/things"] = [{"id": 1, "name": "x"}]
    pipeline = pipeline_of(RestSource, THING | {"base_url": upstream.address})
    pipeline.warehouse.execute("update kasparro.alembic_version set version_num = '0001'")

    run = pipeline.run("it")

    assert not run.success
    assert "The warehouse is at revision 0001" in run.failure
    assert "Run `kasparro migrate`." in run.failure
    assert upstream.requests == []
