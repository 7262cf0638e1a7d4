"""The filters that any column takes: `<column>=`, `<column>.<operator>=`, `attributes.<name>[.<operator>]=`.

A filter is read from a query string and checked here; what it becomes in SQL is in `selection`.
"""

import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from typing import Literal, NamedTuple

from sqlalchemy import BigInteger, Column, DateTime, LargeBinary, Numeric, Text

from kasparro_api.data.columns import RECORD_COLUMNS
from kasparro_pipeline.warehouse.tables import unified_record

Kind = Literal["text", "integer", "number", "boolean", "time", "hash", "json"]
Operator = Literal["any", "overlap", "gt", "gte", "lt", "lte", "ne", "is_null"]

OPERATORS = ("gt", "gte", "lt", "lte", "ne", "in", "is_null")
"""The suffixes of a parameter. `in` takes several values with commas between them."""
COMPARISONS = {"gt", "gte", "lt", "lte"}
ORDERED: set[Kind] = {"text", "integer", "number", "time"}
MAX_VALUES = 100
"""Values of one filter."""
MAX_DIGITS = 1000
_LARGEST_INTEGER = 2**63 - 1
_ATTRIBUTE_KINDS: dict[str, Kind] = {
    "integer": "number",
    "number": "number",
    "boolean": "boolean",
    "timestamp": "time",
    "date": "time",
    "list": "json",
    "json": "json",
}
"""What the type of a contract's field compares as; any other one is text."""


class FilterError(ValueError):
    """A value that a filter does not take; the message says what it takes."""


class Filter(NamedTuple):
    """One condition on a column, or on an attribute (`attributes.<name>`)."""

    column: str
    operator: Operator
    kind: Kind
    values: tuple[object, ...]


def _kind(column: Column[object]) -> Kind:
    kinds: dict[type, Kind] = {
        Text: "text",
        BigInteger: "integer",
        Numeric: "number",
        DateTime: "time",
        LargeBinary: "hash",
    }
    return next(kind for type_, kind in kinds.items() if isinstance(column.type, type_))


COLUMN_KINDS: dict[str, Kind] = {
    name: _kind(unified_record.c[name]) for name in RECORD_COLUMNS if name not in {"tags", "attributes"}
}
"""The columns that a filter can name, and what they compare as."""


def attribute_kind(type_: str) -> Kind:
    """What an attribute of a contract's type compares as."""
    return _ATTRIBUTE_KINDS.get(type_, "text")


def known_parameter(name: str, attributes: Mapping[str, Kind]) -> tuple[str, str, Kind] | None:
    """Column, operator (empty: equal to any) and kind of a parameter; None if it names no filter.

    `attributes` has the declared attributes with what they compare as.
    """
    column, _, suffix = name.rpartition(".")
    if suffix not in OPERATORS or column == "attributes":  # an attribute may be called as an operator is
        column, suffix = name, ""
    if column in COLUMN_KINDS:
        return column, suffix, COLUMN_KINDS[column]
    attribute = column.removeprefix("attributes.")
    if attribute != column and attribute in attributes:
        return column, suffix, attributes[attribute]
    return None


def read_filter(column: str, suffix: str, kind: Kind, sent: list[str]) -> Filter:
    """The filter that a parameter's values make.

    Raises:
        FilterError: a value, or their number, is not what the filter takes.
    """
    if suffix == "is_null":
        return Filter(column, "is_null", kind, (_boolean(_single(sent)),))
    if kind == "json":
        raise FilterError("Only `.is_null` is taken: the attribute is a list or an object.")
    if suffix in COMPARISONS and kind not in ORDERED:
        raise FilterError(f"`.{suffix}` is not taken: the values have no order.")
    read = _READERS[kind]
    if suffix and suffix != "in":
        return Filter(column, suffix, kind, (read(_single(sent)),))  # type: ignore[arg-type]
    texts = [part for text in sent for part in text.split(",")] if suffix == "in" else sent
    if len(texts) > MAX_VALUES:
        raise FilterError(f"At most {MAX_VALUES} values.")
    return Filter(column, "any", kind, tuple(dict.fromkeys(map(read, texts))))


def read_text(text: str) -> str:
    """A text that can be in the database.

    Raises:
        FilterError: it is blank, or holds a NUL character.
    """
    if not text.strip():
        raise FilterError("must not be blank")
    if "\0" in text:
        raise FilterError("must not hold a NUL character: no record has one")
    return text


def read_time(text: str) -> datetime:
    """A time as RFC 3339 writes it, or a day; without a zone it is UTC.

    Raises:
        FilterError: it is not one.
    """
    # A plus sign that was not percent-encoded arrives as a space
    written = re.sub(r"(T[\d:.]+) (\d\d:?\d\d)$", r"\1+\2", text.strip())
    if not re.match(r"\d{4}-\d\d-\d\d([T ]|$)", written):
        raise FilterError("must be a time such as 2026-11-01T12:00:00Z, or a day such as 2026-11-01")
    try:
        time = datetime.fromisoformat(written)
        return (time if time.tzinfo else time.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValueError, OverflowError):
        message = "must be a time such as 2026-11-01T12:00:00Z, or a day such as 2026-11-01"
        raise FilterError(message) from None


def read_since(text: str) -> datetime | str:
    """A time, or any other text: a cursor begins with a letter.

    Raises:
        FilterError: it begins like a time, and is none.
    """
    return read_time(text) if text[:1].isdigit() else text


def read_number(text: str) -> Decimal:
    """A finite decimal number, exactly.

    Raises:
        FilterError: it is not one, or has more than `MAX_DIGITS` digits before or after the point.
    """
    try:
        number = Decimal(text.strip()) if text.isascii() and "_" not in text else Decimal("nan")
    except InvalidOperation:
        number = Decimal("nan")
    if (
        not number.is_finite()
        or abs(number.adjusted()) > MAX_DIGITS
        or len(number.as_tuple()[1]) > MAX_DIGITS
    ):
        raise FilterError("must be a number such as 12.50")
    return number


def _integer(text: str) -> int:
    number = read_number(text)
    if number != number.to_integral_value() or abs(number) > _LARGEST_INTEGER:
        raise FilterError("must be a whole number of 64 bits")
    return int(number)


def _boolean(text: str) -> bool:
    if text not in {"true", "false"}:
        raise FilterError("must be true or false")
    return text == "true"


def _hash(text: str) -> bytes:
    try:
        return bytes.fromhex(read_text(text))
    except ValueError:
        raise FilterError("must be hexadecimal") from None


def _single(sent: list[str]) -> str:
    if len(sent) != 1:
        raise FilterError("was sent more than once")
    return sent[0]


_READERS: dict[Kind, Callable[[str], object]] = {
    "text": read_text,
    "integer": _integer,
    "number": read_number,
    "boolean": _boolean,
    "time": read_time,
    "hash": _hash,
}
