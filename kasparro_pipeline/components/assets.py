"""The three assets of a source. A step runs under the hold, and tells the ledger how it ended.

What a step does is in `steps`; which checks follow is in `checks`.
"""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime
from urllib.parse import urlencode

import dagster as dg
import psycopg

from kasparro_pipeline.components import run_log, steps
from kasparro_pipeline.components.resources import Warehouse
from kasparro_pipeline.components.settings import PipelineSettings
from kasparro_pipeline.components.source import LAYERS, Layer, Source
from kasparro_pipeline.extract.errors import PermanentUpstreamError, TransientUpstreamError
from kasparro_pipeline.warehouse import checkpoints, ledger, tables, unified
from kasparro_pipeline.warehouse.errors import WarehouseError
from kasparro_pipeline.warehouse.ledger import Connection, Hold

MAX_RETRIES = 2
RETRY_WAIT = 10
"""Seconds before a step is tried again after a failure that may pass."""
TABLES = {"raw": tables.raw_record, "validated": tables.validated_record, "unified": tables.unified_record}
DESCRIPTIONS = {
    "raw": "Each record of {name} exactly as received, with its document.",
    "validated": "Each raw record of {name} that keeps the contract, typed; rejected_record has the rest.",
    "unified": "The newest valid version of each record of {name}, in the table that readers see.",
}
TRANSIENT = (
    TransientUpstreamError,
    psycopg.OperationalError,  # lost connections, lock time-outs, deadlocks, a full disk
    psycopg.InterfaceError,
)

logger = logging.getLogger(__name__)


def build_assets(source: Source) -> list[dg.AssetsDefinition]:
    """The assets raw → validated → unified of a source, one partition a run."""

    def raw(connection: Connection, hold: Hold, context: dg.AssetExecutionContext) -> None:
        extraction = source.extract(connection, hold, launched_on(context))
        try:
            steps.extract_to_raw(
                connection,
                hold,
                extraction.batches,
                incremental=extraction.incremental,
                lookback_window=extraction.lookback_window,
            )
        except PermanentUpstreamError:
            # going on at the same place would meet the same: the next run begins anew
            checkpoints.forget_progress(connection, hold)
            raise

    def validated(connection: Connection, hold: Hold, context: dg.AssetExecutionContext) -> None:
        steps.validate_raw(connection, hold, source.contract, whole=not _runs(context, source, "raw"))

    def merged(connection: Connection, hold: Hold, context: dg.AssetExecutionContext) -> None:
        steps.merge_validated(connection, hold, whole=not _runs(context, source, "validated"))

    return [
        _asset(source, "raw", None, raw),
        _asset(source, "validated", "raw", validated),
        _asset(source, "unified", "validated", merged),
    ]


Step = Callable[[Connection, Hold, dg.AssetExecutionContext], None]


def _asset(source: Source, layer: Layer, after: Layer | None, step: Step) -> dg.AssetsDefinition:
    description = DESCRIPTIONS[layer].format(name=source.name)
    if layer == "raw" and source.common.description:
        description = f"{source.common.description}\n\n{description}"
    fresh_within = source.common.fresh_within

    @dg.asset(
        key=source.key(layer),
        deps=[source.key(after)] if after else [],
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
        metadata={
            "dagster/table_name": f"{tables.SCHEMA}.{TABLES[layer].name}",
            "dagster/uri": source.uri,
            "dagster/column_schema": _column_schema(layer),
        },
    )
    def layer_asset(context: dg.AssetExecutionContext, warehouse: Warehouse) -> dg.MaterializeResult[None]:
        with _step(context, warehouse, source, layer) as (connection, hold):
            step(connection, hold, context)
            metadata = _metadata(connection, source, layer, hold)
        return dg.MaterializeResult(metadata=metadata)

    return layer_asset


@contextmanager
def _step(
    context: dg.AssetExecutionContext, warehouse: Warehouse, source: Source, layer: Layer
) -> Iterator[tuple[Connection, Hold]]:
    """Hold the partition for the step; however it ends, the ledger says so and Dagster knows what to do."""
    try:
        with warehouse.connect() as connection:
            hold = ledger.begin(connection, source.name, context.partition_key, context.run.run_id)
            with run_log.bound_to(hold):
                try:
                    yield connection, hold
                except BaseException as error:
                    _close_after(error, warehouse, hold)
                    raise
                if layer == _last_layer(context, source):
                    ledger.close(connection, hold)
                else:
                    ledger.show_life(connection, hold.run_id)
    except TRANSIENT as error:
        raise dg.RetryRequested(max_retries=MAX_RETRIES, seconds_to_wait=RETRY_WAIT) from error
    except (PermanentUpstreamError, WarehouseError) as error:
        raise dg.Failure(str(error), allow_retries=False) from error


def _close_after(error: BaseException, warehouse: Warehouse, hold: Hold) -> None:
    """Tell the ledger why the run ends, over a connection of its own: the step's may be what broke."""
    status: ledger.Status = "failed" if isinstance(error, Exception) else "cancelled"
    logger.error("%s: %s", status, error)
    try:
        with warehouse.connect() as connection:
            ledger.close(connection, hold, status, f"{type(error).__name__}: {error}")
    except psycopg.Error as second:
        # the database is away; the next run of the partition, or the sensor on failed runs, closes it
        logger.error("the ledger could not be told: %s", second)  # noqa: TRY400 - the first error matters


def launched_on(context: dg.AssetExecutionContext) -> date:
    """The day (UTC) on which the run was launched: one that waited in the queue over midnight is not late."""
    record = context.instance.get_run_record_by_id(context.run.run_id)
    return (record.create_timestamp if record else datetime.now(UTC)).astimezone(UTC).date()


def _runs(context: dg.AssetExecutionContext, source: Source, layer: Layer) -> bool:
    return source.key(layer) in context.job_def.asset_layer.executable_asset_keys


def _last_layer(context: dg.AssetExecutionContext, source: Source) -> Layer:
    return [layer for layer in LAYERS if _runs(context, source, layer)][-1]


def _column_schema(layer: Layer) -> dg.TableSchema:
    return dg.TableSchema(
        columns=[
            dg.TableColumn(
                column.name,
                type=str(column.type).lower(),
                description=column.comment,
                constraints=dg.TableColumnConstraints(nullable=bool(column.nullable)),
            )
            for column in TABLES[layer].columns
        ]
    )


def _metadata(
    connection: Connection, source: Source, layer: Layer, hold: Hold
) -> dict[str, int | dg.UrlMetadataValue]:
    counts = ledger.counts_of(connection, hold)
    metadata: dict[str, int | dg.UrlMetadataValue] = {**counts, **_links(layer, hold)}
    if layer == "raw":
        metadata["dagster/partition_row_count"] = counts["extracted"]
    elif layer == "validated":
        metadata["dagster/partition_row_count"] = counts["validated"]
    else:
        metadata["dagster/row_count"] = unified.count(connection, source.name)
    return metadata


def _links(layer: Layer, hold: Hold) -> dict[str, dg.UrlMetadataValue]:
    """Where the read API shows what the step left, if the API's address is known (P8)."""
    address = PipelineSettings().api_url
    if address is None:
        return {}
    run = f"{address.rstrip('/')}/runs/{hold.run_id}"
    links = {"run in the API": dg.MetadataValue.url(run)}
    if layer == "unified":
        query = urlencode({"source": hold.source, "run_id": hold.run_id, "deleted": "include"})
        links["records in the API"] = dg.MetadataValue.url(f"{address.rstrip('/')}/data?{query}")
    return links
