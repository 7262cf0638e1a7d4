"""The types that a field can have: each turns a received value into a Python value, or says why not.

A conversion that loses nothing is made (`"12"` for an integer: in a CSV file all is text); anything else is
an error. Nothing is guessed: no thousands separators, no seconds that may be milliseconds.
"""

import re
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal, InvalidOperation
from email.utils import parsedate_to_datetime
from functools import partial
from typing import Any
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo

from pydantic_core import PydanticCustomError

from kasparro_pipeline.contract.field_spec import FieldSpec, FieldType
from kasparro_pipeline.contract.formats import MILLISECONDS, SECONDS
from kasparro_pipeline.contract.mapping import is_encodable
from kasparro_pipeline.contract.times import in_utc
from kasparro_pipeline.contract.transforms import transformer

MAX_DIGITS = 1000
"""Digits before or after the decimal point. PostgreSQL's numeric takes 131,072 and 16,383."""
MAX_DEPTH = 64
"""Nesting of a `json` value."""
NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d{1,9})?", re.ASCII)
INTEGER = re.compile(r"[+-]?\d+", re.ASCII)
CONTROL = re.compile(r"[\x00-\x1f\x7f]")
BOOLEANS = {"true": True, "false": False, "1": True, "0": False, "yes": True, "no": False}
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def converter(kind: FieldType, field: FieldSpec) -> Callable[[Any], Any]:
    """The function that converts a received, non-null value to the field's type, or raises why not."""
    convert = _converter(kind, field)
    if not field.transforms:
        return convert
    transform = transformer(field.transforms)
    return lambda value: convert(transform(value))


def _converter(kind: FieldType, field: FieldSpec) -> Callable[[Any], Any]:
    if kind == "timestamp":
        zone = None if field.zone in {"utc", "required"} else ZoneInfo(field.zone)
        return partial(to_timestamp, written=field.format, zone=zone, zone_required=field.zone == "required")
    if kind == "date" and field.format != "iso":
        return partial(_to_date_as, written=field.format)
    if kind == "enum":
        return partial(_to_enum, allowed=frozenset(field.values or ()))
    return _CONVERTERS[kind]


def to_text(value: object) -> str:
    """Text as received; a number or an object is not text."""
    if not isinstance(value, str):
        raise PydanticCustomError("string_type", f"expected text, got {_named(value)}")
    if "\x00" in value:
        raise PydanticCustomError(
            "nul_character", "the text holds a NUL character, which PostgreSQL cannot store"
        )
    if not is_encodable(value):
        raise PydanticCustomError(
            "lone_surrogate", "the text is not valid Unicode (undecodable bytes or a surrogate)"
        )
    return value


def to_number(value: object) -> Decimal:
    """A finite decimal, exact to its last digit."""
    if isinstance(value, bool) or not isinstance(value, (int, Decimal, str)):
        raise PydanticCustomError("number_type", f"expected a number, got {_named(value)}")
    if isinstance(value, str) and not NUMBER.fullmatch(value.strip()):
        raise PydanticCustomError("number_parsing", "the text is not a number")
    try:
        number = Decimal(value.strip() if isinstance(value, str) else value)
    except InvalidOperation as error:
        raise PydanticCustomError("number_out_of_range", "the number's exponent is out of range") from error
    _, digits, exponent = number.as_tuple()
    if not isinstance(exponent, int):
        raise PydanticCustomError("number_not_finite", "NaN and infinities are not numbers here")
    if max(len(digits) + exponent, -exponent) > MAX_DIGITS:
        raise PydanticCustomError(
            "number_out_of_range", f"more than {MAX_DIGITS} digits before or after the point"
        )
    return number


def to_integer(value: object) -> int:
    """A whole number of any size up to MAX_DIGITS digits; `3.0` is one, `3.5` is not."""
    if isinstance(value, str) and not INTEGER.fullmatch(value.strip()):
        raise PydanticCustomError("integer_parsing", "the text is not a whole number")
    number = to_number(value)
    if number != number.to_integral_value():
        raise PydanticCustomError("integer_from_number", "the number has a fractional part")
    return int(number)


def to_boolean(value: object) -> bool:
    """True or false; in text also 1/0 and yes/no."""
    if isinstance(value, bool):
        return value
    if isinstance(value, str) and value.strip().lower() in BOOLEANS:
        return BOOLEANS[value.strip().lower()]
    raise PydanticCustomError("boolean_type", f"expected true or false, got {_named(value)}")


def to_timestamp(
    value: object, *, written: str = "iso", zone: ZoneInfo | None = None, zone_required: bool = False
) -> datetime:
    """An instant in UTC, written as `written` says (see `FieldSpec.format`).

    Text without a zone is local time of `zone`, of UTC if that is None, and refused if `zone_required`.
    """
    try:
        return in_utc(_instant(value, written), zone, zone_required=zone_required)
    except OverflowError as error:
        raise PydanticCustomError("timestamp_out_of_range", "outside the years 1 to 9999") from error
    except PydanticCustomError:
        raise
    except (ValueError, TypeError) as error:
        raise PydanticCustomError("timestamp_parsing", f"not a timestamp of format {written}") from error


def _instant(value: object, written: str) -> datetime:
    if written in {"unix", "unix_ms"}:
        count = to_number(value)
        if count == int(count) and int(count) in (SECONDS if written == "unix_ms" else MILLISECONDS):
            other = "seconds" if written == "unix_ms" else "milliseconds"
            raise PydanticCustomError("timestamp_parsing", f"these look like {other}, not {written}")
        seconds = count / (1000 if written == "unix_ms" else 1)
        return EPOCH + timedelta(microseconds=int(seconds * 1_000_000))
    if not isinstance(value, str):
        raise PydanticCustomError("timestamp_type", f"expected a timestamp as text, got {_named(value)}")
    if written == "iso":
        return datetime.fromisoformat(value.strip())
    if written == "rfc822":
        moment = parsedate_to_datetime(value)
        # RFC 5322, 3.3: -0000 is UTC, of which nothing is said about the place
        return moment.replace(tzinfo=UTC) if value.rstrip().endswith("-0000") else moment
    return datetime.strptime(value.strip(), written)  # noqa: DTZ007 - `in_utc` decides what no zone means


def _to_date_as(value: object, *, written: str) -> date:
    if not isinstance(value, str):
        raise PydanticCustomError("date_type", f"expected a date as text, got {_named(value)}")
    try:
        return datetime.strptime(value.strip(), written).date()  # noqa: DTZ007 - a day has no zone
    except ValueError as error:
        raise PydanticCustomError("date_parsing", f"not a date of the form {written}") from error


def to_date(value: object) -> date:
    """A calendar day, `YYYY-MM-DD`."""
    if not isinstance(value, str):
        raise PydanticCustomError("date_type", f"expected a date as text, got {_named(value)}")
    try:
        return date.fromisoformat(value.strip())
    except ValueError as error:
        raise PydanticCustomError("date_parsing", "not a date of the form YYYY-MM-DD") from error


def to_url(value: object) -> str:
    """An absolute http or https URL, as received."""
    text = to_text(value)
    try:
        parts = urlsplit(text)
    except ValueError as error:
        raise PydanticCustomError("url_parsing", "not a URL") from error
    # urlsplit passes over control characters and outer spaces, others that read the URL do not
    plain = text == text.strip() and not CONTROL.search(text)
    if parts.scheme not in {"http", "https"} or not parts.hostname or not plain:
        raise PydanticCustomError("url_parsing", "not an absolute http or https URL")
    return text


def to_list(value: object) -> list[str]:
    """A list of texts."""
    if not isinstance(value, list):
        raise PydanticCustomError("list_type", f"expected a list, got {_named(value)}")
    return [to_text(item) for item in value]


def to_json(value: object, depth: int = 0) -> object:
    """Any JSON value, with the limits of text and number at every depth."""
    if depth > MAX_DEPTH:
        raise PydanticCustomError("json_too_deep", f"nested deeper than {MAX_DEPTH}")
    if isinstance(value, dict):
        return {to_text(key): to_json(item, depth + 1) for key, item in value.items()}
    if isinstance(value, list):
        return [to_json(item, depth + 1) for item in value]
    if isinstance(value, str):
        return to_text(value)
    if isinstance(value, bool) or value is None:
        return value
    return to_number(value)


def _to_enum(value: object, *, allowed: frozenset[str]) -> str:
    text = to_text(value)
    if text not in allowed:
        raise PydanticCustomError("enum", f"not one of {', '.join(sorted(allowed))}")
    return text


def _named(value: object) -> str:
    names = {
        bool: "a boolean",
        int: "a number",
        Decimal: "a number",
        str: "text",
        list: "a list",
        dict: "an object",
    }
    return names.get(type(value), "null")


_CONVERTERS: dict[str, Callable[[Any], Any]] = {
    "string": to_text,
    "integer": to_integer,
    "number": to_number,
    "boolean": to_boolean,
    "date": to_date,
    "url": to_url,
    "list": to_list,
    "json": to_json,
}
