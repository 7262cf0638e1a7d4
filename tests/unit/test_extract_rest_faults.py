"""Faults of an upstream and of the clock that no other test of REST sources injects."""

import gzip
import json
import os
import subprocess
import sys
import time
import zlib
from collections.abc import Iterator
from datetime import date, datetime, timedelta
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit
from zoneinfo import ZoneInfo

import pytest

from kasparro_pipeline.extract.documents import Request
from kasparro_pipeline.extract.errors import PermanentUpstreamError, TransientUpstreamError
from kasparro_pipeline.extract.http import Client, HttpSettings
from kasparro_pipeline.extract.rest import RestExtraction
from kasparro_pipeline.extract.rest_spec import RestRequests
from tests.unit.conftest import ScriptedUpstream, reply
from tests.unit.rest_upstream import Extract, answers, values

NUMBERED: dict[str, Any] = {"paginator": {"type": "page_number"}}


@pytest.fixture(params=["America/New_York", "Pacific/Kiritimati", "Europe/Berlin"])
def zone(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[ZoneInfo]:
    """The machine is in another time zone."""
    monkeypatch.setenv("TZ", request.param)
    time.tzset()
    yield ZoneInfo(request.param)
    monkeypatch.undo()
    time.tzset()


@pytest.mark.parametrize("night", ["2024-03-10", "2024-11-03", "2024-03-31", "2024-10-27"])
@pytest.mark.parametrize("local", [True, False])
def test_neither_night_of_a_clock_change_leaves_a_gap_or_a_repeat_in_any_time_zone(
    night: str, *, local: bool, zone: ZoneInfo, upstream: ScriptedUpstream, extract: Extract
) -> None:
    start = datetime.fromisoformat(f"{night}T00:00:00+00:00") - timedelta(hours=6)
    moments = [start + timedelta(minutes=20 * step) for step in range(72)]
    rows = [
        {"id": number, "at": (moment.astimezone(zone) if local else moment).isoformat()}
        for number, moment in enumerate(moments)
    ]
    there: list[dict[str, Any]] = []

    def answer(_path: str, query: dict[str, str]) -> Any:
        since = datetime.fromisoformat(query["since"]) if "since" in query else start
        return [row for row in there if datetime.fromisoformat(row["at"]) >= since]

    answers(upstream, answer)
    spec = {"incremental": {"cursor": "at", "param": "since"}}
    cursor = None
    taken: list[int] = []
    for count in range(7, 73, 13):
        there[:] = rows[:count]
        found = extract(spec, source_cursor=cursor)
        taken.extend(row["id"] for row in values(found))
        cursor = json.loads(json.dumps(found[-1].cursor))
    assert sorted(set(taken)) == list(range(len(there)))
    assert len(taken) - len(set(taken)) <= len(range(7, 73, 13)) - 1  # the newest one is asked for again


def test_days_are_days_of_utc_in_any_time_zone(
    zone: ZoneInfo, upstream: ScriptedUpstream, extract: Extract
) -> None:
    assert zone.key
    answers(upstream, lambda *_: [])
    window = {
        "start_param": "s",
        "end_param": "e",
        "cursor": "d",
        "initial_value": "2024-01-01",
        "step": "P1D",
    }
    extract({"date_window": window})
    asked = [dict(parse_qsl(urlsplit(path).query)) for path in upstream.paths]
    days = [(date(2024, 1, 1) + timedelta(days=day)).isoformat() for day in range(10)]
    assert [(query["s"], query["e"]) for query in asked] == [(day, day) for day in days]


@pytest.mark.parametrize(
    ("body", "headers", "said"),
    [
        (
            '["caf\u00e9"]'.encode("latin-1"),
            {"Content-Type": "application/json; charset=latin-1"},
            "not JSON",
        ),
        (b"<!doctype html><p>Maintenance", {"Content-Type": "application/json"}, "begins with '<!doctype"),
        (b"", {}, "not JSON"),
        (b'[{"a":1},{"b":', {}, "not JSON"),
        (gzip.compress(b"[1]", mtime=0), {}, "not JSON"),
    ],
)
def test_what_is_no_list_is_refused_with_status_200_too_and_leaves_what_came_before(
    body: bytes, headers: dict[str, str], said: str, upstream: ScriptedUpstream
) -> None:
    def answer(handler: BaseHTTPRequestHandler) -> None:
        if handler.path.endswith("page=2"):
            reply(handler, 200, body, headers)
        else:
            reply(handler, 200, b"[0]")

    upstream.answer = answer
    spec = RestRequests.model_validate({"path": "/x"} | NUMBERED)
    settings = HttpSettings(attempts=1, allow_private_hosts=("127.0.0.1",))
    with Client(settings) as client:
        batches = iter(RestExtraction(spec, upstream.url, Request(date(2024, 1, 1)), client))
        assert values([next(batches)]) == [0]
        with pytest.raises(PermanentUpstreamError, match=said):
            next(batches)


@pytest.mark.parametrize(
    ("body", "spec"),
    [
        ('{"data": [{"id": 1}], "beside": DEEP}', {"paginator": {"type": "next_url"}}),
        (
            '{"data": [{"id": 1, "inner": [DEEP]}]}',
            {"explode": {"path": "inner", "include": ["id"]}},
        ),
    ],
)
def test_fault_41_at_the_depth_where_reading_ends_an_answer_is_taken_or_refused_with_its_address(
    body: str, spec: dict[str, Any], upstream: ScriptedUpstream, extract: Extract
) -> None:
    outcomes = set()
    for depth in range(850, 1000):
        deep = body.replace("DEEP", "[" * depth + "]" * depth).encode()
        upstream.answer = lambda handler, deep=deep: reply(handler, 200, deep)  # type: ignore[misc]
        try:
            assert len(values(extract({"records": "data"} | spec))) == 1
            outcomes.add("taken")
        except PermanentUpstreamError as error:
            outcomes.add(str(error))
    assert outcomes == {"taken", f"the JSON is nested too deep ({upstream.url}/v1/x)"}


WINDOW = {"start_param": "s", "end_param": "e", "cursor": "at", "initial_value": "2024-01-01"}


@pytest.mark.parametrize(
    ("increment", "written"),
    [
        ({"incremental": {"cursor": "at"}}, {"newest": 5}),
        ({"incremental": {"cursor": "at"}}, {"newest": {"": 5}}),
        ({"incremental": {"cursor": "at"}}, {"newest": {"": {"reached": "2024"}}}),
        ({"incremental": {"cursor": "at"}}, {"newest": None}),
        ({"date_window": WINDOW}, {"seen": 5}),
        ({"date_window": WINDOW}, {"seen": None}),
        ({"date_window": WINDOW}, {"days": 5}),
    ],
)
def test_fault_19_progress_of_an_increment_that_another_release_wrote_is_begun_anew(
    increment: dict[str, Any], written: dict[str, Any], upstream: ScriptedUpstream, extract: Extract
) -> None:
    rows = [{"id": number, "at": f"2024-01-0{number}"} for number in range(1, 4)]
    answers(upstream, lambda _path, query: rows[int(query["page"]) - 1 : int(query["page"])])
    spec = NUMBERED | increment
    ours = json.loads(json.dumps(extract(spec)[0].cursor))
    assert [row["id"] for row in values(extract(spec, progress=ours))] == [2, 3]

    found = extract(spec, progress=ours | written)

    assert [row["id"] for row in values(found)] == [1, 2, 3]


def test_errors_without_end_leave_a_checkpoint_to_go_on_from(upstream: ScriptedUpstream) -> None:
    there = {"1": b"[1]", "2": b"[2]"}

    def answer(handler: BaseHTTPRequestHandler) -> None:
        page = dict(parse_qsl(urlsplit(handler.path).query))["page"]
        reply(handler, 200 if page in there else 503, there.get(page, b"down"))

    upstream.answer = answer
    spec = RestRequests.model_validate({"path": "/x"} | NUMBERED)
    settings = HttpSettings(attempts=3, backoff=0, max_wait=0.1, allow_private_hosts=("127.0.0.1",))
    found = []
    with Client(settings) as client:
        batches = iter(RestExtraction(spec, upstream.url, Request(date(2024, 1, 1)), client))
        found += [next(batches), next(batches)]
        with pytest.raises(TransientUpstreamError, match="HTTP 503"):
            next(batches)
    there |= {"3": b"[3]", "4": b"[]"}
    upstream.seen.clear()
    with Client(settings) as client:
        request = Request(date(2024, 1, 1), progress=json.loads(json.dumps(found[-1].cursor)))
        found += list(RestExtraction(spec, upstream.url, request, client))
    assert values(found) == [1, 2, 3]
    assert not {"/x?page=1", "/x?page=2"} & set(upstream.paths)


BOMBED = """
import sys
from datetime import date
from kasparro_pipeline.extract.documents import Request
from kasparro_pipeline.extract.errors import PermanentUpstreamError
from kasparro_pipeline.extract.http import Client, HttpSettings
from kasparro_pipeline.extract.rest import RestExtraction
from kasparro_pipeline.extract.rest_spec import RestRequests
with Client(HttpSettings(allow_private_hosts=("127.0.0.1",))) as client:
    try:
        list(RestExtraction(RestRequests(path="/x"), sys.argv[1], Request(date(2024, 1, 1)), client))
    except PermanentUpstreamError as error:
        status = dict(line.split(":", 1) for line in open("/proc/self/status"))
        print(status["VmHWM"].split()[0], error.message)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="the peak of a process is read from /proc")
def test_a_gzip_bomb_is_refused_in_less_than_300_mb(upstream: ScriptedUpstream) -> None:
    packer = zlib.compressobj(1, wbits=31)
    bomb = b"".join(packer.compress(b" " * (1 << 20)) for _ in range(1 << 10)) + packer.flush()
    upstream.answer = lambda handler: reply(handler, 200, bomb, {"Content-Encoding": "gzip"})
    done = subprocess.run(
        [sys.executable, "-c", BOMBED, upstream.url],
        capture_output=True,
        text=True,
        check=True,
        cwd=Path(__file__).parents[2],
        env=dict(os.environ),
    )
    peak, _, said = done.stdout.partition(" ")
    assert "larger than max_bytes" in said
    assert int(peak) < 300 << 10  # kB
