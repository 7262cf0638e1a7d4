"""The checks on what became of a partition's records: each has one outcome (P2), each key stands once."""

import dagster as dg

from kasparro_pipeline.components.checks.check import Check, Look, check
from kasparro_pipeline.components.checks.tables import table
from kasparro_pipeline.components.source import Source
from kasparro_pipeline.warehouse import checks, ledger


def every_record_accounted(source: Source) -> Check:
    """Raw records of a partition against their outcomes."""
    return check(
        source,
        "validated",
        "every_record_accounted",
        _account,
        blocking=True,
        description="Each raw record of the partition is validated, rejected or superseded: exactly one.",
    )


def _account(source: Source, look: Look) -> dg.AssetCheckResult:
    found = look.accounting
    if not found.balanced:
        error = "every_record_accounted: raw records without exactly one outcome"
        ledger.fail(look.connection, look.run_id, source.name, error)
    reasons = checks.rejected_reasons(look.connection, source.name, look.partition_key)
    return dg.AssetCheckResult(
        passed=found.balanced,
        severity=dg.AssetCheckSeverity.ERROR,
        description=f"{found.raw} raw = {found.validated} validated + {found.rejected} rejected"
        f" + {found.superseded} superseded"
        + (f", beside {found.repeated} that an earlier document brought" if found.repeated else "")
        + ("" if found.balanced else ". Materialize validated again from raw to give each its outcome."),
        metadata={
            "raw": found.raw,
            "validated": found.validated,
            "rejected": found.rejected,
            "superseded": found.superseded,
            "repeated": found.repeated,
            "raw_ids_without_outcome": found.without_outcome,
            "raw_ids_with_two_outcomes": found.with_two_outcomes,
            "rejected_by_reason": table(reasons),
        },
    )


def unique_source_id(source: Source) -> Check:
    """No key stands twice in what came."""
    return check(
        source,
        "validated",
        "unique_source_id",
        _unique,
        description="No key stands twice in one document. Where one does, the newest version of it is taken.",
    )


def _unique(source: Source, look: Look) -> dg.AssetCheckResult:
    number, keys = checks.doubled_source_ids(look.connection, source.name, look.partition_key)
    return dg.AssetCheckResult(
        passed=not number,
        severity=dg.AssetCheckSeverity.WARN,
        description=f"{number:,} records are superseded by another one of their key in the same document"
        if number
        else "each key stands once",
        metadata={"duplicates": number, "examples": keys},
    )
