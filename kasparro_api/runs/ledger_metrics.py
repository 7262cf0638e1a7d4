"""The ledger as metrics for Prometheus: what every worker of the API would say alike. No HTTP belongs here.

A scrape reads the totals of each source and its last finished run, never the ledger as a whole.
"""

import json
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, SummaryMetricFamily
from prometheus_client.metrics_core import Metric

from kasparro_api.runs.ledger_rows import FINISHED, shown
from kasparro_api.runs.queries import RECORDS, TOTALS
from kasparro_api.sql import Statement, listed, rendered, table
from kasparro_pipeline.warehouse.drift_tables import drift_total
from kasparro_pipeline.warehouse.totals import ENDINGS

OUTCOMES = (
    "validated",
    "rejected",
    "superseded",
    "repeated",
    "inserted",
    "updated",
    "unchanged",
    "stale",
    "deleted",
)
"""What became of the records: by their validation the first three, by the merge those from `inserted` on.

Those in between were there already."""


def statement() -> Statement:
    """Per source one row, as `families` takes it."""
    return Statement(_STATEMENT)


def families(rows: Iterable[Sequence[Any]]) -> Iterator[Metric]:
    """The metrics of the rows of `statement`; times are in seconds, shares from 0 to 1."""
    records = CounterMetricFamily(
        "etl_records_processed",
        "Records by what became of them; work that is done again counts again.",
        labels=["source", "outcome"],
    )
    runs = CounterMetricFamily(
        "etl_runs",
        "Endings of runs by status; a run whose step is tried again ends more than once.",
        labels=["source", "status"],
    )
    duration = SummaryMetricFamily(
        "etl_run_duration_seconds", "From the start of a run to its end.", labels=["source"]
    )
    drift = CounterMetricFamily(
        "etl_schema_drift",
        "Differences between what came and the contract that drift checks found, each in each run.",
        labels=["source", "change"],
    )
    gauges = [
        GaugeMetricFamily(name, text, labels=["source"])
        for name, text in (
            ("etl_runs_running", "Runs under way."),
            ("etl_last_run_duration_seconds", "Duration of the last finished run."),
            ("etl_rejected_ratio", "Share of the records of the last finished run that were rejected."),
            ("etl_last_success_timestamp_seconds", "When the last successful run ended, Unix time."),
            ("etl_data_age_seconds", "Since the end of the last successful run."),
            ("etl_unified_records", "Records that readers see."),
        )
    ]
    for source, changes, seconds, *figures in rows:
        for change, value in sorted(json.loads(changes).items()):
            drift.add_metric([source, change], value)
        counted = figures[: len(OUTCOMES)]
        ended = figures[len(OUTCOMES) : -len(gauges)]
        for outcome, value in zip(OUTCOMES, counted, strict=True):
            records.add_metric([source, outcome], value)
        for status, value in zip(ENDINGS, ended, strict=True):
            runs.add_metric([source, status], value)
        duration.add_metric([source], sum(ended), float(seconds))
        for gauge, value in zip(gauges, figures[-len(gauges) :], strict=True):
            if value is not None:
                gauge.add_metric([source], float(value))
    yield from (records, runs, duration, drift, *gauges)


_STATEMENT = rendered(
    """\
select source, (
        select coalesce(json_object_agg(change, events), '{{}}')::text from {drift} drift
        where drift.source = sources.source
    ), coalesce(run_seconds, 0), {outcomes}, {endings},
    coalesce(running, 0), last.seconds, last.rejected_ratio,
    extract(epoch from last_success_at), extract(epoch from clock_timestamp() - last_success_at),
    coalesce(unified_records, 0)
from (select * from {totals} totals full join {records} records using (source)) sources
left join lateral (
    select seconds, rejected::numeric / nullif(read + repeated, 0) as rejected_ratio from {last} last
) last on true
order by source""",
    outcomes=listed("coalesce({name}, 0)", OUTCOMES),
    endings=listed("coalesce({name}, 0)", [f"ended_{status}" for status in ENDINGS]),
    drift=table(drift_total.name),
    totals=TOTALS,
    records=RECORDS,
    last=shown(
        "where source = sources.source and {finished} order by started_at desc, run_id desc limit 1",
        finished=FINISHED,
    ),
)
