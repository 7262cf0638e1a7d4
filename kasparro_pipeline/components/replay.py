"""The job that gives a source's rejected records another chance, after its contract was put right.

What replaying one partition means is in `steps`.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import dagster as dg
from pydantic import Field

from kasparro_pipeline.components import steps
from kasparro_pipeline.components.api_links import links_to_api
from kasparro_pipeline.components.holding import held
from kasparro_pipeline.components.kept_connections import in_process_executor
from kasparro_pipeline.components.resources import Warehouse
from kasparro_pipeline.components.source import Source
from kasparro_pipeline.warehouse import ledger, rejected

PREFIX = "replay_rejected_"
SHOWN = ("read", "validated", "superseded", "rejected", "inserted", "updated", "unchanged", "stale")


class ReplayConfig(dg.Config):
    """What is replayed."""

    partitions: list[str] = Field(
        default=[],
        description="Partitions whose rejected records are replayed; all that have some, if none is named.",
    )


def build_replay(source: Source) -> dg.JobDefinition:
    """The job `replay_rejected_<source>`.

    It validates every rejected record again under the present contract, merges what passes by the same rule
    as ever, and leaves the rest where it is. It asks no upstream.
    """

    @dg.op(
        name=f"{PREFIX}{source.name}_op",
        pool=source.name,
        out=dg.Out(dg.Nothing),
        description=f"Validate the rejected records of {source.name} again, and merge what passes.",
        tags={"kasparro/replays": source.name},
    )
    def replay(context: dg.OpExecutionContext, config: ReplayConfig, warehouse: Warehouse) -> None:
        with warehouse.connect() as connection:
            waiting = rejected.partitions(connection, source.name)
        unknown = sorted(set(config.partitions) - set(waiting))
        if unknown:
            context.log.warning("no rejected records in %s", ", ".join(unknown))
        refused = []
        for key in waiting:
            if config.partitions and key not in config.partitions:
                continue
            try:
                with held(warehouse, source.name, key, context.run_id, closing=True) as (connection, hold):
                    steps.replay_rejected(connection, hold, source.contract, source.snapshots)
                    counts = ledger.counts_of(connection, hold)
                    links = links_to_api(connection, "unified", hold)
            except dg.Failure as failure:  # a partition that refuses does not keep the others from it
                refused.append(failure.description or key)
                continue
            _tell_dagster(context, source, key, {**counts, **links})
        # From the ledger: a run that was tried again did a part of it before
        with warehouse.connect() as connection:
            report = _report(ledger.of_run(connection, source.name, context.run_id))
        if refused:
            raise dg.Failure("\n".join(refused), metadata=report, allow_retries=False)
        context.add_output_metadata(report)

    @dg.job(
        name=f"{PREFIX}{source.name}",
        description=(
            f"Validate the rejected records of {source.name} again under its present contract, and merge "
            "what passes. The upstream is not asked."
        ),
        executor_def=in_process_executor,
    )
    def replay_rejected() -> None:
        replay()

    return replay_rejected


def _tell_dagster(context: dg.OpExecutionContext, source: Source, key: str, told: Mapping[str, Any]) -> None:
    """The partition's assets changed, if any of its records passed."""
    if told["validated"] + told["superseded"] == 0:
        return
    for layer in ("validated", "unified"):
        context.log_event(
            dg.AssetMaterialization(
                asset_key=dg.AssetKey([layer, source.name]),
                partition=key,
                description="rejected records, replayed",
                metadata=told,
            )
        )


def _report(rows: Sequence[Mapping[str, Any]]) -> dict[str, int | dg.TableMetadataValue]:
    columns = ("partition_key", "status", *SHOWN)
    return {
        "passed": sum(row["validated"] + row["superseded"] for row in rows),
        "still_rejected": sum(row["rejected"] for row in rows),
        "partitions": dg.MetadataValue.table(
            records=[dg.TableRecord({name: row[name] for name in columns}) for row in rows],
            schema=dg.TableSchema(columns=[dg.TableColumn(name) for name in columns]),
        ),
    }
