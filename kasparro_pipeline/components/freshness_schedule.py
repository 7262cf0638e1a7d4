"""Looks every hour how fresh each source is: a source that has fallen silent runs nothing that could tell."""

from collections.abc import Sequence

import dagster as dg

from kasparro_pipeline.components.settings import PipelineSettings

NAME = "freshness"


def build_freshness_schedule(definitions: dg.Definitions) -> dg.Definitions:
    """A job of the freshness checks of some definitions alone, and the schedule that launches it."""
    checks = [key for key in _checks_of(definitions) if key.name == NAME]
    if not checks:
        return dg.Definitions()
    job = dg.define_asset_job(
        NAME,
        selection=dg.AssetSelection.checks(*checks),
        description="Check how fresh each source is. It materializes nothing.",
    )
    schedule = dg.ScheduleDefinition(
        name=f"{NAME}_schedule",
        job=job,
        cron_schedule="0 * * * *",
        execution_timezone="UTC",
        default_status=dg.DefaultScheduleStatus.RUNNING
        if PipelineSettings().automation == "on"
        else dg.DefaultScheduleStatus.STOPPED,
    )
    return dg.Definitions(jobs=[job], schedules=[schedule])


def _checks_of(definitions: dg.Definitions) -> Sequence[dg.AssetCheckKey]:
    return [key for check in definitions.asset_checks or () for key in check.check_keys]
