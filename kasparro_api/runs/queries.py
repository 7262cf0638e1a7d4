"""The statements over the run ledger. Nothing here runs one."""

from psycopg import sql

from kasparro_api.sql import Statement, listed, rendered, table, utc
from kasparro_pipeline.warehouse.tables import COUNT_COLUMNS, RUN_STATUSES, etl_run, unified_record

SUCCESS_STATUSES = ("success", "partial")
"""Runs that brought their records: a partial one counts too, its rejected records are counted apart."""


def source_freshness() -> Statement:
    """One row, one JSON column: per source its last run's status and its last success."""
    return Statement(_SOURCE_FRESHNESS)


def statistics() -> Statement:
    """One row, two JSON columns: the list of sources, and the totals over all of them. One snapshot."""
    return Statement(_STATISTICS)


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
    runs=table(etl_run.name),
    successes=sql.Literal(list(SUCCESS_STATUSES)),
    status_counts=listed("count(*) filter (where status = {text}) as {name}", RUN_STATUSES),
    sums=listed("sum({name}) as {name}", COUNT_COLUMNS),
)

_SOURCE_FRESHNESS = rendered(
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
    last_success_at=utc(sql.SQL("ledger.last_success_at")),
)

_STATISTICS = rendered(
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
    unified=table(unified_record.name),
    latest_counts=sql.SQL("json_build_object({})").format(listed("{text}, latest.{name}", COUNT_COLUMNS)),
    status_counts=listed("coalesce(ledger.{name}, 0) as {name}", RUN_STATUSES),
    sums=listed("coalesce(ledger.{name}, 0) as {name}", COUNT_COLUMNS),
    started_at=utc(sql.Identifier("started_at")),
    finished_at=utc(sql.Identifier("finished_at")),
    last_success_at=utc(sql.Identifier("last_success_at")),
    last_failure_at=utc(sql.Identifier("last_failure_at")),
    statuses=listed("{text}, {name}", RUN_STATUSES),
    counts=listed("{text}, {name}", COUNT_COLUMNS),
    all_statuses=listed("{text}, coalesce(sum({name}), 0)", RUN_STATUSES),
    all_counts=listed("{text}, coalesce(sum({name}), 0)", COUNT_COLUMNS),
)
