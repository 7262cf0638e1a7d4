"""Takes what evolves of many records column by column: fields that all have and the contract does not name.

The outcome is that of `evolution.added_attributes` for each record. Whatever is not plain is left to it.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

from kasparro_pipeline.contract.evolution import MAX_ADDED, MAX_ADDED_BYTES, Leaves, as_text

PLAIN = {str, int, bool, type(None)}
"""Types of values of which none holds others, or is written in more than one way."""
_BELOW = "\x00"
"""A key that no contract names."""


def added_columns(
    records: Sequence[object], unknown: Callable[[dict[str, Any]], Leaves], declared: Collection[str]
) -> Mapping[str, Sequence[str]] | None:
    """The added fields of records as JSON, by name; None if each record has to be looked at.

    `unknown` finds the fields of a record that the contract does not name; `declared` are those it names.
    """
    first = records[0] if records else None
    if type(first) is not dict:
        return None
    keys = first.keys()
    names = unknown(dict.fromkeys(first)).keys()
    if not keys >= names or not _are_plain(names) or not names.isdisjoint(declared):
        return None
    if any(unknown({key: {_BELOW: None}}) for key in keys - names):
        return None  # a field that the contract does not name may be in an object of which it names another
    if any(type(record) is not dict or record.keys() != keys for record in records):
        return None
    found = {name: _as_json([record[name] for record in records]) for name in names}  # type: ignore[index]
    columns = {name: texts for name, texts in found.items() if texts is not None}
    size = sum(len(name) + max(map(len, texts)) for name, texts in columns.items())
    return columns if len(columns) == len(names) and size <= MAX_ADDED_BYTES else None


def _are_plain(names: Collection[str]) -> bool:
    joined = "".join(names)
    return (
        len(names) <= MAX_ADDED
        and joined.isascii()
        and joined.isprintable()
        and not any(character in joined for character in '"\\%')
    )


def _as_json(values: Sequence[Any]) -> Sequence[str] | None:
    """Values as JSON (RFC 8259, 7); None if one is not plain, or not of as many bytes as characters."""
    kinds = set(map(type, values))
    if kinds == {str}:
        joined = "".join(values)
        plain = joined.isascii() and joined.isprintable() and '"' not in joined and "\\" not in joined
        return [f'"{value}"' for value in values] if plain else None
    if not kinds <= PLAIN:
        return None
    texts = [as_text(value).decode() for value in values]
    return texts if all(texts) and all(map(str.isascii, texts)) else None
