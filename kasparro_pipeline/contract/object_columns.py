"""The values of many objects by key, and keys as they can be stored. What the values are `observed` tells."""

import hashlib
from collections.abc import Sequence
from typing import Any

from kasparro_pipeline.contract.mapping import is_encodable

MAX_KEY = 200
"""Characters of a key; a longer one is shown with a hash."""


def columns_of(
    objects: Sequence[dict[str, Any]], positions: Sequence[int]
) -> dict[str, tuple[Sequence[Any], Sequence[int]]]:
    """The values by key, each with the positions of the records that hold them."""
    keys = objects[0].keys()
    if set(map(len, objects)) == {len(keys)}:
        try:
            return {storable(key): ([one[key] for one in objects], positions) for key in keys}
        except KeyError:
            pass  # as many keys, but others
    columns: dict[str, tuple[list[Any], list[int]]] = {}
    for one, position in zip(objects, positions, strict=True):
        for key, value in one.items():
            column = columns.get(key)
            if column is None:
                column = columns[key] = ([], [])
            column[0].append(value)
            column[1].append(position)
    return {storable(key): column for key, column in columns.items()}


def storable(key: str) -> str:
    """A key that PostgreSQL can store: NUL and lone surrogates are shown, not kept."""
    if len(key) > MAX_KEY:
        key = f"{key[:MAX_KEY]}…{hashlib.sha256(key.encode('utf-8', 'surrogatepass')).hexdigest()[:12]}"
    if "\x00" in key or not is_encodable(key):
        return key.encode("utf-8", "backslashreplace").decode().replace("\x00", "\\u0000")
    return key
