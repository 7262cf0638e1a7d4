"""Composes the API's statements. Column names come from the warehouse's tables, and every value is bound.

Rows leave PostgreSQL as JSON, so that a `numeric` keeps every digit. Nothing here runs a statement.
"""

from dataclasses import dataclass

from psycopg import sql

from kasparro_api.data.cursor import Position
from kasparro_api.sql import Statement, listed, rendered, served, table
from kasparro_pipeline.warehouse.tables import PUBLISHED_SORT, unified_record

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


_SORT = sql.SQL(PUBLISHED_SORT)

# The inner query walks the index and stops: JSON is built for the rows of the page, not for skipped ones.
_PAGE_START = rendered(
    """\
select (select row_to_json(record) from (select {record}) record), sort_key::text, id
from (select {columns}, {sort} as sort_key from {table} where """,
    record=sql.SQL(", ").join(served(unified_record.c[name]) for name in RECORD_COLUMNS),
    columns=listed("{name}", RECORD_COLUMNS),
    sort=_SORT,
    table=table(unified_record.name),
)
_PAGE_ORDER = rendered(" order by {sort} desc, id desc limit %s", sort=_SORT)
_PAGE_END = sql.SQL(") page order by sort_key desc, id desc")
