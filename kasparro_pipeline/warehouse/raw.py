"""Stores documents and raw records (P1, P7), and finds them again. The payload is never looked into here.

How records lie in the table is in `raw_batches`.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from psycopg.types.json import Jsonb

from kasparro_pipeline.extract.documents import (
    Batch,
    Cursor,
    Document,
    KnownDocument,
    PartialDocument,
    RawRecord,
    behind_last,
)
from kasparro_pipeline.warehouse import checkpoints, documents, ledger, raw_batches, repeated, snapshots
from kasparro_pipeline.warehouse.ledger import Connection, Hold
from kasparro_pipeline.warehouse.repeated import Base, Stretches
from kasparro_pipeline.warehouse.snapshots import Taking
from kasparro_pipeline.warehouse.tables import SCHEMA


@dataclass(frozen=True, slots=True)
class Part:
    """A batch to be stored. `profile` describes all records of its document so far, unless `Shared` does."""

    batch: Batch
    profile: Mapping[str, Any] | None
    repetition: "Repetition | None" = None
    """None: all its records are stored."""


@dataclass(frozen=True, slots=True)
class Repetition:
    """Which records of a batch are stored, and which repeat those of the base."""

    base: Base
    own: Sequence[RawRecord]
    stretches: Stretches


@dataclass(frozen=True, slots=True)
class Shared:
    """The profile that whole documents have in common which are stored together."""

    profile: Mapping[str, Any]
    """Of all of them, in their order."""
    of: Callable[[Sequence[Batch]], Mapping[str, Any]]
    """Makes that of some of them: not every one that came may be new."""


def store(
    connection: Connection,
    hold: Hold,
    batch: Batch,
    *,
    profile: Mapping[str, Any] | None,
    source_cursor: Cursor | None,
    lookback_window: timedelta | None,
    taking: Taking | None = None,
) -> dict[str, int]:
    """Commit a batch by itself: see `store_together`."""
    return store_together(
        connection,
        hold,
        [Part(batch, profile)],
        source_cursor=source_cursor,
        lookback_window=lookback_window,
        taking=taking,
    )


def store_together(
    connection: Connection,
    hold: Hold,
    parts: Sequence[Part],
    *,
    source_cursor: Cursor | None,
    lookback_window: timedelta | None,
    taking: Taking | None = None,
    shared: Shared | None = None,
) -> dict[str, int]:
    """Commit batches that follow each other: documents, raw records, cursor, counts in one transaction (P4).

    `source_cursor` is given with the last batch of an incremental extraction. A document whose location
    already holds the same bytes is a no-op, as a record is that repeats the base's. `taking` is the snapshot
    that the extraction makes up. `shared` is the profile of parts that have none of their own.

    Returns:
        What was added to the run's counts.

    Raises:
        HoldLostError: another run took the partition over; nothing of the batches is kept.
        RepeatedRecordError: one of the records is stored already; nothing of the batches is kept.
        BaseReplacedError: another run stored records behind the base; nothing of the batches is kept.
    """
    counts: Counter[str] = Counter()
    arrived: list[tuple[int, int, Sequence[RawRecord]]] = []
    with connection.transaction():
        ledger.require_hold(connection, hold)
        opened = _opened_together(connection, hold, parts, shared) if shared else None
        for part, (document_id, stored) in zip(
            parts, opened or _opened_one_by_one(connection, hold, parts, shared), strict=True
        ):
            document = part.batch.document
            if document is None or document_id is None or stored is None:
                counts["documents_unchanged"] += 1
            else:
                own = part.batch.records
                if part.repetition is not None:
                    repeated.require_base(connection, hold, part.repetition.base)
                    repeated.append(connection, document_id, part.repetition.stretches)
                    own = part.repetition.own
                    counts["repeated"] += part.repetition.stretches.records
                arrived.append((document_id, stored, own))
                counts["documents"] += part.batch.complete
                counts["bytes"] += document.byte_count if stored == 0 else 0
                counts["extracted"] += len(own)
            if taking is not None and document_id is not None:
                taking.documents.add(document_id)
        last = raw_batches.append(connection, arrived)
        if last is not None:
            checkpoints.save_raw(connection, hold, last)
        batch = parts[-1].batch
        checkpoints.save_cursor(connection, hold, None if batch.done else batch.cursor)
        if batch.done and source_cursor is not None:
            checkpoints.save_source_cursor(connection, hold, source_cursor, lookback_window)
        if batch.done and taking is not None:
            snapshots.record(connection, hold, taking, batch.doubt)
        ledger.add_counts(connection, hold, counts)
    return counts


Opened = tuple[int | None, int | None]
"""The document that a batch is of, and how many records of it were stored; None: it is there already."""


def _opened_together(
    connection: Connection, hold: Hold, parts: Sequence[Part], shared: Shared
) -> list[Opened] | None:
    """Rows for those of the parts' whole documents that are new, all at once.

    None if one depends on another, or on an interrupted one: then each has to be looked at in its turn.
    """
    locations = [part.batch.document.location for part in parts if part.batch.document]
    newest = documents.newest(connection, hold.source, locations)
    if len(set(locations)) < len(locations) or any(known is None for known in newest.values()):
        return None
    found: list[Opened] = []
    new: list[int] = []
    for part in parts:
        document = part.batch.document
        known = newest.get(document.location) if document else None
        if document is None:
            found.append((part.batch.same_as, None))
        elif known is not None and known.sha256 == document.sha256 and known.read_as(document):
            found.append((known.id, None))
        else:
            new.append(len(found))
            found.append((None, 0))
    batches = [parts[place].batch for place in new]
    if batches:
        profile = shared.profile if len(batches) == len(locations) else shared.of(batches)
        for place, document_id in zip(new, documents.insert(connection, hold, batches, profile), strict=True):
            found[place] = document_id, 0
    return found


def _opened_one_by_one(
    connection: Connection, hold: Hold, parts: Sequence[Part], shared: Shared | None
) -> Iterator[Opened]:
    new = _new_locations(connection, hold.source, parts)
    for part in parts:
        document = part.batch.document
        is_new = document is not None and document.location in new
        document_id = part.batch.same_as
        if document is not None and not is_new:
            document_id = _loaded_as(connection, hold.source, document)
        if document is None or document_id is not None:
            yield document_id, None
        else:
            alone = part
            if part.profile is None and shared is not None:
                alone = Part(part.batch, shared.of([part.batch]))
            yield _open_document(connection, hold, document, alone, is_new=is_new)


def _new_locations(connection: Connection, source: str, parts: Sequence[Part]) -> set[str]:
    """The locations that no document has come from yet, and of which there is one among the parts."""
    counts = Counter(part.batch.document.location for part in parts if part.batch.document)
    known = connection.execute(
        f"select distinct location from {SCHEMA}.document where source = %s and location = any (%s)",
        (source, list(counts)),
    ).fetchall()
    return {location for location, count in counts.items() if count == 1} - {row[0] for row in known}


def has_documents(connection: Connection, source: str) -> bool:
    """Whether anything has ever come from a source."""
    row = connection.execute(
        f"select exists (select from {SCHEMA}.document where source = %s)", (source,)
    ).fetchone()
    return bool(row and row[0])


def _loaded_as(connection: Connection, source: str, document: Document) -> int | None:
    """The newest stored document of the location, if it has the same bytes.

    Only the newest counts: an upstream that goes A, B, A delivers A twice, and the second one is news (P3).
    """
    known = known_document(connection, source, document.location)
    same = known is not None and known.sha256 == document.sha256 and known.read_as(document)
    return known.id if known is not None and same else None


def known_document(connection: Connection, source: str, location: str) -> KnownDocument | None:
    """The newest wholly stored document of a location."""
    row = connection.execute(
        f"select id, sha256, record_count, headers, layout, context from {SCHEMA}.document"
        " where source = %s and location = %s and loaded_at is not null order by id desc limit 1",
        (source, location),
    ).fetchone()
    return KnownDocument(row[0], bytes(row[1]), *row[2:]) if row else None


def newest_documents(
    connection: Connection, source: str, partition_key: str
) -> list[tuple[str, KnownDocument]]:
    """The newest wholly stored document of each location of a partition, by location."""
    rows = connection.execute(
        "select distinct on (location) location, id, sha256, record_count, headers, layout, context"
        f" from {SCHEMA}.document where source = %s and partition_key = %s and loaded_at is not null"
        " order by location, id desc",
        (source, partition_key),
    ).fetchall()
    return [(row[0], KnownDocument(row[1], bytes(row[2]), *row[3:])) for row in rows]


def partial_document(connection: Connection, source: str, location: str) -> PartialDocument | None:
    """The location's newest document, if an extraction of it was interrupted."""
    row = connection.execute(
        f"select id, sha256, profile, loaded_at from {SCHEMA}.document"
        " where source = %s and location = %s order by id desc limit 1",
        (source, location),
    ).fetchone()
    if row is None or row[3] is not None:
        return None
    stored = _next_position(connection, row[0])
    return PartialDocument(row[0], bytes(row[1]), stored, row[2]) if stored else None


def _next_position(connection: Connection, document_id: int) -> int:
    """How many records of a document are stored or repeated: the position behind the last one."""
    return max(
        raw_batches.next_position(connection, document_id), repeated.next_position(connection, document_id)
    )


def _open_document(
    connection: Connection, hold: Hold, document: Document, part: Part, *, is_new: bool
) -> tuple[int, int]:
    """A new row for the document, or that of the one under way; and how many records of it are stored.

    It says already what holds when the batch is stored, which the same transaction does.
    """
    row = None if is_new else _newest(connection, hold.source, document.location)
    records = part.batch.records
    behind = behind_last(records) if records else 0
    profile = Jsonb(part.profile) if part.profile else None
    if row and row[2] is None and bytes(row[1]) == document.sha256 and row[3] == hold.partition_key:
        stored = _next_position(connection, row[0])
        connection.execute(
            f"update {SCHEMA}.document set profile = %(profile)s, record_count = %(records)s,"
            " loaded_at = case when %(complete)s then now() end where id = %(id)s",
            {
                "id": row[0],
                "complete": part.batch.complete,
                "records": max(stored, behind) if part.batch.complete else None,
                "profile": profile,
            },
        )
        return row[0], stored
    made = connection.execute(
        f"insert into {SCHEMA}.document (source, partition_key, run_id, location, context, layout, headers,"
        " byte_count, sha256, fetched_at, profile, record_count, loaded_at)"
        " values (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, case when %s then now() end) returning id",
        (
            hold.source,
            hold.partition_key,
            hold.run_id,
            document.location,
            Jsonb(dict(document.context)),
            Jsonb(dict(document.layout)),
            Jsonb(dict(document.headers)),
            document.byte_count,
            document.sha256,
            document.fetched_at,
            profile,
            behind if part.batch.complete else None,
            part.batch.complete,
        ),
    ).fetchone()
    assert made is not None  # noqa: S101 - `returning` returns a row
    return made[0], 0


def _newest(connection: Connection, source: str, location: str) -> tuple[Any, ...] | None:
    return connection.execute(
        f"select id, sha256, loaded_at, partition_key from {SCHEMA}.document"
        " where source = %s and location = %s order by id desc limit 1",
        (source, location),
    ).fetchone()
