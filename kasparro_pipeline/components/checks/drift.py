"""The check on raw: what came in a partition against the committed contract, and the contract that would fit.

It judges the newest document of each location of the partition, so it is red as long as what came last does
not fit, and green at once when it does.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import dagster as dg

from kasparro_pipeline.components.checks.check import Check, Look, check
from kasparro_pipeline.components.checks.tables import table
from kasparro_pipeline.components.profiling import newest_profiles
from kasparro_pipeline.components.source import Source
from kasparro_pipeline.contract import contract_file
from kasparro_pipeline.contract.compatibility import MEANINGS, compatibility
from kasparro_pipeline.contract.drift import Drift, Example, compare
from kasparro_pipeline.contract.profile import Profile
from kasparro_pipeline.contract.proposal import propose
from kasparro_pipeline.contract.sketch import shown
from kasparro_pipeline.warehouse import drift as store
from kasparro_pipeline.warehouse import ledger
from kasparro_pipeline.warehouse.ledger import Connection

SHOWN = 100
"""Changes that the check's table lists; drift_event has all."""
MAX_PATH = 200
"""Characters of a field's path as shown and stored: an index entry takes 2,704 bytes at most."""

RawIds = Mapping[tuple[int, int], int]


def schema_drift(source: Source) -> Check:
    """What came in a partition against the contract of the source."""
    return check(
        source,
        "raw",
        "schema_drift",
        _judge,
        blocking=True,
        description="What came, all of it, against the committed contract: fields added, removed, renamed, of"
        " another type or format, without a value, with new values, or far too large.",
    )


def _judge(source: Source, look: Look) -> dg.AssetCheckResult:
    connection, run_id, partition = look.connection, look.run_id, look.partition_key
    profile, drifts = _look(connection, source, partition)
    raw_ids = store.raw_ids(connection, _places(drifts))
    word = compatibility(source.contract, profile, drifts)
    compatible = f"{word}: {MEANINGS[word]}"
    proposal = _propose(source, profile, drifts)
    store.record(connection, source.name, partition, run_id, [_event(drift, raw_ids) for drift in drifts])
    store.keep_verdict(
        connection,
        source.name,
        store.Verdict(
            partition,
            run_id,
            len(drifts),
            compatible,
            hashlib.sha256(proposal.base.encode()).digest() if proposal.proposed else None,
            proposal.proposed,
            "\n".join(proposal.left),
            datetime.now(UTC),
        ),
    )
    frozen = [drift for drift in drifts if drift.mode == "freeze"]
    if frozen:
        ledger.fail(connection, run_id, source.name, f"schema_drift: {_summary(frozen)}")
    return dg.AssetCheckResult(
        passed=not drifts,
        severity=dg.AssetCheckSeverity.ERROR if frozen else dg.AssetCheckSeverity.WARN,
        description=_summary(drifts) if drifts else "what came is what the contract promises",
        metadata=_metadata(source.name, profile, drifts, raw_ids, compatible, proposal),
    )


@dataclass(frozen=True, slots=True)
class _Proposed:
    """A file and what it would become; `left` says what no change of it puts right."""

    base: str = ""
    proposed: str | None = None
    difference: str = ""
    left: Sequence[str] = ()


def _look(connection: Connection, source: Source, partition_key: str) -> tuple[Profile, list[Drift]]:
    documents = newest_profiles(connection, source.name, partition_key, source.asked_for)
    profile = Profile.of(documents)
    drifts = compare(source.contract, profile)
    gone = [drift.field for drift in drifts if drift.change in {"removed", "renamed"}]
    if gone and any(drift.change in {"added", "renamed"} for drift in drifts):
        earlier = store.earlier_profiles(connection, source.name, gone, [number for number, _ in documents])
        drifts = compare(source.contract, profile, Profile.of(earlier))
    return profile, drifts


def _propose(source: Source, profile: Profile, drifts: Sequence[Drift]) -> _Proposed:
    if not drifts:
        return _Proposed()
    base, reason = _file_of(source)
    proposal = propose(source.contract, profile, drifts)
    if reason or not proposal:
        return _Proposed(left=[reason] if reason else proposal.left)
    try:
        after = contract_file.changed(base, proposal)
        stays = compare(contract_file.contract_in(after), profile)
    except ValueError as error:  # what no rule of the proposal foresaw: the check itself must not fail
        return _Proposed(left=[*proposal.left, f"the contract that would fit is not valid: {error}"])
    left = [*proposal.left, *(f"{one.field} {one.change}: stays" for one in stays)]
    name = f"kasparro_pipeline/defs/{source.name}/defs.yaml"
    return _Proposed(base, after, contract_file.difference(base, after, name), left)


def _file_of(source: Source) -> tuple[str, str]:
    """The text of the source's `defs.yaml`; why it cannot be changed here, if so."""
    if source.defs_file is None:
        return "", "the source was not loaded from a defs.yaml"
    base = source.defs_file.read_text("utf-8")
    try:
        if contract_file.contract_in(base).digest() != source.contract.digest():
            return base, "defs.yaml has changed since it was loaded; reload the code location"
    except ValueError as error:
        return base, f"defs.yaml cannot be changed here: {error}"
    return base, ""


def _metadata(
    name: str,
    profile: Profile,
    drifts: Sequence[Drift],
    raw_ids: RawIds,
    compatible: str,
    proposal: _Proposed,
) -> dict[str, Any]:
    metadata: dict[str, Any] = {
        "records": profile.records,
        "changes": len(drifts),
        "compatibility": compatible,
        "drift": table([_row(drift, raw_ids) for drift in drifts[:SHOWN]]),
    }
    lines = [f"- {sentence}" for sentence in proposal.left]
    if proposal.proposed is not None:
        lines = [
            f"```diff\n{proposal.difference}```",
            f"`kasparro contract accept {name}` applies it.",
            *lines,
        ]
    if lines:
        metadata["proposed_contract"] = dg.MetadataValue.md("\n\n".join(lines))
    return metadata


def _facts(drift: Drift) -> dict[str, Any]:
    """What the table and the stored event say alike."""
    return {
        "change": drift.change,
        "field": shown(drift.field, MAX_PATH),
        "mode": drift.mode,
        "expected": drift.expected,
        "found": drift.found,
        "records": drift.records,
    }


def _row(drift: Drift, raw_ids: RawIds) -> dict[str, str | int | float | None]:
    first = drift.examples[0] if drift.examples else Example(None)
    return _facts(drift) | {
        "share": float(drift.share),
        "confidence": None if drift.confidence is None else float(drift.confidence),
        "example": first.value,
        "raw_id": _raw_id(first, raw_ids),
    }


def _event(drift: Drift, raw_ids: RawIds) -> dict[str, object]:
    return _facts(drift) | {
        "share": str(drift.share),
        "confidence": None if drift.confidence is None else str(drift.confidence),
        "examples": [{"value": one.value, "raw_id": _raw_id(one, raw_ids)} for one in drift.examples],
    }


def _places(drifts: Sequence[Drift]) -> list[tuple[int, int]]:
    return [
        (one.document, one.position)
        for drift in drifts
        for one in drift.examples
        if one.document is not None and one.position is not None
    ]


def _raw_id(example: Example, raw_ids: RawIds) -> int | None:
    if example.document is None or example.position is None:
        return None
    return raw_ids.get((example.document, example.position))


def _summary(drifts: Sequence[Drift]) -> str:
    told = [_sentence(drift) for drift in drifts[:SHOWN]]
    more = [f"and {len(drifts) - SHOWN:,} more"] if len(drifts) > SHOWN else []
    return "; ".join(told + more)


def _sentence(drift: Drift) -> str:
    field = shown(drift.field, MAX_PATH)
    if drift.change == "renamed":
        return f"{field} renamed to {drift.found}? (confidence {drift.confidence})"
    if drift.expected is None or drift.found is None:
        return f"{field} {drift.change}"
    return f"{field} {drift.change} (promised {drift.expected}, found {drift.found})"
