"""Reads a partition's raw records again, in the batches that validation takes. What they say is not read."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from kasparro_pipeline.warehouse import raw_batches
from kasparro_pipeline.warehouse.ledger import Connection, Hold
from kasparro_pipeline.warehouse.raw_batches import Piece, StoredRecords
from kasparro_pipeline.warehouse.tables import SCHEMA

PACKED_AT_ONCE = 16
"""Rows of up to a megabyte that are fetched together."""
MOST_BYTES = 8 * 1024 * 1024
"""Payload of a batch; a larger record is one by itself. Who validates it holds some six times as much."""


@dataclass(frozen=True, slots=True)
class StoredBatch:
    """Raw records of a partition, in order, with what is needed to read them, alike for their documents."""

    layout: Mapping[str, Any]
    context: Mapping[str, Any]
    records: StoredRecords


@dataclass(frozen=True, slots=True)
class PackedRecords:
    """Records of a document that follow each other, as they lie in a row: see `raw_batches`."""

    first_id: int
    ends: Sequence[int]
    payloads: bytes


def packed(connection: Connection, document_id: int, *, after: int, through: int) -> Iterator[PackedRecords]:
    """The rows of a document that begin behind raw id `after` and not behind `through`, in their order."""
    while rows := connection.execute(
        f"select first_id, ends, payloads from {SCHEMA}.raw_batch"
        " where document_id = %s and first_id > %s and first_id <= %s order by first_position limit %s",
        (document_id, after, through, PACKED_AT_ONCE),
        binary=True,
    ).fetchall():
        for row in rows:
            yield PackedRecords(*row)
        after = rows[-1][0]


def batches(connection: Connection, hold: Hold, *, after: int, size: int) -> Iterator[StoredBatch]:
    """The partition's raw records behind raw id `after`, in order of arrival, at most `size` at a time.

    A document is cut behind each `size` of its own records, and within these where they have more than
    MOST_BYTES, wherever its reading starts, so that the same ones fall into the same batch each time: which
    of two with one key wins is decided within it. Small documents that follow each other share a batch.
    """
    pieces: list[Piece] = []
    alike: tuple[Mapping[str, Any], Mapping[str, Any]] = ({}, {})
    total = 0
    for layout, context, piece, payload in _pieces(connection, hold, after, size):
        if pieces and (
            alike != (layout, context)
            or pieces[-1].document_id == piece.document_id
            or sum(map(len, pieces)) + len(piece) > size
            or total + payload > MOST_BYTES
        ):
            yield from _batch(connection, alike, pieces)
            pieces, total = [], 0
        pieces.append(piece)
        total += payload
        alike = layout, context
    if pieces:
        yield from _batch(connection, alike, pieces)


def _batch(
    connection: Connection, alike: tuple[Mapping[str, Any], Mapping[str, Any]], pieces: Sequence[Piece]
) -> Iterator[StoredBatch]:
    """The batch of some pieces; none if all records there are repeated ones."""
    found = raw_batches.read(connection, pieces)
    if found:
        yield StoredBatch(*alike, found)


def count(connection: Connection, hold: Hold, *, after: int) -> int:
    """How many raw records the partition has behind raw id `after`, about: whole rows are counted."""
    row = connection.execute(
        f"select coalesce(sum(b.records), 0)::bigint from {SCHEMA}.document d"
        f" join {SCHEMA}.raw_batch b on b.document_id = d.id"
        " where d.source = %s and d.partition_key = %s and b.first_id + b.records > %s::bigint + 1",
        (hold.source, hold.partition_key, after),
    ).fetchone()
    return row[0] if row else 0


def documents(connection: Connection, hold: Hold, *, after: int) -> set[int]:
    """The documents of the partition that have raw records behind raw id `after`."""
    rows = connection.execute(
        f"select d.id from {SCHEMA}.document d where d.source = %s and d.partition_key = %s"
        f" and exists (select from {SCHEMA}.raw_batch b where b.document_id = d.id"
        " and b.first_id + b.records > %s::bigint + 1)",
        (hold.source, hold.partition_key, after),
    ).fetchall()
    return {row[0] for row in rows}


def positions(connection: Connection, raw_ids: Sequence[int]) -> dict[int, int]:
    """Where in their document some raw records are, by raw id."""
    rows = connection.execute(
        "select x.id, b.first_position + (x.id - b.first_id)::int from unnest(%s::bigint[]) as x (id)"
        f" cross join lateral (select first_id, first_position from {SCHEMA}.raw_batch"
        " where first_id <= x.id order by first_id desc limit 1) b",
        (list(raw_ids),),
    ).fetchall()
    return dict(rows)


def _pieces(
    connection: Connection, hold: Hold, after: int, size: int
) -> Iterator[tuple[Mapping[str, Any], Mapping[str, Any], Piece, int]]:
    """The documents of the partition that are not taken up yet, cut; and the bytes of each piece, at most."""
    for layout, context, document_id, start, stop, payload in connection.execute(
        "select d.layout, d.context, d.id, cut.start, cut.stop, cut.payload"
        f" from {SCHEMA}.document d cross join lateral ("
        " select min(b.position + greatest(n * %(size)s - b.before, 0)) as start,"
        " max(b.position + least((n + 1) * %(size)s - b.before, b.records)) as stop,"
        # a row that two pieces share counts for both: then one looks closer, in vain
        " sum(b.payload)::bigint as payload,"
        # ids rise with the position
        " max(b.first_id + least((n + 1) * %(size)s - b.before, b.records) - 1) as last_id"
        " from (select first_id, first_position as position, records, octet_length(payloads) as payload,"
        " sum(records) over (order by first_position) - records as before"
        f" from {SCHEMA}.raw_batch where document_id = d.id) b"
        " cross join generate_series(b.before / %(size)s, (b.before + b.records - 1) / %(size)s) n"
        " group by n) cut"
        " where d.source = %(source)s and d.partition_key = %(partition_key)s and cut.last_id > %(after)s"
        " order by d.id, cut.start",
        {"source": hold.source, "partition_key": hold.partition_key, "after": after, "size": size},
    ).fetchall():
        piece = Piece(document_id, start, stop)
        if payload <= MOST_BYTES:
            yield layout, context, piece, payload
            continue
        for part, last_id, part_payload in _parts(connection, piece):
            if last_id > after:
                yield layout, context, part, part_payload


def _parts(connection: Connection, piece: Piece) -> Iterator[tuple[Piece, int, int]]:
    """A piece, cut where it has more than MOST_BYTES: each part, its last raw id, and its bytes."""
    begin, last_id, total = piece.start, 0, 0
    for first_id, first_position, ends in raw_batches.ends(connection, piece):
        for number, (before, end) in enumerate(pairwise([0, *ends])):
            position = first_position + number
            if not piece.start <= position < piece.stop:
                continue
            if total and total + end - before > MOST_BYTES:
                yield Piece(piece.document_id, begin, position), last_id, total
                begin, total = position, 0
            last_id, total = first_id + number, total + end - before
    yield Piece(piece.document_id, begin, piece.stop), last_id, total
