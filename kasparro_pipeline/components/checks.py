"""The asset checks of a source: what is broken now, how much of it, and how to recover.

Those on raw and validated look at a partition; those on unified at the source, so that a verdict of long ago
does not stand beside the present one.
The questions are asked in `warehouse.checks` and `contract.drift`; the verdicts are here.
"""

from datetime import UTC, datetime

import dagster as dg

from kasparro_pipeline.components.resources import Warehouse
from kasparro_pipeline.components.source import Source
from kasparro_pipeline.contract.drift import Drift, Profile, compare
from kasparro_pipeline.warehouse import checks, ledger, raw
from kasparro_pipeline.warehouse.ledger import Connection

Check = dg.AssetChecksDefinition


def build_checks(source: Source) -> list[Check]:
    """The checks of a source, in the order of its assets."""
    return [
        _schema_drift(source),
        _every_record_accounted(source),
        _unique_source_id(source),
        _freshness(source),
    ]


def _schema_drift(source: Source) -> Check:
    @dg.asset_check(
        asset=source.key("raw"),
        name="schema_drift",
        blocking=True,
        partitions_def=source.partitions,
        pool=source.name,
        description="What came, against the committed contract: fields added, removed, or of another type.",
    )
    def schema_drift(context: dg.AssetCheckExecutionContext, warehouse: Warehouse) -> dg.AssetCheckResult:
        with warehouse.connect() as connection, ledger.attending(connection, context.run.run_id):
            profile = Profile.of(raw.newest_profiles(connection, source.name, context.partition_key))
            drifts = compare(source.contract, profile)
            checks.record_drift(
                connection,
                source.name,
                context.partition_key,
                context.run.run_id,
                [
                    {
                        "change": drift.change,
                        "field": drift.field,
                        "mode": drift.mode,
                        "expected": drift.expected,
                        "found": drift.found,
                        "records": drift.records,
                        "share": drift.share,
                    }
                    for drift in drifts
                ],
            )
            frozen = [drift for drift in drifts if drift.mode == "freeze"]
            summary = _drift_summary(drifts)
            if frozen:
                ledger.fail(
                    connection, context.run.run_id, source.name, f"schema_drift: {_drift_summary(frozen)}"
                )
        return dg.AssetCheckResult(
            passed=not drifts,
            severity=dg.AssetCheckSeverity.ERROR if frozen else dg.AssetCheckSeverity.WARN,
            description=summary,
            metadata={"records": profile.records, "changes": len(drifts), "drift": _drift_table(drifts)},
        )

    return schema_drift


def _every_record_accounted(source: Source) -> Check:
    @dg.asset_check(
        asset=source.key("validated"),
        name="every_record_accounted",
        blocking=True,
        partitions_def=source.partitions,
        pool=source.name,
        description="Each raw record of the partition is validated, rejected or superseded: exactly one.",
    )
    def every_record_accounted(
        context: dg.AssetCheckExecutionContext, warehouse: Warehouse
    ) -> dg.AssetCheckResult:
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
                "rejected_by_reason": _table(reasons),
            },
        )

    return every_record_accounted


def _unique_source_id(source: Source) -> Check:
    @dg.asset_check(
        asset=source.key("unified"),
        name="unique_source_id",
        pool=source.name,
        description="No key of the source stands twice in the unified table.",
    )
    def unique_source_id(warehouse: Warehouse) -> dg.AssetCheckResult:
        with warehouse.connect() as connection:
            doubled = checks.doubled_source_ids(connection, source.name)
        return dg.AssetCheckResult(
            passed=not doubled,
            description=f"{len(doubled)} keys stand more than once" if doubled else "each key stands once",
            metadata={"doubled": doubled},
        )

    return unique_source_id


def _freshness(source: Source) -> Check:
    @dg.asset_check(
        asset=source.key("unified"),
        name="freshness",
        pool=source.name,
        description="The source's newest partition landed recently; a backfill of old ones does not count.",
    )
    def freshness(context: dg.AssetCheckExecutionContext, warehouse: Warehouse) -> dg.AssetCheckResult:
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
                "newest_partition": newest,
                "landed_at": landed_at.isoformat() if landed_at else "never",
            },
        )

    return freshness


def _newest_partition(
    connection: Connection, source: Source, instance: dg.DagsterInstance
) -> tuple[str, datetime | None]:
    with dg.partition_loading_context(dynamic_partitions_store=instance):
        newest = source.partitions.get_last_partition_key() or ""
    return newest, ledger.last_success(connection, source.name, newest)


def _drift_summary(drifts: list[Drift]) -> str:
    if not drifts:
        return "what came is what the contract promises"
    return "; ".join(
        f"{drift.field} {drift.change}"
        + (f" (promised {drift.expected}, found {drift.found})" if drift.change == "retyped" else "")
        for drift in drifts
    )


def _drift_table(drifts: list[Drift]) -> dg.TableMetadataValue:
    return _table(
        [
            {
                "change": drift.change,
                "field": drift.field,
                "mode": drift.mode,
                "expected": drift.expected or "",
                "found": drift.found or "",
                "records": drift.records,
                "share": float(drift.share),
            }
            for drift in drifts
        ]
    )


def _table(rows: list[dict[str, str | int | float | None]]) -> dg.TableMetadataValue:
    records = [dg.TableRecord({k: "" if v is None else v for k, v in row.items()}) for row in rows]
    schema = dg.TableSchema(columns=[dg.TableColumn(name) for name in (rows[0] if rows else {"none": ""})])
    return dg.MetadataValue.table(records=records, schema=schema)
