"""The three assets of a source. A step runs under the hold, and tells the ledger how it ended.

What a step does is in `steps`; which checks follow is in `checks`.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime
from typing import Any

import dagster as dg

from kasparro_pipeline.components import quarantine, steps
from kasparro_pipeline.components.api_links import links_to_api
from kasparro_pipeline.components.checks import checks_of
from kasparro_pipeline.components.checks.check import Check, Look
from kasparro_pipeline.components.comparison import comparison_of
from kasparro_pipeline.components.holding import held
from kasparro_pipeline.components.resources import Warehouse
from kasparro_pipeline.components.snapshot_spec import ACCEPT_TAG
from kasparro_pipeline.components.source import LAYERS, Layer, Source
from kasparro_pipeline.contract.compiled import compile_contract
from kasparro_pipeline.contract.spec import COLUMN_TYPES, Contract
from kasparro_pipeline.extract.errors import PermanentUpstreamError
from kasparro_pipeline.warehouse import checkpoints, ledger, tables, unified
from kasparro_pipeline.warehouse.ledger import Connection, Hold
from kasparro_pipeline.warehouse.snapshots import Taking
from kasparro_pipeline.warehouse.validated_tables import validated_record

TABLES = {"raw": tables.raw_batch, "validated": validated_record, "unified": tables.unified_record}
DESCRIPTIONS = {
    "raw": "Each record of {name} exactly as received, many to a row; the view raw_record shows them singly.",
    "validated": "Each raw record of {name} that keeps the contract, typed; rejected_record has the rest.",
    "unified": "The newest valid version of each record of {name}, in the table that readers see.",
}


def build_assets(source: Source) -> list[dg.AssetsDefinition]:
    """The assets raw → validated → unified of a source, one partition a run."""
    rules = source.snapshots

    def raw(work: Work) -> None:
        connection, hold, context = work.connection, work.hold, work.context
        with work.another() if source.asks_apart else nullcontext(connection) as asking:
            extraction = source.extract(asking, hold, launched_on(context))
            compares = extraction.tell is not None and not rules
            try:
                steps.extract_to_raw(
                    connection,
                    hold,
                    extraction,
                    taking=Taking(rules.scope(hold.partition_key)) if rules else None,
                    comparison=comparison_of(source.contract, work.another) if compares else None,
                )
            except PermanentUpstreamError:
                # going on at the same place would meet the same: the next run begins anew
                checkpoints.forget_progress(connection, hold)
                raise

    def validated(work: Work) -> None:
        whole = not _runs(work.context, source, "raw")
        steps.validate_raw(work.connection, work.hold, source.contract, whole=whole, another=work.another)

    def merged(work: Work) -> None:
        accepts = _accepts_deletions(work.context)
        steps.merge_validated(
            work.connection,
            work.hold,
            whole=not _runs(work.context, source, "validated"),
            snapshots=rules and replace(rules, accept=accepts),
        )

    checks = checks_of(source)
    return [
        _asset(source, checks, "raw", None, raw),
        _asset(source, checks, "validated", "raw", validated),
        _asset(source, checks, "unified", "validated", merged),
    ]


@dataclass(frozen=True, slots=True)
class Work:
    """What a step works with."""

    connection: Connection
    hold: Hold
    context: dg.AssetExecutionContext
    another: Callable[[], AbstractContextManager[Connection]]
    """Opens another connection."""


Step = Callable[[Work], None]


def _asset(
    source: Source, checks: Sequence[Check], layer: Layer, after: Layer | None, step: Step
) -> dg.AssetsDefinition:
    checks = [one for one in checks if one.layer == layer]
    description = DESCRIPTIONS[layer].format(name=source.name)
    if layer == "raw" and source.common.description:
        description = f"{source.common.description}\n\n{description}"
    fresh_within = source.common.fresh_within

    @dg.asset(
        key=source.key(layer),
        deps=[dg.AssetDep(source.key(after))] if after else _parents_of(source),
        partitions_def=source.partitions,
        backfill_policy=dg.BackfillPolicy.multi_run(1),
        group_name=source.name,
        kinds={layer, source.kind, "postgres"},
        owners=list(source.common.owners),
        description=description,
        code_version=source.contract.digest().hex()[:12] if layer == "validated" else None,
        freshness_policy=dg.FreshnessPolicy.time_window(fail_window=fresh_within)
        if layer == "unified"
        else None,
        pool=source.name,
        check_specs=[one.spec for one in checks],
        metadata={
            "dagster/table_name": f"{tables.SCHEMA}.{TABLES[layer].name}",
            "dagster/uri": source.uri,
            "dagster/column_schema": _column_schema(source, layer),
        },
    )
    def layer_asset(
        context: dg.AssetExecutionContext, warehouse: Warehouse
    ) -> Iterator[dg.MaterializeResult[None] | dg.AssetCheckResult]:
        last = layer == _last_layer(context, source)
        with held(warehouse, source.name, context.partition_key, context.run.run_id, closing=last) as (
            connection,
            hold,
        ):
            before = ledger.counts_of(connection, hold)
            step(Work(connection, hold, context, warehouse.connect))
            has_news = before != ledger.counts_of(connection, hold)
            look = Look(connection, hold, source.contract, has_news=has_news)
            results = [one.judge(look) for one in checks]
            metadata = _metadata(connection, source, layer, hold)
            if layer == "validated":
                metadata |= quarantine.of_partition(connection, source.name, hold.partition_key)
        yield dg.MaterializeResult(metadata=metadata)
        # of results within that of the asset Dagster would ask twice which materialization they are about
        yield from results

    return layer_asset


def _parents_of(source: Source) -> list[dg.AssetDep]:
    """What the lineage shows in front of raw: all that is unified of the parent, whatever its partitions.

    It starts and blocks nothing: a run has the assets of one source, and none of them has an automation.
    """
    if source.parent is None:
        return []
    mapping = dg.AllPartitionMapping()
    return [dg.AssetDep(dg.AssetKey(["unified", source.parent]), partition_mapping=mapping)]


def launched_on(context: dg.AssetExecutionContext) -> date:
    """The day (UTC) on which the run was launched: one that waited in the queue over midnight is not late."""
    record = context.instance.get_run_record_by_id(context.run.run_id)
    return (record.create_timestamp if record else datetime.now(UTC)).astimezone(UTC).date()


def _accepts_deletions(context: dg.AssetExecutionContext) -> bool:
    """Whether the run's tags say that the newest snapshot is right.

    Raises:
        dagster.Failure: the tag says something else.
    """
    said = context.run.tags.get(ACCEPT_TAG)
    if said not in {None, "true"}:
        message = f'the run tag {ACCEPT_TAG} is {said!r}: write "true", or leave it out'
        raise dg.Failure(message, allow_retries=False)
    return said == "true"


def _runs(context: dg.AssetExecutionContext, source: Source, layer: Layer) -> bool:
    return source.key(layer) in context.job_def.asset_layer.executable_asset_keys


def _last_layer(context: dg.AssetExecutionContext, source: Source) -> Layer:
    return [layer for layer in LAYERS if _runs(context, source, layer)][-1]


def _column_schema(source: Source, layer: Layer) -> dg.TableSchema:
    columns = {
        column.name: dg.TableColumn(
            column.name,
            type=str(column.type).lower(),
            description=column.comment,
            constraints=dg.TableColumnConstraints(nullable=bool(column.nullable)),
        )
        for column in TABLES[layer].columns
    }
    if layer == "validated":
        columns |= {column.name: column for column in _contract_columns(source.contract)}
    return dg.TableSchema(columns=list(columns.values()))


def _contract_columns(contract: Contract) -> Iterator[dg.TableColumn]:
    """What the contract promises of the columns that it fills; fields in `attributes` by the API's name."""
    modes = contract.schema_contract
    may_evolve = "evolve" in {modes.removed, modes.nullability, modes.retyped, modes.enum, modes.format}
    for name, type_ in compile_contract(contract).sql_types.items():
        field = contract.fields[name]
        always = field.required or field.value is not None or field.default is not None
        yield dg.TableColumn(
            name if name in COLUMN_TYPES else f"attributes.{name}",
            type=type_,
            description=field.description,
            constraints=dg.TableColumnConstraints(nullable=may_evolve or not always),
        )


def _metadata(connection: Connection, source: Source, layer: Layer, hold: Hold) -> dict[str, Any]:
    counts = ledger.counts_of(connection, hold)
    metadata: dict[str, Any] = {**counts, **links_to_api(connection, layer, hold)}
    if layer == "raw":
        metadata["dagster/partition_row_count"] = counts["extracted"]
        metadata |= source.metadata(connection, hold.partition_key)
    elif layer == "validated":
        metadata["dagster/partition_row_count"] = counts["validated"]
    else:
        metadata["dagster/row_count"] = unified.count(connection, source.name)
    return metadata
