"""Records of one layer that have lost what they were made from, or never reached the next layer."""

from dataclasses import asdict, dataclass

from kasparro_pipeline.warehouse import unified
from kasparro_pipeline.warehouse.ledger import Connection
from kasparro_pipeline.warehouse.tables import SCHEMA
from kasparro_pipeline.warehouse.validated_tables import unpacked


@dataclass(frozen=True, slots=True)
class Orphans:
    """How many there are of each kind, among the records of a partition and the keys that they have."""

    validated_without_raw: int
    rejected_without_raw: int
    validated_not_in_unified: int
    unified_without_raw: int
    unified_without_validated: int

    @property
    def total(self) -> int:
        """All of them."""
        return sum(asdict(self).values())


def _records(connection: Connection, source: str, partition_key: str) -> int:
    row = connection.execute(
        f"select coalesce(sum(records), 0)::bigint from {SCHEMA}.validated_batch"
        " where source = %s and partition_key = %s",
        (source, partition_key),
    ).fetchone()
    return row[0] if row else 0


def of_partition(connection: Connection, source: str, partition_key: str) -> Orphans:
    """Look for orphans of a partition: each record against the ids that are there, and by keys."""
    with connection.transaction():
        unified.prepare(connection, _records(connection, source, partition_key))
        row = connection.execute(
            f"""
            with part as (
                select id from {SCHEMA}.document where source = %(source)s and partition_key = %(key)s
            ),
            stored as (
                select range_agg(int8range(b.first_id, b.first_id + b.records)) as ids
                from part join {SCHEMA}.raw_batch b on b.document_id = part.id
            ),
            valid as materialized (
                select r.raw_id, r.source_id, r.superseded_by is null as counts
                from {SCHEMA}.validated_batch b
                cross join lateral {unpacked("b", "raw_id", "source_id", "superseded_by")}
                where b.source = %(source)s and b.partition_key = %(key)s
            ),
            served as materialized (
                select u.id, u.raw_id, stored.ids @> u.raw_id as is_stored from valid v
                left join {SCHEMA}.unified_record u on u.source = %(source)s and u.source_id = v.source_id
                cross join stored
                where v.counts
            )
            select
                (select count(*) from valid, stored where (stored.ids @> valid.raw_id) is not true),
                (select count(*) from part
                    join {SCHEMA}.rejected_record x on x.document_id = part.id cross join stored
                    where (stored.ids @> x.raw_id) is not true),
                (select count(*) from served where id is null),
                (select count(distinct s.id) from served s
                    where s.raw_id > 0 and s.is_stored is not true and s.raw_id is distinct from (
                        -- of the row that would hold it: it may have come in another partition
                        select least(s.raw_id, b.first_id + b.records - 1) from {SCHEMA}.raw_batch b
                        where b.first_id <= s.raw_id order by b.first_id desc limit 1)),
                (select count(*) from part
                    join {SCHEMA}.rejected_record x on x.document_id = part.id
                    join {SCHEMA}.unified_record u on u.source = x.source and u.source_id = x.source_id
                    where u.raw_id = x.raw_id and u.deleted_at is null)
            """,
            {"source": source, "key": partition_key},
        ).fetchone()
    assert row is not None  # noqa: S101 - the statement selects one row
    return Orphans(*row)
