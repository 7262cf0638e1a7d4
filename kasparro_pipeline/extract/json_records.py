"""Cuts a JSON document into records without losing a byte of any, and reads a stored one again.

A record's payload is the slice of the document's text: key order, duplicate keys and number text stay as
received. Numbers are read as decimals, so no digit is lost.
"""

import codecs
import json
from collections.abc import Iterator, Mapping
from decimal import Decimal, InvalidOperation
from typing import Any

from kasparro_pipeline.extract.documents import RawRecord
from kasparro_pipeline.extract.errors import PermanentUpstreamError

MAX_INT_DIGITS = 4300
_WHITESPACE = " \t\n\r"
_MARKS = {
    codecs.BOM_UTF8: "utf-8",
    # before UTF-16: its mark is the beginning of this one
    codecs.BOM_UTF32_LE: "utf-32-le",
    codecs.BOM_UTF32_BE: "utf-32-be",
    codecs.BOM_UTF16_LE: "utf-16-le",
    codecs.BOM_UTF16_BE: "utf-16-be",
}


def _refuse_constant(name: str) -> Any:  # noqa: ANN401 - json's hook
    raise ValueError(f"{name} is not JSON")


def _float(text: str) -> Decimal:
    try:
        return Decimal(text)
    except InvalidOperation:
        # an exponent that even decimals cannot hold: the record is kept, and validation refuses the number
        return Decimal("Infinity")


def _int(text: str) -> int | Decimal:
    # Python refuses to read integers of more than 4,300 digits; decimals have no such limit
    return int(text) if len(text) < MAX_INT_DIGITS else Decimal(text)


_DECODER = json.JSONDecoder(parse_float=_float, parse_int=_int, parse_constant=_refuse_constant)


class _NotAListError(ValueError):
    pass


class _AmbiguousError(ValueError):
    pass


def records(body: bytes, path: str, location: str) -> tuple[dict[str, str], list[RawRecord]]:
    """The layout and the records of a document: the items of the list at `path` (dots; empty: the root).

    Raises:
        PermanentUpstreamError: not JSON to its last byte (with the place), or no list at `path`.
    """
    keys = [part for part in path.split(".") if part]
    try:
        mark, encoding = mark_and_encoding(body)
        text = body[len(mark) :].decode(encoding)
        start = _find(text, keys)
        found = [
            RawRecord(position, text[begin:end].encode(encoding), value)
            for position, (begin, end, value) in enumerate(_items(text, start, keys))
        ]
    except RecursionError as error:
        raise PermanentUpstreamError("the JSON is nested too deep", location) from error
    except _NotAListError as error:
        raise PermanentUpstreamError(f"{error} at records path `{path or '(root)'}`", location) from error
    except _AmbiguousError as error:
        raise PermanentUpstreamError(str(error), location) from error
    except ValueError as error:
        shown = body[:80].decode("utf-8", "replace")
        raise PermanentUpstreamError(
            f"the body is not JSON: {error}; it begins with {shown!r}", location
        ) from error
    return {"format": "json", "encoding": encoding}, found


def read(payload: bytes, layout: Mapping[str, str]) -> object:
    """The value of one stored record. Of a key that comes twice in an object, the last value counts.

    Raises:
        ValueError: the payload is not JSON.
    """
    return _DECODER.decode(payload.decode(layout["encoding"]))


def mark_and_encoding(body: bytes) -> tuple[bytes, str]:
    """The byte order mark that a text begins with, and what it says; else none, and UTF-8 (RFC 8259 8.1)."""
    return next(((mark, name) for mark, name in _MARKS.items() if body.startswith(mark)), (b"", "utf-8"))


def _skip(text: str, index: int) -> int:
    while index < len(text) and text[index] in _WHITESPACE:
        index += 1
    return index


def _find(text: str, keys: list[str]) -> int:
    """Index of the value at `keys`. All that stands before it is read, so bad JSON there is found too."""
    index = _skip(text, 0)
    for key in keys:
        index = _member(text, index, key)
    return index


def _member(text: str, index: int, key: str) -> int:
    """Index of the value of `key` in the object that begins at `index`."""
    if text[index : index + 1] != "{":
        raise _NotAListError(f"no object that holds `{key}`")
    index = _skip(text, index + 1)
    while text[index : index + 1] != "}":
        name, index = _name(text, index)
        if name == key:
            return index
        index = _after_value(text, index)
    raise _NotAListError(f"no key `{key}`")


def _name(text: str, index: int) -> tuple[str, int]:
    """A member's name, and the index of its value."""
    if text[index : index + 1] != '"':
        raise json.JSONDecodeError("Expecting property name enclosed in double quotes", text, index)
    name, index = _DECODER.raw_decode(text, index)
    index = _skip(text, index)
    if text[index : index + 1] != ":":
        raise json.JSONDecodeError("Expecting ':' delimiter", text, index)
    return name, _skip(text, index + 1)


def _after_value(text: str, index: int) -> int:
    """Index of what follows a member's value: the next name, or the closing brace."""
    _, index = _DECODER.raw_decode(text, index)
    return _after_comma(text, _skip(text, index), "}")


def _after_comma(text: str, index: int, close: str) -> int:
    mark = text[index : index + 1]
    if mark == close:
        return index
    if mark != ",":
        raise json.JSONDecodeError("Expecting ',' delimiter", text, index)
    index = _skip(text, index + 1)
    if text[index : index + 1] == close:
        raise json.JSONDecodeError("Illegal trailing comma", text, index)
    return index


def _items(text: str, start: int, keys: list[str]) -> Iterator[tuple[int, int, Any]]:
    """Begin, end and value of each item; then the rest of the text is read, so that nothing cut is taken."""
    if text[start : start + 1] != "[":
        _DECODER.raw_decode(text, start)
        raise _NotAListError("there is no list")
    index = _skip(text, start + 1)
    while text[index : index + 1] != "]":
        value, end = _DECODER.raw_decode(text, index)
        yield index, end, value
        index = _after_comma(text, _skip(text, end), "]")
    for key in reversed(keys):
        index = _after_comma(text, _skip(text, index + 1), "}")
        while text[index : index + 1] != "}":
            name, index = _name(text, index)
            if name == key:
                # taking either list would lose the records of the other
                raise _AmbiguousError(f"the key `{key}` on the way to the records comes twice")
            index = _after_value(text, index)
    if _skip(text, index + 1) != len(text):
        raise json.JSONDecodeError("Extra data", text, index + 1)
