"""Rows of whole documents: many looked up at once, many written at once. What they hold is not known here."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from psycopg.types.json import Jsonb

from kasparro_pipeline.extract.documents import Batch, Document, KnownDocument, behind_last
from kasparro_pipeline.warehouse.ledger import Connection, Hold
from kasparro_pipeline.warehouse.tables import SCHEMA


def newest(
    connection: Connection, source: str, locations: Collection[str]
) -> dict[str, KnownDocument | None]:
    """The newest document of each location that has one; None for one that is not wholly stored."""
    rows = connection.execute(
        "select n.* from unnest(%s::text[]) as l (location) cross join lateral ("
        " select d.location, d.loaded_at is not null, d.id, d.sha256, d.record_count, d.headers, d.layout,"
        f" d.context from {SCHEMA}.document d where d.source = %s and d.location = l.location"
        " order by d.id desc limit 1) n",
        (list(locations), source),
    ).fetchall()
    return {
        location: KnownDocument(id_, bytes(sha256), *rest) if is_loaded else None
        for location, is_loaded, id_, sha256, *rest in rows
    }


def insert(
    connection: Connection, hold: Hold, batches: Sequence[Batch], profile: Mapping[str, Any]
) -> list[int]:
    """Rows for the documents of batches that hold all of their records, with the profile of them together.

    Returns:
        Their ids, which rise in the order of the batches.
    """
    rows = connection.execute(
        f"select nextval(pg_get_serial_sequence('{SCHEMA}.document', 'id')) from generate_series(1, %s)",
        (len(batches),),
    ).fetchall()
    ids = sorted(row[0] for row in rows)
    connection.execute(
        f"insert into {SCHEMA}.document (id, source, partition_key, run_id, location, context, layout,"
        " headers, byte_count, sha256, fetched_at, record_count, loaded_at, profile, profiled_from)"
        " overriding system value"
        " select id, %(source)s, %(partition_key)s, %(run_id)s, location, context, layout, headers,"
        " byte_count, decode(sha256, 'hex'), fetched_at, record_count, now(),"
        " case when id = %(last)s then %(profile)s end, case when id = %(last)s then %(first)s end"
        " from jsonb_to_recordset(%(rows)s) as d (id bigint, location text, context jsonb, layout jsonb,"
        " headers jsonb, byte_count bigint, sha256 text, fetched_at timestamptz, record_count int)",
        {
            "source": hold.source,
            "partition_key": hold.partition_key,
            "run_id": hold.run_id,
            "rows": Jsonb(
                [_row(id_, batch.document, batch) for id_, batch in zip(ids, batches, strict=True)]
            ),
            "profile": Jsonb(profile),
            "first": ids[0],
            "last": ids[-1],
        },
    )
    return ids


def _row(id_: int, document: Document | None, batch: Batch) -> dict[str, Any]:
    assert document is not None  # noqa: S101 - only batches of documents are stored
    return {
        "id": id_,
        "location": document.location,
        "context": dict(document.context),
        "layout": dict(document.layout),
        "headers": dict(document.headers),
        "byte_count": document.byte_count,
        "sha256": document.sha256.hex(),
        "fetched_at": document.fetched_at.isoformat(),
        "record_count": behind_last(batch.records) if batch.records else 0,
    }
