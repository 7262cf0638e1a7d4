"""`GET /compare-runs`: two runs of a source side by side, and the records that only one of them has."""

import itertools
import json
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest
import requests
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from psycopg.types.json import Jsonb

from kasparro_api.runs import shapes
from kasparro_api.runs.comparison import SHOWN_IDS
from kasparro_pipeline.warehouse.tables import COUNT_COLUMNS

Get = Callable[..., requests.Response]
AddRun = Callable[..., str]
Warehouse = psycopg.Connection[Any]
Row = tuple[str, str]
"""A record: its source_id and its content."""

NOON = datetime(2026, 11, 1, 12, tzinfo=UTC)
numbers = itertools.count(1)


def add_document(
    warehouse: Warehouse, run_id: str, rows: Sequence[Row], partition: str = "2026-11-01"
) -> int:
    """A document of source `prices` whose records are all valid; of equal ids in it the last one counts."""
    [[document]] = warehouse.execute(
        "insert into kasparro.document (source, partition_key, run_id, location, context, layout, headers,"
        " byte_count, sha256, record_count, fetched_at) values"
        " ('prices', %s, %s, 'x', '{}', '{}', '{}', 1, '', %s, now()) returning id",
        [partition, run_id, len(rows)],
    ).fetchall()
    raw_ids = [next(numbers) for _ in rows]
    winner = dict(zip((source_id for source_id, _ in rows), raw_ids, strict=True))
    superseded = [
        None if winner[key] == raw_id else winner[key] for raw_id, (key, _) in zip(raw_ids, rows, strict=True)
    ]
    if rows:
        warehouse.execute(
            "insert into kasparro.validated_batch (source, partition_key, first_raw_id, last_raw_id, records,"
            " superseded, run_id, contract_version, kind, epoch, max_version, digest, document_id, raw_id,"
            " source_id, content_hash, superseded_by)"
            " values ('prices', %s, %s, %s, %s, %s, %s, 1, 'price', 1, '-Infinity', '', %s, %s, %s, %s, %s)",
            [
                *(partition, raw_ids[0], raw_ids[-1], len(rows), len(rows) - superseded.count(None), run_id),
                *([document] * len(rows), raw_ids, [key for key, _ in rows]),
                *([content.encode() for _, content in rows], superseded),
            ],
        )
    assert isinstance(document, int)
    return document


def compare(get: Get, a: str, b: str, **parameters: str) -> dict[str, Any]:
    response = get("/compare-runs", a=a, b=b, **parameters)
    assert response.status_code == 200, response.text
    data: dict[str, Any] = response.json()["data"]
    return data


documents = st.lists(
    st.lists(
        st.tuples(st.sampled_from(["a", "B", "é", "10", "9", "z y"]), st.sampled_from("xyz")), max_size=6
    ),
    max_size=3,
)


@settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],  # each example has runs of its own
)
@given(of_a=documents, of_b=documents, partition_of_b=st.sampled_from(["2026-11-01", "2026-11-02"]))
def test_the_records_are_those_of_a_plain_model(
    get: Get,
    warehouse: Warehouse,
    add_run: AddRun,
    of_a: list[list[Row]],
    of_b: list[list[Row]],
    partition_of_b: str,
) -> None:
    has: list[dict[str, str]] = []
    runs = []
    for found, partition in ((of_a, "2026-11-01"), (of_b, partition_of_b)):
        run_id = add_run("success", NOON, finished_at=NOON, partition_key=partition)
        for rows in found:
            add_document(warehouse, run_id, rows, partition)
        has.append(dict(row for rows in found for row in rows))  # a later document has the newer version
        runs.append(run_id)
    a, b = has
    changed = [key for key in a.keys() & b.keys() if a[key] != b[key]]
    assert compare(get, *runs)["records"] == {
        "only_in_a": len(a.keys() - b.keys()),
        "only_in_b": len(b.keys() - a.keys()),
        "in_both": len(a.keys() & b.keys()),
        "changed": len(changed),
        "ids": {
            "only_in_a": sorted(a.keys() - b.keys()),
            "only_in_b": sorted(b.keys() - a.keys()),
            "changed": sorted(changed),
        },
    }


def test_each_list_has_the_first_ids_and_the_counts_are_of_all(
    get: Get, warehouse: Warehouse, add_run: AddRun
) -> None:
    a, b = (add_run("success", NOON, finished_at=NOON) for _ in "ab")
    add_document(warehouse, a, [(f"{n:04}", "x") for n in range(250)])
    records = compare(get, a, b)["records"]
    assert (records["only_in_a"], records["only_in_b"], records["in_both"]) == (250, 0, 0)
    assert records["ids"]["only_in_a"] == [f"{n:04}" for n in range(SHOWN_IDS)]


def test_a_newer_version_that_came_in_an_earlier_document_counts(
    get: Get, warehouse: Warehouse, add_run: AddRun
) -> None:
    a, b = (add_run("success", NOON, finished_at=NOON) for _ in "ab")
    newer = add_document(warehouse, a, [("one", "new")])
    add_document(warehouse, a, [("one", "old")])
    add_document(warehouse, b, [("one", "new")])
    warehouse.execute(
        "update kasparro.validated_batch set version = '{2}' where document_id[1] = %s", [newer]
    )
    assert compare(get, a, b)["records"]["changed"] == 0


def test_figures_stand_side_by_side_with_their_difference(get: Get, add_run: AddRun) -> None:
    a = add_run("success", NOON, finished_at=NOON + timedelta(seconds=2), read=100, validated=100)
    b = add_run("partial", NOON, finished_at=NOON + timedelta(seconds=4), read=80, validated=60, rejected=20)
    found = compare(get, a, b)
    assert (found["source"], found["a"]["run_id"], found["b"]["run_id"]) == ("prices", a, b)
    assert found["duration_seconds"] == {"a": 2, "b": 4, "difference": 2}
    assert found["records_per_second"] == {"a": 50, "b": 20, "difference": -30}
    assert found["rejected_share"] == {"a": 0, "b": 0.25, "difference": 0.25}
    assert tuple(found["counts"]) == COUNT_COLUMNS
    assert found["counts"]["validated"] == {"a": 100, "b": 60, "difference": -40}
    assert found["counts"]["stale"] == {"a": 0, "b": 0, "difference": 0}


def test_without_records_there_is_no_rate_to_compare(get: Get, add_run: AddRun) -> None:
    a, b = (add_run("success", NOON, finished_at=NOON) for _ in "ab")
    found = compare(get, a, b)
    assert found["records_per_second"] == found["rejected_share"] == dict.fromkeys(("a", "b", "difference"))


def test_rejected_reasons_stand_side_by_side_the_largest_difference_first(
    get: Get, warehouse: Warehouse, add_run: AddRun
) -> None:
    a, b = (add_run("partial", NOON, finished_at=NOON) for _ in "ab")
    for run_id, field, times in (
        (a, "amount", 1),
        (b, "amount", 2),
        (b, None, 5),
        (a, "name", 3),
        (b, "name", 3),
    ):
        for raw_id in itertools.islice(numbers, times):
            warehouse.execute(
                "insert into kasparro.rejected_record"
                " (document_id, raw_id, run_id, contract_version, source, reasons)"
                " values (1, %s, %s, 1, 'prices', %s)",
                [raw_id, run_id, Jsonb([{"field": field, "rule": "required"}])],
            )
    assert compare(get, a, b)["rejected"] == [
        {"field": None, "rule": "required", "a": 0, "b": 5, "difference": 5},
        {"field": "amount", "rule": "required", "a": 1, "b": 2, "difference": 1},
        {"field": "name", "rule": "required", "a": 3, "b": 3, "difference": 0},
    ]


def test_what_changed_between_two_versions_of_the_contract_is_told(
    get: Get, warehouse: Warehouse, add_run: AddRun
) -> None:
    for version, fields in (
        (1, {"title": {}, "rank": {}}),
        (2, {"title": {}, "rank": {"type": "integer"}, "amount": {}}),
    ):
        warehouse.execute(
            "insert into kasparro.contract_version (source, version, digest, contract, version_rule, epoch)"
            " values ('prices', %s, '', %s, 'null', 1)",
            [version, Jsonb({"fields": fields})],
        )
    a, b = (add_run("success", NOON, finished_at=NOON, contract_version=version) for version in (1, 2))
    assert compare(get, a, b)["schema"] == {
        "contract_version": {"a": 1, "b": 2},
        "added": {"amount": "number"},
        "removed": {},
        "retyped": {"rank": {"a": "string", "b": "integer"}},
    }
    assert compare(get, b, a)["schema"]["removed"] == {"amount": "number"}
    failed = add_run("failed", NOON, finished_at=NOON)  # before it came to its contract
    assert compare(get, failed, a)["schema"]["added"] == {"rank": "string", "title": "string"}


def test_the_anomalies_of_both_are_told(get: Get, add_run: AddRun) -> None:
    a = add_run("success", NOON, finished_at=NOON)
    b = add_run("failed", NOON + timedelta(hours=1), finished_at=NOON + timedelta(hours=1))
    found = compare(get, a, b)
    assert found["a"]["anomalies"] == []
    assert [anomaly["kind"] for anomaly in found["b"]["anomalies"]] == ["failure"]


def test_a_run_compared_with_itself_differs_in_nothing(
    get: Get, warehouse: Warehouse, add_run: AddRun
) -> None:
    run_id = add_run("success", NOON, finished_at=NOON + timedelta(seconds=1), read=2)
    add_document(warehouse, run_id, [("one", "x"), ("two", "x")])
    found = compare(get, run_id, run_id)
    assert found["a"] == found["b"]
    assert {figure["difference"] for figure in found["counts"].values()} == {0}
    assert found["records"] == {
        "only_in_a": 0,
        "only_in_b": 0,
        "in_both": 2,
        "changed": 0,
        "ids": {"only_in_a": [], "only_in_b": [], "changed": []},
    }


def test_runs_of_two_sources_are_not_comparable(get: Get, add_run: AddRun) -> None:
    a, b = add_run("success", NOON), add_run("success", NOON, source="news")
    response = get("/compare-runs", a=a, b=b)
    assert response.status_code == 422
    assert response.json()["detail"] == "`a` is a run of prices, `b` one of news: compare runs of one source."


def test_a_run_of_several_sources_needs_to_be_told_which(get: Get, add_run: AddRun) -> None:
    a, b = add_run("success", NOON), add_run("success", NOON)
    add_run("success", NOON, run_id=a, source="news")
    add_run("success", NOON, run_id=b, source="news")
    response = get("/compare-runs", a=a, b=b)
    assert response.status_code == 422
    [error] = response.json()["errors"]
    assert error["parameter"] == "source"
    assert "news 2026-11-01, prices 2026-11-01" in response.json()["detail"]
    assert compare(get, a, b, source="news")["source"] == "news"
    assert get("/compare-runs", a=a, b=b, source="weather").status_code == 422


@pytest.mark.parametrize("unknown", ["a", "b"])
def test_an_unknown_run_is_404_and_named(get: Get, add_run: AddRun, unknown: str) -> None:
    known = add_run("success", NOON)
    response = get("/compare-runs", **{"a": known, "b": known, unknown: "nobody"})
    assert response.status_code == 404
    assert "`nobody`" in response.json()["detail"]


@pytest.mark.parametrize("parameters", [{}, {"a": "x"}, {"a": "x", "b": " "}, {"a": "x", "b": "y", "c": "z"}])
def test_parameters_are_checked(get: Get, parameters: dict[str, str]) -> None:
    response = get("/compare-runs", **parameters)
    assert response.status_code == 422
    assert response.json()["errors"]


def test_a_comparison_that_takes_too_long_is_503(
    serve: Callable[..., str], database_url: str, warehouse: Warehouse, add_run: AddRun
) -> None:
    base = serve(database_url, KASPARRO_API_STATEMENT_TIMEOUT=0.3)
    run_id = add_run("success", NOON)
    with warehouse.transaction():
        warehouse.execute("lock table kasparro.validated_batch in access exclusive mode")
        response = requests.get(f"{base}/compare-runs?a={run_id}&b={run_id}", timeout=30)
    assert response.status_code == 503
    assert response.json()["type"] == "urn:kasparro:problem:query-timeout"


def test_the_answer_has_the_documented_shape(get: Get, warehouse: Warehouse, add_run: AddRun) -> None:
    a, b = (add_run("success", NOON, finished_at=NOON + timedelta(seconds=1), read=1) for _ in "ab")
    add_document(warehouse, a, [("one", "x")])
    body = get("/compare-runs", a=a, b=b).json()
    documented = json.loads(shapes.ComparisonAnswer.model_validate(body).model_dump_json(by_alias=True))
    assert documented["data"].keys() == body["data"].keys()
    for name in ("a", "records", "schema", "counts"):
        assert documented["data"][name].keys() == body["data"][name].keys()
