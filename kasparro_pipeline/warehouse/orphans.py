"""Records of one layer that have lost what they were made from, or never reached the next layer."""

from dataclasses import asdict, dataclass

from kasparro_pipeline.warehouse import planning
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
        planning.compare_by_number(connection, _records(connection, source, partition_key))
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
            refused as materialized (
                select x.raw_id, x.source, x.source_id
                from part join {SCHEMA}.rejected_record x on x.document_id = part.id
            ),
            served as materialized (
                select count(*) filter (where u.id is null) as absent,
                    array_agg(u.raw_id) filter (where u.raw_id > 0
                        and (stored.ids @> u.raw_id) is not true) as others
                from valid v
                left join {SCHEMA}.unified_record u on u.source = %(source)s and u.source_id = v.source_id
                cross join stored
                where v.counts
            ),
            elsewhere as (  -- records of the same keys that came in other partitions
                select range_agg(int8range(b.first_id, b.first_id + b.records)) as ids
                from (select min(id) as first, max(id) as last from served, unnest(others) id) other
                join {SCHEMA}.raw_batch b
                    on b.first_id <= other.last and b.first_id + b.records > other.first
            )
            select
                (select count(*) from valid, stored where (stored.ids @> valid.raw_id) is not true),
                (select count(*) from refused, stored where (stored.ids @> refused.raw_id) is not true),
                (select absent from served),
                (select count(distinct id) from served, unnest(others) id, elsewhere
                    where (elsewhere.ids @> id) is not true),
                (select count(*) from refused x
                    join {SCHEMA}.unified_record u on u.source = x.source and u.source_id = x.source_id
                    where u.raw_id = x.raw_id and u.deleted_at is null)
            """,
            {"source": source, "key": partition_key},
        ).fetchone()
    assert row is not None  # noqa: S101 - the statement selects one row
    return Orphans(*row)
