"""Composes the statements over unified records. Nothing here runs one.

Column names come from the warehouse's table, and every value is bound.
"""

from collections.abc import Container, Sequence
from dataclasses import dataclass
from datetime import datetime
from math import prod

from psycopg import sql

from kasparro_api.access.versions import VERSIONS
from kasparro_api.data import as_of
from kasparro_api.data.columns import RECORD_COLUMNS, SERVED
from kasparro_api.data.conditions import Named, Values, condition
from kasparro_api.data.cursor import Position
from kasparro_api.data.filters import Filter
from kasparro_api.data.parameters import Deleted
from kasparro_api.sql import Statement
from kasparro_api.wire import Numbered, TextStatement
from kasparro_pipeline.warehouse import compact
from kasparro_pipeline.warehouse.tables import AMOUNT_SORT, NEWEST_SORT, PUBLISHED_SORT, SCHEMA, TITLE_SORT

_UNIFIED = f"{SCHEMA}.unified_record"
_VERSIONS = f"{SCHEMA}.data_version"
_VERSION = VERSIONS.as_string()
_SORTS = {
    "published_at": (PUBLISHED_SORT, "timestamptz"),
    "updated_at": ("updated_at", "timestamptz"),
    "amount": (AMOUNT_SORT, "numeric"),
    "title": (TITLE_SORT, "text"),
}
"""Per sort its expression, which an index leads with, and the type that a cursor's text is read as."""
_DELETED = {"exclude": "deleted_at is null", "include": None, "only": "deleted_at is not null"}
MAX_WALKS = 1000
"""Walks of an index that one page may take; beyond it the longest list of values is an ordinary filter."""
_LED_BY = ("source", "category", "author")
"""The columns that an index of the newest records can lead with."""


@dataclass(frozen=True)
class Selection:
    """Which records a list holds, how they are ordered, and which members they have."""

    filters: tuple[Filter, ...] = ()
    search: str | None = None
    deleted: Deleted = "exclude"
    sort: str = "-published_at"
    fields: tuple[str, ...] = RECORD_COLUMNS
    as_of: datetime | None = None
    """When the records were as they are wanted; None: now."""

    def identity(self) -> dict[str, list[str]]:
        """What a cursor is bound to: the filters and the order, as texts."""
        found: dict[str, list[str]] = {}
        for item in self.filters:
            name = item.column if item.operator == "any" else f"{item.column}.{item.operator}"
            found.setdefault(name, []).extend(map(str, item.values))
        if self.search is not None:
            found["q"] = [self.search]
        if self.deleted != "exclude":
            found["deleted"] = [self.deleted]
        if self.sort != "-published_at":
            found["sort"] = [self.sort]
        if self.as_of is not None:
            found["as_of"] = [self.as_of.isoformat()]
        return found


def page(
    selection: Selection, *, limit: int, offset: int | None = None, after: Position | None = None
) -> TextStatement:
    """A page of `selection`, and one row more that tells whether another page follows.

    Returns:
        A statement whose rows are `(record as JSON, sort key, id, versions)`, at most `limit + 1`.
        Of an empty page there is one row, with only the versions.
    """
    values = Numbered()
    # The inner query walks an index and stops: JSON is built for the rows of the page, not for skipped ones
    inner = _rows(selection, values, after=after, most=limit + 1, skip=offset or 0)
    # Of the page, not the text that is given out under the same name
    order = _order("page.sort_key", selection, "page.id")
    text = (
        f"select (select row_to_json(record) from (select {_members(selection.fields)}) record),"
        f" sort_key::text, id, now.version from (select {_VERSION} as version) now"
        f" left join ({inner}) page on true order by {order}"
    )
    return TextStatement(text, values, prepare=not offset and _plans_alike(selection))


def record(record_id: int, selection: Selection) -> TextStatement:
    """One row `(record as JSON, versions, when it was deleted)`, or none."""
    values = Numbered()
    wanted = values.bind(record_id)
    text = (
        f"select (select row_to_json(record) from (select {_members(selection.fields)}) record), {_VERSION},"
        f" deleted_at from {_table(selection, values)} where id = {wanted}"
    )
    return TextStatement(text, values, prepare=selection.as_of is None)


def export(selection: Selection, file_format: str, *, limit: int | None, ordered: bool) -> Statement:
    """A COPY of the records as `ndjson` or `csv`."""
    values = Named()
    where = _where(selection, values)
    tail = f" order by {_order(_sort_key(selection, values), selection)}" if ordered else ""
    tail += f" limit {values.bind(limit)}" if limit is not None else ""
    # Ordered before the members are made: an order by a member would be by its text
    found = f"(select * from {_table(selection, values)}{where}{tail}) found"
    if file_format == "ndjson":
        # JSON holds no raw control character, so that nothing of it is quoted or doubled
        rows = f"select row_to_json(r) from (select {_members(selection.fields)} from {found}) r"
        options = "format csv, quote e'\\x01', delimiter e'\\x02'"
    else:
        cells = ", ".join(_cell(name) for name in selection.fields)
        rows = f"select {cells} from {found}"
        options = "format csv, header"
    return Statement(_sql(f"copy ({rows}) to stdout ({options})"), values)


def count(selection: Selection) -> Statement:
    """One row with the number of records."""
    values = Named()
    if _is_kept(selection):
        number = {"exclude": "records", "include": "records + deleted", "only": "deleted"}[selection.deleted]
        conditions = " and ".join(condition(item, values) for item in selection.filters) or "true"
        text = f"select coalesce(sum({number}), 0)::bigint from {_VERSIONS} where {conditions}"
    else:
        text = f"select count(*) from {_table(selection, values)}{_where(selection, values)}"
    return Statement(_sql(text), values)


def estimate(selection: Selection) -> Statement | None:
    """One row with the planner's estimate as EXPLAIN's JSON; None where the exact number is at hand."""
    if _is_kept(selection):
        return None
    values = Named()
    table = _table(selection, values)
    text = f"explain (format json) select from {table}{_where(selection, values)}"
    return Statement(_sql(text), values)


def _is_kept(selection: Selection) -> bool:
    """Whether the trigger on the table keeps the number: per source and kind."""
    plain = all(item.operator == "any" and item.column in {"source", "kind"} for item in selection.filters)
    return plain and selection.search is None and selection.as_of is None


def _table(selection: Selection, values: Values) -> str:
    """What stands behind `from`: the table as it is, or as it was."""
    if selection.as_of is None:
        return _UNIFIED
    return as_of.table(values.bind(selection.as_of))


def _rows(selection: Selection, values: Values, *, after: Position | None, most: int, skip: int) -> str:
    """The rows of a page with their sort key."""
    if selection.as_of is not None:
        return _past_rows(selection, values, after=after, most=most, skip=skip)
    lists = _lists(selection, values)
    key = _sort_key(selection, values)
    conditions = [f"{column} = wanted_{column}.value" for column in lists]
    if after is not None:
        conditions.append(_behind(after, key, selection, values))
    where = _where(selection, values, *conditions, lists=lists)
    # A literal: with a bound limit the planner expects a tenth of all rows, and plans anew each time
    wanted = most + skip if lists else most
    order = _order(key, selection)
    columns = "id" if lists else "*"
    rows = f"select {columns}, {key} as sort_key from {_UNIFIED}{where} order by {order} limit {wanted:d}"
    if lists:
        # One walk of an index for each value: a filter on any of several would lose the index's order
        tables = " cross join ".join(lists.values())
        found = (
            f"select found.* from {tables} cross join lateral ({rows}) found"
            f" order by {_order('found.sort_key', selection, 'found.id')} limit {most:d} offset {skip:d}"
        )
        return f"select record.*, sort_key from ({found}) found join {_UNIFIED} record using (id)"
    return f"{rows} offset {skip:d}" if skip else rows


def _past_rows(selection: Selection, values: Values, *, after: Position | None, most: int, skip: int) -> str:
    """The same of the table as it was: the page of each of its parts, so that the walk of an index ends."""
    key = _sort_key(selection, values)
    behind = [] if after is None else [_behind(after, key, selection, values)]
    tail = f"{_where(selection, values, *behind)} order by {_order(key, selection)} limit {most + skip:d}"
    parts = as_of.parts(values.bind(selection.as_of))
    rows = " union all ".join(f"(select *, {key} as sort_key from {part}{tail})" for part in parts)
    order = _order("sort_key", selection)
    return f"select * from ({rows}) past order by {order} limit {most:d} offset {skip:d}"


def _behind(after: Position, key: str, selection: Selection, values: Values) -> str:
    """The condition that leaves the rows behind a place."""
    sign = "<" if selection.sort.startswith("-") else ">"
    type_ = _SORTS.get(selection.sort.removeprefix("-"), ("", "real"))[1]
    return f"({key}, id) {sign} ({values.bind(after.sort_key)}::{type_}, {values.bind(after.id)})"


def _lists(selection: Selection, values: Values) -> dict[str, str]:
    """Tables of the values that are each looked for by themselves, by the column that they are values of.

    A kind is that of a few sources, which are looked for instead, as no index leads with it.
    """
    if selection.sort.removeprefix("-") != "published_at" or selection.search is not None:
        return {}
    lists = {}
    any_of: dict[str, tuple[object, ...]] = {}
    for item in selection.filters:
        if item.operator == "any":  # a second filter on a column (`.in`) narrows the first
            known = any_of.get(item.column, item.values)
            any_of[item.column] = tuple(value for value in item.values if value in known)
    several = [column for column in _LED_BY if len(any_of.get(column, ())) > 1]
    while prod(len(any_of[column]) for column in several) > MAX_WALKS:
        several.remove(max(several, key=lambda column: len(any_of[column])))
    for column in several:
        given = values.bind(list(any_of[column]))
        lists[column] = f"unnest({given}::text[]) as wanted_{column}(value)"
    if "kind" in any_of and "source" not in any_of:
        given = values.bind(list(any_of["kind"]))
        sources = (
            f"select distinct source from {_VERSIONS} where kind = any({given}) and records + deleted > 0"
        )
        lists["source"] = f"({sources}) as wanted_source(value)"
    return lists


def _where(selection: Selection, values: Values, *more: str, lists: Container[str] = ()) -> str:
    """The conditions of a selection, without those that `lists` stands for, and `more`."""
    published = _published(selection)
    conditions = [
        condition(item, values, published)
        for item in selection.filters
        if not (item.operator == "any" and item.column in lists)
    ]
    # A kind that there is not would be looked for to the end of an index
    kinds = [item for item in selection.filters if item.operator == "any" and item.column == "kind"]
    if selection.as_of is None:
        conditions += [_kind_exists(item, selection, values) for item in kinds]
    if selection.search is not None:
        conditions.append(f"search @@ websearch_to_tsquery('english', {values.bind(selection.search)})")
    if deleted := _DELETED[selection.deleted]:
        conditions.append(deleted)
    conditions += more
    return f" where {' and '.join(conditions)}" if conditions else ""


def _kind_exists(kind: Filter, selection: Selection, values: Values) -> str:
    known = f"select from {_VERSIONS} where records + deleted > 0"
    known += f" and kind = any({values.bind(list(kind.values))})"
    for item in selection.filters:
        if item.operator == "any" and item.column == "source":
            known += f" and source = any({values.bind(list(item.values))})"
    return f"exists ({known})"


def _published(selection: Selection) -> str:
    """The expression by which records are the newest: the one of the index that serves the selection."""
    led = any(item.operator == "any" and item.column in {*_LED_BY, "kind"} for item in selection.filters)
    return PUBLISHED_SORT if led or selection.deleted == "only" else NEWEST_SORT


def _sort_key(selection: Selection, values: Values) -> str:
    name = selection.sort.removeprefix("-")
    if name == "relevance":
        return f"ts_rank_cd(search, websearch_to_tsquery('english', {values.bind(selection.search)}))"
    return _published(selection) if name == "published_at" else _SORTS[name][0]


def _order(key: str, selection: Selection, record_id: str = "id") -> str:
    direction = "desc" if selection.sort.startswith("-") else "asc"
    return f"{key} {direction}, {record_id} {direction}"


def _members(fields: Sequence[str]) -> str:
    return ", ".join(SERVED[name] for name in fields)


def _cell(name: str) -> str:
    """A column as a CSV cell: a text that a spreadsheet would run as a formula gets an apostrophe before it.

    The characters are those of OWASP's page on CSV injection: = + - @, tab, line breaks, and the full-width
    forms of the first four.
    """
    if name == "tags":
        return f"to_json({compact.read(name)}) as tags"
    if name not in _TEXTS:
        return SERVED[name]
    column = sql.Identifier(name).as_string()
    risky = "9, 10, 13, 43, 45, 61, 64, 65291, 65293, 65309, 65312"
    return f"case when ascii({column}) in ({risky}) then '''' || {column} else {column} end as {column}"


_TEXTS = {"source", "source_id", "kind", "title", "summary", "url", "category", "author", "currency"}


def _plans_alike(selection: Selection) -> bool:
    """Whether one plan suits all values, so that it may be prepared: the one that walks an index made for it.

    With any other filter the best plan depends on the values, and a plan for all of them can walk everything.
    """
    if selection.search is not None or selection.deleted != "exclude" or selection.as_of is not None:
        return False
    if any(item.operator != "any" or len(item.values) != 1 for item in selection.filters):
        return False
    columns = frozenset(item.column for item in selection.filters)
    order = selection.sort.removeprefix("-")
    return (order == "published_at" and columns in _SERVED_SETS) or (order == "updated_at" and not columns)


_SERVED_SETS = {
    frozenset(columns) for columns in ((), ("source",), ("category",), ("source", "category"), ("author",))
}
"""The filters for equality that an index of the newest records leads with."""


def _sql(text: str) -> sql.SQL:
    # put together from this module's constants alone, so as good as a literal
    return sql.SQL(text)
