"""Closes in the ledger the runs that could not do it themselves: killed, timed out, cancelled, lost."""

import dagster as dg

from kasparro_pipeline.components.resources import Warehouse
from kasparro_pipeline.warehouse import ledger


@dg.run_failure_sensor(
    name="close_failed_runs",
    default_status=dg.DefaultSensorStatus.RUNNING,
    minimum_interval_seconds=15,
    description="Closes failed runs in the ledger that a dead process left open.",
)
def close_failed_runs(context: dg.RunFailureSensorContext, warehouse: Warehouse) -> None:
    """Close a run that Dagster found dead, unless it closed itself."""
    with warehouse.connect() as connection:
        ledger.close_all(
            connection, context.dagster_run.run_id, "failed", context.failure_event.message or "failed"
        )


@dg.run_status_sensor(
    name="close_cancelled_runs",
    run_status=dg.DagsterRunStatus.CANCELED,
    default_status=dg.DefaultSensorStatus.RUNNING,
    minimum_interval_seconds=15,
    description="Closes cancelled runs in the ledger that could not do it themselves.",
)
def close_cancelled_runs(context: dg.RunStatusSensorContext, warehouse: Warehouse) -> None:
    """Close a run that was cancelled, unless it closed itself."""
    with warehouse.connect() as connection:
        ledger.close_all(connection, context.dagster_run.run_id, "cancelled", "cancelled in Dagster")


@dg.sensor(
    name="close_lost_runs",
    default_status=dg.DefaultSensorStatus.RUNNING,
    minimum_interval_seconds=30,
    description="Closes runs in the ledger whose process is gone, also where Dagster noticed nothing.",
)
def close_lost_runs(warehouse: Warehouse) -> dg.SkipReason:
    """Close the runs that nobody works on any more; it asks for no run."""
    with warehouse.connect() as connection:
        closed = ledger.close_lost(connection)
    return dg.SkipReason(f"lost runs closed: {len(closed)}{''.join(f', {run_id}' for run_id in closed)}")
