"""`/data` in plain Python: random records and questions, and which records should answer them, in order.

Nothing here knows the service's code.
"""

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any

import psycopg
from hypothesis import strategies as st
from psycopg.types.json import Jsonb

NOON = datetime(2026, 11, 1, 12, tzinfo=UTC)
Row = dict[str, Any]
Keep = Callable[[Row], bool]

CONTRACTS = {
    "a": {
        "rank": "integer",
        "price": "number",
        "live": "boolean",
        "seen": "timestamp",
        "day": "date",
        "site": "url",
        "colour": "enum",
        "label": "string",
        "parts": "list",
        "blob": "json",
        "mixed": "integer",
        "in": "string",
    },
    "b": {"mixed": "string", "rank": "integer"},
}
"""Per source the declared attributes with their types; `mixed` has two, so that it compares as text."""
ATTRIBUTES = {name: type_ for fields in CONTRACTS.values() for name, type_ in fields.items()} | {
    "mixed": "string"
}
TYPES = {
    **dict.fromkeys(("source", "source_id", "kind", "title", "summary", "url"), "text"),
    **dict.fromkeys(("category", "author", "currency", "run_id"), "text"),
    "id": "integer",
    "raw_id": "integer",
    "amount": "number",
    **dict.fromkeys(("published_at", "first_seen_at", "updated_at", "deleted_at"), "time"),
    "content_hash": "hash",
    **{
        f"attributes.{name}": {
            "integer": "number",
            "number": "number",
            "boolean": "boolean",
            "timestamp": "time",
            "date": "time",
            "list": "json",
            "json": "json",
        }.get(type_, "text")
        for name, type_ in ATTRIBUTES.items()
    },
}
"""What each column and attribute compares as."""

POOLS: dict[str, list[Any]] = {
    "source": ["a", "b", "c, d"],
    "kind": ["price", "article"],
    "title": [None, "", "a", "B", "b", "é", "\U0001d4b3", "a" * 200, "a" * 200 + "b", "a" * 250, "a'%s\\"],
    "summary": [None, "s", "t"],
    "url": [None, "https://example.org/?a=1&b=2"],
    "category": [None, "x", "y", "z,é"],
    "author": [None, "ann", "Ann", "bob"],
    "tags": [[], ["t1"], ["t1", "t2"], ["t3", "t3"]],
    "amount": [
        None,
        *map(Decimal, ("-5", "0", "1.50", "1.5", "1e20", "0.0000001", "12345678901234567890.123456789")),
    ],
    "currency": [None, "EUR"],
    "published_at": [None, NOON, NOON + timedelta(microseconds=1), datetime(1, 1, 1, tzinfo=UTC)],
    "first_seen_at": [NOON - timedelta(days=1), NOON],
    "updated_at": [NOON, NOON + timedelta(microseconds=1), NOON + timedelta(days=1)],
    "deleted_at": [None, None, None, NOON],
    "content_hash": [b"\x00\xff", b"\x01", b""],
    "raw_id": [1, 2, 2**40],
    "run_id": ["run-1", "run-2"],
}
ATTRIBUTE_POOLS: dict[str, list[Any]] = {
    "rank": [None, 1, 2, 10, -3, "old"],
    "price": [None, 0, 1.5, 10, "1.5"],
    "live": [None, True, False, "true"],
    "seen": [None, "2026-11-01T12:00:00Z", "2026-11-01T14:00:00+02:00", "2027-01-01T00:00:00Z", "soon", 5],
    "day": [None, "2026-11-01", "2026-11-02"],
    "site": [None, "https://example.org"],
    "colour": [None, "red", "blue"],
    "label": [None, "", "x", "X", "é,è"],
    "parts": [None, [], ["a"]],
    "blob": [None, {"a": 1}],
    "mixed": [None, 5, "5", "x", True],
    "in": [None, "x"],
    "undeclared": [None, 1],
}


def declare_contracts(warehouse: psycopg.Connection[Any]) -> None:
    """Register `CONTRACTS`, over an older version that says otherwise."""
    for source, types in CONTRACTS.items():
        for version, fields in enumerate((dict.fromkeys(types, "json"), types), 1):
            contract = {"fields": {name: {"type": type_} for name, type_ in fields.items()}}
            warehouse.execute(
                "insert into kasparro.contract_version"
                " (source, version, digest, contract, version_rule, epoch) values (%s, %s, '', %s, '{}', 1)",
                [source, version, Jsonb(contract)],
            )


attributes = st.fixed_dictionaries(
    {}, optional={name: st.sampled_from(pool) for name, pool in ATTRIBUTE_POOLS.items()}
)
row = st.fixed_dictionaries(
    {**{name: st.sampled_from(pool) for name, pool in POOLS.items()}, "attributes": attributes}
)
rows = st.lists(row, max_size=25)


def insert(warehouse: psycopg.Connection[Any], drawn: list[Row], first: int = 0) -> list[Row]:
    """Insert rows in one statement; the rows with their ids and `source_id`."""
    filled = [{**each, "source_id": f"record-{first + number}"} for number, each in enumerate(drawn)]
    if not filled:
        return []
    names = list(filled[0])
    values = ", ".join(f"({', '.join(['%s'] * len(names))}, 1, 1)" for _ in filled)
    cells = [each[name] for each in filled for name in names]
    bound = [Jsonb(cell) if isinstance(cell, dict) else cell for cell in cells]
    found = warehouse.execute(
        f"insert into kasparro.unified_record ({', '.join(names)}, epoch, version) values {values}"
        " returning id",
        bound,
    ).fetchall()
    return [{**each, "id": id_} for each, (id_,) in zip(filled, found, strict=True)]


def fill(warehouse: psycopg.Connection[Any], drawn: list[Row]) -> list[Row]:
    """As `insert`, into an empty table."""
    with warehouse.transaction():
        warehouse.execute("delete from kasparro.unified_record")
        return insert(warehouse, drawn)


@dataclass(frozen=True)
class Question:
    """Parameters that select and order records, and what they mean."""

    parameters: Mapping[str, list[str]] = field(default_factory=dict)
    keeps: tuple[Keep, ...] = ()
    deleted: str = "exclude"
    sort: str = "-published_at"

    def sent(self) -> dict[str, list[str]]:
        """The query string's pairs."""
        pairs = dict(self.parameters)
        if self.deleted != "exclude":
            pairs["deleted"] = [self.deleted]
        if self.sort != "-published_at":
            pairs["sort"] = [self.sort]
        return pairs

    def matches(self, record: Row) -> bool:
        """Whether the list holds `record`."""
        is_deleted = record["deleted_at"] is not None
        wanted = {"exclude": not is_deleted, "include": True, "only": is_deleted}[self.deleted]
        return wanted and all(keep(record) for keep in self.keeps)

    def answer(self, records: list[Row]) -> list[int]:
        """The ids of the list, in order."""
        found = [record for record in records if self.matches(record)]
        name = self.sort.removeprefix("-")
        found.sort(key=lambda each: (sort_key(each, name), each["id"]), reverse=self.sort.startswith("-"))
        return [record["id"] for record in found]


def sort_key(record: Row, name: str) -> tuple[bool, Any]:
    """What a record is ordered by; no value is the smallest, and a title counts by its first 200 letters."""
    if name == "title":
        return (True, (record["title"] or "")[:200])
    return (record[name] is not None, record[name])


def value_of(record: Row, column: str) -> Any:
    """A column or attribute as the value that it compares as; None where it has another type."""
    name = column.removeprefix("attributes.")
    if name == column:
        return record[column]
    found, type_ = record["attributes"].get(name), TYPES[column]
    if type_ == "number":
        is_number = isinstance(found, int | float) and not isinstance(found, bool)
        return Decimal(str(found)) if is_number else None
    if type_ == "boolean":
        return found if isinstance(found, bool) else None
    if type_ == "time":
        if not isinstance(found, str) or not re.match(r"\d{4}-\d\d-\d\d", found):
            return None
        time = datetime.fromisoformat(found)
        return time if time.tzinfo else time.replace(tzinfo=UTC)
    return found if found is None or isinstance(found, str) else json.dumps(found)


def any_of(column: str, several: list[str]) -> Keep:
    """Keeps the records that have one of `several` there."""
    return lambda each: each[column] in several


def is_null(record: Row, column: str) -> bool:
    """Whether the record has no value there, of any type."""
    name = column.removeprefix("attributes.")
    return (record[column] if name == column else record["attributes"].get(name)) is None


def values(column: str) -> st.SearchStrategy[Any]:
    """Values to ask a column for: those that records have, and others."""
    name, type_ = column.removeprefix("attributes."), TYPES[column]
    pool = POOLS.get(column, []) if name == column else ATTRIBUTE_POOLS[name]
    if type_ == "text":
        texts = [text for text in pool if isinstance(text, str) and text.strip()]
        return st.sampled_from([*texts, "nobody", "'; drop table x --", "5", "true"])
    if type_ == "integer":
        return st.sampled_from([1, 2, 3, 2**40, -1, 0, 2**63 - 1])
    if type_ == "number":
        numbers = [Decimal(str(n)) for n in pool if isinstance(n, int | float | Decimal)]
        return st.sampled_from([*numbers, Decimal("1.49"), Decimal("1E+30")])
    if type_ == "boolean":
        return st.booleans()
    if type_ == "hash":
        return st.sampled_from([b"\x00\xff", b"\x01", b"\x02"])
    return st.sampled_from(
        [NOON, NOON + timedelta(microseconds=1), NOON + timedelta(days=1), datetime(1, 1, 1, tzinfo=UTC)]
    )


@st.composite
def written(draw: st.DrawFn, value: Any) -> str:
    """A value as a client may write it."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, Decimal):
        return draw(st.sampled_from([str(value), f"{value:f}", f"{value:e}"]))
    if isinstance(value, datetime):
        plain = value.isoformat()
        zones = [plain, plain.replace("+00:00", "Z"), plain.removesuffix("+00:00")]
        if value.year > 1:
            zones.append(value.astimezone(timezone(timedelta(hours=2))).isoformat())
        return draw(st.sampled_from(zones))
    if isinstance(value, bytes):
        return draw(st.sampled_from([value.hex(), value.hex().upper()]))
    return str(value)


COMPARE: dict[str, Callable[[Any, Any], bool]] = {
    "gt": lambda found, asked: found is not None and found > asked,
    "gte": lambda found, asked: found is not None and found >= asked,
    "lt": lambda found, asked: found is not None and found < asked,
    "lte": lambda found, asked: found is not None and found <= asked,
    "ne": lambda found, asked: found is None or found != asked,
}
OPERATORS = {
    "text": ("", "gt", "gte", "lt", "lte", "ne", "in", "is_null"),
    "integer": ("", "gt", "gte", "lt", "lte", "ne", "in", "is_null"),
    "number": ("", "gt", "gte", "lt", "lte", "ne", "in", "is_null"),
    "time": ("", "gt", "gte", "lt", "lte", "ne", "in", "is_null"),
    "boolean": ("", "ne", "in", "is_null"),
    "hash": ("", "ne", "in", "is_null"),
    "json": ("is_null",),
}
Condition = tuple[str, list[str], Keep]


@st.composite
def compared(draw: st.DrawFn, columns: list[str]) -> Condition:
    """A filter of the form `<column>[.<operator>]=`."""
    column = draw(st.sampled_from(columns))
    operator = draw(st.sampled_from(OPERATORS[TYPES[column]]))
    name = f"{column}.{operator}" if operator else column
    if operator == "is_null":
        asked = draw(st.booleans())
        return name, [draw(written(asked))], lambda each: is_null(each, column) == asked
    if operator in COMPARE:
        value = draw(values(column))
        return name, [draw(written(value))], lambda each: COMPARE[operator](value_of(each, column), value)
    pool = values(column).filter(lambda v: not (operator and isinstance(v, str) and "," in v))
    several = draw(st.lists(pool, min_size=1, max_size=3))
    sent = [draw(written(value)) for value in several]
    return name, [",".join(sent)] if operator else sent, lambda each: value_of(each, column) in several


@st.composite
def named(draw: st.DrawFn) -> Condition:
    """A filter with a name of its own."""
    name = draw(
        st.sampled_from(
            [
                "source",
                "category",
                "kind",
                "author",
                "tag",
                "published_after",
                "published_before",
                "updated_since",
                "amount_min",
                "amount_max",
                "source",
                "category",
                "kind",
            ]
        )
    )
    if name == "tag":
        asked = draw(st.lists(st.sampled_from(["t1", "t2", "t3", "t"]), min_size=1, max_size=3))
        return name, asked, lambda each: bool(set(each["tags"]) & set(asked))
    if name in {"source", "category", "kind", "author"}:
        several = draw(st.lists(values(name), min_size=1, max_size=3))
        return name, several, lambda each: each[name] in several
    column, operator = {
        "published_after": ("published_at", "gte"),
        "published_before": ("published_at", "lt"),
        "updated_since": ("updated_at", "gte"),
        "amount_min": ("amount", "gte"),
        "amount_max": ("amount", "lte"),
    }[name]
    value = draw(values(column))
    return name, [draw(written(value))], lambda each: COMPARE[operator](each[column], value)


SORTS = [f"{sign}{name}" for name in ("published_at", "updated_at", "amount", "title") for sign in ("-", "")]


@st.composite
def questions(draw: st.DrawFn, columns: list[str] | None = None) -> Question:
    """Filters of any kind together, any order; `columns` are those that they may be about."""
    one = compared(list(TYPES)) | named() if columns is None else compared(columns)
    conditions = {name: (sent, keep) for name, sent, keep in draw(st.lists(one, max_size=4))}
    return Question(
        {name: sent for name, (sent, _) in conditions.items()},
        tuple(keep for _, keep in conditions.values()),
        draw(st.sampled_from(["exclude", "exclude", "include", "only"])),
        draw(st.sampled_from(SORTS)),
    )
