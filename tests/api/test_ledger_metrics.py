"""What Prometheus is told of the ledger: right figures, counters that never go down, names by the rules."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import generate_latest
from prometheus_client.parser import text_string_to_metric_families

from kasparro_api.runs import ledger_metrics
from kasparro_pipeline.warehouse import drift, ledger
from kasparro_pipeline.warehouse.tables import COUNT_COLUMNS

AddRun = Callable[..., str]
Warehouse = psycopg.Connection[Any]

NOON = datetime(2026, 11, 1, 12, tzinfo=UTC)
NEVER_DOWN = ("_total", "_count", "_sum")


def scrape(warehouse: Warehouse) -> dict[str, float]:
    """Every sample by `name{source,other label}`, through the text that Prometheus would read."""

    class Collector:
        def collect(self) -> Any:
            statement = ledger_metrics.statement()
            return ledger_metrics.families(
                warehouse.execute(statement.query, statement.parameters).fetchall()
            )

    registry = CollectorRegistry()
    registry.register(Collector())
    text = generate_latest(registry).decode()
    samples = [sample for family in text_string_to_metric_families(text) for sample in family.samples]
    found = {}
    for name, labels, value, *_ in samples:
        source, *others = labels.pop("source"), *labels.values()
        found[f"{name}{{{','.join((source, *others))}}}"] = value
    return found


def test_an_empty_ledger_has_no_samples(warehouse: Warehouse) -> None:
    assert scrape(warehouse) == {}


def test_each_source_has_its_figures(
    warehouse: Warehouse, add_run: AddRun, add_record: Callable[..., int]
) -> None:
    now = datetime.now(UTC)
    ended = now - timedelta(minutes=10)
    add_run("success", ended - timedelta(seconds=4), finished_at=ended, read=8, validated=8, inserted=8)
    add_run(
        "partial",
        NOON - timedelta(days=900),
        finished_at=NOON - timedelta(days=900) + timedelta(seconds=2),
        read=4,
        validated=3,
        rejected=1,
        unchanged=3,
    )
    last = now - timedelta(minutes=5)
    add_run("failed", last - timedelta(seconds=1.5), finished_at=last, read=10, validated=6, rejected=4)
    add_run("running", now, read=5, superseded=5)
    add_run("cancelled", NOON, source="news", finished_at=NOON)
    add_record()
    add_record(deleted_at=NOON)
    add_record(source="imported")

    found = scrape(warehouse)
    assert found.pop("etl_data_age_seconds{prices}") == pytest.approx(600, abs=30)
    assert found.pop("etl_last_success_timestamp_seconds{prices}") == pytest.approx(ended.timestamp())
    prices = {name: value for name, value in found.items() if "{prices" in name and value}
    assert prices == {
        "etl_records_processed_total{prices,validated}": 17,
        "etl_records_processed_total{prices,rejected}": 5,
        "etl_records_processed_total{prices,superseded}": 5,
        "etl_records_processed_total{prices,inserted}": 8,
        "etl_records_processed_total{prices,unchanged}": 3,
        "etl_runs_total{prices,success}": 1,
        "etl_runs_total{prices,partial}": 1,
        "etl_runs_total{prices,failed}": 1,
        "etl_run_duration_seconds_count{prices}": 3,
        "etl_run_duration_seconds_sum{prices}": 7.5,
        "etl_runs_running{prices}": 1,
        "etl_last_run_duration_seconds{prices}": 1.5,
        "etl_rejected_ratio{prices}": 0.4,
        "etl_unified_records{prices}": 1,
    }
    assert found["etl_records_processed_total{prices,stale}"] == 0  # a series that is there from the start
    assert found["etl_runs_total{news,cancelled}"] == 1
    assert "etl_rejected_ratio{news}" not in found  # it read no record
    assert "etl_data_age_seconds{news}" not in found  # it never succeeded
    assert found["etl_unified_records{imported}"] == 1
    assert found["etl_runs_total{imported,success}"] == 0


def test_outcomes_are_counts_of_the_ledger() -> None:
    assert set(ledger_metrics.OUTCOMES) <= set(COUNT_COLUMNS)


def test_counters_never_go_down(warehouse: Warehouse) -> None:
    def steps() -> Any:
        hold = ledger.begin(warehouse, "it", "2026-01-01", "run")
        yield
        ledger.add_counts(warehouse, hold, {"read": 5, "validated": 5})
        yield
        ledger.close(warehouse, hold, "failed", "a connection was lost")
        yield
        ledger.begin(warehouse, "it", "2026-01-01", "run")  # the step is tried again
        yield
        ledger.reset_counts(warehouse, hold, "read", "validated")
        yield
        ledger.close(warehouse, hold)
        yield
        ledger.fail(warehouse, "run", "it", "a check")
        yield
        warehouse.execute("delete from kasparro.etl_run")  # pruned
        yield

    before: dict[str, float] = {}
    for _ in steps():
        after = scrape(warehouse)
        for name, value in before.items():
            if name.partition("{")[0].endswith(NEVER_DOWN):
                assert after[name] >= value, name
        before = after
    assert before["etl_runs_total{it,failed}"] == 2
    assert before["etl_runs_total{it,success}"] == 1


def test_a_lost_run_is_not_under_way(warehouse: Warehouse, add_run: AddRun) -> None:
    long_ago = NOON - timedelta(days=900)
    add_run("running", long_ago, active_at=long_ago + timedelta(seconds=7))
    found = scrape(warehouse)
    assert found["etl_runs_running{prices}"] == 0
    assert found["etl_last_run_duration_seconds{prices}"] == 7
    assert found["etl_runs_total{prices,failed}"] == 0  # it counts once somebody has closed it
    ledger.close_lost(warehouse)
    assert scrape(warehouse)["etl_runs_total{prices,failed}"] == 1


def test_a_scrape_reads_a_few_rows_of_a_long_ledger(warehouse: Warehouse) -> None:
    warehouse.execute(
        "insert into kasparro.etl_run (run_id, source, partition_key, fence, status, started_at, finished_at)"
        " select n::text, 'source-' || n % 5, 'p', 1, 'success', now() - n * interval '1 minute', now()"
        " from generate_series(1, 20000) n"
    )
    warehouse.execute("analyze kasparro.etl_run")
    statement = ledger_metrics.statement()
    [[[plan]]] = warehouse.execute(
        "explain (analyze, format json) " + statement.query.as_string(), statement.parameters
    ).fetchall()
    assert rows_read(plan["Plan"]) < 500


def rows_read(node: dict[str, Any]) -> float:
    """Rows that the scans of a plan have touched."""
    scanned = 0.0
    if "Relation Name" in node:
        touched = node["Actual Rows"] + node.get("Rows Removed by Filter", 0)
        scanned = touched * node["Actual Loops"]
    return scanned + sum(rows_read(child) for child in node.get("Plans", ()))


def test_drift_is_counted_by_source_and_kind_of_change_and_goes_on_when_events_are_pruned(
    warehouse: Warehouse, add_run: AddRun
) -> None:
    add_run("success", NOON, finished_at=NOON)
    events = [
        {"change": change, "field": field}
        for change, field in (("added", "a"), ("added", "b"), ("enum", "c"))
    ]
    rest = {"mode": "evolve", "expected": None, "found": None, "records": 1, "share": "1", "confidence": None}
    for run_id in ("run-1", "run-2", "run-2"):  # a repeated check of a run adds nothing
        drift.record(
            warehouse, "prices", "2026-11-01", run_id, [{**event, **rest, "examples": []} for event in events]
        )
    expected = {"etl_schema_drift_total{prices,added}": 4, "etl_schema_drift_total{prices,enum}": 2}
    assert {name: value for name, value in scrape(warehouse).items() if "drift" in name} == expected

    warehouse.execute("delete from kasparro.drift_event")
    drift.record(warehouse, "prices", "2026-11-01", "run-3", [{**events[2], **rest, "examples": []}])
    found_now = scrape(warehouse)
    assert found_now["etl_schema_drift_total{prices,enum}"] == 3
    assert found_now["etl_schema_drift_total{prices,added}"] == 4


def test_drift_that_several_runs_find_at_once_is_counted_in_full(
    warehouse: Warehouse, database_url: str, add_run: AddRun
) -> None:
    add_run("success", NOON, finished_at=NOON)
    event: dict[str, Any] = {
        "mode": "evolve",
        "expected": None,
        "found": None,
        "records": 1,
        "share": "1",
        "confidence": None,
    }
    kinds = ["added", "enum", "format"]

    def find(worker: int) -> None:
        order = kinds if worker % 2 else kinds[::-1]
        with psycopg.connect(database_url, autocommit=True) as connection:
            for number in range(20):
                changes = [{**event, "change": change, "field": "x", "examples": []} for change in order]
                drift.record(connection, "prices", "2026-11-01", f"{worker}-{number}", changes)

    with ThreadPoolExecutor(4) as workers:
        list(workers.map(find, range(4)))
    counted = {name: value for name, value in scrape(warehouse).items() if "drift" in name}
    assert counted == {f"etl_schema_drift_total{{prices,{change}}}": 80 for change in kinds}
