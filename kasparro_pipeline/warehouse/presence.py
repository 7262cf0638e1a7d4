"""Which keys documents hold, compared as sets: what is missing, what goes and what comes back.

A document holds the keys of its validated records, and of its rejected ones as far as they could be read: a
record that is there and broken is there. What may be deleted is decided in `deletions`.
"""

from collections.abc import Iterable

from kasparro_pipeline.warehouse import compact
from kasparro_pipeline.warehouse.ledger import Connection, Hold
from kasparro_pipeline.warehouse.tables import SCHEMA
from kasparro_pipeline.warehouse.validated_tables import unpacked


def _keys(documents: str) -> str:
    """SQL of the keys that the documents of a parameter hold, some of them more than once."""
    return f"""(
    select r.source_id from (
        select d.partition_key, min(b.first_id) as first, max(b.first_id + b.records - 1) as last
        from {SCHEMA}.document d join {SCHEMA}.raw_batch b on b.document_id = d.id
        where d.id = any (%({documents})s) group by d.partition_key
    ) part
    join {SCHEMA}.validated_batch b on b.source = %(source)s and b.partition_key = part.partition_key
        and b.first_raw_id <= part.last and b.last_raw_id >= part.first
    cross join lateral {unpacked("b", "document_id", "source_id")}
    where r.document_id = any (%({documents})s)
    union all
    select x.source_id from {SCHEMA}.rejected_record x
    where x.document_id = any (%({documents})s) and x.source_id is not null
)"""


# The planner takes all the keys for a few. It would compare each with each other one in a join, and in a NOT
# EXISTS that it makes one of, but neither in a NOT IN nor in an IN within an expression: these are hashed
_MISSING = f"""
with known as materialized (select distinct source_id from {_keys("before")} k)
select count(*), (
    select count(*) from known where source_id not in (select source_id from {_keys("documents")} k)
) from known
"""

_APPLY = f"""
with living as materialized (select source_id from {_keys("living")} k),
candidate as materialized (
    select distinct k.source_id from {_keys("candidates")} k
    where k.source_id not in (select source_id from living)
),
elsewhere as materialized (
    select distinct k.source_id from {_keys("elsewhere")} k
    where (k.source_id in (select source_id from candidate)) is true and exists (select from candidate)
),
gone as materialized (
    select u.id from candidate c
    join {SCHEMA}.unified_record u on u.source = %(source)s and u.source_id = c.source_id
    where u.deleted_at is null and c.source_id not in (select source_id from elsewhere)
),
back as materialized (
    select distinct u.id from living l
    join {SCHEMA}.unified_record u on u.source = %(source)s and u.source_id = l.source_id
    where u.deleted_at is not null and u.raw_id > 0
),
changed as (
    update {SCHEMA}.unified_record u
    set deleted_at = case when u.deleted_at is null then now() end, updated_at = now(),
        run_id = %(run_id)s, run_uuid = %(run_uuid)s
    from (select id from gone union all select id from back) one where u.id = one.id
    returning u.deleted_at
)
select count(deleted_at), count(*) - count(deleted_at) from changed
"""


def missing(
    connection: Connection, source: str, *, documents: Iterable[int], before: Iterable[int]
) -> tuple[int, int]:
    """How many keys the documents of `before` hold, and how many of them `documents` does not."""
    row = connection.execute(
        _MISSING, {"source": source, "documents": list(documents), "before": list(before)}
    ).fetchone()
    assert row is not None  # noqa: S101 - an aggregate returns one row
    return row[0], row[1]


def apply(
    connection: Connection,
    hold: Hold,
    *,
    living: Iterable[int],
    candidates: Iterable[int],
    elsewhere: Iterable[int],
) -> tuple[int, int]:
    """Mark records deleted, and living again, so that they agree with what documents hold.

    What the documents of `living` hold lives; of the others that those of `candidates` hold, each is deleted
    unless a document of `elsewhere` holds it. A record without a valid version does not come back. Of what
    agrees already, nothing is written (P5).

    Returns:
        How many were deleted, and how many live again.
    """
    row = connection.execute(
        _APPLY,
        {
            "source": hold.source,
            **compact.run(hold.run_id),
            "living": list(living),
            "candidates": list(candidates),
            "elsewhere": list(elsewhere),
        },
    ).fetchone()
    assert row is not None  # noqa: S101 - an aggregate returns one row
    return row[0], row[1]


def unreadable(connection: Connection, documents: Iterable[int]) -> int:
    """How many rejected records of the documents have no key that could be read."""
    row = connection.execute(
        f"select count(*) from {SCHEMA}.rejected_record where document_id = any (%s) and source_id is null",
        (list(documents),),
    ).fetchone()
    return row[0] if row else 0
