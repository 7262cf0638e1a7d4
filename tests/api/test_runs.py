"""`GET /runs` and `GET /runs/{run_id}`: the ledger, page by page and run by run."""

import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest
import requests
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from psycopg.types.json import Jsonb

from kasparro_api.data.cursor import Position, encode
from kasparro_api.runs import examples, shapes
from kasparro_api.runs.listing import FIELD_TYPES, RunSelection
from kasparro_api.runs.parameters import RunsParameters, Status
from kasparro_pipeline.contract.spec import COLUMN_TYPES, Contract
from kasparro_pipeline.warehouse import ledger
from kasparro_pipeline.warehouse.connection import connect
from kasparro_pipeline.warehouse.settings import WarehouseSettings
from kasparro_pipeline.warehouse.tables import COUNT_COLUMNS, RUN_STATUSES

Get = Callable[..., requests.Response]
AddRun = Callable[..., str]
Warehouse = psycopg.Connection[Any]

NOON = datetime(2026, 11, 1, 12, tzinfo=UTC)
LONG_AGO = datetime(2020, 1, 1, tzinfo=UTC)
NEVER = datetime.max.replace(tzinfo=UTC)


def seconds(number: float) -> timedelta:
    return timedelta(seconds=number)


def walk(get: Get, **parameters: Any) -> Iterator[list[dict[str, Any]]]:
    """Every page of `/runs` from the first on."""
    while True:
        response = get("/runs", **parameters)
        assert response.status_code == 200, response.text
        body = response.json()
        yield body["data"]
        assert body["pagination"]["has_more"] == (body["pagination"]["next_cursor"] is not None)
        assert ("Link" in response.headers) == body["pagination"]["has_more"]
        if not body["pagination"]["has_more"]:
            return
        parameters["cursor"] = body["pagination"]["next_cursor"]


def test_a_run_is_shown_with_its_counts_and_what_follows_from_them(
    serve: Callable[..., str], database_url: str, add_run: AddRun
) -> None:
    base = serve(database_url, KASPARRO_DAGSTER_UI_URL="https://dagster.example/ui/")
    run_id = add_run(
        "partial",
        NOON,
        finished_at=NOON + seconds(4),
        contract_version=2,
        read=10,
        validated=7,
        rejected=3,
    )
    body = requests.get(f"{base}/runs", timeout=30).json()
    assert body["data"] == [
        {
            "run_id": run_id,
            "source": "prices",
            "partition_key": "2026-11-01",
            "status": "partial",
            "started_at": "2026-11-01T12:00:00Z",
            "finished_at": "2026-11-01T12:00:04Z",
            "duration_seconds": 4,
            "records_per_second": 2.5,
            "contract_version": 2,
            "counts": {**dict.fromkeys(COUNT_COLUMNS, 0), "read": 10, "validated": 7, "rejected": 3},
            "rejected_share": 0.3,
            "error": None,
            "dagster_url": f"https://dagster.example/ui/runs/{run_id}",
        }
    ]
    assert body["pagination"] == {"limit": 10, "next_cursor": None, "has_more": False}
    assert set(body["meta"]) == {"request_id", "api_latency_ms"}


def test_a_run_without_records_or_duration_divides_by_nothing(get: Get, add_run: AddRun) -> None:
    add_run("failed", NOON, finished_at=NOON, error="no route")
    [run] = get("/runs").json()["data"]
    assert (run["duration_seconds"], run["records_per_second"], run["rejected_share"]) == (0, None, None)
    assert run["error"] == "no route"


def test_a_run_under_way_is_shown_until_now(get: Get, add_run: AddRun) -> None:
    add_run("running", datetime.now(UTC) - seconds(120), read=60)
    [run] = get("/runs").json()["data"]
    assert (run["status"], run["finished_at"]) == ("running", None)
    assert run["duration_seconds"] == pytest.approx(120, abs=30)
    assert run["records_per_second"] == pytest.approx(0.5, abs=0.2)


rows = st.lists(
    st.tuples(
        st.integers(0, 3),  # run: one may have several rows
        st.sampled_from(["news", "prices"]),
        st.sampled_from(["2026-11-01", "2026-11-02", "a b.csv"]),
        st.sampled_from(RUN_STATUSES),
        st.sampled_from([NOON, NOON + timedelta(microseconds=1), NOON - timedelta(days=9000)]),
    ),
    max_size=20,
    unique_by=lambda row: row[:3],
)
some = st.lists
selections = st.fixed_dictionaries(
    {},
    optional={
        "source": some(st.sampled_from(["news", "prices", "none"]), max_size=2),
        "status": some(st.sampled_from(RUN_STATUSES), max_size=3),
        "partition": some(st.sampled_from(["2026-11-01", "a b.csv"]), max_size=2),
        "started_after": st.sampled_from([NOON, NOON + timedelta(microseconds=1)]),
        "started_before": st.sampled_from([NOON, NOON + timedelta(microseconds=1)]),
    },
)


def fill(warehouse: Warehouse, given_rows: list[tuple[Any, ...]]) -> list[tuple[Any, ...]]:
    """Replace the ledger; the rows as a reader meets them: (started_at, run, source, partition, status)."""
    warehouse.execute("truncate kasparro.etl_run")
    with warehouse.cursor() as cursor:
        cursor.executemany(
            "insert into kasparro.etl_run (run_id, source, partition_key, fence, status, started_at)"
            " values (%s, %s, %s, 1, %s, %s)",
            [(f"run-{row[0]}", *row[1:]) for row in given_rows],
        )
    return sorted(((row[4], f"run-{row[0]}", row[1], row[2], row[3]) for row in given_rows), reverse=True)


@settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],  # each example fills the table anew
)
@given(given_rows=rows, selection=selections, limit=st.integers(1, 7))
def test_a_walk_meets_every_run_of_the_selection_once_and_in_order(
    get: Get,
    warehouse: Warehouse,
    given_rows: list[tuple[Any, ...]],
    selection: dict[str, Any],
    limit: int,
) -> None:
    def chosen(row: tuple[Any, ...]) -> bool:
        started, _, source, partition, status = row
        return (
            source in (selection.get("source") or [source])
            and status in (selection.get("status") or [status])
            and partition in (selection.get("partition") or [partition])
            and selection.get("started_after", started) <= started < selection.get("started_before", NEVER)
        )

    expected = [row[1:4] for row in fill(warehouse, given_rows) if chosen(row)]
    sent = {
        name: value.isoformat() if isinstance(value, datetime) else value for name, value in selection.items()
    }
    pages = list(walk(get, limit=limit, **sent))
    met = [(run["run_id"], run["source"], run["partition_key"]) for page in pages for run in page]
    assert met == expected
    assert all(len(page) == limit for page in pages[:-1])
    assert pages[-1] or len(pages) == 1


def test_runs_that_begin_while_somebody_pages_move_nothing(
    get: Get, warehouse: Warehouse, add_run: AddRun
) -> None:
    expected = [row[1] for row in fill(warehouse, [(n, "news", "p", "success", NOON) for n in range(9)])]
    met = []
    for page in walk(get, limit=2):
        met += [run["run_id"] for run in page]
        add_run("success", NOON + seconds(len(met)), source="news")
    assert met == expected


def test_the_link_header_leads_to_the_next_page(get: Get, base_url: str, warehouse: Warehouse) -> None:
    fill(warehouse, [(n, "a b", "p", "success", NOON) for n in range(4)])
    first = get("/api/v1/runs", source="a b", limit=3)
    target, _, relation = first.headers["Link"].partition("; ")
    assert relation == 'rel="next"'
    assert target.startswith(f"<{base_url}/api/v1/runs?")
    second = get(target.strip("<>").removeprefix(base_url))
    assert len(first.json()["data"]) == 3
    assert len(second.json()["data"]) == 1
    assert "Link" not in second.headers


def test_a_cursor_of_another_list_is_refused(get: Get, warehouse: Warehouse) -> None:
    fill(warehouse, [(n, "news", "p", "success", NOON) for n in range(4)])
    cursor = get("/runs", limit=1, source="news").json()["pagination"]["next_cursor"]
    assert get("/runs", limit=3, source="news", cursor=cursor).status_code == 200
    for other in ({}, {"source": "prices"}, {"source": "news", "status": "failed"}):
        response = get("/runs", cursor=cursor, **other)
        assert response.status_code == 400
        assert "other filters" in response.json()["detail"]
    unfiltered = get("/runs", limit=1).json()["pagination"]["next_cursor"]
    assert get("/data", cursor=unfiltered).status_code == 400
    assert get("/runs", cursor=unfiltered[:-1]).json()["type"] == "urn:kasparro:problem:invalid-cursor"


@pytest.mark.parametrize(
    "place",
    [
        "x",
        "[]",
        "{}",
        "null",
        "7",
        "[1, [2], {}, null]",
        '["2026-11-01", "a", "b"]',
        '["x", "a", "b", "c"]',
        '["2026-11-01", "\\ud800", "b", "c"]',
        '["2026-11-01", "\\u0000", "b", "c"]',
    ],
)
def test_a_cursor_made_up_with_a_right_checksum_is_refused(get: Get, place: str) -> None:
    response = get("/runs", cursor=encode(Position(place, 0), RunSelection().filters()))
    assert response.status_code == 400
    assert response.headers["Content-Type"] == "application/problem+json"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("limit", "0"),
        ("limit", "1001"),
        ("limit", "x"),
        ("status", "in_progress"),
        ("source", " "),
        ("partition", "a\0b"),
        ("started_after", "yesterday"),
        ("started_before", "5"),
        ("started_before", "2026-13-01"),
        ("sources", "news"),
    ],
)
def test_a_parameter_that_cannot_be_used_is_named(get: Get, name: str, value: str) -> None:
    response = get("/runs", **{name: value})
    assert response.status_code == 422
    [error] = response.json()["errors"]
    assert (error["parameter"], error["sent"]) == (name, value)
    assert error["allowed"]


def test_the_statuses_that_are_documented_are_those_of_the_ledger() -> None:
    assert Status.__args__ == RUN_STATUSES  # type: ignore[attr-defined]
    description = RunsParameters.model_fields["status"].description or ""
    assert all(f"`{status}`" in description for status in RUN_STATUSES)


@pytest.fixture
def full_run(warehouse: Warehouse, add_run: AddRun) -> str:
    """A run with all that a run can leave."""
    run_id = add_run("partial", NOON, finished_at=NOON + seconds(2), contract_version=1, read=4, rejected=3)
    contract = Contract.model_validate(
        {
            "kind": "price",
            "key": "id",
            "fields": {
                "amount": {"path": "price"},
                "rank": {"type": "integer"},
                "name": {},
                "url": {},
                "tags": {},
            },
        }
    )
    warehouse.execute(
        "insert into kasparro.contract_version (source, version, digest, contract, version_rule, epoch)"
        " values ('prices', 1, '', %s, 'null', 1)",
        [contract.as_json().decode()],
    )
    [[document]] = warehouse.execute(
        "insert into kasparro.document (source, partition_key, run_id, location, context, layout, headers,"
        " byte_count, sha256, record_count, fetched_at) values"
        " ('prices', '2026-11-01', %s, 'https://x/1', '{}', '{}', '{}', 99, '\\xab', 4, %s) returning id",
        [run_id, NOON],
    ).fetchall()
    minimum = {"field": "amount", "rule": "minimum", "value": -1, "message": "too small"}
    required = {"field": "name", "rule": "required", "value": None, "message": "missing"}
    for raw_id, reasons in ((7, [minimum]), (5, [minimum, required]), (6, [minimum, minimum])):
        warehouse.execute(
            "insert into kasparro.rejected_record"
            " (document_id, raw_id, run_id, contract_version, source, reasons)"
            " values (%s, %s, %s, 1, 'prices', %s)",
            [document, raw_id, run_id, Jsonb(reasons)],
        )
    warehouse.execute(
        "insert into kasparro.drift_event (source, partition_key, run_id, change, field, mode, expected,"
        " found, records, share, examples, detected_at)"
        " values ('prices', '2026-11-01', %s, 'retyped', 'rank', 'quarantine_row', 'integer', 'string',"
        " 3, 0.75, %s, %s)",
        [run_id, Jsonb([{"value": "many", "raw_id": 7}]), NOON],
    )
    return run_id


def test_a_run_in_detail_shows_why_records_were_rejected_and_what_came(get: Get, full_run: str) -> None:
    body = get(f"/runs/{full_run}").json()
    assert set(body) == {"data", "meta"}
    [run] = body["data"]
    [summary] = get("/runs").json()["data"]
    assert {name: run[name] for name in summary} == summary
    assert run["rejected"] == [
        {"field": "amount", "rule": "minimum", "records": 3, "example_raw_id": 5},
        {"field": "name", "rule": "required", "records": 1, "example_raw_id": 5},
    ]
    assert run["schema"] == {
        "contract_version": 1,
        "fields": {"amount": "number", "name": "string", "rank": "integer", "tags": "list", "url": "url"},
    }
    assert run["drift"] == [
        {
            "change": "retyped",
            "field": "rank",
            "mode": "quarantine_row",
            "expected": "integer",
            "found": "string",
            "records": 3,
            "share": 0.75,
            "confidence": None,
            "examples": [{"value": "many", "raw_id": 7}],
            "detected_at": "2026-11-01T12:00:00Z",
        }
    ]
    [document] = run["documents"]
    assert document.pop("id") > 0
    assert document == {
        "location": "https://x/1",
        "bytes": 99,
        "sha256": "ab",
        "records": 4,
        "fetched_at": "2026-11-01T12:00:00Z",
    }
    assert run["anomalies"] == []


def test_a_run_of_several_sources_has_a_row_for_each(get: Get, full_run: str, add_run: AddRun) -> None:
    add_run("success", NOON, run_id=full_run, source="news", finished_at=NOON)
    news, prices = get(f"/runs/{full_run}").json()["data"]
    assert (news["source"], prices["source"]) == ("news", "prices")
    assert (news["rejected"], news["drift"], news["documents"]) == ([], [], [])
    assert news["schema"] == {"contract_version": None, "fields": None}
    assert len(prices["rejected"]) == 2


def test_what_is_unusual_about_a_run_is_told_with_the_figures(get: Get, add_run: AddRun) -> None:
    for number in range(6):
        at = NOON + timedelta(hours=number)
        add_run("success", at, finished_at=at + seconds(2), read=100, documents=1)
    at = NOON + timedelta(hours=6)
    slow = add_run("success", at, finished_at=at + seconds(60), read=1000, documents=1)
    failed = add_run("failed", at + timedelta(hours=1), finished_at=at + timedelta(hours=1), error="gone")
    add_run("failed", NOON - timedelta(hours=1), source="news", finished_at=NOON)

    duration, records = get(f"/runs/{slow}").json()["data"][0]["anomalies"]
    assert duration == {
        "kind": "duration",
        "reason": "It took 60.0 s; the median of 6 runs before it is 2.0 s, and 0.0 to 7.0 s is usual.",
        "value": 60,
        "expected": 2,
    }
    assert (records["kind"], records["value"], records["expected"]) == ("records", 1000, 100)
    [failure] = get(f"/runs/{failed}").json()["data"][0]["anomalies"]
    assert (failure["kind"], failure["expected"]) == ("failure", "success")


def test_a_day_is_compared_with_days_and_a_file_with_files(get: Get, add_run: AddRun) -> None:
    for number in range(6):
        at = NOON + timedelta(hours=number)
        add_run("success", at, finished_at=at + seconds(2), read=100, documents=1)
    at = NOON + timedelta(hours=7)
    file = add_run("success", at, partition_key="a.csv", finished_at=at + seconds(600), read=0, documents=1)
    assert get(f"/runs/{file}").json()["data"][0]["anomalies"] == []


@pytest.mark.parametrize("run_id", ["nobody", "a b", "%00", "é" * 300])
def test_an_unknown_run_is_404(get: Get, run_id: str) -> None:
    response = get(f"/runs/{run_id}")
    assert response.status_code == 404
    assert response.headers["Content-Type"] == "application/problem+json"
    if run_id == "nobody":
        assert response.json()["type"] == "urn:kasparro:problem:no-run"
        assert "`nobody`" in response.json()["detail"]


def test_the_detail_takes_no_parameters(get: Get, full_run: str) -> None:
    assert get(f"/runs/{full_run}", fields="x").status_code == 422


def test_a_lost_run_is_shown_as_failed_before_anybody_closed_it(
    get: Get, warehouse: Warehouse, database_url: str
) -> None:
    settings_ = WarehouseSettings.model_validate({"DATABASE_URL": database_url})
    with connect(settings_) as living:
        hold = ledger.begin(living, "prices", "2026-11-01", "run")
        ledger.add_counts(living, hold, {"read": 3})
        warehouse.execute(
            "update kasparro.etl_run set started_at = %s, active_at = %s", [LONG_AGO, LONG_AGO + seconds(9)]
        )
        assert [run["status"] for run in get("/runs").json()["data"]] == ["running"]
        assert [run["run_id"] for run in get("/runs", status="running").json()["data"]] == ["run"]
        assert get("/runs", status="failed").json()["data"] == []
        assert get("/stats").json()["sources"][0]["totals"]["runs"]["running"] == 1
    deadline = datetime.now(UTC) + seconds(10)
    while get("/runs", status="running").json()["data"]:
        assert datetime.now(UTC) < deadline

    [run] = get("/runs", status="failed").json()["data"]
    assert (run["status"], run["error"]) == ("failed", ledger.LOST_ERROR)
    assert (run["finished_at"], run["duration_seconds"]) == ("2020-01-01T00:00:09Z", 9)
    assert get("/runs", status=["running", "success"]).json()["data"] == []
    [detail] = get("/runs/run").json()["data"]
    assert detail["status"] == "failed"
    stats = get("/stats").json()
    [source] = stats["sources"]
    assert (source["last_run"]["status"], source["last_run"]["error"]) == ("failed", ledger.LOST_ERROR)
    assert source["last_run"]["duration_seconds"] == 9
    assert source["last_failure_at"] == "2020-01-01T00:00:09Z"
    assert (source["totals"]["runs"]["running"], source["totals"]["runs"]["failed"]) == (0, 1)
    assert get("/health").json()["sources"][0]["last_status"] == "failed"

    assert ledger.close_lost(warehouse) == ["run"]
    assert get("/runs", status="failed").json()["data"] == [run]
    after = get("/stats").json()
    assert after["sources"] == stats["sources"]
    assert after["totals"] == stats["totals"]


def test_the_documented_field_types_are_those_of_the_contract() -> None:
    assert {name: kind for name, kind in COLUMN_TYPES.items() if kind != "string"} == FIELD_TYPES


def test_the_answers_have_the_documented_shapes(get: Get, full_run: str) -> None:
    page, detail = get("/runs", limit=1).text, get(f"/runs/{full_run}").text
    assert shapes.RunsPage.model_validate_json(page).model_dump().keys() == json.loads(page).keys()
    for shape, found in ((shapes.RunBase, json.loads(page)), (shapes.RunDetail, json.loads(detail))):
        [run] = found["data"]
        documented = json.loads(shape.model_validate(run).model_dump_json(by_alias=True))
        assert documented.keys() == run.keys()
        for name, value in run.items():
            if isinstance(value, list) and value:
                assert documented[name][0].keys() == value[0].keys()


def test_the_examples_have_the_documented_shapes() -> None:
    for shape, example in (
        (shapes.RunBase, examples.RUN),
        (shapes.RunDetail, examples.DETAIL),
        (shapes.Comparison, examples.COMPARISON),
    ):
        documented = json.loads(shape.model_validate(example).model_dump_json(by_alias=True))
        assert documented.keys() == example.keys()
