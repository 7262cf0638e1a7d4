"""The check between the layers: nothing hangs in the air."""

from dataclasses import asdict

import dagster as dg

from kasparro_pipeline.components.checks.check import Check, Look, check
from kasparro_pipeline.components.source import Source
from kasparro_pipeline.warehouse import orphans


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
    found = orphans.of_partition(look.connection, source.name, look.partition_key)
    named = [f"{number:,} {name.replace('_', ' ')}" for name, number in asdict(found).items() if number]
    return dg.AssetCheckResult(
        passed=not found.total,
        severity=dg.AssetCheckSeverity.ERROR,
        description=f"{', '.join(named)}. Materialize validated and unified of the partition from raw."
        if named
        else "no record hangs in the air",
        metadata=asdict(found),
    )
