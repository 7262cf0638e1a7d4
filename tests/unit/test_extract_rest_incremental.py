"""Incremental extraction: what is asked for, where the checkpoint stands, and nothing is missed."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime, timedelta
from email.utils import format_datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, unquote, urlsplit

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from kasparro_pipeline.extract.cursor_values import Incremental
from kasparro_pipeline.extract.documents import RawRecord, Request
from kasparro_pipeline.extract.rest import lookback_of
from kasparro_pipeline.extract.rest_spec import RestRequests
from kasparro_pipeline.extract.since import Since
from tests.unit.conftest import ScriptedUpstream, reply
from tests.unit.rest_upstream import Extract, answers, values

if TYPE_CHECKING:
    from collections.abc import Callable
    from http.server import BaseHTTPRequestHandler

    from kasparro_pipeline.extract.documents import Batch, Cursor

NOW = datetime(2024, 1, 10, 12, tzinfo=UTC)


class Table:
    """An upstream with rows in order of `updated_at`, page by page, from `since` on if that is sent."""

    def __init__(self, upstream: ScriptedUpstream, size: int = 3, *, exclusive: bool = False) -> None:
        self.rows: list[dict[str, Any]] = []
        self.upstream, self.size, self.exclusive = upstream, size, exclusive
        self.clock: datetime | None = NOW
        self.read: Callable[[dict[str, str]], list[dict[str, Any]]] = self._since
        upstream.answer = self._answer

    def add(self, *stamps: Any) -> None:
        for stamp in stamps:
            self.rows.append({"id": len(self.rows), "at": stamp})

    def _since(self, query: dict[str, str]) -> list[dict[str, Any]]:
        since = query.get("since")
        rows = sorted(self.rows, key=lambda row: str(row["at"]))
        return [row for row in rows if since is None or str(row["at"]) >= since]

    def _answer(self, handler: BaseHTTPRequestHandler) -> None:
        query = dict(parse_qsl(urlsplit(handler.path).query))
        start = (int(query["page"]) - 1) * self.size
        body = json.dumps(self.read(query)[start:][: self.size]).encode()
        handler.send_response_only(200)
        if self.clock:
            handler.send_header("Date", format_datetime(self.clock, usegmt=True))
        handler.send_header("Content-Length", str(len(body)))
        handler.end_headers()
        handler.wfile.write(body)

    @property
    def asked(self) -> list[dict[str, str]]:
        return [dict(parse_qsl(urlsplit(path).query)) for path in self.upstream.paths]


@pytest.fixture
def table(upstream: ScriptedUpstream) -> Table:
    return Table(upstream)


def spec_of(size: int = 3, **incremental: Any) -> dict[str, Any]:
    return {
        "paginator": {"type": "page_number", "page_size": size, "last_page": "short"},
        "incremental": {"cursor": "at", "param": "since"} | incremental,
    }


def stored(batches: list[Batch]) -> Cursor | None:
    """The source's cursor as the database gives it back."""
    assert batches[-1].done
    cursor: Cursor = json.loads(json.dumps(batches[-1].cursor))
    return cursor or None


def stamp(day: int, hour: int = 0) -> str:
    return f"2024-01-{day:02}T{hour:02}:00:00Z"


def test_the_first_extraction_takes_everything_and_the_next_one_what_is_new(
    table: Table, extract: Extract
) -> None:
    table.add(*(stamp(day) for day in range(1, 6)))
    first = extract(spec_of())
    assert len(values(first)) == 5
    assert "since" not in table.asked[0]
    table.add(stamp(6), stamp(7))
    table.upstream.seen.clear()
    second = extract(spec_of(), source_cursor=stored(first))
    assert table.asked[0]["since"] == stamp(5)
    assert [row["id"] for row in values(second)] == [4, 5, 6]


def test_nothing_new_is_one_request_no_document_and_the_same_checkpoint(
    table: Table, extract: Extract
) -> None:
    table.add(*(stamp(day) for day in range(1, 9)))
    first = extract(spec_of())
    table.upstream.seen.clear()
    (batch,) = extract(spec_of(), source_cursor=stored(first))
    assert (batch.document, values([batch]), batch.done) == (None, [], True)
    assert stored([batch]) == stored(first)
    assert len(table.upstream.seen) == 1


@pytest.mark.parametrize("initial", ["2024-01-03T00:00:00Z", "2024-01-03", "2024-01-03T01:00:00+01:00"])
def test_the_first_extraction_may_start_at_a_value(initial: str, table: Table, extract: Extract) -> None:
    table.add(*(stamp(day) for day in range(1, 6)))
    extract(spec_of(initial_value=initial))
    assert table.asked[0]["since"] == initial


def test_a_changed_record_with_the_same_value_is_new(table: Table, extract: Extract) -> None:
    table.add(stamp(1), stamp(2))
    first = extract(spec_of())
    table.rows[1]["name"] = "other"
    assert values(extract(spec_of(), source_cursor=stored(first))) == [table.rows[1]]


@pytest.mark.parametrize(
    ("window", "since"), [("PT6H", stamp(4, 18)), ("P2D", stamp(3)), (None, stamp(5)), ("PT0S", stamp(5))]
)
def test_a_late_record_is_taken_by_the_lookback_window(
    window: str | None, since: str, table: Table, extract: Extract
) -> None:
    table.add(*(stamp(day) for day in range(1, 6)))
    first = extract(spec_of(lookback_window=window))
    table.add(stamp(4, 20))
    table.upstream.seen.clear()
    second = extract(spec_of(lookback_window=window), source_cursor=stored(first))
    assert table.asked[0]["since"] == since
    assert (5 in [row["id"] for row in values(second)]) == (since <= stamp(4, 20))
    assert stored(second)["items"][""]["value"] == stamp(5)  # type: ignore[index]
    again = extract(spec_of(lookback_window=window), source_cursor=stored(second))
    assert [batch.document for batch in again] == [None] * len(again)


FUTURE = ["9999-12-31T23:59:59Z", "2024-01-10T12:00:05Z", "2025-01-01"]


@pytest.mark.parametrize("wrong", FUTURE)
def test_a_record_of_the_future_is_kept_and_does_not_carry_the_checkpoint_away(
    wrong: str, table: Table, extract: Extract
) -> None:
    table.add(stamp(1), stamp(2), wrong)
    first = extract(spec_of())
    assert [row["at"] for row in values(first)] == [stamp(1), stamp(2), wrong]
    assert stored(first)["items"][""]["value"] == stamp(2)  # type: ignore[index]
    table.add(stamp(3))
    second = extract(spec_of(), source_cursor=stored(first))
    assert stamp(3) in [row["at"] for row in values(second)]


@pytest.mark.parametrize("days", [-400, -1, 1, 400])
def test_the_upstreams_clock_tells_what_is_future_and_not_the_machines(
    days: int, table: Table, extract: Extract
) -> None:
    table.clock = datetime.now(UTC) + timedelta(days=days)
    moment = table.clock - timedelta(minutes=1)
    table.add(moment.isoformat(), (moment + timedelta(hours=1)).isoformat())
    assert stored(extract(spec_of()))["items"][""]["value"] == moment.isoformat()  # type: ignore[index]


def test_without_the_upstreams_clock_the_machines_own_counts(table: Table, extract: Extract) -> None:
    table.clock = None
    moment = datetime.now(UTC)
    table.add(moment.isoformat(), (moment + timedelta(days=2)).isoformat())
    assert stored(extract(spec_of()))["items"][""]["value"] == moment.isoformat()  # type: ignore[index]


@pytest.mark.parametrize("odd", [None, "", "soon", 5, [], {}, True, "2024-13-01T00:00:00Z"])
def test_a_record_without_a_readable_value_is_kept_and_moves_nothing(
    odd: object, table: Table, extract: Extract
) -> None:
    table.read = lambda _query: [{"at": odd}, {"other": 1}, {"at": stamp(1)}]
    found = extract(spec_of(size=9))
    assert len(values(found)) == 3
    assert stored(found)["items"][""]["value"] == stamp(1)  # type: ignore[index]


def test_a_thousand_records_with_one_value_are_all_there_with_a_crash_inside_the_tie(
    upstream: ScriptedUpstream, extract: Extract
) -> None:
    table = Table(upstream, size=100)
    table.add(*[stamp(1)] * 50, *[stamp(2)] * 1000)
    spec = spec_of(size=100)
    whole = extract(spec)
    for crashed_after in (1, 5, len(whole) - 1):
        upstream.seen.clear()
        kept = whole[:crashed_after]
        rest = extract(spec, progress=json.loads(json.dumps(kept[-1].cursor)))
        assert [row["id"] for row in values([*kept, *rest])] == list(range(1050))
        assert stored(rest) == stored(whole)
        assert len(upstream.seen) == len(whole) - crashed_after
    table.add(*[stamp(2)] * 10, stamp(3))
    found = {row["id"] for row in values(extract(spec, source_cursor=stored(whole)))}
    assert set(range(1050, 1061)) <= found


def test_the_progress_of_another_checkpoint_is_not_taken_up(table: Table, extract: Extract) -> None:
    table.add(*(stamp(day) for day in range(1, 9)))
    progress = json.loads(json.dumps(extract(spec_of())[0].cursor))
    table.upstream.seen.clear()
    moved = {"items": {"": {"value": stamp(2), "seen": {}}}}
    extract(spec_of(), progress=progress, source_cursor=moved)
    assert table.asked[0] == {"since": stamp(2), "page": "1"}


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    rounds=st.lists(st.lists(st.integers(0, 30), max_size=6), min_size=1, max_size=5),
    size=st.integers(1, 4),
    crash=st.integers(0, 5),
    short=st.booleans(),
)
def test_whatever_comes_between_extractions_in_rising_order_no_record_is_missed(
    rounds: list[list[int]],
    size: int,
    crash: int,
    *,
    short: bool,
    upstream: ScriptedUpstream,
    extract: Extract,
) -> None:
    table = Table(upstream, size)
    spec = spec_of(size)
    if not short:
        spec["paginator"] = {"type": "page_number"}
    cursor: Cursor | None = None
    taken: list[Any] = []
    at = 0
    for added in rounds:
        for step in sorted(added):
            at += step // 10  # several with one value, also across rounds
            table.add((datetime(2024, 1, 1, tzinfo=UTC) + timedelta(minutes=at)).isoformat())
        found = extract(spec, source_cursor=cursor)
        if len(found) > crash:
            kept = found[: crash + 1]
            if not kept[-1].done:
                progress = json.loads(json.dumps(kept[-1].cursor))
                found = [*kept, *extract(spec, source_cursor=cursor, progress=progress)]
        cursor = stored(found)
        taken.extend(values(found))
        assert {row["id"] for row in taken} == {row["id"] for row in table.rows}
        upstream.seen.clear()
        assert all(batch.document is None for batch in extract(spec, source_cursor=cursor))


def test_the_checkpoint_of_a_source_that_asked_in_another_way_is_no_hindrance(
    table: Table, extract: Extract
) -> None:
    table.add(stamp(1))
    for before in ({"through": "2024-01-01"}, {"items": {"": "2024-01-01"}}, {}, None):
        assert len(values(extract(spec_of(), source_cursor=before))) == 1
    window = {"start_param": "s", "end_param": "e", "cursor": "at"}
    since = extract(spec_of())[-1].cursor
    assert len(
        values(extract({"date_window": window, "paginator": {"type": "page_number"}}, source_cursor=since))
    )


# forms of values


@pytest.mark.parametrize(
    ("incremental", "old", "new"),
    [
        ({}, "2024-01-02T10:00:00+02:00", "2024-01-02T09:00:00Z"),
        ({"format": "unix"}, 1704184800, 1704184801),
        ({"format": "unix"}, 1704184800.25, 1704184800.5),
        ({"format": "unix_ms"}, 1704184800001, 1704184800002),
        ({"format": "rfc822"}, "Tue, 02 Jan 2024 23:00:00 GMT", "Wed, 03 Jan 2024 01:30:00 +0200"),
        ({"format": "%d/%m/%Y %H:%M"}, "31/12/2023 10:00", "01/01/2024 09:00"),
        ({"type": "date"}, "2023-12-31", "2024-01-01"),
        ({"type": "date", "format": "%d.%m.%Y"}, "31.12.2023", "01.01.2024"),
        ({"type": "integer"}, 9, 10),
        ({"type": "integer"}, "9", "10"),
    ],
)
def test_values_compare_by_what_they_mean(
    incremental: dict[str, Any], old: Any, new: Any, table: Table, extract: Extract
) -> None:
    table.read = lambda query: [{"at": new}, {"at": old}] if query["page"] == "1" else []
    first = extract(spec_of(**incremental))
    assert stored(first)["items"][""]["value"] == str(new)  # type: ignore[index]
    table.upstream.seen.clear()
    extract(spec_of(**incremental), source_cursor=stored(first))
    assert unquote(table.asked[0]["since"]) == str(new)


@pytest.mark.parametrize(
    ("incremental", "newest", "since"),
    [
        ({"lookback_window": "PT1H"}, "2024-01-02T10:00:00+02:00", "2024-01-02T07:00:00Z"),
        ({"format": "unix", "lookback_window": "PT1M"}, 1704184800, "1704184740"),
        ({"format": "unix_ms", "lookback_window": "PT1S"}, 1704184800001, "1704184799001"),
        ({"format": "rfc822", "lookback_window": "P1D"}, "Tue, 02 Jan 2024 23:00:00 GMT", None),
        ({"type": "date", "lookback_window": "PT36H"}, "2024-01-01", "2023-12-30"),
        ({"type": "integer", "lookback_window": 5}, 9, "4"),
        ({"lookback_window": "P999999D"}, "2024-01-02T10:00:00Z", ""),
    ],
)
def test_the_lookback_is_written_as_the_upstream_writes(
    incremental: dict[str, Any], newest: Any, since: str | None, table: Table, extract: Extract
) -> None:
    cursor = {"items": {"": {"value": str(newest), "seen": {}}}}
    extract(spec_of(**incremental), source_cursor=cursor)
    assert table.asked[0].get("since", "") == ("Mon, 01 Jan 2024 23:00:00 GMT" if since is None else since)


@given(st.integers(-30_000_000_000, 200_000_000_000), st.sampled_from(["iso", "unix", "unix_ms", "rfc822"]))
def test_what_is_written_is_read_as_the_same(seconds: int, written: str) -> None:
    spec = Incremental.model_validate({"cursor": "at", "format": written})
    number = seconds * 1_000_000
    assert spec.read(spec.write(number)) == number


@pytest.mark.parametrize(
    "incremental",
    [
        {"type": "integer", "lookback_window": "P1D"},
        {"lookback_window": 5},
        {"lookback_window": "-P1D"},
        {"type": "integer", "lookback_window": -1},
        {"initial_value": "yesterday"},
        {"type": "date", "initial_value": "2024-13-01"},
        {"format": "%H:%M"},
    ],
)
def test_an_incremental_that_cannot_work_is_refused(incremental: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        RestRequests.model_validate({"path": "/x"} | spec_of(**incremental))


def test_a_source_asks_for_what_is_new_in_one_way() -> None:
    window = {"start_param": "s", "end_param": "e", "cursor": "at"}
    with pytest.raises(ValidationError, match="give one"):
        RestRequests.model_validate({"path": "/x", "date_window": window} | spec_of())


def test_the_lookback_that_is_stored_beside_the_cursor_is_a_duration() -> None:
    def of(**incremental: Any) -> timedelta | None:
        return lookback_of(RestRequests.model_validate({"path": "/x"} | spec_of(**incremental)))

    assert of(lookback_window="P1D") == timedelta(days=1)
    assert of(type="integer", lookback_window=5) is None


# upstreams that cannot filter


def test_where_the_upstream_cannot_filter_older_records_are_left_out_here(
    table: Table, extract: Extract
) -> None:
    table.read = lambda _query: table.rows
    table.add(stamp(1), stamp(3), stamp(2), stamp(4))
    first = extract(spec_of(param=None))
    table.add(stamp(6), stamp(5))
    second = extract(spec_of(param=None), source_cursor=stored(first))
    assert all("since" not in asked for asked in table.asked)
    assert [row["id"] for row in values(second)] == [3, 4, 5]
    assert [record.position for batch in second for record in batch.records] == [0, 1, 2]
    assert all(batch.document is None for batch in extract(spec_of(param=None), source_cursor=stored(second)))


def test_paging_stops_where_older_records_begin_if_the_newest_come_first(
    upstream: ScriptedUpstream, extract: Extract
) -> None:
    table = Table(upstream, size=2)
    table.read = lambda _query: table.rows[::-1]
    table.add(*(stamp(day) for day in range(1, 10)))
    spec = spec_of(size=2, param=None, row_order="desc")
    first = extract(spec)
    assert len(values(first)) == 9
    table.add(stamp(10))
    upstream.seen.clear()
    assert [row["id"] for row in values(extract(spec, source_cursor=stored(first)))] == [9, 8]
    assert len(upstream.seen) == 2


def test_each_value_of_for_each_has_a_checkpoint_of_its_own(
    upstream: ScriptedUpstream, extract: Extract
) -> None:
    rows = {"/a": [{"at": stamp(5)}], "/b": [{"at": stamp(2)}], "/c": []}
    answers(upstream, lambda path, query: [r for r in rows[path] if r["at"] >= query.get("since", "")])
    spec = {
        "path": "/{c}",
        "for_each": {"param": "c", "values": ["a", "b", "c"]},
        "incremental": {"cursor": "at", "param": "since"},
    }
    first = extract(spec)
    upstream.seen.clear()
    rows["/c"] = [{"at": stamp(1)}]
    found = extract(spec, source_cursor=stored(first))
    assert [unquote(path) for path in upstream.paths] == [
        f"/a?since={stamp(5)}",
        f"/b?since={stamp(2)}",
        "/c",
    ]
    assert values(found) == [{"at": stamp(1)}]


# windows of days


def windowed(**window: Any) -> dict[str, Any]:
    return {"date_window": {"start_param": "s", "end_param": "e", "cursor": "day"} | window}


def asked_windows(upstream: ScriptedUpstream) -> list[tuple[str, str]]:
    asked = [dict(parse_qsl(urlsplit(path).query)) for path in upstream.paths]
    return [(query["s"][5:], query["e"][5:]) for query in asked]


def test_a_long_range_is_asked_for_in_steps_the_oldest_first(
    upstream: ScriptedUpstream, extract: Extract
) -> None:
    answers(upstream, lambda _path, query: [{"day": query["e"]}])
    found = extract(windowed(initial_value="2024-01-01", step="P4D"))
    assert asked_windows(upstream) == [("01-01", "01-04"), ("01-05", "01-08"), ("01-09", "01-10")]
    assert found[-1].cursor == {"through": "2024-01-10"}


def test_an_interrupted_range_goes_on_at_its_step(upstream: ScriptedUpstream, extract: Extract) -> None:
    answers(upstream, lambda _path, query: [{"day": query["e"]}])
    spec = windowed(initial_value="2024-01-01", step="P4D")
    whole = extract(spec)
    upstream.seen.clear()
    rest = extract(spec, progress=json.loads(json.dumps(whole[0].cursor)))
    assert asked_windows(upstream) == [("01-05", "01-08"), ("01-09", "01-10")]
    assert rest[-1].cursor == whole[-1].cursor


def test_a_checkpoint_counts_more_than_the_initial_value(
    upstream: ScriptedUpstream, extract: Extract
) -> None:
    answers(upstream, lambda *_: [])
    extract(windowed(initial_value="2023-01-01"), source_cursor={"through": "2024-01-08"})
    assert asked_windows(upstream) == [("01-07", "01-10")]


@given(length=st.integers(0, 60), step=st.integers(1, 20))
@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_steps_cover_every_day_once(
    length: int, step: int, upstream: ScriptedUpstream, extract: Extract
) -> None:
    upstream.seen.clear()
    upstream.answer = lambda handler: reply(handler, 200, b"[]")
    first = date(2024, 1, 10) - timedelta(days=length)
    extract(windowed(initial_value=first.isoformat(), step=f"P{step}D"))
    asked = [dict(parse_qsl(urlsplit(path).query)) for path in upstream.paths]
    covered = [
        date.fromisoformat(query["s"]) + timedelta(days=day)
        for query in asked
        for day in range((date.fromisoformat(query["e"]) - date.fromisoformat(query["s"])).days + 1)
    ]
    assert covered == [first + timedelta(days=day) for day in range(length + 1)]


STAMPS = st.sampled_from(
    [
        stamp(1),
        stamp(2),
        stamp(2, 1),
        stamp(9),
        stamp(11),
        "2024-13-01T00:00:00Z",
        "2024-01-02T00:00:00.5Z",
        "x",
        1,
    ]
)


@given(
    st.lists(st.lists(STAMPS, max_size=5), max_size=4),
    st.sampled_from([{}, {"lookback_window": "P1D"}, {"param": None}]),
)
def test_what_is_remembered_of_a_page_at_once_is_what_each_of_its_records_says(
    pages: list[list[Any]], more: dict[str, Any]
) -> None:
    spec = Incremental.model_validate({"cursor": "at", "param": "since"} | more)
    request = Request(date(2024, 1, 10))
    at_once, one_by_one = Since(spec, request), Since(spec, request)
    one_by_one._newest_alone = lambda *_: None  # type: ignore[method-assign]
    for page in pages:
        records = [RawRecord(n, b"%d %d" % (n, len(page)), {"at": at}) for n, at in enumerate(page)]
        headers = {"date": format_datetime(NOW, usegmt=True)}
        assert at_once.take("", records, headers) == one_by_one.take("", records, headers)
        assert at_once.progress() == one_by_one.progress()
    assert at_once.cursor() == one_by_one.cursor()
