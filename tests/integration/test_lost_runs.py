"""A run whose process is gone is closed within about a minute, and one that lives is left alone."""

from __future__ import annotations

import os
import signal
import threading
import time
from typing import TYPE_CHECKING, Any

import dagster as dg
import psycopg
import pytest

from kasparro_pipeline.components import RestSource
from kasparro_pipeline.components.ledger_sensors import close_lost_runs
from kasparro_pipeline.components.resources import Warehouse
from kasparro_pipeline.warehouse import ledger
from kasparro_pipeline.warehouse.connection import connect
from kasparro_pipeline.warehouse.settings import WarehouseSettings
from tests.integration.conftest import today
from tests.integration.test_crashes import PAGE_SIZE, PAGES, START_LIMIT, paged, start

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable, Iterator

    from kasparro_pipeline.warehouse.ledger import Connection
    from tests.integration.conftest import Pipeline, Upstream


def age(connection: Connection, seconds: int) -> None:
    """Let the last sign of life of every run be so long ago."""
    connection.execute(
        "update kasparro.etl_run set active_at = clock_timestamp() - %s * interval '1 second'", [seconds]
    )


def until(condition: Callable[[], Any]) -> None:
    deadline = time.monotonic() + START_LIMIT
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def leave(session: Connection, warehouse: Connection) -> None:
    """End a session, as the death of its process does, and wait until the server has noticed."""
    session.close()
    until(lambda: not warehouse.execute("select from pg_locks where locktype = 'advisory'").fetchall())


def tick(database_url: str) -> str | None:
    """What the sensor says."""
    context = dg.build_sensor_context(resources={"warehouse": Warehouse(database_url=database_url)})
    found: Any = close_lost_runs(context)
    assert isinstance(found, dg.SkipReason)
    return found.skip_message


@pytest.fixture
def another(database_url: str) -> Iterator[Connection]:
    """A session that may end before the test does."""
    settings = WarehouseSettings.model_validate({"DATABASE_URL": database_url})
    with connect(settings) as opened:
        yield opened


def test_a_run_that_was_killed_is_closed_a_minute_later_and_the_next_one_goes_on(
    upstream: Upstream, pipeline_of: Callable[..., Pipeline], database_url: str
) -> None:
    children: list[subprocess.Popen[bytes]] = []

    def page(query: dict[str, str], _headers: dict[str, str]) -> Any:
        number = int(query["page"])
        if number == 3 and children:
            os.kill(children.pop().pid, signal.SIGKILL)
        first = (number - 1) * PAGE_SIZE
        return [{"id": first + n, "name": "x"} for n in range(PAGE_SIZE)] if number <= PAGES else []

    upstream.answers["/things"] = page
    pipeline = pipeline_of(RestSource, paged(upstream))
    child = start("RestSource", paged(upstream), database_url, today())
    children.append(child)
    assert child.wait(START_LIMIT) == -signal.SIGKILL
    until(lambda: not pipeline.value("select count(*) from pg_locks where locktype = 'advisory'"))

    assert tick(database_url) == "lost runs closed: 0"  # it could be between two of its steps
    age(pipeline.warehouse, ledger.LOST_AFTER + 1)
    lost = pipeline.one("select run_id, active_at from kasparro.etl_run")
    assert tick(database_url) == f"lost runs closed: 1, {lost['run_id']}"
    assert tick(database_url) == "lost runs closed: 0"

    row = pipeline.one("select status, error, finished_at, extracted from kasparro.etl_run")
    assert row == {
        "status": "failed",
        "error": ledger.LOST_ERROR,
        "finished_at": lost["active_at"],
        "extracted": 2 * PAGE_SIZE,
    }
    assert "Materialize the partition again" in ledger.LOST_ERROR
    run = pipeline.run("it")
    assert run.success
    assert run.counts("extracted", "read", "inserted") == (3 * PAGE_SIZE, 5 * PAGE_SIZE, 5 * PAGE_SIZE)


def test_a_slow_run_that_shows_no_sign_for_an_hour_is_not_closed_while_its_process_lives(
    upstream: Upstream, pipeline_of: Callable[..., Pipeline], database_url: str
) -> None:
    asked, go_on = threading.Event(), threading.Event()

    def page(query: dict[str, str], _headers: dict[str, str]) -> Any:
        if int(query["page"]) > 1:
            return []
        asked.set()
        go_on.wait(START_LIMIT)
        return [{"id": 1, "name": "x"}]

    upstream.answers["/things"] = page
    pipeline = pipeline_of(RestSource, paged(upstream))
    child = start("RestSource", paged(upstream), database_url, today())
    try:
        assert asked.wait(START_LIMIT)
        age(pipeline.warehouse, 3600)
        assert tick(database_url) == "lost runs closed: 0"
        assert pipeline.one("select status from kasparro.etl_run") == {"status": "running"}
    finally:
        go_on.set()
    assert child.wait(START_LIMIT) == 0
    assert pipeline.one("select status, inserted from kasparro.etl_run") == {
        "status": "success",
        "inserted": 1,
    }
    age(pipeline.warehouse, 3600)
    assert tick(database_url) == "lost runs closed: 0"


@pytest.mark.parametrize(("seconds", "closed"), [(30, []), (61, ["run"])])
def test_between_two_steps_nobody_holds_the_lock_for_a_moment(
    warehouse: Connection, another: Connection, seconds: int, closed: list[str]
) -> None:
    ledger.begin(another, "it", "2026-01-01", "run")
    age(warehouse, 3600)
    assert ledger.close_lost(warehouse) == []
    leave(another, warehouse)
    age(warehouse, seconds)
    assert ledger.close_lost(warehouse) == closed


def test_a_lock_of_another_run_or_of_another_database_does_not_count(
    warehouse: Connection, another: Connection, database_url: str
) -> None:
    ledger.begin(another, "it", "2026-01-01", "run")
    leave(another, warehouse)
    elsewhere = database_url.replace(warehouse.info.dbname, "postgres")
    with psycopg.connect(elsewhere, autocommit=True) as other_database:
        ledger.attend(other_database, "run")
        ledger.attend(warehouse, "another run")
        age(warehouse, 61)
        assert ledger.close_lost(warehouse) == ["run"]


def test_a_run_of_two_sources_lives_while_one_of_its_steps_does(
    warehouse: Connection, another: Connection
) -> None:
    ledger.begin(another, "one", "2026-01-01", "run")
    ledger.begin(another, "other", "2026-01-01", "run")
    age(warehouse, 3600)
    assert ledger.close_lost(warehouse) == []


def test_a_run_that_was_taken_for_lost_is_taken_up_by_its_next_step(
    warehouse: Connection, another: Connection
) -> None:
    hold = ledger.begin(another, "it", "2026-01-01", "run")
    leave(another, warehouse)
    age(warehouse, 61)
    assert ledger.close_lost(warehouse) == ["run"]
    assert ledger.begin(warehouse, "it", "2026-01-01", "run") == hold
    assert warehouse.execute("select status, error, finished_at from kasparro.etl_run").fetchall() == [
        ("running", None, None)
    ]
    ledger.close(warehouse, hold)
    assert warehouse.execute("select status from kasparro.etl_run").fetchall() == [("success",)]


def test_a_step_that_begins_while_lost_runs_are_closed_wins(
    warehouse: Connection, another: Connection, database_url: str
) -> None:
    ledger.begin(another, "it", "2026-01-01", "run")
    leave(another, warehouse)
    age(warehouse, 61)
    closed: list[list[str]] = []

    def close() -> None:
        with psycopg.connect(database_url, autocommit=True) as connection:
            closed.append(ledger.close_lost(connection))

    thread = threading.Thread(target=close)
    with warehouse.transaction():
        ledger.begin(warehouse, "it", "2026-01-01", "run")
        # as if the closing had looked at the locks just before the step began
        warehouse.execute("select pg_advisory_unlock_all()")
        thread.start()
        waiting = "select from pg_locks where locktype = 'transactionid' and not granted"
        until(lambda: warehouse.execute(waiting).fetchall())
    thread.join()
    assert closed == [[]]
    assert warehouse.execute("select status from kasparro.etl_run").fetchall() == [("running",)]


def test_counting_is_a_sign_of_life(warehouse: Connection) -> None:
    hold = ledger.begin(warehouse, "it", "2026-01-01", "run")
    for sign in (
        lambda: ledger.add_counts(warehouse, hold, {"read": 1}),
        lambda: ledger.reset_counts(warehouse, hold, "read"),
        lambda: ledger.begin(warehouse, "it", "2026-01-01", "run"),
    ):
        age(warehouse, 3600)
        sign()
        fresh = "select active_at > now() - interval '1 minute' from kasparro.etl_run"
        assert warehouse.execute(fresh).fetchall() == [(True,)]


def test_a_run_lives_while_one_of_its_sessions_does_and_a_moment_longer(
    warehouse: Connection, another: Connection
) -> None:
    hold = ledger.begin(another, "it", "2026-01-01", "run")
    ledger.attend(warehouse, "run")
    another.close()
    age(warehouse, 3600)
    assert ledger.close_lost(warehouse) == []
    ledger.show_life(warehouse, "run")
    warehouse.execute("select pg_advisory_unlock_all()")
    assert ledger.close_lost(warehouse) == []
    ledger.close(warehouse, hold)
    age(warehouse, 3600)
    ledger.show_life(warehouse, "run")  # it has ended: there is no life to show
    old = "select active_at < now() - interval '1 minute' from kasparro.etl_run"
    assert warehouse.execute(old).fetchall() == [(True,)]


def test_the_sensor_is_on_and_asks_every_half_minute(built_in: Pipeline) -> None:
    sensor = built_in.definitions.resolve_sensor_def("close_lost_runs")
    assert sensor.default_status == dg.DefaultSensorStatus.RUNNING
    assert sensor.minimum_interval_seconds == 30
