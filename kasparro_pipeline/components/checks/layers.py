"""The check between the layers: nothing hangs in the air."""

from dataclasses import asdict

import dagster as dg

from kasparro_pipeline.components.resources import Warehouse
from kasparro_pipeline.components.source import Source
from kasparro_pipeline.warehouse import orphans


def orphans_between_layers(source: Source) -> dg.AssetChecksDefinition:
    """Records of a partition that have lost what they were made from, or did not arrive."""

    @dg.asset_check(
        asset=source.key("unified"),
        name="orphans_between_layers",
        partitions_def=source.partitions,
        pool=source.name,
        description="Each record is made of one that is in the layer before, and has arrived in the next.",
    )
    def check(context: dg.AssetCheckExecutionContext, warehouse: Warehouse) -> dg.AssetCheckResult:
        with warehouse.connect() as connection:
            found = orphans.of_partition(connection, source.name, context.partition_key)
        named = [f"{number:,} {name.replace('_', ' ')}" for name, number in asdict(found).items() if number]
        return dg.AssetCheckResult(
            passed=not found.total,
            severity=dg.AssetCheckSeverity.ERROR,
            description=f"{', '.join(named)}. Materialize validated and unified of the partition from raw."
            if named
            else "no record hangs in the air",
            metadata=asdict(found),
        )

    return check
