"""Schedules and sensors: what they request, and when."""

from __future__ import annotations

import os
import time
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import dagster as dg
import pytest

from kasparro_pipeline.components import CsvSource, FeedSource
from kasparro_pipeline.components.resources import Warehouse
from tests.integration.conftest import today

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.integration.conftest import Clock, Pipeline, Upstream

HEADER = "id,name\n"


def tick(
    pipeline: Pipeline, sensor: str, database_url: str
) -> dg.SensorResult | dg.RunRequest | dg.SkipReason:
    """Evaluate a sensor, as the daemon does."""
    context = dg.build_sensor_context(
        instance=pipeline.instance,
        definitions=pipeline.definitions,
        resources={"warehouse": Warehouse(database_url=database_url)},
    )
    found: Any = pipeline.definitions.resolve_sensor_def(sensor)(context)
    assert isinstance(found, dg.SensorResult | dg.RunRequest | dg.SkipReason)
    return found


def write(path: Path, text: str) -> None:
    """Write a file that looks finished a minute ago."""
    path.write_text(text)
    settled = time.time() - 60
    os.utime(path, (settled, settled))


@pytest.fixture
def csv(folder: Path, pipeline_of: Callable[..., Pipeline]) -> Pipeline:
    fields = {"title": {"path": "name", "required": True}}
    return pipeline_of(
        CsvSource, {"files": f"{folder}/*.csv", "kind": "thing", "key": "id", "fields": fields}
    )


def test_a_new_file_becomes_a_partition_and_one_run(csv: Pipeline, folder: Path, database_url: str) -> None:
    write(folder / "a.csv", HEADER + "1,one\n")

    found = tick(csv, "it_sensor", database_url)

    assert isinstance(found, dg.SensorResult)
    assert [request.partition_key for request in found.run_requests or []] == ["a.csv"]
    [added] = found.dynamic_partitions_requests or []
    assert list(added.partition_keys) == ["a.csv"]


def test_a_loaded_file_is_not_requested_again_until_its_bytes_change(
    csv: Pipeline, folder: Path, database_url: str
) -> None:
    keys = []
    csv.add_files("it", "a.csv")
    for text in ("1,one\n", "1,ONE\n", "1,one\n"):
        write(folder / "a.csv", HEADER + text)
        found = tick(csv, "it_sensor", database_url)
        assert isinstance(found, dg.SensorResult)
        keys += [request.run_key for request in found.run_requests or []]
        assert csv.run("it", "a.csv").success
        assert isinstance(tick(csv, "it_sensor", database_url), dg.SkipReason)

    assert len(set(keys)) == 3  # the third content equals the first, and is still a run of its own
    assert csv.unified("it")["1"]["title"] == "one"


def test_a_file_that_may_still_grow_is_left_for_the_next_tick(
    csv: Pipeline, folder: Path, database_url: str
) -> None:
    (folder / "a.csv").write_text(HEADER)

    assert isinstance(tick(csv, "it_sensor", database_url), dg.SkipReason)


def test_a_listing_that_fails_drops_no_partition_and_says_what_is_wrong(
    csv: Pipeline, folder: Path, database_url: str
) -> None:
    csv.add_files("it", "a.csv")
    folder.rmdir()

    with pytest.raises(Exception, match="the folder does not exist"):
        tick(csv, "it_sensor", database_url)

    assert csv.instance.get_dynamic_partitions("it_files") == ["a.csv"]


def test_a_feed_is_asked_conditionally_and_a_run_is_requested_only_when_it_changed(
    upstream: Upstream, pipeline_of: Callable[..., Pipeline], database_url: str
) -> None:
    conditions: list[str | None] = []
    state = {"etag": '"1"'}

    def answer(_query: dict[str, str], headers: dict[str, str]) -> tuple[int, dict[str, str], bytes]:
        conditions.append(headers.get("If-None-Match"))
        if conditions[-1] == state["etag"]:
            return 304, {"ETag": state["etag"]}, b""
        body = f"<rss><channel><item><guid>1</guid><title>{state['etag']}</title></item></channel></rss>"
        return 200, {"ETag": state["etag"]}, body.replace('"', "").encode()

    upstream.answers["/feed"] = answer
    spec = {"url": f"{upstream.address}/feed", "kind": "article", "key": "id", "fields": {"title": {}}}
    pipeline = pipeline_of(FeedSource, spec)

    first = tick(pipeline, "it_sensor", database_url)
    assert isinstance(first, dg.SensorResult)
    [requested] = first.run_requests or []
    assert requested.partition_key == today()
    assert pipeline.run("it").success
    assert isinstance(tick(pipeline, "it_sensor", database_url), dg.SkipReason)
    assert conditions == [None, None, '"1"']

    state["etag"] = '"2"'
    second = tick(pipeline, "it_sensor", database_url)
    assert isinstance(second, dg.SensorResult)
    assert [request.run_key != requested.run_key for request in second.run_requests or []] == [True]


def scheduled(
    pipeline: Pipeline, source: str, database_url: str, moment: datetime | None = None
) -> list[str | None]:
    """The partitions that a tick of a source's schedule asks for."""
    schedule = pipeline.definitions.resolve_schedule_def(f"{source}_schedule")
    context = dg.build_schedule_context(
        scheduled_execution_time=moment or datetime.now(UTC),
        repository_def=pipeline.definitions.get_repository_def(),
        resources={"warehouse": Warehouse(database_url=database_url)},
    )
    return [request.partition_key for request in schedule.evaluate_tick(context).run_requests or []]


def test_each_rest_source_has_a_schedule_for_the_current_day_that_is_on(
    built_in: Pipeline, database_url: str
) -> None:
    for source in ("coinpaprika_tickers", "coingecko_markets", "coinpaprika_ohlcv"):
        schedule = built_in.definitions.resolve_schedule_def(f"{source}_schedule")
        assert schedule.default_status == dg.DefaultScheduleStatus.RUNNING
        assert scheduled(built_in, source, database_url) == [today()]
        # a tick that was missed on an earlier day does not ask for a day that is over
        assert scheduled(built_in, source, database_url, datetime.now(UTC) - timedelta(days=1)) == []


def move_to_yesterday(pipeline: Pipeline, source: str) -> str:
    """Let what a source has stored so far be of yesterday."""
    yesterday = (datetime.now(UTC).date() - timedelta(days=1)).isoformat()
    for table in ("document", "checkpoint", "etl_run"):
        pipeline.warehouse.execute(
            f"update kasparro.{table} set partition_key = %s where source = %s and partition_key <> ''",
            (yesterday, source),
        )
    return yesterday


@pytest.mark.parametrize("source", ["coinpaprika_tickers", "crypto_news"])
def test_p2_what_a_run_of_yesterday_left_unvalidated_is_taken_up_without_the_upstream(
    built_in: Pipeline, database_url: str, source: str
) -> None:
    stored = built_in.run(source, layers="raw").ledger["extracted"]
    yesterday = move_to_yesterday(built_in, source)
    assert built_in.run(source).counts("documents", "read") == (0, 0)  # the upstream did not change

    if source == "crypto_news":
        found = tick(built_in, "crypto_news_sensor", database_url)
        assert isinstance(found, dg.SensorResult)
        assert [request.partition_key for request in found.run_requests or []] == [yesterday]
    else:
        assert scheduled(built_in, source, database_url) == [today(), yesterday]
    run = built_in.run(source, yesterday)

    assert run.success
    assert run.counts("extracted", "read", "inserted") == (0, stored, stored)
    assert not built_in.run(source, yesterday).success  # nothing waits any more: a past day as any other


def test_p2_a_file_whose_run_died_before_validation_is_requested_again(
    csv: Pipeline, folder: Path, database_url: str
) -> None:
    write(folder / "a.csv", HEADER + "1,one\n")
    csv.add_files("it", "a.csv")
    csv.run("it", "a.csv", layers="raw")

    found = tick(csv, "it_sensor", database_url)

    assert isinstance(found, dg.SensorResult)
    assert csv.run("it", "a.csv").counts("documents", "inserted") == (0, 1)
    assert isinstance(tick(csv, "it_sensor", database_url), dg.SkipReason)


def test_a_file_that_failed_is_asked_for_again_and_does_not_stand_before_the_others(
    csv: Pipeline, folder: Path, database_url: str
) -> None:
    for number in range(30):
        write(folder / f"{number:02}-bad.csv", "id,id\n1,1\n")
    write(folder / "good.csv", HEADER + "1,one\n")
    asked: list[str | None] = []
    for _ in range(2):
        found = tick(csv, "it_sensor", database_url)
        assert isinstance(found, dg.SensorResult)
        for request in found.run_requests or []:
            asked.append(request.partition_key)
            csv.instance.create_run_for_job(
                csv.definitions.resolve_job_def("it"),
                tags={
                    "dagster/run_key": request.run_key or "",
                    "dagster/partition": request.partition_key or "",
                },
            )
    assert "good.csv" in asked
    assert len(asked) == len(set(asked)) == 31

    csv.add_files("it", "00-bad.csv")
    assert not csv.run("it", "00-bad.csv").success
    again = tick(csv, "it_sensor", database_url)
    assert isinstance(again, dg.SensorResult)
    assert [request.partition_key for request in again.run_requests or []] == ["00-bad.csv"]


def test_a_corrected_dialect_reads_a_loaded_file_again(
    folder: Path, pipeline_of: Callable[..., Pipeline], database_url: str
) -> None:
    write(folder / "a.csv", "id;name\n1;one\n")
    spec = {"files": f"{folder}/*.csv", "kind": "thing", "key": "id", "fields": {"title": {"path": "name"}}}
    wrong = pipeline_of(CsvSource, spec)
    wrong.add_files("it", "a.csv")
    wrong.run("it", "a.csv")
    assert wrong.unified("it") == {}
    right = pipeline_of(CsvSource, spec | {"delimiter": ";"})

    assert isinstance(tick(right, "it_sensor", database_url), dg.SensorResult)
    assert right.run("it", "a.csv").success
    assert right.unified("it")["1"]["title"] == "one"


def test_files_and_feeds_have_sensors_that_are_on(built_in: Pipeline) -> None:
    for name in ("coin_reference_sensor", "crypto_news_sensor", "close_failed_runs", "close_cancelled_runs"):
        sensor = built_in.definitions.resolve_sensor_def(name)
        assert sensor.default_status == dg.DefaultSensorStatus.RUNNING


def test_the_sandbox_feed_changes_and_is_noticed(built_in: Pipeline, clock: Clock, database_url: str) -> None:
    assert built_in.run("crypto_news").success
    assert isinstance(tick(built_in, "crypto_news_sensor", database_url), dg.SkipReason)

    clock.forward(minutes=4)
    # the feed asks for three minutes, of the clock on the wall
    built_in.warehouse.execute("update kasparro.feed_state set next_check_at = now()")

    assert isinstance(tick(built_in, "crypto_news_sensor", database_url), dg.SensorResult)
