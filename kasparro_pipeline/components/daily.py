"""Daily partitions in UTC, and which day may be asked for: the current one, a past one by declaration."""

from datetime import date

import dagster as dg

from kasparro_pipeline.extract.errors import PermanentUpstreamError


def daily_partitions(start: date) -> dg.DailyPartitionsDefinition:
    """One partition a day from `start` to today, today included."""
    return dg.DailyPartitionsDefinition(start_date=start.isoformat(), timezone="UTC", end_offset=1)


def require_current(source: str, partition_key: str, launched_on: date) -> None:
    """Refuse a day that the upstream cannot give again.

    Raises:
        PermanentUpstreamError: the partition is not the day on which the run was launched.
    """
    if partition_key != launched_on.isoformat():
        raise PermanentUpstreamError(
            f"{source} keeps no history: its upstream gives only the current state, so the past day "
            f"{partition_key} cannot be extracted again. What was extracted on that day is in raw: "
            f"materialize validated/{source} and unified/{source} of this partition to go through it again. "
            f"(An upstream with history declares `date_window` in its defs.yaml.)"
        )
