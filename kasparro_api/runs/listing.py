"""The statements behind `GET /runs` and `GET /runs/{run_id}`. Nothing here runs one."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from psycopg import sql

from kasparro_api.runs.ledger_rows import BEFORE, FACTS, RUN, STATUS, shown
from kasparro_api.sql import Statement, rendered, table, utc
from kasparro_pipeline.warehouse.drift_tables import drift_event
from kasparro_pipeline.warehouse.tables import contract_version, document, rejected_record

SHOWN_DOCUMENTS = 100
"""Documents of a run that are listed."""

FIELD_TYPES: Mapping[str, str] = {
    "url": "url",
    "tags": "list",
    "amount": "number",
    "published_at": "timestamp",
}
"""Types of the fields that a contract leaves to the column of their name; any other is a string."""


@dataclass(frozen=True)
class RunSelection:
    """Which runs a list holds. An empty filter lets every run pass."""

    source: tuple[str, ...] = ()
    status: tuple[str, ...] = ()
    partition: tuple[str, ...] = ()
    started_after: datetime | None = None
    started_before: datetime | None = None

    def filters(self) -> dict[str, tuple[str, ...]]:
        """The filters by parameter, as text: what a cursor is bound to."""
        times = {"started_after": self.started_after, "started_before": self.started_before}
        return {
            "list": ("runs",),
            "source": self.source,
            "status": self.status,
            "partition": self.partition,
            **{name: (time.isoformat(),) for name, time in times.items() if time is not None},
        }


def runs_page(
    selection: RunSelection, *, limit: int, after: Sequence[str] | None, dagster_url: str | None
) -> Statement:
    """A page of the ledger, newest first, and one row more that tells whether another page follows.

    `after` is the place behind which the page starts: started_at, run_id, source, partition_key.

    Returns:
        A statement whose rows are `(run as JSON, *place)`, at most `limit + 1`.
    """
    conditions: list[sql.Composable] = [sql.SQL("true")]
    parameters: list[object] = [dagster_url]
    chosen = {
        "source": selection.source,
        "partition_key": selection.partition,
    }
    for name, values in chosen.items():
        if len(values) == 1:  # an index that the column leads keeps its order only for one value
            conditions.append(sql.SQL("{} = %s").format(sql.Identifier(name)))
            parameters.append(values[0])
        elif values:
            conditions.append(sql.SQL("{} = any(%s)").format(sql.Identifier(name)))
            parameters.append(list(values))
    if selection.status:
        # What the table says leads to an index; a lost run still stands there as running
        stored = {"running" if status == "failed" else status for status in selection.status}
        stored |= set(selection.status)
        conditions.append(
            sql.SQL("status in ({})").format(sql.SQL(", ").join(map(sql.Literal, sorted(stored))))
        )
        conditions.append(sql.SQL("{} = any(%s)").format(STATUS))
        parameters.append(list(selection.status))
    if selection.started_after is not None:
        conditions.append(sql.SQL("started_at >= %s"))
        parameters.append(selection.started_after)
    if selection.started_before is not None:
        conditions.append(sql.SQL("started_at < %s"))
        parameters.append(selection.started_before)
    if after is not None:
        conditions.append(
            sql.SQL("(started_at, run_id, source, partition_key) < (%s::timestamptz, %s, %s, %s)")
        )
        parameters += after
    page = shown(
        "where {conditions} order by {order} limit %s",
        conditions=sql.SQL(" and ").join(conditions),
        order=_ORDER,
    )
    query = sql.SQL("{page} {rows} page order by {order}").format(page=_PAGE, rows=page, order=_ORDER)
    return Statement(query, [*parameters, limit + 1])


def runs_in_detail(run_ids: Sequence[str], *, dagster_url: str | None) -> Statement:
    """Every ledger row of some runs.

    Returns:
        A statement whose rows are `(run with its details as JSON, facts, facts of the runs before it)`.
    """
    return Statement(_DETAIL, [dagster_url, list(run_ids)])


_ORDER = sql.SQL("started_at desc, run_id desc, source desc, partition_key desc")

_PAGE = rendered(
    """\
select (select row_to_json(shown) from (select {run}) shown), started_at::text, run_id, source, partition_key
from """,
    run=RUN,
)

_FIELDS = rendered(
    """(
    select json_object_agg(name, coalesce(field ->> 'type', {types}::jsonb ->> name, 'string') order by name)
    from {contract_version} c, jsonb_each(c.contract -> 'fields') as fields (name, field)
    where c.source = run.source and c.version = run.contract_version
)""",
    types=sql.SQL("jsonb_build_object({})").format(
        sql.SQL(", ").join(sql.Literal(text) for pair in FIELD_TYPES.items() for text in pair)
    ),
    contract_version=table(contract_version.name),
)

_REJECTED = rendered(
    """(
    select coalesce(json_agg(json_build_object(
        'field', field, 'rule', rule, 'records', records, 'example_raw_id', example_raw_id
    ) order by records desc, field, rule), '[]')
    from (
        select reason ->> 'field' as field, reason ->> 'rule' as rule,
            count(distinct raw_id) as records, min(raw_id) as example_raw_id
        from {rejected} r, jsonb_array_elements(r.reasons) reason
        where r.run_id = run.run_id and r.source = run.source group by 1, 2
    ) reasons
)""",
    rejected=table(rejected_record.name),
)

_DRIFT = rendered(
    """(
    select coalesce(json_agg(json_build_object(
        'change', change, 'field', field, 'mode', mode, 'expected', expected, 'found', found,
        'records', records, 'share', share, 'confidence', confidence, 'examples', examples,
        'detected_at', {detected_at}
    ) order by change, field), '[]')
    from {drift_event} d
    where d.run_id = run.run_id and d.source = run.source and d.partition_key = run.partition_key
)""",
    detected_at=utc(sql.Identifier("detected_at")),
    drift_event=table(drift_event.name),
)

_DOCUMENTS = rendered(
    """(
    select coalesce(json_agg(json_build_object(
        'id', id, 'location', location, 'bytes', byte_count, 'sha256', encode(sha256, 'hex'),
        'records', record_count, 'fetched_at', {fetched_at}
    ) order by id), '[]')
    from (
        select * from {document} d
        where d.source = run.source and d.partition_key = run.partition_key and d.run_id = run.run_id
        order by id limit {limit}
    ) documents
)""",
    fetched_at=utc(sql.Identifier("fetched_at")),
    document=table(document.name),
    limit=sql.Literal(SHOWN_DOCUMENTS),
)

_DETAIL = rendered(
    """\
select (select row_to_json(shown) from (
    select {run}, {rejected} as rejected,
        json_build_object('contract_version', contract_version, 'fields', {fields}) as schema,
        {drift} as drift, {documents} as documents
) shown), {facts}, {before}
from {runs} run order by source, partition_key""",
    run=RUN,
    rejected=_REJECTED,
    fields=_FIELDS,
    drift=_DRIFT,
    documents=_DOCUMENTS,
    facts=FACTS,
    before=BEFORE,
    runs=shown("where run_id = any(%s)"),
)
