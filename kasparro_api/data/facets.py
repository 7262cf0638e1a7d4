"""What there is: sources, categories, and the attributes that contracts declare."""

from collections.abc import Mapping
from urllib.parse import unquote_to_bytes

from fastapi import Request
from psycopg import sql

from kasparro_api.access.versions import VERSIONS
from kasparro_api.data.columns import RECORD_COLUMNS
from kasparro_api.data.cursor import Position
from kasparro_api.data.filters import Kind, attribute_kind
from kasparro_api.sql import Statement, rendered, table, utc
from kasparro_api.wire import Numbered, TextStatement
from kasparro_pipeline.warehouse.tables import PUBLISHED_SORT, SCHEMA

_SOURCES = rendered(
    """\
with known as (
    select source, coalesce(sum(records), 0) as records, coalesce(sum(deleted), 0) as deleted,
        coalesce(json_agg(kind order by kind)
            filter (where kind <> '' and records + deleted > 0), '[]') as kinds,
        max(changed_at) as changed_at
    from {versions} group by source
    union all
    select source, 0, 0, '[]'::json, null::timestamptz from (select distinct source from {checkpoints}) c
    where not exists (select from {versions} v where v.source = c.source)
)
select coalesce(json_agg(json_build_object(
    'source', known.source, 'kinds', kinds, 'records', known.records, 'deleted', known.deleted,
    'newest_published_at', {newest_at}, 'changed_at', {changed_at},
    'last_success_at', {success_at},
    'seconds_since_success', round(extract(epoch from now() - last_success_at), 3)
) order by known.source), '[]')
from known
left join lateral (
    select published_at from {unified} u
    where known.records > 0 and u.source = known.source and u.deleted_at is null
    order by {sort} desc, id desc limit 1
) newest on true
left join {totals} total on total.source = known.source""",
    versions=table("data_version"),
    checkpoints=table("checkpoint"),
    unified=table("unified_record"),
    totals=table("source_total"),
    sort=sql.SQL(PUBLISHED_SORT),
    newest_at=utc(sql.SQL("newest.published_at")),
    changed_at=utc(sql.SQL("changed_at")),
    success_at=utc(sql.SQL("last_success_at")),
)

_CATEGORIES = f"""\
select case when category is not null then json_build_object('category', category, 'records', number) end,
    number, category, now.version
from (select {VERSIONS.as_string()} as version) now left join (
    select category, count(*) as number from {SCHEMA}.unified_record
    where deleted_at is null and category is not null{{of_sources}} group by category{{behind}}
    order by number desc, category collate "C" limit {{limit}}
) page on true order by number desc, category collate "C\""""

_ATTRIBUTES = rendered(
    """\
select distinct field.key, coalesce(field.value ->> 'type', 'string') from (
    select distinct on (source) contract from {contracts} order by source, version desc
) newest cross join jsonb_each(contract -> 'fields') field""",
    contracts=table("contract_version"),
)


def sources() -> Statement:
    """One row, one JSON column: every source with its records and its freshness."""
    return Statement(_SOURCES)


def categories(wanted: list[str], *, limit: int, after: Position | None) -> TextStatement:
    """The categories of some sources, or of all: the largest first, and one row more than `limit`.

    Returns:
        A statement whose rows are `(category as JSON, its number of records, its name, versions)`;
        if there is none, one row with only the versions.
    """
    values = Numbered()
    of_sources = f" and source = any({values.bind(wanted)})" if wanted else ""
    behind = ""
    if after is not None:
        place = f"(-{values.bind(after.id)}::bigint, {values.bind(after.sort_key)})"
        behind = f' having (-count(*), category collate "C") > {place}'
    text = _CATEGORIES.format(of_sources=of_sources, behind=behind, limit=values.bind(limit + 1))
    return TextStatement(text, values)


async def declared_attributes(request: Request, query: bytes) -> Mapping[str, Kind]:
    """The attributes of every source's present contract that `query` could name, with how they compare.

    One that several contracts declare with different types compares as text.
    """
    if b"attributes" not in unquote_to_bytes(query):
        return {}
    state = request.app.state
    version = (await state.versions.current()).data
    if state.attributes is None or state.attributes[0] != version:
        found: dict[str, Kind] = {}
        for name, type_ in await state.database.fetch(Statement(_ATTRIBUTES)):
            if name not in RECORD_COLUMNS:
                kind = attribute_kind(type_)
                found[name] = kind if found.get(name, kind) == kind else "text"
        state.attributes = (version, found)
    request.scope["state"]["attributes_version"], attributes = state.attributes
    return attributes  # type: ignore[no-any-return]
