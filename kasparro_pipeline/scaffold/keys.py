"""Finds the key of some records: what is unique and never null, names that look like an id first."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

from kasparro_pipeline.contract import formats
from kasparro_pipeline.contract.mapping import KeyRefusedError, source_id

NAMES = (
    "id", "_id", "uuid", "guid", "uid", "key", "slug", "code", "sku", "isin", "symbol", "ticker", "handle",
    "number", "nr", "no",
)  # fmt: skip
"""What keys are called; the best first."""
AN_ID = len(NAMES)
"""Rank of a name that ends like an id."""
A_NUMBER = AN_ID + 1
"""Rank of a whole number that stands first."""
DESCRIBING = ("name", "title", "url", "link", "href")
"""What is often unique, and may change; they come next."""
OTHERS = AN_ID + 2 + len(DESCRIBING)
DEEPER = AN_ID + 2
"""What each level of nesting costs."""
PAIRED = 12
"""Paths of which pairs are tried."""
MAX_DEPTH = 2


@dataclass(frozen=True, slots=True)
class Key:
    """What tells the records apart, and in how many of them."""

    paths: tuple[str, ...]
    distinct: int
    records: int


def find_key(records: Sequence[object], kind: str) -> Key | None:
    """The key of the records, of one path or two; None if nothing is unique and never null.

    Records that are the same to the last value count once: pages may overlap.
    """
    different = list({repr(record): record for record in records}.values())
    ranked = sorted(_present(different), key=lambda path: _rank(path, kind, different))
    choices = [*((path,) for path in ranked), *combinations(ranked[:PAIRED], 2)]
    for paths in choices:
        key = measure(different, paths)
        if key is not None and key.distinct == key.records:
            return key
    return None


def measure(records: Sequence[object], paths: tuple[str, ...]) -> Key | None:
    """In how many records the paths differ; None if a record has no usable key there."""
    try:
        values = {source_id(record, paths, {}) for record in records}
    except KeyRefusedError:
        return None
    return Key(paths, len(values), len(records))


def key_values(records: Iterable[object], paths: tuple[str, ...]) -> set[str]:
    """The keys of the records; those without one are left out."""
    found = set()
    for record in records:
        try:
            found.add(source_id(record, paths, {}))
        except KeyRefusedError:
            continue
    return found


def _present(records: Sequence[object]) -> list[str]:
    """The paths at which every record has a value that can be a key."""
    paths: dict[str, int] = {}
    for record in records:
        for path, value in _scalars(record, ""):
            if isinstance(value, str | int) and not isinstance(value, bool) and str(value).strip():
                paths[path] = paths.get(path, 0) + 1
    return [path for path, count in paths.items() if count == len(records)]


def _scalars(record: object, before: str, depth: int = 0) -> Iterator[tuple[str, object]]:
    if not isinstance(record, Mapping):
        return
    for name, value in record.items():
        if isinstance(value, Mapping) and depth < MAX_DEPTH:
            yield from _scalars(value, f"{before}{name}.", depth + 1)
        else:
            yield f"{before}{name}", value


def _rank(path: str, kind: str, records: Sequence[Any]) -> int:
    *above, last = path.split(".")
    name = last.lower()
    if name in {f"{kind}_id", f"{kind}id"}:
        rank = 1
    elif name in NAMES:
        rank = NAMES.index(name)
    elif name.endswith(("_id", "-id", "uuid")) or last.endswith(("Id", "ID")):
        rank = AN_ID
    else:
        first = records[0] if isinstance(records[0], Mapping) else {}
        looks = _look(first.get(path))
        if path == next(iter(first), None) and looks == "integer":
            rank = A_NUMBER
        elif name in DESCRIBING:
            rank = A_NUMBER + 1 + DESCRIBING.index(name)
        else:
            rank = OTHERS + _weakness(looks)
    return rank + DEEPER * len(above)


def _weakness(looks: str) -> int:
    """Of several things that are unique: a text is one for good, a moment may come twice, a measure will."""
    kind, written = formats.split(looks)
    if kind in {"timestamp", "date"} or written in {"unix", "unix_ms", "rfc822"}:
        return 1
    return 2 if kind in {"integer", "number"} else 0


def _look(value: object) -> str:
    return formats.class_of(value) if isinstance(value, str) else formats.class_of_number(value)
