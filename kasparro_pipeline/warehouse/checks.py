"""The questions that asset checks ask of the tables. What an answer means is decided by the caller."""

from dataclasses import dataclass, replace
from typing import Any

from psycopg.rows import dict_row

from kasparro_pipeline.warehouse import repeated
from kasparro_pipeline.warehouse.ledger import Connection
from kasparro_pipeline.warehouse.tables import SCHEMA
from kasparro_pipeline.warehouse.validated_tables import unpacked

SAMPLE = 20
"""Examples that an answer carries beside its exact count."""


@dataclass(frozen=True, slots=True)
class Accounting:
    """The outcomes of a partition's raw records (P2)."""

    raw: int
    validated: int
    superseded: int
    rejected: int
    repeated: int
    """Beside the raw ones: their outcomes are those of the records that they repeat."""
    without_outcome: list[int]
    """Raw ids, a sample."""
    with_two_outcomes: list[int]
    """Raw ids, a sample."""

    @property
    def balanced(self) -> bool:
        """Whether each raw record has exactly one outcome."""
        same = self.raw == self.validated + self.superseded + self.rejected
        return same and not self.without_outcome and not self.with_two_outcomes


def account(
    connection: Connection, source: str, partition_key: str, *, one_by_one: bool = True
) -> Accounting:
    """Compare a partition's raw records with their outcomes.

    The numbers that each batch has are added up; `one_by_one` compares every id, which also tells one record
    with two outcomes from another with none. Ids are compared anyhow if the numbers do not agree.
    """
    raw, validated, superseded, rejected = _numbers(connection, source, partition_key)
    again = repeated.count(connection, source, partition_key)
    found = Accounting(raw, validated - superseded, superseded, rejected, again, [], [])
    if not one_by_one and raw == validated + rejected:
        return found
    ids = {"source": source, "key": partition_key}
    row = connection.execute(f"{_IDS} {_COMPARISON}", ids).fetchone()
    if raw == validated + rejected and row == (raw, raw):
        return found
    row = connection.execute(f"{_IDS} {_DIFFERENCES}", ids).fetchone()
    assert row is not None  # noqa: S101 - an aggregate returns one row
    return replace(found, without_outcome=row[0] or [], with_two_outcomes=row[1] or [])


_IDS = f"""
with document as (
    select id from {SCHEMA}.document where source = %(source)s and partition_key = %(key)s
),
outcome as (
    select unnest(raw_id) as id from {SCHEMA}.validated_batch
    where source = %(source)s and partition_key = %(key)s
    union all select x.raw_id from document d join {SCHEMA}.rejected_record x on x.document_id = d.id
)"""
# As many different ids as there are raw records, all of them among the raw ones: each has one outcome
_COMPARISON = f""",
stored as (
    select range_agg(int8range(b.first_id, b.first_id + b.records)) as ids
    from document d join {SCHEMA}.raw_batch b on b.document_id = d.id
)
select count(distinct id), count(*) filter (where stored.ids @> id) from outcome left join stored on true"""
_DIFFERENCES = f""",
compared as (
    select r.id, count(o.id) as outcomes
    from document d join {SCHEMA}.raw_batch b on b.document_id = d.id
    cross join generate_series(b.first_id, b.first_id + b.records - 1) as r (id)
    left join outcome o using (id)
    group by r.id having count(o.id) <> 1
)
select (array_agg(id order by id) filter (where outcomes = 0))[:{SAMPLE}],
    (array_agg(id order by id) filter (where outcomes > 1))[:{SAMPLE}]
from compared"""


def _numbers(connection: Connection, source: str, partition_key: str) -> tuple[int, int, int, int]:
    """Raw, validated (superseded included), superseded and rejected records of a partition."""
    row = connection.execute(
        f"""
        with document as (
            select id from {SCHEMA}.document where source = %(source)s and partition_key = %(key)s
        )
        select
            (select coalesce(sum(b.records), 0)::bigint from document d
                join {SCHEMA}.raw_batch b on b.document_id = d.id),
            coalesce(sum(records), 0)::bigint, coalesce(sum(superseded), 0)::bigint,
            (select count(*) from document d join {SCHEMA}.rejected_record x on x.document_id = d.id)
        from {SCHEMA}.validated_batch where source = %(source)s and partition_key = %(key)s
        """,
        {"source": source, "key": partition_key},
    ).fetchone()
    assert row is not None  # noqa: S101 - an aggregate returns one row
    raw, validated, superseded, rejected = row
    return raw, validated, superseded, rejected


def doubled_source_ids(connection: Connection, source: str, partition_key: str) -> tuple[int, list[str]]:
    """Records of a partition that another one of their document and key has superseded; some of the keys.

    Of each file or page the newest document counts.
    """
    row = connection.execute(
        f"""
        with newest as materialized (
            select array_agg(id) as ids from (
                select distinct on (location) id from {SCHEMA}.document
                where source = %(source)s and partition_key = %(key)s and loaded_at is not null
                order by location, id desc
            ) d
        ),
        batch as (
            select b.*, newest.ids, b.document_id <@ newest.ids as all_count
            from {SCHEMA}.validated_batch b cross join newest
            where b.source = %(source)s and b.partition_key = %(key)s and b.superseded > 0
        ),
        example as (
            select r.source_id from batch b
            cross join lateral {unpacked("b", "document_id", "source_id", "superseded_by")}
            where r.superseded_by is not null and r.document_id = any (b.ids)
            limit {SAMPLE}
        )
        select
            (select coalesce(sum(superseded), 0)::bigint from batch where all_count)
            + (select count(*) from batch b
                cross join lateral {unpacked("b", "document_id", "superseded_by")}
                where not b.all_count and r.superseded_by is not null and r.document_id = any (b.ids)),
            array(select distinct source_id from example order by 1)
        """,
        {"source": source, "key": partition_key},
    ).fetchone()
    assert row is not None  # noqa: S101 - the statement selects one row
    return row[0], row[1]


def rejected_reasons(connection: Connection, source: str, partition_key: str) -> list[dict[str, Any]]:
    """The partition's rejected records by field and rule: how many, an example value, a raw id."""
    with connection.cursor(row_factory=dict_row) as cursor:
        return cursor.execute(
            f"""
            select reason->>'field' as field, reason->>'rule' as rule, count(*) as records,
                min(reason->>'value') as example, min(x.raw_id) as raw_id
            from {SCHEMA}.document d
            join {SCHEMA}.rejected_record x on x.document_id = d.id
            cross join jsonb_array_elements(x.reasons) reason
            where d.source = %s and d.partition_key = %s
            group by 1, 2 order by 3 desc, 1, 2 limit {SAMPLE}
            """,
            (source, partition_key),
        ).fetchall()
