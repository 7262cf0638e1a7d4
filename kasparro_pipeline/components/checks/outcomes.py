"""The checks on what became of a partition's records: each has one outcome (P2), each key stands once."""

import dagster as dg

from kasparro_pipeline.components.checks.tables import table
from kasparro_pipeline.components.resources import Warehouse
from kasparro_pipeline.components.source import Source
from kasparro_pipeline.warehouse import checks, ledger


def every_record_accounted(source: Source) -> dg.AssetChecksDefinition:
    """Raw records of a partition against their outcomes, one by one."""

    @dg.asset_check(
        asset=source.key("validated"),
        name="every_record_accounted",
        blocking=True,
        partitions_def=source.partitions,
        pool=source.name,
        description="Each raw record of the partition is validated, rejected or superseded: exactly one.",
    )
    def check(context: dg.AssetCheckExecutionContext, warehouse: Warehouse) -> dg.AssetCheckResult:
        with warehouse.connect() as connection, ledger.attending(connection, context.run.run_id):
            found = checks.account(connection, source.name, context.partition_key)
            reasons = checks.rejected_reasons(connection, source.name, context.partition_key)
            if not found.balanced:
                error = "every_record_accounted: raw records without exactly one outcome"
                ledger.fail(connection, context.run.run_id, source.name, error)
        return dg.AssetCheckResult(
            passed=found.balanced,
            severity=dg.AssetCheckSeverity.ERROR,
            description=f"{found.raw} raw = {found.validated} validated + {found.rejected} rejected"
            f" + {found.superseded} superseded"
            + ("" if found.balanced else ". Materialize validated again from raw to give each its outcome."),
            metadata={
                "raw": found.raw,
                "validated": found.validated,
                "rejected": found.rejected,
                "superseded": found.superseded,
                "raw_ids_without_outcome": found.without_outcome,
                "raw_ids_with_two_outcomes": found.with_two_outcomes,
                "rejected_by_reason": table(reasons),
            },
        )

    return check


def unique_source_id(source: Source) -> dg.AssetChecksDefinition:
    """No key stands twice in what came."""

    @dg.asset_check(
        asset=source.key("validated"),
        name="unique_source_id",
        partitions_def=source.partitions,
        pool=source.name,
        description="No key stands twice in one document. Where one does, the newest version of it is taken.",
    )
    def check(context: dg.AssetCheckExecutionContext, warehouse: Warehouse) -> dg.AssetCheckResult:
        with warehouse.connect() as connection:
            number, keys = checks.doubled_source_ids(connection, source.name, context.partition_key)
        return dg.AssetCheckResult(
            passed=not number,
            severity=dg.AssetCheckSeverity.WARN,
            description=f"{number:,} records are superseded by another one of their key in the same document"
            if number
            else "each key stands once",
            metadata={"duplicates": number, "examples": keys},
        )

    return check
