"""Dagster's connections to its own database during a run."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import dagster as dg
import psycopg
import pytest
from dagster._core.definitions.job_base import InMemoryJob
from dagster._core.execution.api import execute_run
from dagster._core.storage.tags import PARTITION_NAME_TAG
from sqlalchemy import Engine, event, text

from kasparro_pipeline.components.csv_source import CsvSource
from kasparro_pipeline.components.kept_connections import keep_connections
from tests.conftest import Server
from tests.integration.conftest import Pipeline

DATABASE = "kasparro_test_dagster"


@pytest.fixture
def on_postgres(postgres: Server, tmp_path: Path, pipeline_of: Callable[..., Pipeline]) -> Iterator[Pipeline]:
    """A source of one file, on an instance of Dagster whose storage is PostgreSQL."""
    (tmp_path / "a.csv").write_text("id,name\n1,one\n2,two\n")
    fields = {"title": {"path": "name"}}
    attributes = {"files": str(tmp_path / "*.csv"), "kind": "thing", "key": "id", "fields": fields}
    with psycopg.connect(postgres.url("postgres"), autocommit=True) as admin:
        admin.execute(f"drop database if exists {DATABASE} with (force)")
        admin.execute(f"create database {DATABASE}")
        url = postgres.url(DATABASE).replace("postgresql://", "postgresql+psycopg2://")
        storage = {"storage": {"postgres": {"postgres_url": url}}, "telemetry": {"enabled": False}}
        with dg.instance_for_test(overrides=storage) as instance:
            made = replace(pipeline_of(CsvSource, attributes), instance=instance)
            made.add_files("it", "a.csv")
            yield made
        admin.execute(f"drop database {DATABASE} with (force)")


def sessions(warehouse: psycopg.Connection[Any]) -> int:
    """How many connections have been made to Dagster's database so far."""
    warehouse.execute("select pg_stat_clear_snapshot()")
    row = warehouse.execute(
        "select sessions from pg_stat_database where datname = %s", (DATABASE,)
    ).fetchone()
    assert row is not None
    return int(row[0])


def test_a_run_makes_few_connections_to_dagsters_database(
    on_postgres: Pipeline, warehouse: psycopg.Connection[Any]
) -> None:
    assert on_postgres.run("it", "a.csv").success
    before = sessions(warehouse)
    assert on_postgres.run("it", "a.csv").success
    assert sessions(warehouse) - before < 5


def test_a_run_worker_keeps_its_connections_from_the_first_event_on(
    on_postgres: Pipeline, warehouse: psycopg.Connection[Any]
) -> None:
    job = on_postgres.definitions.resolve_job_def("it")
    reference = on_postgres.instance.get_ref()
    with dg.DagsterInstance.from_ref(reference) as instance:  # another than the one that made the run
        tags = {**job.run_tags, PARTITION_NAME_TAG: "a.csv"}
        run = on_postgres.instance.create_run_for_job(job, tags=tags)
        before = sessions(warehouse)
        assert execute_run(InMemoryJob(job), run, instance).success
    # the plan, one for each storage, and where one is asked while its connection is in use
    assert sessions(warehouse) - before <= 7


def test_a_run_asks_once_what_each_of_dagsters_tables_looks_like(on_postgres: Pipeline) -> None:
    asked: list[str] = []

    def note(_connection: object, _cursor: object, statement: str, parameters: object, *_: object) -> None:
        if "pg_catalog.pg_class" in statement:
            asked.append(f"{statement} {parameters}")

    keep_connections(on_postgres.instance)
    event.listen(Engine, "before_cursor_execute", note)
    try:
        assert on_postgres.run("it", "a.csv").success
    finally:
        event.remove(Engine, "before_cursor_execute", note)
    assert asked
    assert len(asked) == len(set(asked))


def test_a_table_that_comes_later_is_found(on_postgres: Pipeline) -> None:
    keep_connections(on_postgres.instance)
    storage: Any = on_postgres.instance.event_log_storage
    assert not storage.has_table("later")
    with storage.index_connection() as connection:
        connection.execute(text("create table later (id int)"))
    assert storage.has_table("later")


def test_a_connection_that_broke_within_a_run_is_replaced(
    on_postgres: Pipeline, warehouse: psycopg.Connection[Any]
) -> None:
    keep_connections(on_postgres.instance)
    assert on_postgres.run("it", "a.csv").success
    broken = warehouse.execute(
        "select count(pg_terminate_backend(pid, 5000)) from pg_stat_activity where datname = %s", (DATABASE,)
    ).fetchone()
    assert broken is not None
    assert broken[0] > 0
    assert on_postgres.run("it", "a.csv").success
