"""What a partition's records look like in numbers, and what those of earlier partitions looked like.

One row for each partition, measure and field; measuring again replaces it. What is unusual, the checks say.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import LiteralString

from psycopg import sql
from sqlalchemy import Column, DateTime, Float, PrimaryKeyConstraint, Table, Text

from kasparro_pipeline.warehouse import repeated
from kasparro_pipeline.warehouse.ledger import Connection
from kasparro_pipeline.warehouse.tables import CONTENT_COLUMNS, SCHEMA, metadata
from kasparro_pipeline.warehouse.validated_tables import DEFAULTS, unpacked

LARGEST = 50_000
"""Validated records of a partition that are measured; of a larger one every second, third … batch is."""
LARGEST_VALUE = 1e300
"""A median beyond it is taken for it: a number may have 1,000 digits, and a float holds 308."""
HISTORY = 56
"""Earlier partitions that one is compared with: eight weeks of days."""
VOLUME, NULL_SHARE, MEDIAN, ORPHANS = "volume", "null_share", "median", "orphans"

measurement = Table(
    "measurement",
    metadata,
    Column("source", Text, nullable=False),
    Column("partition_key", Text, nullable=False),
    Column("measure", Text, nullable=False, comment="volume, null_share, median or orphans"),
    Column("field", Text, nullable=False, comment="empty for the volume"),
    Column("value", Float(53), nullable=False),
    Column(
        "belongs_at",
        DateTime(timezone=True),
        nullable=False,
        comment="the day of a daily partition; when the first document of another one came",
    ),
    PrimaryKeyConstraint("source", "measure", "field", "partition_key"),
)


_NEWEST: LiteralString = f"""\
select distinct on (location) id, record_count, fetched_at from {SCHEMA}.document
where source = %(source)s and partition_key = %(key)s and loaded_at is not null order by location, id desc"""
"""What came last of each file or page: a delivery that another one has replaced does not count."""


@dataclass(frozen=True, slots=True)
class Earlier:
    """A measurement of an earlier partition."""

    partition_key: str
    belongs_at: datetime
    value: float


def volume(connection: Connection, source: str, partition_key: str) -> tuple[int, datetime | None]:
    """How many records a partition has in raw, in the newest document of each location, and since when."""
    row = connection.execute(
        f"select coalesce(sum(record_count), 0), min(fetched_at) from ({_NEWEST}) newest",
        {"source": source, "key": partition_key},
    ).fetchone()
    return (row[0], row[1]) if row else (0, None)


def rejections(connection: Connection, source: str, partition_key: str) -> tuple[int, int]:
    """How many of the records that `volume` counts are rejected; and how many of these came before."""
    row = connection.execute(
        f"with newest as materialized ({_NEWEST}),"
        f" repeated as materialized (select {repeated.of_documents('select id from newest')} as ids)"
        f" select (select count(*) from newest join {SCHEMA}.rejected_record x on x.document_id = newest.id),"
        f" (select count(*) from {repeated.REJECTED} x)",
        {"source": source, "key": partition_key},
    ).fetchone()
    own, again = row or (0, 0)
    return own + again, again


def of_fields(
    connection: Connection, source: str, partition_key: str, fields: Mapping[str, bool]
) -> tuple[dict[str, float], dict[str, float]]:
    """Measure fields of a partition's validated records that are not superseded.

    `fields` says of each whether it is numeric.

    Returns:
        The share without a value by field, empty without records; the median of each numeric field that has
        values.
    """
    if not fields:
        return {}, {}
    columns: list[sql.Composable] = []
    for name, numeric in fields.items():
        columns.append(sql.SQL("count(*) filter (where {} is null)").format(_value(name)))
        if numeric:
            # Of the values themselves: a sum of two could be too large for a float, and one to be told as it
            median = "percentile_disc(0.5) within group (order by {})"
            columns.append(sql.SQL(median).format(_number(name)))
    read = sorted({name if name in CONTENT_COLUMNS else "attributes" for name in fields})
    query = sql.SQL(
        "with newest as ({newest}), repeated as materialized (select {repeated} as ids),"
        " batch as (select *, row_number() over (order by first_raw_id) as number,"
        " greatest(1, ceil(sum(records) over ()::numeric / {largest}))::bigint as step from ("
        " select * from {validated} where source = %(source)s and partition_key = %(key)s"
        # what the documents repeat lies in other partitions
        " union all select * from {validated} where source = %(source)s and partition_key <> %(key)s"
        " and not isempty((select ids from repeated))"
        " and (select ids from repeated) && int8range(first_raw_id, last_raw_id, '[]')) b)"
        " select count(*), {columns} from batch b cross join lateral {unpacked}"
        " cross join lateral (select {shown}) v"
        " where b.number %% b.step = 0 and r.superseded_by is null"
        " and (r.document_id = any (array(select id from newest)) or (select ids from repeated) @> r.raw_id)"
    ).format(
        newest=sql.SQL(_NEWEST),
        validated=sql.Identifier(SCHEMA, "validated_batch"),
        repeated=sql.SQL(repeated.of_documents("select id from newest")),
        unpacked=sql.SQL(unpacked("b", "document_id", "raw_id", "superseded_by", *read)),
        shown=sql.SQL(", ").join(
            sql.SQL("coalesce(r.{0}{1}, {2}) as {0}").format(
                sql.Identifier(name),
                sql.SQL("::text[]" if name == "tags" else ""),
                sql.SQL(DEFAULTS.get(name, "null")),
            )
            for name in read
        ),
        largest=sql.Literal(LARGEST),
        columns=sql.SQL(", ").join(columns),
    )
    row = connection.execute(query, {"source": source, "key": partition_key}).fetchone()
    assert row is not None  # noqa: S101 - an aggregate returns one row
    measured, *values = row
    nulls, medians = {}, {}
    for name, numeric in fields.items():
        missing = values.pop(0)
        if measured:
            nulls[name] = missing / measured
        found = values.pop(0) if numeric else None
        if found is not None:
            medians[name] = max(-LARGEST_VALUE, min(float(found), LARGEST_VALUE))
    return nulls, medians


def keep(
    connection: Connection,
    source: str,
    partition_key: str,
    belongs_at: datetime,
    measure: str,
    values: Mapping[str, float],
) -> None:
    """Keep the measurements of a partition, in place of those that it had."""
    with connection.cursor() as cursor:
        cursor.executemany(
            f"insert into {SCHEMA}.measurement as m"
            " (source, partition_key, measure, field, value, belongs_at) values (%s, %s, %s, %s, %s, %s)"
            " on conflict (source, measure, field, partition_key) do update"
            " set value = excluded.value, belongs_at = excluded.belongs_at"
            " where (m.value, m.belongs_at) is distinct from (excluded.value, excluded.belongs_at)",
            [(source, partition_key, measure, field, value, belongs_at) for field, value in values.items()],
        )


def kept_of_fields(
    connection: Connection, source: str, partition_key: str, fields: Mapping[str, bool]
) -> tuple[dict[str, float], dict[str, float]] | None:
    """What `of_fields` last found of a partition; None if it has not looked at each of these fields."""
    rows = connection.execute(
        f"select measure, field, value from {SCHEMA}.measurement where source = %s and partition_key = %s"
        " and measure = any (%s) and field = any (%s)",
        (source, partition_key, [NULL_SHARE, MEDIAN], list(fields)),
    ).fetchall()
    nulls = {field: value for measure, field, value in rows if measure == NULL_SHARE}
    # one of a time when the field had values may still be there
    medians = {field: value for measure, field, value in rows if measure == MEDIAN and nulls.get(field) != 1}
    return (nulls, medians) if len(nulls) == len(fields) else None


def kept(connection: Connection, source: str, partition_key: str, measure: str) -> float | None:
    """What a partition was last measured to have, of a measure without fields."""
    row = connection.execute(
        f"select value from {SCHEMA}.measurement"
        " where source = %s and partition_key = %s and measure = %s and field = ''",
        (source, partition_key, measure),
    ).fetchone()
    return row[0] if row else None


def earlier(
    connection: Connection, source: str, measure: str, before: datetime
) -> dict[str, Sequence[Earlier]]:
    """By field, the measurements of the partitions before a time, the newest first."""
    rows = connection.execute(
        "select field, partition_key, belongs_at, value from ("
        " select *, row_number() over (partition by field order by belongs_at desc, partition_key) as back"
        f" from {SCHEMA}.measurement where source = %s and measure = %s and belongs_at < %s"
        ") m where back <= %s order by field, back",
        (source, measure, before, HISTORY),
    ).fetchall()
    found: dict[str, list[Earlier]] = {}
    for field, *rest in rows:
        found.setdefault(field, []).append(Earlier(*rest))
    return dict(found)


def _value(field: str) -> sql.Composable:
    if field == "tags":
        return sql.SQL("nullif(v.tags, '{{}}')")
    if field in CONTENT_COLUMNS:
        return sql.Identifier("v", field)
    return sql.SQL("v.attributes ->> {}").format(sql.Literal(field))


def _number(field: str) -> sql.Composable:
    if field in CONTENT_COLUMNS:
        return sql.Identifier("v", field)
    # a value of another type, let in by the contract, is no number
    return sql.SQL(
        "case jsonb_typeof(v.attributes -> {0}) when 'number' then (v.attributes ->> {0})::numeric end"
    ).format(sql.Literal(field))
