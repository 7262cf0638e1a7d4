"""A filter as a condition in SQL. Every value is bound."""

from psycopg import sql

from kasparro_api.data.filters import COMPARISONS, Filter
from kasparro_api.wire import Numbered
from kasparro_pipeline.warehouse import compact
from kasparro_pipeline.warehouse.tables import AMOUNT_SORT, PUBLISHED_SORT

_OPERATORS = {"gt": ">", "gte": ">=", "lt": "<", "lte": "<="}
_YEAR = r"(?!0000)\d{4}"
_LEAP_YEAR = r"(?!0000)(\d\d(0[48]|[2468][048]|[13579][26])|([02468][048]|[13579][26])00)"
_DAY = (
    rf"({_YEAR}-((0[13578]|1[02])-(0[1-9]|[12]\d|3[01])|(0[469]|11)-(0[1-9]|[12]\d|30)|02-(0[1-9]|1\d|2[0-8]))"
    rf"|{_LEAP_YEAR}-02-29)"
)
_CLOCK = r"[T ]([01]\d|2[0-3]):[0-5]\d(:[0-5]\d([.]\d{1,6})?)?(Z|[+-](0\d|1[0-4]):[0-5]\d)?"
_TIME = f"^{_DAY}({_CLOCK})?$"
"""The days and times that PostgreSQL takes: one that it does not take would fail a whole list."""


class Named(dict[str, object]):
    """The values bound to a `Statement`, and their placeholders."""

    def bind(self, value: object) -> str:
        """Add a value; returns its placeholder."""
        name = f"p{len(self)}"
        self[name] = value
        return f"%({name})s"


Values = Named | Numbered


def condition(item: Filter, values: Values, published: str = PUBLISHED_SORT) -> str:
    """The condition that `item` is; `published` is the expression by which records are the newest."""
    attribute = item.column.startswith("attributes.")
    value = _attribute(item, values) if attribute else _column(item.column)
    if item.operator == "is_null":
        return f"{value} is null" if item.values[0] else f"{value} is not null"
    if item.operator == "overlap":
        return f"tags && {values.bind(list(item.values))}::text[] and tags <> '{{}}'"
    if item.operator in COMPARISONS:
        # The expression that an index has; in it a record without a value is below all that have one
        indexed = {"published_at": published, "amount": AMOUNT_SORT}
        value = indexed.get(item.column, f'{value} collate "C"' if item.kind == "text" else value)
        has_value = item.column in indexed and item.operator[0] == "l"
        known = f" and {value} > '-infinity'" if has_value else ""
        return f"{value} {_OPERATORS[item.operator]} {values.bind(item.values[0])}{known}"
    if item.operator == "ne":
        return f"{value} is distinct from {values.bind(item.values[0])}"
    return _of_runs(item, values) if item.column == "run_id" else _one_of(item, value, values)


def _one_of(item: Filter, value: str, values: Values) -> str:
    if len(item.values) == 1:  # an index that the column leads keeps its order only for one value
        return f"{value} = {values.bind(item.values[0])}"
    return f"{value} = any({values.bind(list(item.values))})"


def _column(name: str) -> str:
    return sql.Identifier(name).as_string() if compact.is_stored(name) else compact.read(name)


def _of_runs(item: Filter, values: Values) -> str:
    """Whether a record is of one of some runs: by the columns, of which the planner has statistics."""
    named = f"run_id = any({values.bind(list(item.values))}::text[])"
    uuids = [str(uuid) for value in item.values if (uuid := compact.as_uuid(str(value)))]
    if not uuids:
        return named
    return f"({named} or (run_id is null and run_uuid = any({values.bind(uuids)}::uuid[])))"


def _attribute(item: Filter, values: Values) -> str:
    """An attribute as a value of its kind; null where an older contract left one of another kind."""
    name = values.bind(item.column.removeprefix("attributes."))
    text = f"(attributes ->> {name}::text)"
    if item.operator == "is_null" or item.kind in {"text", "json"}:
        return text
    if item.kind == "time":
        return f"case when {text} ~ '{_TIME}' then {text}::timestamptz end"
    kind, type_ = ("boolean", "boolean") if item.kind == "boolean" else ("number", "numeric")
    return f"case jsonb_typeof(attributes -> {name}::text) when '{kind}' then {text}::{type_} end"
