"""The measured process of ours: a source's job, executed as a run worker does, every check included.

It is its own process, started by `measured`; what is loaded, and how often, stands in the sections. A worker
is given a run that the webserver or the daemon has made: what that costs is a figure of its own.
"""

import time
from typing import Any

import dagster as dg
import psycopg
from dagster._core.definitions.job_base import InMemoryJob
from dagster._core.execution.api import execute_run
from dagster._core.storage.tags import PARTITION_NAME_TAG
from psycopg.rows import dict_row

from kasparro_pipeline import components
from kasparro_pipeline.components.kept_connections import in_process_executor
from kasparro_pipeline.components.resources import Warehouse
from tests.benchmarks.load import worker

COUNTS = ("extracted", "read", "validated", "rejected", "superseded", "inserted", "updated", "unchanged")
"""What the ledger counts."""


def main() -> None:
    """Materialize one partition of one source, or evaluate its sensor."""
    order = worker.order()
    definitions = _definitions(order)
    # of DAGSTER_HOME: the project's dagster.yaml, with its storage in PostgreSQL
    with dg.DagsterInstance.get() as instance:
        worker.tell(
            _asked(order, definitions, instance)
            if order.get("sensor")
            else _loaded(order, definitions, instance)
        )


def _definitions(order: dict[str, Any]) -> dg.Definitions:
    component = getattr(components, order["component"])
    source = component(component.spec_class.model_validate(order["attributes"]))
    return dg.Definitions.merge(
        source.definitions(order["source"]),
        dg.Definitions(
            resources={"warehouse": Warehouse(database_url=order["url"])}, executor=in_process_executor
        ),
    )


def _loaded(order: dict[str, Any], definitions: dg.Definitions, instance: dg.DagsterInstance) -> Any:
    source, partition = order["source"], order["partition"]
    if order["component"] == "CsvSource":
        instance.add_dynamic_partitions(f"{source}_files", [partition])
    job = definitions.resolve_job_def(source)
    started = time.perf_counter()
    run = instance.create_run_for_job(job, tags={**job.run_tags, PARTITION_NAME_TAG: partition})
    made = time.perf_counter() - started
    with worker.timed() as figures:
        result = execute_run(InMemoryJob(job), run, instance, raise_on_error=True)
    checked = [
        one for one in result.all_events if one.event_type == dg.DagsterEventType.ASSET_CHECK_EVALUATION
    ]
    figures |= {"run_made": made, "checks": len(checked)}
    with psycopg.connect(order["url"], row_factory=dict_row) as connection:
        row = connection.execute(
            "select * from kasparro.etl_run where run_id = %s", (result.run_id,)
        ).fetchone()
    assert row is not None
    return figures | {name: row[name] for name in COUNTS if name in row}


def _asked(order: dict[str, Any], definitions: dg.Definitions, instance: dg.DagsterInstance) -> Any:
    sensor = definitions.resolve_sensor_def(f"{order['source']}_sensor")
    context = dg.build_sensor_context(
        instance=instance, resources={"warehouse": Warehouse(database_url=order["url"])}
    )
    with worker.timed() as figures:
        tick = sensor.evaluate_tick(context)
    return figures | {"runs_requested": len(tick.run_requests or [])}


if __name__ == "__main__":
    main()
