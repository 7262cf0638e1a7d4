"""The job that gives a source's rejected records another chance, after its contract was put right.

What replaying one partition means is in `steps`.
"""

import dagster as dg
from pydantic import Field

from kasparro_pipeline.components import steps
from kasparro_pipeline.components.holding import held
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
        rows: list[dict[str, str | int]] = []
        refused = []
        for key in waiting:
            if config.partitions and key not in config.partitions:
                continue
            try:
                with held(warehouse, source.name, key, context.run_id, closing=True) as (connection, hold):
                    steps.replay_rejected(connection, hold, source.contract)
                    counts = ledger.counts_of(connection, hold)
            except dg.Failure as failure:  # a partition that refuses does not keep the others from it
                refused.append(failure.description or key)
                continue
            rows.append({"partition": key, **{name: counts[name] for name in SHOWN}})
            _tell_dagster(context, source, key, counts)
        context.add_output_metadata(_report(rows))
        if refused:
            raise dg.Failure("\n".join(refused), allow_retries=False)

    @dg.job(
        name=f"{PREFIX}{source.name}",
        description=(
            f"Validate the rejected records of {source.name} again under its present contract, and merge "
            "what passes. The upstream is not asked."
        ),
        executor_def=dg.in_process_executor,
    )
    def replay_rejected() -> None:
        replay()

    return replay_rejected


def _tell_dagster(context: dg.OpExecutionContext, source: Source, key: str, counts: dict[str, int]) -> None:
    """The partition's assets changed, if any of its records passed."""
    if counts["validated"] + counts["superseded"] == 0:
        return
    metadata = {name: counts[name] for name in SHOWN}
    for layer in ("validated", "unified"):
        context.log_event(
            dg.AssetMaterialization(
                asset_key=dg.AssetKey([layer, source.name]),
                partition=key,
                description="rejected records, replayed",
                metadata=metadata,
            )
        )


def _report(rows: list[dict[str, str | int]]) -> dict[str, int | dg.TableMetadataValue]:
    passed = sum(int(row["validated"]) + int(row["superseded"]) for row in rows)
    columns = [dg.TableColumn("partition")] + [dg.TableColumn(name, type="integer") for name in SHOWN]
    return {
        "passed": passed,
        "still_rejected": sum(int(row["rejected"]) for row in rows),
        "partitions": dg.MetadataValue.table(
            records=[dg.TableRecord(dict(row)) for row in rows], schema=dg.TableSchema(columns=columns)
        ),
    }
