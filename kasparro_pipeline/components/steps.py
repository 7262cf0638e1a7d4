"""The three steps of a source as plain functions: extract to raw, validate raw, merge validated.

They join extract, contract and warehouse; each row passes through once. What Dagster makes of them (assets,
metadata, retries) belongs to `assets`.
"""

import gc
import logging
from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager, nullcontext
from dataclasses import asdict
from functools import partial

from kasparro_pipeline.components.ahead import ahead
from kasparro_pipeline.components.comparison import Comparison
from kasparro_pipeline.components.grouping import Group, together
from kasparro_pipeline.components.parts import parts_of
from kasparro_pipeline.components.row_lines import RowLines
from kasparro_pipeline.components.source import Extraction
from kasparro_pipeline.contract.judging import Judge, Judged, compile_judge
from kasparro_pipeline.contract.spec import Contract
from kasparro_pipeline.contract.validation import NO_VERSION, Reason, winners
from kasparro_pipeline.extract import records
from kasparro_pipeline.warehouse import (
    checkpoints,
    contracts,
    deletions,
    filling,
    ledger,
    raw,
    raw_reader,
    rejected,
    unified,
    validated,
)
from kasparro_pipeline.warehouse.contracts import ContractVersion
from kasparro_pipeline.warehouse.deletions import Rules
from kasparro_pipeline.warehouse.errors import ReplayRefusedError
from kasparro_pipeline.warehouse.ledger import Connection, Hold
from kasparro_pipeline.warehouse.raw_reader import StoredBatch
from kasparro_pipeline.warehouse.snapshots import Taking
from kasparro_pipeline.warehouse.validated import Outcomes, RejectedRecord, ValidatedRecords

BATCH_SIZE = 10_000
"""Records that are validated in one transaction."""
MERGE_SIZE = 1_000_000
"""Records that are merged in one transaction: of equal keys among them only one is written."""
STORED_TOGETHER = 5_000
"""Records of small documents that are stored in one transaction, if they are there at once."""
NAMED = 5
"""Partitions or documents that a message names."""

COLLECTION = (50_000, 10, 10)
"""Of Python's search for garbage: how many new objects begin one, and how often older ones are looked at."""

logger = logging.getLogger(__name__)


@contextmanager
def _young_garbage_only() -> Iterator[None]:
    """Spare Python the search for garbage among all that was there before: records would begin it often."""
    thresholds = gc.get_threshold()
    gc.freeze()
    gc.set_threshold(*COLLECTION)
    try:
        yield
    finally:
        gc.set_threshold(*thresholds)
        gc.unfreeze()


@_young_garbage_only()
def extract_to_raw(
    connection: Connection,
    hold: Hold,
    extraction: Extraction,
    *,
    taking: Taking | None = None,
    comparison: Comparison | None = None,
) -> None:
    """Store every batch of an extraction as it comes (P1, P4).

    If the extraction can be stopped, batches are asked for while others are stored: behind the first, that
    uses nothing of `connection`. `taking` is the snapshot that the batches make up together. With a
    `comparison`, records of a document that the one before it brought already are not stored again.
    """
    store = partial(_store, connection, hold, extraction=extraction, taking=taking)
    with ExitStack() as stack:
        parts = stack.enter_context(closing(parts_of(connection, hold, extraction, comparison)))
        groups = stack.enter_context(closing(together(parts, STORED_TOGETHER)))
        if extraction.stop is not None:
            groups = stack.enter_context(closing(ahead(groups, extraction.stop)))
        for group in groups:
            store(group)


def _store(
    connection: Connection,
    hold: Hold,
    group: Group,
    *,
    extraction: Extraction,
    taking: Taking | None,
) -> None:
    last = group.parts[-1].batch
    counts = raw.store_together(
        connection,
        hold,
        group.parts,
        source_cursor=last.cursor if last.done and extraction.incremental else None,
        lookback_window=extraction.lookback_window,
        taking=taking,
        shared=group.shared,
    )
    documents = [part.batch.document for part in group.parts]
    logger.info(
        "%s: %s",
        _named(document.location if document else "not modified" for document in documents),
        ", ".join(f"{name} {count}" for name, count in counts.items() if count) or "nothing new",
    )


@_young_garbage_only()
def validate_raw(
    connection: Connection,
    hold: Hold,
    contract: Contract,
    *,
    whole: bool,
    another: Callable[[], AbstractContextManager[Connection]] | None = None,
) -> None:
    """Give each raw record of the partition its outcome (P2).

    Takes up what has none yet; all of it if `whole`, or if the contract changed since. Where there are many,
    and `another` connection to be had, the next ones are read and judged while the outcomes of others are
    stored.
    """
    version = _register(connection, hold, contract)
    progress = checkpoints.progress(connection, hold)
    if whole or progress.contract_version not in (None, version.number):
        checkpoints.restart(connection, hold)
        progress = checkpoints.progress(connection, hold)
    after, judge = progress.validated_through, compile_judge(contract)

    def judged(reader: Connection) -> Iterator[tuple[StoredBatch, Outcomes]]:
        lines = RowLines(reader)
        for batch in raw_reader.batches(reader, hold, after=after, size=BATCH_SIZE):
            yield batch, validated.prepare(hold, version, contract.kind, *_judge(batch, judge, lines))

    with ExitStack() as stack:
        found = judged(connection)
        if another and raw_reader.count(connection, hold, after=after) > BATCH_SIZE:
            reader = stack.enter_context(another())
            # closed before the connection is, which its thread may be reading from
            found = stack.enter_context(closing(ahead(judged(reader))))
        for batch, outcomes in found:
            through = batch.records.raw_ids[-1]
            counts = validated.store(connection, hold, version, outcomes, through=through)
            _log(batch, counts)


def merge_validated(
    connection: Connection, hold: Hold, *, whole: bool, snapshots: Rules | None = None
) -> None:
    """Merge the partition's validated records that are not merged yet; all of them if `whole`.

    Of a snapshot source, merge and deletion are one transaction: readers see the snapshot as a whole.
    """
    progress = checkpoints.progress(connection, hold)
    start = 0 if whole else progress.unified_through
    if start == 0:
        ledger.reset_counts(connection, hold, "inserted", "updated", "unchanged", "stale", "deleted")
    filling.repair(connection)
    fills = not (snapshots and whole)  # it commits by itself: what has been judged would live until the end
    through: int | None = (unified.fill(connection, hold, after=start) if fills else None) or start
    with connection.transaction() if snapshots else nullcontext():
        if snapshots:
            deletions.lock(connection, hold.source)
        while through is not None:
            through = unified.merge_next(
                connection, hold, after=through, size=MERGE_SIZE, of_snapshots=snapshots is not None
            )
        if progress.unified_contract_version != progress.contract_version and (
            progress.unified_contract_version is not None or contracts.has_changed(connection, hold.source)
        ):
            unified.withdraw_invalid(connection, hold)
        if snapshots:
            ledger.require_hold(connection, hold)
            deletions.settle(connection, hold, snapshots, raw_reader.documents(connection, hold, after=start))
        checkpoints.finish_unified(connection, hold, progress.contract_version)


@_young_garbage_only()
def replay_rejected(
    connection: Connection, hold: Hold, contract: Contract, snapshots: Rules | None = None
) -> None:
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
    judge, lines = compile_judge(contract), RowLines(connection)
    for batch in rejected.batches(connection, hold, size=BATCH_SIZE):
        outcomes = validated.prepare(hold, version, contract.kind, *_judge(batch, judge, lines))
        with connection.transaction():
            if snapshots:
                deletions.lock(connection, hold.source)
            counts = validated.store(connection, hold, version, outcomes, through=None)
            unified.merge_given(connection, hold, outcomes.raw_ids, of_snapshots=snapshots is not None)
            if snapshots:
                deletions.settle(connection, hold, snapshots, set(batch.records.document_ids))
        _log(batch, counts)


def _register(connection: Connection, hold: Hold, contract: Contract) -> ContractVersion:
    return contracts.register(
        connection,
        hold,
        digest=contract.digest(),
        contract=contract.as_json(),
        version_rule=contract.version_rule(),
    )


def _judge(
    batch: StoredBatch, judge: Judge, lines: RowLines
) -> tuple[ValidatedRecords, list[RejectedRecord]]:
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
        lines.told(batch, refused),
    )


def _superseded(documents: Sequence[int], raw_ids: Sequence[int], judged: Judged) -> Sequence[int | None]:
    """Of each record the one that replaces it: of equal keys in one document and batch one wins."""
    one = len(set(documents)) <= 1
    keys: Sequence[Hashable] = (
        judged.source_ids if one else list(zip(documents, judged.source_ids, strict=True))
    )
    if len(set(keys)) == len(keys):
        return (None,) * len(keys)
    counts = Counter(keys)
    repeated = [index for index, key in enumerate(keys) if counts[key] > 1]
    versions = judged.versions or (NO_VERSION,) * len(keys)
    winner = winners((raw_ids[index], keys[index], versions[index]) for index in repeated)
    superseded: list[int | None] = [None] * len(keys)
    for index in repeated:
        if (won := winner[keys[index]]) != raw_ids[index]:
            superseded[index] = won
    return superseded


def _log(batch: StoredBatch, counts: Mapping[str, int]) -> None:
    named = _named(map(str, sorted(set(batch.records.document_ids))))
    logger.info("document %s: %s", named, ", ".join(f"{name} {count}" for name, count in counts.items()))


def _named(names: Iterable[str]) -> str:
    some = list(names)
    return ", ".join(some[:NAMED]) + (" …" if len(some) > NAMED else "")
