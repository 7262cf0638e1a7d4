"""The three steps of a source as plain functions: extract to raw, validate raw, merge validated.

They join extract, contract and warehouse; each row passes through once. What Dagster makes of them (assets,
metadata, retries) belongs to `assets`.
"""

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from datetime import timedelta

from kasparro_pipeline.contract.judging import Judge, Judged, compile_judge
from kasparro_pipeline.contract.profile import Profile
from kasparro_pipeline.contract.spec import Contract
from kasparro_pipeline.contract.validation import NO_VERSION, Reason, winners
from kasparro_pipeline.extract import records
from kasparro_pipeline.extract.documents import Batch, RawRecord, Rows
from kasparro_pipeline.warehouse import (
    checkpoints,
    contracts,
    filling,
    ledger,
    raw,
    raw_reader,
    rejected,
    unified,
    validated,
)
from kasparro_pipeline.warehouse.contracts import ContractVersion
from kasparro_pipeline.warehouse.errors import ReplayRefusedError
from kasparro_pipeline.warehouse.ledger import Connection, Hold
from kasparro_pipeline.warehouse.raw import Part
from kasparro_pipeline.warehouse.raw_reader import StoredBatch
from kasparro_pipeline.warehouse.validated import RejectedRecord, ValidatedRecords

BATCH_SIZE = 20_000
"""Records that are validated or merged in one transaction."""
STORED_TOGETHER = 5_000
"""Records of small documents that are stored in one transaction, if they are there at once."""
NAMED = 5
"""Partitions or documents that a message names."""

logger = logging.getLogger(__name__)


def extract_to_raw(
    connection: Connection,
    hold: Hold,
    batches: Iterable[Batch],
    *,
    incremental: bool,
    lookback_window: timedelta | None = None,
) -> None:
    """Store every batch as it comes (P1, P4).

    `incremental` says that the last batch's cursor is the source's own, where the next extraction starts.
    """
    location, profile = None, Profile()
    parts: list[Part] = []

    def store() -> None:
        together, parts[:] = list(parts), []
        last = together[-1].batch
        counts = raw.store_together(
            connection,
            hold,
            together,
            source_cursor=last.cursor if last.done and incremental else None,
            lookback_window=lookback_window,
        )
        documents = [part.batch.document for part in together]
        logger.info(
            "%s: %s",
            _named(document.location if document else "not modified" for document in documents),
            ", ".join(f"{name} {count}" for name, count in counts.items() if count) or "nothing new",
        )

    try:
        for batch in batches:
            if batch.document is not None and batch.document.location != location:
                location = batch.document.location
                partial = raw.partial_document(connection, hold.source, location)
                resumed = partial is not None and partial.sha256 == batch.document.sha256
                profile = Profile.of([(0, partial.profile)]) if partial is not None and resumed else Profile()
                profile.text_only = batch.document.layout["format"] != "json"
            _observe(profile, batch.records)
            parts.append(Part(batch, profile.as_json()))
            if not batch.more_is_there or sum(len(part.batch.records) for part in parts) >= STORED_TOGETHER:
                store()
    except Exception:
        if parts:
            store()  # what was received before the upstream failed
        raise


def _observe(profile: Profile, found: Sequence[RawRecord]) -> None:
    if isinstance(found, Rows):
        profile.observe_table(found.table, range(found.start, found.start + len(found)))
    else:
        profile.observe([record.value for record in found], [record.position for record in found])


def validate_raw(connection: Connection, hold: Hold, contract: Contract, *, whole: bool) -> None:
    """Give each raw record of the partition its outcome (P2).

    Takes up what has none yet; all of it if `whole`, or if the contract changed since.
    """
    version = _register(connection, hold, contract)
    progress = checkpoints.progress(connection, hold)
    if whole or progress.contract_version not in (None, version.number):
        checkpoints.restart(connection, hold)
        progress = checkpoints.progress(connection, hold)
    judge = compile_judge(contract)
    for batch in raw_reader.batches(connection, hold, after=progress.validated_through, size=BATCH_SIZE):
        kept, refused = _judge(batch, judge)
        counts = validated.store(
            connection,
            hold,
            version,
            contract.kind,
            kept,
            refused,
            through=batch.records.raw_ids[-1],
        )
        _log(batch, counts)


def merge_validated(connection: Connection, hold: Hold, *, whole: bool) -> None:
    """Merge the partition's validated records that are not merged yet; all of them if `whole`."""
    progress = checkpoints.progress(connection, hold)
    start = 0 if whole else progress.unified_through
    if start == 0:
        ledger.reset_counts(connection, hold, "inserted", "updated", "unchanged", "stale", "deleted")
    filling.repair(connection)
    through: int | None = unified.fill(connection, hold, after=start) or start
    while through is not None:
        through = unified.merge_next(connection, hold, after=through, size=BATCH_SIZE)
    if progress.unified_contract_version != progress.contract_version and (
        progress.unified_contract_version is not None or contracts.has_changed(connection, hold.source)
    ):
        unified.withdraw_invalid(connection, hold)
    checkpoints.finish_unified(connection, hold, progress.contract_version)


def replay_rejected(connection: Connection, hold: Hold, contract: Contract) -> None:
    """Validate the partition's rejected records again, under the present contract, and merge what passes.

    What passes is merged by the same rule as ever (P3): it replaces nothing that is newer. What does not
    stays rejected, with its present reasons. Each batch is one transaction.

    Raises:
        ReplayRefusedError: the partition's validation is not complete, or the contract tells versions in
            another way than the one that a partition of the source was validated with: what passes would not
            compare with the records of that one.
    """
    version = _register(connection, hold, contract)
    if checkpoints.is_being_validated(connection, hold):
        raise ReplayRefusedError(
            f"{hold.source} {hold.partition_key}: not all of it is validated yet. Materialize"
            f" validated/{hold.source} and unified/{hold.source} of it, then replay."
        )
    if others := contracts.other_epochs(connection, hold.source, version.epoch):
        shown = ", ".join(others[:NAMED]) + (" …" if len(others) > NAMED else "")
        raise ReplayRefusedError(
            f"{hold.source} {hold.partition_key}: the contract's version rule has changed since {shown} were"
            f" validated. Materialize validated/{hold.source} and unified/{hold.source} of these and of this"
            " partition instead: that takes up every record of them again, and needs no upstream."
        )
    ledger.forget_rejected(connection, hold)  # of an earlier try of this run
    judge = compile_judge(contract)
    for batch in rejected.batches(connection, hold, size=BATCH_SIZE):
        kept, still_rejected = _judge(batch, judge)
        with connection.transaction():
            counts = validated.store(
                connection, hold, version, contract.kind, kept, still_rejected, through=None
            )
            unified.merge_given(connection, hold, kept.raw_ids)
        _log(batch, counts)


def _register(connection: Connection, hold: Hold, contract: Contract) -> ContractVersion:
    return contracts.register(
        connection,
        hold,
        digest=contract.digest(),
        contract=contract.as_json(),
        version_rule=contract.version_rule(),
    )


def _judge(batch: StoredBatch, judge: Judge) -> tuple[ValidatedRecords, list[RejectedRecord]]:
    document_ids, raw_ids = batch.records.document_ids, batch.records.raw_ids
    values, unreadable = records.read_many(batch.records.payloads, batch.layout)
    judged = judge(values, batch.context)
    kept = [raw_ids[index] for index in judged.kept]
    documents = [document_ids[index] for index in judged.kept]
    refused = []
    for index, outcome in judged.rejected:
        reasons = outcome.reasons
        if index in unreadable:
            error = unreadable[index]
            reasons = (Reason("record", error.rule, None, str(error)),)
        reported = [asdict(reason) for reason in reasons]
        refused.append(RejectedRecord(document_ids[index], raw_ids[index], outcome.source_id, reported))
    return (
        ValidatedRecords(
            documents,
            kept,
            judged.source_ids,
            judged.versions,
            judged.columns,
            judged.hashes,
            _superseded(documents, kept, judged),
        ),
        refused,
    )


def _superseded(documents: Sequence[int], raw_ids: Sequence[int], judged: Judged) -> Sequence[int | None]:
    """Of each record the one that replaces it: of equal keys in one document and batch one wins."""
    keys = list(zip(documents, judged.source_ids, strict=True))
    if len(set(keys)) == len(keys):
        return (None,) * len(keys)
    versions = judged.versions or [NO_VERSION] * len(keys)
    winner = winners(zip(raw_ids, keys, versions, strict=True))
    return [None if winner[key] == raw_id else winner[key] for raw_id, key in zip(raw_ids, keys, strict=True)]


def _log(batch: StoredBatch, counts: Mapping[str, int]) -> None:
    named = _named(map(str, sorted(set(batch.records.document_ids))))
    logger.info("document %s: %s", named, ", ".join(f"{name} {count}" for name, count in counts.items()))


def _named(names: Iterable[str]) -> str:
    some = list(names)
    return ", ".join(some[:NAMED]) + (" …" if len(some) > NAMED else "")
