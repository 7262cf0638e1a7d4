"""The check on snapshots: whether what is gone from the newest one was deleted, and if not, why."""

import dagster as dg

from kasparro_pipeline.components.checks.check import Check, Look, check
from kasparro_pipeline.components.snapshot_spec import ACCEPT_TAG
from kasparro_pipeline.components.source import Source
from kasparro_pipeline.warehouse import ledger, snapshots


def snapshot_deletions(source: Source) -> Check:
    """What a partition's newest snapshot no longer holds."""
    return check(
        source,
        "unified",
        "snapshot_deletions",
        _judge,
        description="What the newest snapshot no longer holds is marked deleted; nothing spoke against it.",
    )


def _judge(source: Source, look: Look) -> dg.AssetCheckResult:
    found = snapshots.of_partition(look.connection, look.hold)
    if found is None:
        return _result("no snapshot was taken in this partition", passed=True)
    snapshot, is_past = found
    deleted = ledger.counts_of(look.connection, look.hold)["deleted"]
    metadata = {
        "records": snapshot.records,
        "living_before": snapshot.living or 0,
        "missing": snapshot.missing or 0,
        "deleted": deleted,
    }
    if is_past:
        return _result("a later snapshot has taken the place of this one", passed=True, **metadata)
    if snapshot.verdict is None:
        waiting = ", ".join(snapshots.without_outcome(look.connection, snapshot.documents))
        said = f"nothing is deleted yet: records of it wait. Materialize validated and unified of {waiting}."
        return _result(said, passed=False, **metadata)
    if snapshot.verdict == "accepted":
        said = f"{snapshot.missing or 0:,} of {snapshot.living or 0:,} records are gone, and marked deleted"
        return _result(f"{said}; {snapshot.reason}" if snapshot.reason else said, passed=True, **metadata)
    return _result(
        f"nothing is deleted: {snapshot.reason}. {snapshot.missing or 0:,} of {snapshot.living or 0:,}"
        f" records are missing in this snapshot. If they are really gone, materialize unified/{source.name}"
        f' of this partition with the run tag {ACCEPT_TAG}: "true"; else have the upstream deliver again.',
        passed=False,
        **metadata,
    )


def _result(said: str, *, passed: bool, **metadata: int) -> dg.AssetCheckResult:
    return dg.AssetCheckResult(
        passed=passed, severity=dg.AssetCheckSeverity.ERROR, description=said, metadata=metadata
    )
