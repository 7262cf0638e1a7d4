"""The checks that warn: volume, rejected share, null rate, value distribution, orphans; on real runs."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Any

import dagster as dg
import pytest

from kasparro_pipeline.components import CsvSource, RestSource
from kasparro_pipeline.warehouse import measurements, orphans
from tests.integration.test_merge_order import PARTITIONS, World
from tests.integration.test_promises import things

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import psycopg

    from tests.integration.conftest import Pipeline, Upstream

TODAY = datetime.now(UTC).date()


def value_of(check: dg.AssetCheckEvaluation, name: str) -> Any:
    return check.metadata[name].value


def rows_of(check: dg.AssetCheckEvaluation, name: str) -> list[dict[str, Any]]:
    table = check.metadata[name]
    assert isinstance(table, dg.TableMetadataValue)
    return [dict(record.data) for record in table.records]


@pytest.fixture
def days(upstream: Upstream, pipeline_of: Callable[..., Pipeline]) -> Callable[..., Any]:
    """`days(day, records)` runs a past day of a source that keeps its history."""
    attributes = things(
        upstream.address,
        start_date="2026-01-01",
        date_window={"start_param": "from", "end_param": "to", "cursor": "at"},
        fields={
            "title": {"path": "name"},
            "amount": {"path": "price"},
            "size": {"type": "number"},
            "at": {"type": "date"},
        },
    )
    pipeline = pipeline_of(RestSource, attributes)

    def run(day: date, records: list[dict[str, Any]]) -> Any:
        upstream.answers["/things"] = [
            {"id": f"{day}-{number}", "at": day.isoformat(), **record}
            for number, record in enumerate(records)
        ]
        done = pipeline.run("it", day.isoformat())
        assert done.success, done.failure
        return done

    return run


def plain(count: int, **more: Any) -> list[dict[str, Any]]:
    return [{"name": "x", "price": 10 + number % 3, "size": 5, **more} for number in range(count)]


def test_a_volume_is_compared_with_the_same_weekday(days: Callable[..., Any]) -> None:
    monday = TODAY - timedelta(days=TODAY.weekday() + 42)
    for week in range(5):
        # Mondays are large here, and every other day is small
        days(monday + timedelta(weeks=week), plain(40 + week))
        days(monday + timedelta(weeks=week, days=1), plain(4))
    like_a_monday = days(monday + timedelta(weeks=5), plain(43)).check("volume_anomaly")
    like_no_tuesday = days(monday + timedelta(weeks=5, days=1), plain(41)).check("volume_anomaly")

    assert like_a_monday.passed
    assert value_of(like_a_monday, "compared_with") == "5 earlier Mondays"
    assert not like_no_tuesday.passed
    assert like_no_tuesday.severity == dg.AssetCheckSeverity.WARN
    assert value_of(like_no_tuesday, "usual") == 4
    assert value_of(like_no_tuesday, "records") == 41
    assert value_of(like_no_tuesday, "robust_score") > 3.5


def test_a_backfilled_day_is_compared_with_the_days_before_it_and_changes_nothing_for_the_newest(
    days: Callable[..., Any],
) -> None:
    first = TODAY - timedelta(days=20)
    for day in range(1, 6):
        days(first + timedelta(days=day), plain(10))
    newest = days(first + timedelta(days=6), plain(11)).check("volume_anomaly")
    backfilled = days(first, plain(500)).check("volume_anomaly")

    assert newest.passed
    assert backfilled.passed
    assert value_of(backfilled, "compared_with").startswith("0 ")
    again = days(first + timedelta(days=6), plain(11)).check("volume_anomaly")
    assert again.passed


def test_the_current_day_is_not_said_to_have_too_little(
    days: Callable[..., Any],
) -> None:
    for day in range(1, 6):
        days(TODAY - timedelta(days=day), plain(30))
    assert days(TODAY, plain(1)).check("volume_anomaly").passed


def test_a_field_that_is_empty_more_often_than_usual_is_named(days: Callable[..., Any]) -> None:
    for day in range(10, 5, -1):
        days(TODAY - timedelta(days=day), plain(20))
    run = days(TODAY - timedelta(days=5), [*plain(15), *plain(5, size=None)])

    check = run.check("null_rate")
    assert not check.passed
    assert value_of(check, "largest_null_rate") == 0.25
    rows = {row["field"]: row for row in rows_of(check, "null_rate")}
    assert rows["size"] == {"field": "size", "null_rate": 0.25, "usual": 0.0, "unusual": "true"}
    assert rows["title"]["unusual"] == "false"
    assert "size is empty in 25.0%" in (check.description or "")


def test_a_median_that_jumps_is_named_with_its_factor(days: Callable[..., Any]) -> None:
    for day in range(10, 5, -1):
        days(TODAY - timedelta(days=day), plain(20))
    run = days(TODAY - timedelta(days=5), plain(20, price=1100))

    check = run.check("value_distribution")
    assert not check.passed
    assert value_of(check, "largest_jump") == 100
    rows = {row["field"]: row for row in rows_of(check, "medians")}
    assert rows["amount"] == {"field": "amount", "median": 1100, "usual": 11, "jump": 100}
    assert rows["size"]["jump"] == 1
    assert "a jump by 100" in (check.description or "")


def test_a_share_of_rejected_records_over_the_threshold_warns(
    folder: Path, pipeline_of: Callable[..., Pipeline]
) -> None:
    (folder / "a.csv").write_text("id,name\n" + "".join(f"{n},{'' if n < 3 else 'x'}\n" for n in range(10)))
    attributes: dict[str, Any] = {
        "files": str(folder / "*.csv"),
        "kind": "thing",
        "key": "id",
        "fields": {"title": {"path": "name", "required": True}},
    }
    strict = pipeline_of(CsvSource, attributes)
    strict.add_files("it", "a.csv")
    check = strict.run("it", "a.csv").check("rejected_share")
    assert not check.passed
    assert check.severity == dg.AssetCheckSeverity.WARN
    assert value_of(check, "rejected_share") == 0.3

    lenient = pipeline_of(CsvSource, {**attributes, "max_rejected_share": 0.3})
    assert lenient.run("it", "a.csv", layers="validated unified").check("rejected_share").passed


def test_an_attribute_of_another_type_is_no_number(
    warehouse: psycopg.Connection[Any], days: Callable[..., Any]
) -> None:
    days(TODAY - timedelta(days=1), plain(3))
    warehouse.execute(
        """update kasparro.validated_batch
        set attributes = array_fill('{"size": "large"}'::jsonb, array[records])"""
    )
    key = (TODAY - timedelta(days=1)).isoformat()
    nulls, medians = measurements.of_fields(warehouse, "it", key, {"size": True, "amount": True})
    assert nulls == {"size": 0.0, "amount": 0.0}
    assert medians == {"amount": 11}


def test_measuring_a_partition_again_replaces_its_figures(
    warehouse: psycopg.Connection[Any], days: Callable[..., Any]
) -> None:
    day = TODAY - timedelta(days=1)
    days(day, plain(3))
    before = warehouse.execute("select count(*), max(ctid) from kasparro.measurement").fetchone()
    days(day, plain(3))
    assert warehouse.execute("select count(*), max(ctid) from kasparro.measurement").fetchone() == before


def test_orphans_between_the_layers_are_counted_by_kind(
    warehouse: psycopg.Connection[Any], days: Callable[..., Any]
) -> None:
    day = TODAY - timedelta(days=1)
    run = days(day, plain(4))
    assert run.check("orphans_between_layers").passed
    warehouse.execute("delete from kasparro.unified_record where source_id like '%-0'")
    warehouse.execute(
        "update kasparro.raw_batch set records = records - 1 where first_id + records - 1 ="
        " (select raw_id from kasparro.validated_record where source_id like '%-3')"
    )
    assert orphans.of_partition(warehouse, "it", day.isoformat()) == orphans.Orphans(
        validated_without_raw=1,
        rejected_without_raw=0,
        validated_not_in_unified=1,
        unified_without_raw=1,
        unified_without_validated=0,
    )


def test_the_raw_record_of_a_newer_version_is_looked_for_in_every_partition(
    warehouse: psycopg.Connection[Any],
) -> None:
    world = World(warehouse)
    for partition, name in zip(PARTITIONS, "ABC", strict=True):
        world.arrive(partition, [("1", name, None), (partition, name, None)])
        world.validate(partition)
        world.merge(partition, whole=False)

    def missing(partition: str) -> tuple[int, int]:
        found = orphans.of_partition(warehouse, world.source, partition)
        return found.validated_without_raw, found.unified_without_raw

    assert [missing(partition) for partition in PARTITIONS] == [(0, 0)] * 3
    warehouse.execute(
        "delete from kasparro.raw_batch where document_id = (select id from kasparro.document"
        " where source = %s and partition_key = %s)",
        (world.source, PARTITIONS[2]),
    )
    assert [missing(partition) for partition in PARTITIONS] == [(0, 1), (0, 1), (2, 2)]


def test_a_record_that_is_served_though_it_was_rejected_meanwhile_is_an_orphan(
    folder: Path, pipeline_of: Callable[..., Pipeline], warehouse: psycopg.Connection[Any]
) -> None:
    (folder / "a.csv").write_text("id,name,price\n1,one,50\n2,two,5\n")

    def source(maximum: int) -> Pipeline:
        fields = {"title": {"path": "name"}, "amount": {"path": "price", "maximum": maximum}}
        attributes = {"files": str(folder / "*.csv"), "kind": "thing", "key": "id", "fields": fields}
        return pipeline_of(CsvSource, attributes)

    first = source(100)
    first.add_files("it", "a.csv")
    first.run("it", "a.csv")
    source(10).run("it", "a.csv", layers="validated")

    found = orphans.of_partition(warehouse, "it", "a.csv")
    assert (found.unified_without_validated, found.total) == (1, 1)


def test_a_delivery_that_another_one_replaced_does_not_count(
    folder: Path, pipeline_of: Callable[..., Pipeline], warehouse: psycopg.Connection[Any]
) -> None:
    promised = {"title": {"path": "name"}, "amount": {"path": "price"}}
    attributes = {"files": str(folder / "*.csv"), "kind": "thing", "key": "id", "fields": promised}
    pipeline = pipeline_of(CsvSource, attributes)
    pipeline.add_files("it", "a.csv")
    for text in ("id,name,price\n1,,5\n2,,5\n", "id,name,price\n1,one,7\n2,two,7\n"):
        (folder / "a.csv").write_text(text)
        run = pipeline.run("it", "a.csv")
    assert value_of(run.check("volume_anomaly"), "records") == 2
    nulls, medians = measurements.of_fields(warehouse, "it", "a.csv", {"title": False, "amount": True})
    assert (nulls["title"], medians["amount"]) == (0, 7)


def test_a_number_larger_than_any_float_is_measured_as_the_largest(
    warehouse: psycopg.Connection[Any], days: Callable[..., Any]
) -> None:
    days(TODAY - timedelta(days=1), plain(3, price="1" + "0" * 500, size="-1e-500"))
    key = (TODAY - timedelta(days=1)).isoformat()
    _, medians = measurements.of_fields(warehouse, "it", key, {"size": True, "amount": True})
    assert medians == {"amount": measurements.LARGEST_VALUE, "size": 0}


def test_a_key_that_stands_twice_in_a_document_is_counted(
    folder: Path, pipeline_of: Callable[..., Pipeline]
) -> None:
    (folder / "a.csv").write_text("id,name\n1,one\n1,two\n2,three\n1,four\n")
    fields = {"title": {"path": "name"}}
    attributes = {"files": str(folder / "*.csv"), "kind": "thing", "key": "id", "fields": fields}
    pipeline = pipeline_of(CsvSource, attributes)
    pipeline.add_files("it", "a.csv")

    check = pipeline.run("it", "a.csv").check("unique_source_id")

    assert not check.passed
    assert check.severity == dg.AssetCheckSeverity.WARN
    assert (value_of(check, "duplicates"), value_of(check, "examples")) == (2, ["1"])
