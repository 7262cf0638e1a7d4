"""Cuts a JSON document into records without losing a byte of any, and reads a stored one again.

A record's payload is the slice of the document's text: key order, duplicate keys and number text stay as
received. Numbers are read as decimals, so no digit is lost.
"""

import codecs
import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import Any

from kasparro_pipeline.extract.documents import RawRecord
from kasparro_pipeline.extract.errors import PermanentUpstreamError

TOO_DEEP = "the JSON is nested too deep"
MAX_INT_DIGITS = 4300
MEMBERS = "*"
"""The end of a path to an object whose members are the records."""
_WHITESPACE = " \t\n\r"
_SPACE = re.compile(r"[ \t\n\r]*")
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
_FAST_DECODER = json.JSONDecoder(parse_float=Decimal, parse_constant=_refuse_constant)
"""Gives the same values without calling Python for each number; raises where it cannot."""
_Scan = Callable[[str, int], tuple[Any, int]]
_SCAN: _Scan = vars(_DECODER)["scan_once"]  # of the standard library; its type stubs do not know it
_FAST_SCAN: _Scan = vars(_FAST_DECODER)["scan_once"]


class _NotAListError(ValueError):
    pass


class _AmbiguousError(ValueError):
    pass


@dataclass(frozen=True, slots=True)
class CutDocument:
    """A JSON document, cut into its records and what is around them."""

    layout: dict[str, str]
    records: list[RawRecord]
    _around: str

    def around(self) -> object:
        """The document with an empty list in the place of its records: page numbers, cursors, totals."""
        return _decode(self._around)


def records(body: bytes, path: str, location: str) -> tuple[dict[str, str], list[RawRecord]]:
    """The layout and the records of a document: see `cut`."""
    document = cut(body, path, location)
    return document.layout, document.records


def cut(body: bytes, path: str, location: str, *, one_record: bool = False) -> CutDocument:
    """A document's records are the items of the list at `path` (dots; empty: the root).

    A path that ends with `*` leads to an object: each of its members becomes a record,
    `{"key": …, "value": …}`. Both are as received; what is put around them is new. With `one_record`, the
    object at `path` is the only one.

    Raises:
        PermanentUpstreamError: not JSON to its last byte (with the place), or no list, or object, at `path`.
    """
    keys = [part for part in path.split(".") if part]
    of_object = keys[-1:] == [MEMBERS]
    keys = keys[:-1] if of_object else keys
    try:
        mark, encoding = mark_and_encoding(body)
        text = body[len(mark) :].decode(encoding)
        start = _find(text, keys)
        if of_object:
            found, end = _named(text, start, encoding)
        else:
            items, end = _object(text, start) if one_record else _items(text, start)
            found = _as_received(body, text, items, len(mark), encoding)
        _require_end(text, end, keys)
    except RecursionError as error:
        raise PermanentUpstreamError(TOO_DEEP, location) from error
    except _NotAListError as error:
        raise PermanentUpstreamError(f"{error} at records path `{path or '(root)'}`", location) from error
    except _AmbiguousError as error:
        raise PermanentUpstreamError(str(error), location) from error
    except ValueError as error:
        shown = body[:80].decode("utf-8", "replace")
        raise PermanentUpstreamError(
            f"the body is not JSON: {error}; it begins with {shown!r}", location
        ) from error
    layout = {"format": "json", "encoding": encoding}
    return CutDocument(layout, found, f"{text[:start]}[]{text[end + 1 :]}")


def _as_received(
    body: bytes, text: str, items: list[tuple[int, int, Any]], offset: int, encoding: str
) -> list[RawRecord]:
    """The records of a body whose text begins at `offset`: their bytes are those of the body."""
    if encoding == "utf-8" and text.isascii():
        # characters are bytes: the payloads are slices of the body itself
        return [
            RawRecord(position, body[offset + begin : offset + after], value)
            for position, (begin, after, value) in enumerate(items)
        ]
    return [
        RawRecord(position, text[begin:after].encode(encoding), value)
        for position, (begin, after, value) in enumerate(items)
    ]


def read(payload: bytes, layout: Mapping[str, str]) -> object:
    """The value of one stored record. Of a key that comes twice in an object, the last value counts.

    Raises:
        ValueError: the payload is not JSON.
    """
    return _decode(payload.decode(layout["encoding"]))


def read_many(payloads: Sequence[bytes], layout: Mapping[str, str]) -> list[object] | None:
    """The values of stored records, read at once; None where one of them has to be read by itself."""
    if layout["encoding"] != "utf-8":
        return None  # a comma would have other bytes
    try:
        found = _FAST_DECODER.decode(f"[{b','.join(payloads).decode()}]")
    except (ValueError, ArithmeticError, RecursionError):
        return None
    return found if len(found) == len(payloads) else None


def _decode(text: str) -> object:
    try:
        return _FAST_DECODER.decode(text)
    except (ValueError, ArithmeticError):
        return _DECODER.decode(text)


def span(text: str, path: str) -> tuple[int, int] | None:
    """Begin and end of the value at a path (dots) in the text of a JSON value; None where there is none.

    Of a key that comes twice in an object the last value counts, as in `read`.
    """
    index, end = _skip(text, 0), len(text)
    for key in path.split("."):
        if text[index : index + 1] != "{":
            return None
        found = None
        index = _skip(text, index + 1)
        while text[index : index + 1] != "}":
            name, index = _name(text, index)
            _, end = _DECODER.raw_decode(text, index)
            if name == key:
                found = index, end
            index = _after_comma(text, end, "}")
        if found is None:
            return None
        index, end = found
    return index, end


def entries(text: str, start: int) -> list[tuple[int, int, Any]]:
    """Begin, end and value of each entry of the list that begins at `start` in the text of a JSON value."""
    return _items(text, start)[0]


def quoted(text: str) -> str:
    """A text as JSON."""
    return json.dumps(text)


def mark_and_encoding(body: bytes) -> tuple[bytes, str]:
    """The byte order mark that a text begins with, and what it says; else none, and UTF-8 (RFC 8259 8.1)."""
    return next(((mark, name) for mark, name in _MARKS.items() if body.startswith(mark)), (b"", "utf-8"))


def _skip(text: str, index: int) -> int:
    if text[index : index + 1] not in _WHITESPACE:
        return index  # most often; a search costs five times as much
    found = _SPACE.match(text, index)
    return found.end() if found else index


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
    return _after_comma(text, index, "}")


def _after_comma(text: str, index: int, close: str) -> int:
    """Index of what follows a value that ends at `index`: the next one, or the closing bracket."""
    index = _skip(text, index)
    mark = text[index : index + 1]
    if mark == close:
        return index
    if mark != ",":
        raise json.JSONDecodeError("Expecting ',' delimiter", text, index)
    index = _skip(text, index + 1)
    if text[index : index + 1] == close:
        raise json.JSONDecodeError("Illegal trailing comma", text, index)
    return index


def _items(text: str, start: int) -> tuple[list[tuple[int, int, Any]], int]:
    """Begin, end and value of each item, and the index of the bracket behind them."""
    if text[start : start + 1] != "[":
        _DECODER.raw_decode(text, start)
        raise _NotAListError("there is no list")
    try:
        return _scan(text, start, _FAST_SCAN)
    except (ValueError, ArithmeticError):
        # a number that the fast one cannot hold, or bad JSON: the other one knows, and says where
        return _scan(text, start, _SCAN)


def _object(text: str, start: int) -> tuple[list[tuple[int, int, Any]], int]:
    """The same for an object that is the only item: the brace at its end is the index."""
    value, end = _DECODER.raw_decode(text, start)
    if not isinstance(value, dict):
        raise _NotAListError("there is no object")
    return [(start, end, value)], end - 1


def _scan(text: str, start: int, scan_once: _Scan) -> tuple[list[tuple[int, int, Any]], int]:
    items = []
    index = _skip(text, start + 1)
    while text[index : index + 1] != "]":
        try:
            value, end = scan_once(text, index)
        except StopIteration as stop:
            raise json.JSONDecodeError("Expecting value", text, stop.value) from None
        items.append((index, end, value))
        # `,{` is how most lists go on
        index = end + 1 if text.startswith(",{", end) else _after_comma(text, end, "]")
    return items, index


def _named(text: str, start: int, encoding: str) -> tuple[list[RawRecord], int]:
    """The record of each member, and the index of the brace behind them."""
    if text[start : start + 1] != "{":
        _DECODER.raw_decode(text, start)
        raise _NotAListError("there is no object")
    found: list[RawRecord] = []
    begin = _skip(text, start + 1)
    while text[begin : begin + 1] != "}":
        name, index = _name(text, begin)
        value, end = _DECODER.raw_decode(text, index)
        member = f'{{"key":{text[begin:index].rstrip(_WHITESPACE + ":")},"value":{text[index:end]}}}'
        found.append(RawRecord(len(found), member.encode(encoding), {"key": name, "value": value}))
        begin = _after_comma(text, end, "}")
    return found, begin


def _require_end(text: str, index: int, keys: list[str]) -> None:
    """Read the text behind the list whose bracket is at `index`, so that nothing cut is taken."""
    for key in reversed(keys):
        index = _after_comma(text, index + 1, "}")
        while text[index : index + 1] != "}":
            name, index = _name(text, index)
            if name == key:
                # taking either list would lose the records of the other
                raise _AmbiguousError(f"the key `{key}` on the way to the records comes twice")
            index = _after_value(text, index)
    if _skip(text, index + 1) != len(text):
        raise json.JSONDecodeError("Extra data", text, index + 1)
