"""The statements behind `GET /stats` and the sources of `GET /health`. Nothing here runs one.

They read the totals that the warehouse keeps for each source, and a few ledger rows by index.
"""

from psycopg import sql

from kasparro_api.runs.ledger_rows import COUNTS, FINISHED, LEDGER, LOST, SUCCESS_STATUSES, shown
from kasparro_api.sql import Statement, listed, rendered, table, utc
from kasparro_pipeline.warehouse.tables import (
    COUNT_COLUMNS,
    PUBLISHED_SORT,
    RUN_STATUSES,
    data_version,
    unified_record,
)
from kasparro_pipeline.warehouse.totals import source_total

MEDIAN_OF = 30
"""Finished runs of a source that its median duration is taken over."""


def source_freshness() -> Statement:
    """One row, one JSON column: per source its last run's status and its last success."""
    return Statement(_SOURCE_FRESHNESS)


def statistics() -> Statement:
    """One row, two JSON columns: the list of sources, and the totals over all of them. One snapshot."""
    return Statement(_STATISTICS)


TOTALS = rendered(
    """(
    select t.*, coalesce(running, 0) as running, coalesce(lost, 0) as lost,
        greatest(t.last_failure_at, lost_at) as last_failed_at
    from {totals} t left join (
        select source, count(*) filter (where not lost) as running, count(*) filter (where lost) as lost,
            max(active_at) filter (where lost) as lost_at
        from (select source, active_at, {lost} as lost from {ledger} where status = 'running') open
        group by source
    ) open using (source)
)""",
    totals=table(source_total.name),
    lost=LOST,
    ledger=LEDGER,
)
"""The totals of each source, with its runs under way, and the lost ones that nobody has closed yet."""

RECORDS = rendered(
    """(
    select source, sum(records)::bigint as unified_records from {versions} where kind <> '' group by source
)""",
    versions=table(data_version.name),
)
"""How many records each source has that are not deleted."""

LATEST = shown("where source = sources.source order by started_at desc, run_id desc limit 1")
"""The run of a row `sources` that started last."""

_SOURCE_FRESHNESS = rendered(
    """\
select coalesce(json_agg(json_build_object(
    'source', source,
    'last_status', latest.status,
    'last_success_at', {last_success_at},
    'seconds_since_success', {age}
) order by source), '[]'::json)
from {totals} sources join lateral {latest} latest using (source)""",
    totals=TOTALS,
    latest=LATEST,
    last_success_at=utc(sql.SQL("last_success_at")),
    age=sql.SQL("round(extract(epoch from now() - last_success_at), 3)"),
)

_MEDIAN = rendered(
    """(
    select percentile_cont(0.5) within group (order by seconds) filter (where status = any({successes}))
    from {runs} past
)""",
    successes=sql.Literal(list(SUCCESS_STATUSES)),
    runs=shown(
        "where source = sources.source and {finished}"
        " order by started_at desc, run_id desc limit {runs_back}",
        finished=FINISHED,
        runs_back=sql.Literal(MEDIAN_OF),
    ),
)

# A walk back over deleted records: not begun where all are
_NEWEST = rendered(
    """(
    select nullif({published}, '-infinity') from {unified} u
    where unified_records > 0 and u.source = sources.source and deleted_at is null
    order by {published} desc, id desc limit 1
)""",
    published=sql.SQL(PUBLISHED_SORT),
    unified=table(unified_record.name),
)

_LAST_RUN = rendered(
    """(
    select json_build_object(
        'run_id', run_id,
        'partition_key', partition_key,
        'status', status,
        'started_at', {started_at},
        'finished_at', {finished_at},
        'duration_seconds', round(seconds, 3),
        'counts', {counts},
        'error', error
    ) from {latest} latest
)""",
    started_at=utc(sql.Identifier("started_at")),
    finished_at=utc(sql.Identifier("finished_at")),
    counts=COUNTS,
    latest=LATEST,
)

_STATISTICS = rendered(
    """\
with sources as (
    select source, last_success_at, last_failed_at, coalesce(unified_records, 0) as unified_records,
        coalesce(failed + lost, 0) as failed, {other_statuses}, {counts}
    from {totals} totals full join {records} records using (source)
)
select
    coalesce(json_agg(json_build_object(
        'source', source,
        'last_run', {last_run},
        'last_success_at', {last_success_at},
        'last_failure_at', {last_failed_at},
        'seconds_since_success', round(extract(epoch from now() - last_success_at), 3),
        'median_duration_seconds', round({median}::numeric, 3),
        'newest_published_at', {newest},
        'totals', json_build_object(
            'unified_records', unified_records,
            'runs', json_build_object({each_status}),
            'counts', {each_count}
        )
    ) order by source), '[]'::json),
    json_build_object(
        'sources', count(*),
        'unified_records', coalesce(sum(unified_records), 0),
        'runs', json_build_object({all_statuses}),
        'counts', json_build_object({all_counts})
    )
from sources""",
    other_statuses=listed(
        "coalesce({name}, 0) as {name}", [status for status in RUN_STATUSES if status != "failed"]
    ),
    counts=listed("coalesce({name}, 0) as {name}", COUNT_COLUMNS),
    totals=TOTALS,
    records=RECORDS,
    last_run=_LAST_RUN,
    last_success_at=utc(sql.Identifier("last_success_at")),
    last_failed_at=utc(sql.Identifier("last_failed_at")),
    median=_MEDIAN,
    newest=utc(_NEWEST),
    each_status=listed("{text}, {name}", RUN_STATUSES),
    each_count=COUNTS,
    all_statuses=listed("{text}, coalesce(sum({name}), 0)", RUN_STATUSES),
    all_counts=listed("{text}, coalesce(sum({name}), 0)", COUNT_COLUMNS),
)
