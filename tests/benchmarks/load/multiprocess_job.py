"""A source's job once more, with Dagster's stock executor: a process a step. For a copy of the project."""

import dagster as dg

SOURCE = "small"
JOB = "small_multiprocess"


@dg.definitions
def defs() -> dg.Definitions:
    """What Dagster loads."""
    selection = dg.AssetSelection.groups(SOURCE)
    return dg.Definitions(
        jobs=[dg.define_asset_job(JOB, selection=selection, executor_def=dg.multiprocess_executor)]
    )
