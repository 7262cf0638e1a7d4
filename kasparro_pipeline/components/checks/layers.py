"""The check between the layers: nothing hangs in the air."""

from dataclasses import asdict
from datetime import UTC, datetime

import dagster as dg

from kasparro_pipeline.components.checks.check import Check, Look, check
from kasparro_pipeline.components.source import Source
from kasparro_pipeline.warehouse import measurements, orphans
from kasparro_pipeline.warehouse.measurements import ORPHANS


def orphans_between_layers(source: Source) -> Check:
    """Records of a partition that have lost what they were made from, or did not arrive."""
    return check(
        source,
        "unified",
        "orphans_between_layers",
        _judge,
        description="Each record is made of one that is in the layer before, and has arrived in the next.",
    )


def _judge(source: Source, look: Look) -> dg.AssetCheckResult:
    connection, key = look.connection, look.partition_key
    if not look.has_news and measurements.kept(connection, source.name, key, ORPHANS) == 0:
        return dg.AssetCheckResult(
            passed=True,
            severity=dg.AssetCheckSeverity.ERROR,
            description="no record hung in the air when they were last looked at; nothing has come since",
        )
    found = orphans.of_partition(connection, source.name, key)
    measurements.keep(connection, source.name, key, datetime.now(UTC), ORPHANS, {"": found.total})
    named = [f"{number:,} {name.replace('_', ' ')}" for name, number in asdict(found).items() if number]
    return dg.AssetCheckResult(
        passed=not found.total,
        severity=dg.AssetCheckSeverity.ERROR,
        description=f"{', '.join(named)}. Materialize validated and unified of the partition from raw."
        if named
        else "no record hangs in the air",
        metadata=asdict(found),
    )
