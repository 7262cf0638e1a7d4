"""A row of the ledger as readers see it: a run that is lost has failed, also before anybody closed it.

What the statements of this room share. Nothing here runs one.
"""

from psycopg import sql

from kasparro_api.runs.anomalies import HISTORY
from kasparro_api.sql import listed, rendered, table, utc
from kasparro_pipeline.warehouse import ledger
from kasparro_pipeline.warehouse.tables import COUNT_COLUMNS, etl_run

SUCCESS_STATUSES = ("success", "partial")
"""Runs that brought their records: a partial one counts too, its rejected records are counted apart."""

LEDGER = table(etl_run.name)
LOST = sql.SQL(ledger.LOST)
FINISHED = rendered("(status <> 'running' or {lost})", lost=LOST)
"""A condition on a row of the ledger table."""
STATUS = rendered("(case when {lost} then 'failed' else status end)", lost=LOST)
"""The status of a row of the ledger table."""


def shown(chosen: str, **parts: sql.Composable) -> sql.SQL:
    """The rows of the ledger table that `chosen` (where, order, limit) leaves, in the place of a table.

    The choice is made on the table itself, whose indexes a view of it would hide.
    """
    return rendered(
        """(
    select run_id, source, partition_key, contract_version, started_at, {counts},
        case when lost then 'failed' else status end as status,
        case when lost then active_at else finished_at end as finished_at,
        case when lost then {error} else error end as error,
        extract(epoch from case when lost then active_at else coalesce(finished_at, clock_timestamp()) end
            - started_at) as seconds
    from (select * from {ledger} {chosen}) chosen, lateral (select {lost} as lost) state
)""",
        counts=listed("{name}", COUNT_COLUMNS),
        lost=LOST,
        error=sql.Literal(ledger.LOST_ERROR),
        ledger=LEDGER,
        chosen=rendered(chosen, **parts),
    )


COUNTS = sql.SQL("json_build_object({})").format(listed("{text}, {name}", COUNT_COLUMNS))

RUN = rendered(
    """run_id, source, partition_key, status,
    {started_at} as started_at, {finished_at} as finished_at,
    round(seconds, 3) as duration_seconds,
    round((read + repeated) / nullif(seconds, 0), 3) as records_per_second,
    contract_version, {counts} as counts,
    round(rejected::numeric / nullif(read + repeated, 0), 6) as rejected_share,
    error,
    %s::text || '/runs/' || run_id as dagster_url""",
    started_at=utc(sql.Identifier("started_at")),
    finished_at=utc(sql.Identifier("finished_at")),
    counts=COUNTS,
)
"""The columns of a run's JSON, over a row of `shown`.

One value is bound: the address of Dagster's UI, or null.
"""

_FACTS = """jsonb_build_object(
    'status', {run}.status, 'seconds', {run}.seconds, 'read', {run}.read + {run}.repeated,
    'rejected', {run}.rejected, 'documents', {run}.documents,
    'documents_unchanged', {run}.documents_unchanged)"""

FACTS = rendered(_FACTS, run=sql.Identifier("run"))
"""What `anomalies` judges of a row `run`."""

BEFORE = rendered(
    """(
    select coalesce(jsonb_agg({facts} order by started_at desc, run_id desc), '[]') from {runs} past
)""",
    facts=rendered(_FACTS, run=sql.Identifier("past")),
    runs=shown(
        "where source = run.source and (started_at, run_id) < (run.started_at, run.run_id) and {finished}"
        " and (partition_key ~ {day}) = (run.partition_key ~ {day})"
        " order by started_at desc, run_id desc limit {history}",
        finished=FINISHED,
        day=sql.Literal(r"^\d{4}-\d{2}-\d{2}$"),
        history=sql.Literal(HISTORY),
    ),
)
"""The finished runs of the source before a row `run`, newest first: days are compared with days."""
