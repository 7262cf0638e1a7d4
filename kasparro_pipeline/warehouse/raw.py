"""Stores documents and raw records (P1, P7), and finds them again. The payload is never looked into here.

How records lie in the table is in `raw_batches`.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta
from operator import itemgetter
from typing import Any

from psycopg.types.json import Jsonb

from kasparro_pipeline.extract.documents import (
    Batch,
    Cursor,
    Document,
    KnownDocument,
    PartialDocument,
)
from kasparro_pipeline.warehouse import checkpoints, ledger, raw_batches
from kasparro_pipeline.warehouse.ledger import Connection, Hold
from kasparro_pipeline.warehouse.raw_batches import StoredRecords
from kasparro_pipeline.warehouse.tables import SCHEMA


@dataclass(frozen=True, slots=True)
class StoredBatch:
    """Raw records of one document, in order, with what is needed to read them."""

    document_id: int
    layout: Mapping[str, Any]
    context: Mapping[str, Any]
    records: StoredRecords


def store(
    connection: Connection,
    hold: Hold,
    batch: Batch,
    *,
    profile: Mapping[str, Any] | None,
    source_cursor: Cursor | None,
    lookback_window: timedelta | None,
) -> dict[str, int]:
    """Commit a batch: document, raw records, cursor and counts in one transaction (P4).

    `profile` describes all records of the document so far. `source_cursor` is given with the last batch of an
    incremental extraction. A document whose location already holds the same bytes is a no-op.

    Returns:
        What was added to the run's counts.

    Raises:
        HoldLostError: another run took the partition over; nothing of the batch is kept.
        RepeatedRecordError: one of its records is stored already; nothing of the batch is kept.
    """
    with connection.transaction():
        ledger.require_hold(connection, hold)
        if batch.document is None or is_loaded(connection, hold.source, batch.document):
            counts = {"documents_unchanged": 1}
        else:
            counts = _store_records(connection, hold, batch.document, batch, profile)
        checkpoints.save_cursor(connection, hold, None if batch.done else batch.cursor)
        if batch.done and source_cursor is not None:
            checkpoints.save_source_cursor(connection, hold, source_cursor, lookback_window)
        ledger.add_counts(connection, hold, counts)
    return counts


def is_loaded(connection: Connection, source: str, document: Document) -> bool:
    """Whether the newest stored document of the location has the same bytes.

    Only the newest counts: an upstream that goes A, B, A delivers A twice, and the second one is news (P3).
    """
    known = known_document(connection, source, document.location)
    return known is not None and known.sha256 == document.sha256 and known.read_as(document)


def known_document(connection: Connection, source: str, location: str) -> KnownDocument | None:
    """The newest wholly stored document of a location."""
    row = connection.execute(
        f"select id, sha256, record_count, headers, layout, context from {SCHEMA}.document"
        " where source = %s and location = %s and loaded_at is not null order by id desc limit 1",
        (source, location),
    ).fetchone()
    return KnownDocument(row[0], bytes(row[1]), *row[2:]) if row else None


def partial_document(connection: Connection, source: str, location: str) -> PartialDocument | None:
    """The location's newest document, if an extraction of it was interrupted."""
    row = connection.execute(
        f"select id, sha256, profile, loaded_at from {SCHEMA}.document"
        " where source = %s and location = %s order by id desc limit 1",
        (source, location),
    ).fetchone()
    if row is None or row[3] is not None:
        return None
    stored = raw_batches.next_position(connection, row[0])
    return PartialDocument(bytes(row[1]), stored, row[2]) if stored else None


def newest_profiles(
    connection: Connection, source: str, partition_key: str, asked_for: Callable[[str], str]
) -> list[tuple[int, Mapping[str, Any]]]:
    """Each location's newest document in a partition, with its profile.

    Only of locations that ask for the same as that of the newest document: `asked_for` tells what a location
    asks for, where that moves from run to run. A partition without documents of its own found the upstream
    unchanged: what came in the newest partition before it still holds.
    """
    rows = connection.execute(
        f"select distinct on (location) id, location, profile from {SCHEMA}.document"
        " where source = %(source)s"
        f" and partition_key = (select max(partition_key) from {SCHEMA}.document where source = %(source)s"
        " and partition_key <= %(partition_key)s and loaded_at is not null)"
        " and loaded_at is not null order by location, id desc",
        {"source": source, "partition_key": partition_key},
    ).fetchall()
    newest = asked_for(max(rows, key=itemgetter(0))[1]) if rows else None
    return [
        (document, profile)
        for document, location, profile in rows
        if profile is not None and asked_for(location) == newest
    ]


def batches(connection: Connection, hold: Hold, *, after: int, size: int) -> Iterator[StoredBatch]:
    """The partition's raw records behind raw id `after`, in order of arrival.

    A batch holds records of one document, cut at multiples of `size` positions wherever it starts, so that
    the same records fall into the same batch each time.
    """
    documents = connection.execute(
        f"select d.id, d.layout, d.context from {SCHEMA}.document d"
        " where d.source = %s and d.partition_key = %s and ("
        # ids rise with the position: the last record tells whether any of the document is left
        f" select b.first_id + b.records - 1 from {SCHEMA}.raw_batch b where b.document_id = d.id"
        " order by b.first_position desc limit 1"
        ") > %s order by d.id",
        (hold.source, hold.partition_key, after),
    ).fetchall()
    for document_id, layout, context in documents:
        first = raw_batches.position_behind(connection, document_id, after) or 0
        start: int | None = first // size * size
        while start is not None:
            records = raw_batches.between(connection, document_id, start, start + size)
            if records:
                yield StoredBatch(document_id, layout, context, records)
            start = start + size if len(records) == size else None


def _store_records(
    connection: Connection, hold: Hold, document: Document, batch: Batch, profile: Mapping[str, Any] | None
) -> dict[str, int]:
    document_id, is_new = _open_document(connection, hold, document)
    last = raw_batches.append(connection, document_id, batch.records)
    if last is not None:
        checkpoints.save_raw(connection, hold, last)
    connection.execute(
        f"update {SCHEMA}.document set profile = %(profile)s, record_count = %(records)s,"
        " loaded_at = case when %(complete)s then now() end where id = %(id)s",
        {
            "id": document_id,
            "complete": batch.complete,
            "records": raw_batches.next_position(connection, document_id) if batch.complete else None,
            "profile": Jsonb(profile) if profile else None,
        },
    )
    return {
        "documents": int(batch.complete),
        "bytes": document.byte_count if is_new else 0,
        "extracted": len(batch.records),
    }


def _open_document(connection: Connection, hold: Hold, document: Document) -> tuple[int, bool]:
    """The row of a document under way, or a new one; and whether it is new."""
    row = connection.execute(
        f"select id, sha256, loaded_at, partition_key from {SCHEMA}.document"
        " where source = %s and location = %s order by id desc limit 1",
        (hold.source, document.location),
    ).fetchone()
    if row and row[2] is None and bytes(row[1]) == document.sha256 and row[3] == hold.partition_key:
        return row[0], False
    new = connection.execute(
        f"insert into {SCHEMA}.document (source, partition_key, run_id, location, context, layout, headers,"
        " byte_count, sha256, fetched_at) values (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s) returning id",
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
        ),
    ).fetchone()
    assert new is not None  # noqa: S101 - `returning` returns a row
    return new[0], True
