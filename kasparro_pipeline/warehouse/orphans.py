"""Records of one layer that have lost what they were made from, or never reached the next layer."""

from dataclasses import asdict, dataclass

from kasparro_pipeline.warehouse.ledger import Connection
from kasparro_pipeline.warehouse.tables import SCHEMA


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


def of_partition(connection: Connection, source: str, partition_key: str) -> Orphans:
    """Look for orphans of a partition, each by a key that has an index."""
    row = connection.execute(
        f"""
        with part as (select id from {SCHEMA}.document where source = %(source)s and partition_key = %(key)s),
        kept as (
            select b.document_id, r.id from part join {SCHEMA}.raw_batch b on b.document_id = part.id
            cross join generate_series(b.first_id, b.first_id + b.records - 1) as r (id)
        ),
        valid as (
            select v.document_id, v.raw_id, v.source_id, v.superseded_by
            from part join {SCHEMA}.validated_record v on v.document_id = part.id
        ),
        served as (
            select v.source_id, u.id, u.raw_id from valid v
            left join {SCHEMA}.unified_record u on u.source = %(source)s and u.source_id = v.source_id
            where v.superseded_by is null
        )
        select
            (select count(*) from valid v where not exists (
                select from kept where kept.id = v.raw_id and kept.document_id = v.document_id)),
            (select count(*) from part join {SCHEMA}.rejected_record x on x.document_id = part.id
                where not exists (
                    select from kept where kept.id = x.raw_id and kept.document_id = x.document_id)),
            (select count(*) from served where id is null),
            (select count(distinct s.id) from served s left join kept on kept.id = s.raw_id
                where s.raw_id > 0 and s.raw_id is distinct from coalesce(kept.id, (
                    -- it came in another partition: the row that would hold it, up to its last record
                    select least(s.raw_id, b.first_id + b.records - 1) from {SCHEMA}.raw_batch b
                    where b.first_id <= s.raw_id order by b.first_id desc limit 1))),
            (select count(*) from part
                join {SCHEMA}.rejected_record x on x.document_id = part.id
                join {SCHEMA}.unified_record u on u.source = x.source and u.source_id = x.source_id
                where u.raw_id = x.raw_id and u.deleted_at is null)
        """,
        {"source": source, "key": partition_key},
    ).fetchone()
    assert row is not None  # noqa: S101 - the statement selects one row
    return Orphans(*row)
