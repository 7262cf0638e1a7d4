"""The quarantine: raw records that failed their contract. What becomes of one is decided by the caller.

A rejected record leaves it when it keeps the contract after all (see `validated.store`).
"""

from collections.abc import Generator, Iterator, Mapping
from contextlib import closing
from typing import Any

from psycopg import Cursor
from psycopg.rows import dict_row

from kasparro_pipeline.warehouse import raw_reader
from kasparro_pipeline.warehouse.ledger import Connection, Hold
from kasparro_pipeline.warehouse.raw_batches import StoredRecords
from kasparro_pipeline.warehouse.raw_reader import StoredBatch
from kasparro_pipeline.warehouse.tables import SCHEMA

EXAMPLES = 20
"""Rejected records that are shown beside their exact number."""


def partitions(connection: Connection, source: str) -> list[str]:
    """The partitions of a source that have rejected records, in order."""
    rows = connection.execute(
        f"select distinct d.partition_key from {SCHEMA}.document d"
        f" join {SCHEMA}.rejected_record x on x.document_id = d.id where d.source = %s order by 1",
        (source,),
    ).fetchall()
    return [row[0] for row in rows]


def count(connection: Connection, source: str, partition_key: str) -> int:
    """How many records of a partition are rejected now."""
    row = connection.execute(
        f"select count(*) from {SCHEMA}.document d"
        f" join {SCHEMA}.rejected_record x on x.document_id = d.id"
        " where d.source = %s and d.partition_key = %s",
        (source, partition_key),
    ).fetchone()
    return row[0] if row else 0


def examples(connection: Connection, source: str, partition_key: str) -> list[dict[str, Any]]:
    """The first rejected records of a partition, one row for each reason: what a person looks at."""
    with connection.cursor(row_factory=dict_row) as cursor:
        return cursor.execute(
            f"""
            select raw_id, source_id, reason->>'field' as field, reason->>'rule' as rule,
                reason->>'value' as value, reason->>'message' as message
            from (
                select x.raw_id, x.source_id, x.reasons from {SCHEMA}.document d
                join {SCHEMA}.rejected_record x on x.document_id = d.id
                where d.source = %s and d.partition_key = %s order by x.raw_id limit {EXAMPLES}
            ) first cross join jsonb_array_elements(reasons) reason
            order by raw_id, field, rule
            """,
            (source, partition_key),
        ).fetchall()


def batches(connection: Connection, hold: Hold, *, size: int) -> Iterator[StoredBatch]:
    """The rejected records of the held partition, at most `size` of one document at a time.

    Fewer where these have more than `raw_reader.MOST_BYTES`, about. Each record comes once, also if it is
    still rejected after its batch.
    """
    documents = connection.execute(
        f"select d.id, d.layout, d.context from {SCHEMA}.document d"
        " where d.source = %s and d.partition_key = %s"
        f" and exists (select from {SCHEMA}.rejected_record x where x.document_id = d.id) order by d.id",
        (hold.source, hold.partition_key),
    ).fetchall()
    for document_id, layout, context in documents:
        after = 0
        while records := _next_records(connection, document_id, after, size):
            yield StoredBatch(layout, context, records)
            after = records.raw_ids[-1]


_NEXT = f"""
with place as (
    select b.first_id, array_agg((x.raw_id - b.first_id)::int order by x.raw_id) as numbers from (
        select raw_id from {SCHEMA}.rejected_record
        where document_id = %(document)s and raw_id > %(after)s order by raw_id limit %(size)s
    ) x cross join lateral (
        select first_id, document_id, records from {SCHEMA}.raw_batch
        where first_id <= x.raw_id order by first_id desc limit 1
    ) b where b.document_id = %(document)s and x.raw_id < b.first_id + b.records group by b.first_id
)
select b.first_id, b.ends, b.payloads, p.numbers from place p join {SCHEMA}.raw_batch b using (first_id)
order by b.first_id"""


def _streamed(cursor: Cursor[Any], asked: Mapping[str, int]) -> Generator[tuple[Any, ...]]:
    """The rows of the next records; where they are not read to the end, the rest is cancelled."""
    yield from cursor.stream(_NEXT, asked, binary=True)


def _next_records(connection: Connection, document_id: int, after: int, size: int) -> StoredRecords:
    """The next rejected records of a document behind raw id `after`, as received."""
    found, total = StoredRecords(), 0
    asked = {"document": document_id, "after": after, "size": size}
    # one row at a time: a few rejected records may lie far apart, in rows of a megabyte each
    with connection.cursor() as cursor, closing(_streamed(cursor, asked)) as rows:
        for first_id, ends, payloads, numbers in rows:
            found.take(document_id, first_id, ends, payloads, numbers)
            total += sum(map(len, found.payloads[-len(numbers) :]))
            if total >= raw_reader.MOST_BYTES:
                break
    return found
