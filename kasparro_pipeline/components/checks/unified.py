"""The check on unified as a whole: the newest partition landed recently."""

from datetime import UTC, datetime

import dagster as dg

from kasparro_pipeline.components.resources import Warehouse
from kasparro_pipeline.components.source import Source
from kasparro_pipeline.warehouse import ledger
from kasparro_pipeline.warehouse.ledger import Connection


def freshness(source: Source) -> dg.AssetChecksDefinition:
    """The newest partition landed within the source's limit."""

    @dg.asset_check(
        asset=source.key("unified"),
        name="freshness",
        pool=source.name,
        description="The source's newest partition landed recently; a backfill of old ones does not count.",
    )
    def check(context: dg.AssetCheckExecutionContext, warehouse: Warehouse) -> dg.AssetCheckResult:
        with warehouse.connect() as connection:
            newest, landed_at = _newest_partition(connection, source, context.instance)
        age = datetime.now(UTC) - landed_at if landed_at else None
        limit = source.common.fresh_within
        return dg.AssetCheckResult(
            passed=age is not None and age <= limit,
            severity=dg.AssetCheckSeverity.WARN,
            description=f"partition {newest} landed {age} ago, allowed are {limit}"
            if age is not None
            else f"partition {newest} has not landed; materialize it",
            metadata={
                "age_seconds": age.total_seconds() if age is not None else None,
                "allowed_seconds": limit.total_seconds(),
                "newest_partition": newest,
                "landed_at": landed_at.isoformat() if landed_at else "never",
            },
        )

    return check


def _newest_partition(
    connection: Connection, source: Source, instance: dg.DagsterInstance
) -> tuple[str, datetime | None]:
    with dg.partition_loading_context(dynamic_partitions_store=instance):
        newest = source.partitions.get_last_partition_key() or ""
    return newest, ledger.last_success(connection, source.name, newest)
