"""The questions that asset checks ask of the tables. What an answer means is decided by the caller."""

from dataclasses import dataclass
from typing import Any

from psycopg.rows import dict_row

from kasparro_pipeline.warehouse.ledger import Connection
from kasparro_pipeline.warehouse.tables import SCHEMA

SAMPLE = 20
"""Examples that an answer carries beside its exact count."""


@dataclass(frozen=True, slots=True)
class Accounting:
    """The outcomes of a partition's raw records (P2)."""

    raw: int
    validated: int
    superseded: int
    rejected: int
    without_outcome: list[int]
    """Raw ids, a sample."""
    with_two_outcomes: list[int]
    """Raw ids, a sample."""

    @property
    def balanced(self) -> bool:
        """Whether each raw record has exactly one outcome."""
        return not self.without_outcome and not self.with_two_outcomes


def account(connection: Connection, source: str, partition_key: str) -> Accounting:
    """Compare a partition's raw records with their outcomes, one by one."""
    row = connection.execute(
        f"""
        with outcome as (
            select r.id, v.raw_id as validated, v.superseded_by, x.raw_id as rejected
            from {SCHEMA}.document d
            join {SCHEMA}.raw_batch b on b.document_id = d.id
            cross join generate_series(b.first_id, b.first_id + b.records - 1) as r (id)
            left join {SCHEMA}.validated_record v on v.document_id = d.id and v.raw_id = r.id
            left join {SCHEMA}.rejected_record x on x.document_id = d.id and x.raw_id = r.id
            where d.source = %s and d.partition_key = %s
        )
        select count(*),
            count(validated) filter (where superseded_by is null),
            count(superseded_by),
            count(rejected),
            (array_agg(id) filter (where validated is null and rejected is null))[:{SAMPLE}],
            (array_agg(id) filter (where validated is not null and rejected is not null))[:{SAMPLE}]
        from outcome
        """,
        (source, partition_key),
    ).fetchone()
    assert row is not None  # noqa: S101 - an aggregate returns one row
    return Accounting(row[0], row[1], row[2], row[3], row[4] or [], row[5] or [])


def doubled_source_ids(connection: Connection, source: str, partition_key: str) -> tuple[int, list[str]]:
    """Records of a partition that another one of their document and key has superseded; some of the keys.

    Of each file or page the newest document counts.
    """
    row = connection.execute(
        f"""
        with newest as (
            select distinct on (location) id from {SCHEMA}.document
            where source = %s and partition_key = %s and loaded_at is not null order by location, id desc
        ),
        doubled as (
            select v.source_id from newest n join {SCHEMA}.validated_record v on v.document_id = n.id
            where v.superseded_by is not null
        )
        select (select count(*) from doubled),
            array(select distinct source_id from doubled order by 1 limit {SAMPLE})
        """,
        (source, partition_key),
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
