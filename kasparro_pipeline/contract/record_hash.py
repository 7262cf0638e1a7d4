"""The hash of a whole record, which stands for a key where an upstream has none.

It covers the record as received: all fields that have a value, by name, whatever the contract says of them.
Of one record or of many at once; what a key is belongs to `mapping`.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence

from kasparro_pipeline.contract.table import Table

RECORD_HASH = "$record_hash"
"""Stands in a `key` for the hash of the record."""
_quoted = json.JSONEncoder(ensure_ascii=False).encode


def record_hash(record: Mapping[str, object]) -> str | None:
    """128 bits (BLAKE2b, RFC 7693) of a record, as 32 hexadecimal digits; None if no field has a value.

    Names are sorted by code point, at every level. Texts count to the character, numbers to the digit (1.5
    and 1.50 differ). A field of the record that is null does not count: it is the same as one that is absent.

    Raises:
        RecursionError: the record is nested too deep.
    """
    return _digest("".join(_member(name, record[name]) for name in sorted(record)))


def record_hashes(table: Table) -> list[str | None]:
    """The hash of each record of a table."""
    form, columns = [], []
    for name in sorted(table.columns):
        texts = table.columns[name]
        if None in texts:
            form.append("%s")
            columns.append([_member(name, text) for text in texts])
        else:
            form.append(f",{_quoted(name)}:".replace("%", "%%") + "%s")
            columns.append(_all_quoted(texts))  # type: ignore[arg-type]
    if not columns:
        return [None] * len(table)
    return [_digest(text) for text in map("".join(form).__mod__, zip(*columns, strict=True))]


def _digest(members: str) -> str | None:
    if not members:
        return None
    # what is no Unicode counts as well: a lone surrogate, or a byte that the encoding does not have
    return hashlib.blake2b(members.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()


def _member(name: str, value: object) -> str:
    return "" if value is None else f",{_quoted(name)}:{_written(value)}"


def _written(value: object) -> str:
    if isinstance(value, str):
        return _quoted(value)
    if isinstance(value, Mapping):
        return "{" + ",".join(f"{_quoted(name)}:{_written(value[name])}" for name in sorted(value)) + "}"
    if isinstance(value, Sequence):
        return "[" + ",".join(map(_written, value)) + "]"
    return str(value)  # a number, true, false or null


def _all_quoted(texts: Sequence[str]) -> Sequence[str]:
    """Each as `_quoted` writes it: most texts need no more than quotes around them."""
    joined = "".join(texts)
    if '"' not in joined and "\\" not in joined and joined.isprintable():
        return [f'"{text}"' for text in texts]
    return list(map(_quoted, texts))
