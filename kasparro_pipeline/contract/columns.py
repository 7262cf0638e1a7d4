"""The types of `types`, for many values of one field at once: what is plainly right is told by a look at all.

A column program says of each value how it is written once it is checked, or leaves the value to the field's
own rule. What is not accepted there either, `validation` judges with its whole record; nothing is rejected
here. The properties in the tests hold both ways equal.
"""

import re
from collections.abc import Callable, Sequence
from decimal import Decimal
from typing import Any, Final

from pydantic import TypeAdapter, ValidationError

from kasparro_pipeline.contract.compiled import MAX_CATEGORY, annotation_of
from kasparro_pipeline.contract.field_spec import FieldSpec, FieldType
from kasparro_pipeline.contract.json_text import to_json, writable
from kasparro_pipeline.contract.mapping import is_encodable

LEFT: Final = None
"""In place of a value that the program does not accept."""
MAX_REMEMBERED = 10_000
"""Different values of a column whose outcome is remembered: many columns have few."""

FEW = 16
"""If fewer than one value in as many is written in another way, only those are looked at one by one."""

Program = Callable[[Sequence[Any]], Sequence[str | None]]
"""Of values that are not null: each as checked text (see `text_of`), or LEFT."""

# Each ends its lines, so that one match over all values tells that each of them matches
# Decimals of more than six zeros behind the point are written with an exponent, and are looked at one by one
_NUMBERS = re.compile(r"(?:-?(?:0(?:\.\d{1,6})?|[1-9]\d{0,17}(?:\.\d{1,18})?)\n)*+", re.ASCII)
_INTEGERS = re.compile(r"(?:(?:0|-?[1-9]\d{0,17})\n)*+", re.ASCII)
# Of leap days those of most leap years; the others, and the first thousand years, are looked at one by one
_DAY = (
    r"(?:[1-9]\d{3}-(?:(?:0[13-9]|1[0-2])-(?:0[1-9]|[12]\d|30)|(?:0[13578]|1[02])-31|02-(?:0[1-9]|1\d|2[0-8]))"
    r"|[1-9]\d(?:0[48]|[2468][048]|[13579][26])-02-29)"
)
_INSTANTS = re.compile(rf"(?:{_DAY}T(?:[01]\d|2[0-3]):[0-5]\d:[0-5]\dZ\n)*+", re.ASCII)
_DAYS = re.compile(rf"(?:{_DAY}\n)*+", re.ASCII)
_URLS = re.compile(r"(?:https?://[A-Za-z0-9][A-Za-z0-9.-]*(?::\d{1,5})?(?:/[!-~]*)?\n)*+", re.ASCII)
_WRITTEN: dict[FieldType, re.Pattern[str]] = {
    "number": _NUMBERS,
    "integer": _INTEGERS,
    "timestamp": _INSTANTS,
    "date": _DAYS,
    "url": _URLS,
}
_RULES = ("minimum", "maximum", "precision", "scale", "pattern", "transforms")
"""What a look at all the values does not check."""


QUOTED: Final[frozenset[FieldType]] = frozenset({"string", "url", "enum", "timestamp", "date"})
"""Types whose values JSON writes in quotes. Of these the text is without them; of the others it is JSON."""


def text_of(kind: FieldType, value: object) -> str:
    """A checked value of a field of that type as text."""
    if isinstance(value, str) and kind in QUOTED:
        return value
    text = to_json(writable(value) if type(value) is int else value).decode()
    return text[1:-1] if kind in QUOTED else text


def program(name: str, kind: FieldType, field: FieldSpec, largest: tuple[int | None, int | None]) -> Program:
    """The program of a field. `largest`: items and bytes that are still accepted, as in `compiled`."""
    by_value = _by_value(kind, TypeAdapter(annotation_of(name, kind, field, largest)))
    if any(getattr(field, rule) not in {None, ()} for rule in _RULES):
        return by_value
    shortest = field.min_length or 0
    longest = field.max_length or (MAX_CATEGORY if name == "category" else None)
    if kind == "string":
        return lambda values: _texts(values, shortest, longest) or by_value(values)
    written = _WRITTEN.get(kind)
    if written is None or (kind in {"timestamp", "date"} and field.format != "iso"):
        return by_value
    if kind == "url" and (shortest or longest):
        return by_value

    def look(values: Sequence[Any]) -> Sequence[str | None]:
        return _alike(values, written, by_value) or by_value(values)

    return look


def _texts(values: Sequence[Any], shortest: int, longest: int | None) -> Sequence[str] | None:
    """The values, if all are texts within the lengths that PostgreSQL can store."""
    try:
        joined = "".join(values)
    except TypeError:
        return None
    if "\x00" in joined or not (joined.isascii() or is_encodable(joined)):
        return None
    if shortest and min(map(len, values)) < shortest:
        return None
    if longest is not None and max(map(len, values)) > longest:
        return None
    return values


def _alike(values: Sequence[Any], written: re.Pattern[str], by_value: Program) -> Sequence[str | None] | None:
    """The values, if they are written as `written` says; the few that are not by their own rule."""
    texts = values
    try:
        joined = "\n".join(values)
    except TypeError:
        if not set(map(type, values)) <= {int, Decimal}:
            return None
        texts = list(map(str, values))
        joined = "\n".join(texts)
    if joined.count("\n") >= len(texts):
        return None
    others = _others(joined + "\n", written, len(texts) // FEW)
    if others is None:
        return None
    if not others:
        return texts
    found: list[str | None] = list(texts)
    for index, text in zip(others, by_value([values[index] for index in others]), strict=True):
        found[index] = text
    return found


def _others(joined: str, written: re.Pattern[str], most: int) -> list[int] | None:
    """The lines that are not written so, by index; None if there are more than `most`."""
    found: list[int] = []
    line = start = 0
    while True:
        match = written.match(joined, start)
        end = match.end() if match else start
        if end == len(joined):
            return found
        if len(found) == most:
            return None
        line += joined.count("\n", start, end)
        found.append(line)
        line, start = line + 1, joined.index("\n", end) + 1


def _by_value(kind: FieldType, field: TypeAdapter[Any]) -> Program:
    check = field.validator.validate_python

    def convert(value: object) -> str | None:
        try:
            return text_of(kind, check(value))
        except ValidationError:
            return LEFT

    def each(values: Sequence[Any]) -> Sequence[str | None]:
        if set(map(type, values)) != {str}:
            return list(map(convert, values))
        known: dict[str, str | None] = {}
        found = []
        for value in values:
            try:
                found.append(known[value])
            except KeyError:
                text = convert(value)
                if len(known) < MAX_REMEMBERED:
                    known[value] = text
                found.append(text)
        return found

    return each
