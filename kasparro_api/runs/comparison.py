"""What two runs of a source have in common, and what not: pure functions, and the statement over records."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from psycopg import sql

from kasparro_api.sql import Statement, rendered, table
from kasparro_pipeline.warehouse.repeated import of_documents
from kasparro_pipeline.warehouse.tables import COUNT_COLUMNS, document
from kasparro_pipeline.warehouse.validated_tables import unpacked, validated_batch, validated_record

SHOWN_IDS = 100
"""Ids of records that are listed of each kind."""

Run = Mapping[str, Any]
"""A run as its own page shows it."""


@dataclass(frozen=True, slots=True)
class Rows:
    """The row of the ledger whose documents are compared."""

    source: str
    partition_key: str
    run_id: str


def records(a: Rows, b: Rows) -> Statement:
    """The records that one run has and the other has not.

    Returns:
        A statement with one row of one JSON column.
    """
    places = [value for row in (a, b) for value in (row.source, row.partition_key, row.run_id)]
    return Statement(_RECORDS, places)


def differences(a: Run, b: Run) -> dict[str, object]:
    """Figures, rejected reasons and schema of two runs side by side; a difference is `b` minus `a`."""
    figures = ("duration_seconds", "records_per_second", "rejected_share")
    return {
        **{name: _side_by_side(a[name], b[name]) for name in figures},
        "counts": {name: _side_by_side(a["counts"][name], b["counts"][name]) for name in COUNT_COLUMNS},
        "rejected": _rejected(a["rejected"], b["rejected"]),
        "schema": _schema(a["schema"], b["schema"]),
    }


def _side_by_side(a: float | None, b: float | None) -> dict[str, float | None]:
    difference = None if a is None or b is None else round(b - a, 6)
    return {"a": a, "b": b, "difference": difference}


def _rejected(a: Sequence[Run], b: Sequence[Run]) -> list[dict[str, object]]:
    """Rejected records by reason, those with the largest difference first."""
    counts = [{(row["field"], row["rule"]): row["records"] for row in side} for side in (a, b)]
    rows = [
        {"field": field, "rule": rule, **_side_by_side(*(side.get((field, rule), 0) for side in counts))}
        for field, rule in counts[0].keys() | counts[1].keys()
    ]
    return sorted(rows, key=lambda row: (-abs(row["difference"]), str(row["field"]), str(row["rule"])))


def _schema(a: Run, b: Run) -> dict[str, object]:
    """Which fields the contract of one run promised, and that of the other not, or as another type."""
    old, new = a["fields"] or {}, b["fields"] or {}
    return {
        "contract_version": {"a": a["contract_version"], "b": b["contract_version"]},
        "added": {name: new[name] for name in sorted(new.keys() - old.keys())},
        "removed": {name: old[name] for name in sorted(old.keys() - new.keys())},
        "retyped": {
            name: {"a": old[name], "b": new[name]}
            for name in sorted(old.keys() & new.keys())
            if old[name] != new[name]
        },
    }


# Of several versions of a record in a run's documents the one that its merge took counts (P3). What they
# repeat of earlier documents was validated with these
_HAS = """(
    with came as (
        select d.* from {document} d where d.source = %s and d.partition_key = %s and d.run_id = %s
    ),
    repeated as materialized (select {repeated} as ids)
    select distinct on (source_id) source_id, content_hash
    from (
        select v.source_id collate "C" as source_id, content_hash, epoch, version, raw_id
        from came d join {validated} v on v.document_id = d.id
            and (v.source, v.partition_key) = (d.source, d.partition_key)
        where v.superseded_by is null
        union all
        select r.source_id collate "C", r.content_hash, b.epoch, coalesce(r.version, '-Infinity'), r.raw_id
        from (select distinct source from came) s cross join repeated
        join {batch} b on b.source = s.source
            and repeated.ids && int8range(b.first_raw_id, b.last_raw_id, '[]')
        cross join lateral {unpacked}
        where repeated.ids @> r.raw_id and r.superseded_by is null
    ) records
    order by source_id, epoch desc, version desc, raw_id desc
)"""

_IDS = """(
    select coalesce(json_agg(source_id), '[]')
    from (select source_id from compared where verdict = {verdict} order by source_id limit {limit}) ids
)"""

VERDICTS = ("only_in_a", "only_in_b", "changed")

_RECORDS = rendered(
    """\
with compared as materialized (
    select source_id, case
        when b.content_hash is null then 'only_in_a'
        when a.content_hash is null then 'only_in_b'
        when a.content_hash <> b.content_hash then 'changed'
        else 'same' end as verdict
    from {has} a full join {has} b using (source_id)
)
select json_build_object(
    'only_in_a', count(*) filter (where verdict = 'only_in_a'),
    'only_in_b', count(*) filter (where verdict = 'only_in_b'),
    'in_both', count(*) filter (where verdict in ('changed', 'same')),
    'changed', count(*) filter (where verdict = 'changed'),
    'ids', json_build_object({ids})
) from compared""",
    has=rendered(
        _HAS,
        document=table(document.name),
        validated=table(validated_record.name),
        batch=table(validated_batch.name),
        repeated=sql.SQL(of_documents("select id from came")),
        unpacked=sql.SQL(unpacked("b", "source_id", "content_hash", "version", "raw_id", "superseded_by")),
    ),
    ids=sql.SQL(", ").join(
        sql.SQL("{}, {}").format(
            sql.Literal(verdict), rendered(_IDS, verdict=sql.Literal(verdict), limit=sql.Literal(SHOWN_IDS))
        )
        for verdict in VERDICTS
    ),
)
