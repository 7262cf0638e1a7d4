"""Composes the API's statements. Column names come from the warehouse's tables, and every value is bound.

Rows leave PostgreSQL as JSON, so that a `numeric` keeps every digit. Nothing here runs a statement.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from psycopg import sql
from sqlalchemy import Column, DateTime, LargeBinary

from kasparro_api.cursor import Position
from kasparro_pipeline.warehouse.tables import (
    COUNT_COLUMNS,
    PUBLISHED_SORT,
    RUN_STATUSES,
    SCHEMA,
    etl_run,
    unified_record,
)

RECORD_COLUMNS = (
    "id",
    "source",
    "source_id",
    "kind",
    "title",
    "summary",
    "url",
    "category",
    "author",
    "tags",
    "amount",
    "currency",
    "published_at",
    "attributes",
    "content_hash",
    "raw_id",
    "run_id",
    "first_seen_at",
    "updated_at",
)
"""The columns of a served record, in the order of its JSON."""

SUCCESS_STATUSES = ("success", "partial")
"""Runs that brought their records: a partial one counts too, its rejected records are counted apart."""


class Statement(NamedTuple):
    """A query and the values bound to it."""

    query: sql.SQL | sql.Composed
    parameters: Sequence[object] = ()


@dataclass(frozen=True)
class Selection:
    """Which records a list holds. An empty filter lets every record pass."""

    source: tuple[str, ...] = ()
    category: tuple[str, ...] = ()

    def filters(self) -> dict[str, tuple[str, ...]]:
        """The filters by column name; a record must match one value of each."""
        return {"source": self.source, "category": self.category}


def data_page(
    selection: Selection, *, limit: int, offset: int | None = None, after: Position | None = None
) -> Statement:
    """A page of `selection`, newest first, and one row more that tells whether another page follows.

    Returns:
        A statement whose rows are `(record as JSON, sort key as text, id)`, at most `limit + 1`.
    """
    conditions: list[sql.Composable] = [sql.SQL("deleted_at is null")]
    parameters: list[object] = []
    for name, values in selection.filters().items():
        if len(values) == 1:  # an index that the column leads keeps its order only for one value
            conditions.append(sql.SQL("{} = %s").format(sql.Identifier(name)))
            parameters.append(values[0])
        elif values:
            conditions.append(sql.SQL("{} = any(%s)").format(sql.Identifier(name)))
            parameters.append(list(values))
    if after is not None:
        conditions.append(sql.SQL("({}, id) < (%s::timestamptz, %s)").format(_SORT))
        parameters += [after.sort_key, after.id]
    parts = [_PAGE_START, sql.SQL(" and ").join(conditions), _PAGE_ORDER]
    parameters.append(limit + 1)
    if offset:
        parts.append(sql.SQL(" offset %s"))
        parameters.append(offset)
    return Statement(sql.Composed([*parts, _PAGE_END]), parameters)


def revision() -> Statement:
    """The revision that the database is at: no row, or no table, before the first migration."""
    table = sql.Identifier(SCHEMA, "alembic_version")
    return Statement(sql.SQL("select version_num from {}").format(table))


def source_freshness() -> Statement:
    """One row, one JSON column: per source its last run's status and its last success."""
    return Statement(_SOURCE_FRESHNESS)


def statistics() -> Statement:
    """One row, two JSON columns: the list of sources, and the totals over all of them. One snapshot."""
    return Statement(_STATISTICS)


def _table(name: str) -> sql.Identifier:
    return sql.Identifier(SCHEMA, name)


def _utc(expression: sql.Composable) -> sql.Composed:
    """A time as RFC 3339 text with `Z`; the session's time zone is UTC."""
    return sql.SQL("replace(to_json({}) #>> '{{}}', '+00:00', 'Z')").format(expression)


def _served(column: Column[object]) -> sql.Composed:
    """A column of a record as its JSON shows it."""
    name = sql.Identifier(column.name)
    if isinstance(column.type, DateTime):
        return sql.SQL("{} as {}").format(_utc(name), name)
    if isinstance(column.type, LargeBinary):
        return sql.SQL("encode({}, 'hex') as {}").format(name, name)
    return sql.SQL("{}").format(name)


def _listed(template: str, names: Sequence[str]) -> sql.Composed:
    """`template` once for each name, with `{name}` as identifier and `{text}` as literal, between commas."""
    return sql.SQL(", ").join(
        sql.SQL(template).format(name=sql.Identifier(name), text=sql.Literal(name)) for name in names
    )


def _rendered(template: str, **parts: sql.Composable) -> sql.SQL:
    """A statement composed once, when the module is loaded."""
    return sql.SQL(sql.SQL(template).format(**parts).as_string())


_SORT = sql.SQL(PUBLISHED_SORT)

# The inner query walks the index and stops: JSON is built for the rows of the page, not for skipped ones.
_PAGE_START = _rendered(
    """\
select (select row_to_json(record) from (select {record}) record), sort_key::text, id
from (select {columns}, {sort} as sort_key from {table} where """,
    record=sql.SQL(", ").join(_served(unified_record.c[name]) for name in RECORD_COLUMNS),
    columns=_listed("{name}", RECORD_COLUMNS),
    sort=_SORT,
    table=_table(unified_record.name),
)
_PAGE_ORDER = _rendered(" order by {sort} desc, id desc limit %s", sort=_SORT)
_PAGE_END = sql.SQL(") page order by sort_key desc, id desc")

_RUNS_BY_SOURCE = sql.SQL(
    """\
latest as (
    select distinct on (source) * from {runs} order by source, started_at desc, run_id desc
), ledger as (
    select source,
        max(finished_at) filter (where status = any({successes})) as last_success_at,
        max(finished_at) filter (where status = 'failed') as last_failure_at,
        {status_counts}, {sums}
    from {runs} group by source
)"""
).format(
    runs=_table(etl_run.name),
    successes=sql.Literal(list(SUCCESS_STATUSES)),
    status_counts=_listed("count(*) filter (where status = {text}) as {name}", RUN_STATUSES),
    sums=_listed("sum({name}) as {name}", COUNT_COLUMNS),
)

_SOURCE_FRESHNESS = _rendered(
    """\
with {ledger}
select coalesce(json_agg(json_build_object(
    'source', source,
    'last_status', latest.status,
    'last_success_at', {last_success_at},
    'seconds_since_success', round(extract(epoch from now() - ledger.last_success_at), 3)
) order by source), '[]'::json)
from ledger join latest using (source)""",
    ledger=_RUNS_BY_SOURCE,
    last_success_at=_utc(sql.SQL("ledger.last_success_at")),
)

_STATISTICS = _rendered(
    """\
with {ledger}, records as (
    select source, count(*) as unified_records from {unified} where deleted_at is null group by source
), sources as (
    select source, latest.run_id, latest.partition_key, latest.status, latest.started_at, latest.finished_at,
        latest.error, {latest_counts} as counts, ledger.last_success_at, ledger.last_failure_at,
        coalesce(unified_records, 0) as unified_records, {status_counts}, {sums}
    from ledger join latest using (source) full join records using (source)
)
select
    coalesce(json_agg(json_build_object(
        'source', source,
        'last_run', case when run_id is not null then json_build_object(
            'run_id', run_id,
            'partition_key', partition_key,
            'status', status,
            'started_at', {started_at},
            'finished_at', {finished_at},
            'duration_seconds', round(extract(epoch from
                case when status = 'running' then clock_timestamp() else finished_at end - started_at), 3),
            'counts', counts,
            'error', error
        ) end,
        'last_success_at', {last_success_at},
        'last_failure_at', {last_failure_at},
        'totals', json_build_object(
            'unified_records', unified_records,
            'runs', json_build_object({statuses}),
            'counts', json_build_object({counts})
        )
    ) order by source), '[]'::json),
    json_build_object(
        'sources', count(*),
        'unified_records', coalesce(sum(unified_records), 0),
        'runs', json_build_object({all_statuses}),
        'counts', json_build_object({all_counts})
    )
from sources""",
    ledger=_RUNS_BY_SOURCE,
    unified=_table(unified_record.name),
    latest_counts=sql.SQL("json_build_object({})").format(_listed("{text}, latest.{name}", COUNT_COLUMNS)),
    status_counts=_listed("coalesce(ledger.{name}, 0) as {name}", RUN_STATUSES),
    sums=_listed("coalesce(ledger.{name}, 0) as {name}", COUNT_COLUMNS),
    started_at=_utc(sql.Identifier("started_at")),
    finished_at=_utc(sql.Identifier("finished_at")),
    last_success_at=_utc(sql.Identifier("last_success_at")),
    last_failure_at=_utc(sql.Identifier("last_failure_at")),
    statuses=_listed("{text}, {name}", RUN_STATUSES),
    counts=_listed("{text}, {name}", COUNT_COLUMNS),
    all_statuses=_listed("{text}, coalesce(sum({name}), 0)", RUN_STATUSES),
    all_counts=_listed("{text}, coalesce(sum({name}), 0)", COUNT_COLUMNS),
)
