"""The code location: this deployment's sources, and the resources they use. Nothing else belongs here."""

from pathlib import Path

import dagster as dg

from kasparro_pipeline.components import ledger_sensors, run_log
from kasparro_pipeline.components.freshness_schedule import build_freshness_schedule
from kasparro_pipeline.components.kept_connections import in_process_executor
from kasparro_pipeline.components.resources import Warehouse
from kasparro_pipeline.components.settings import PipelineSettings


def build_definitions(warehouse: Warehouse) -> dg.Definitions:
    """The sources of `defs/` with a warehouse; a test gives its own."""
    run_log.configure(PipelineSettings().log_format)
    sources = dg.load_from_defs_folder(path_within_project=Path(__file__).parent)
    return dg.Definitions.merge(
        sources,
        build_freshness_schedule(sources),
        dg.Definitions(
            resources={"warehouse": warehouse},
            sensors=[
                ledger_sensors.close_failed_runs,
                ledger_sensors.close_cancelled_runs,
                ledger_sensors.close_lost_runs,
            ],
            executor=in_process_executor,
        ),
    )


@dg.definitions
def defs() -> dg.Definitions:
    """What Dagster loads."""
    return build_definitions(Warehouse())
