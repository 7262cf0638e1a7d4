"""Finds the records in an answer: a list of objects, or an object of objects. Asks nothing."""

import re
from collections.abc import Iterator
from dataclasses import dataclass

MEMBERS = "*"
"""The end of a path to an object whose members are the records."""
USUAL = (
    "data",
    "results",
    "items",
    "records",
    "entries",
    "rows",
    "hits",
    "list",
    "content",
    "value",
    "values",
)
"""What lists of records are called; the best first."""
MAX_DEPTH = 4
FEWEST_MEMBERS = 2
LIKENESS = 0.5
"""Share of keys that the members of an object must have in common to be records."""
_WORD = re.compile(r"[^.]+")


@dataclass(frozen=True, slots=True)
class RecordList:
    """A place that may hold the records of an answer."""

    path: str
    """As `records` has it; empty for the answer itself."""
    count: int


def record_lists(body: object) -> list[RecordList]:
    """The places that may hold the records, the best first; lists before objects of objects."""
    found = list(_lists(body, (), 0))
    if not found:
        found = list(_maps(body, (), 0))
    return sorted(found, key=lambda one: (_rank(one.path), -one.count, one.path.count(".")))


def empty_lists(body: object) -> list[str]:
    """Paths of the lists that hold nothing: where records may have been expected."""
    return [".".join(path) for path, value in _members(body, (), 0) if value == []]


def _lists(body: object, path: tuple[str, ...], depth: int) -> Iterator[RecordList]:
    for where, value in _members(body, path, depth):
        if isinstance(value, list) and value and all(isinstance(item, dict) for item in value):
            yield RecordList(".".join(where), len(value))


def _maps(body: object, path: tuple[str, ...], depth: int) -> Iterator[RecordList]:
    for where, value in _members(body, path, depth):
        if not isinstance(value, dict) or len(value) < FEWEST_MEMBERS:
            continue
        members = list(value.values())
        if not all(isinstance(member, dict) and member for member in members):
            continue
        keys = [set(member) for member in members]
        if len(set.intersection(*keys)) >= LIKENESS * len(set.union(*keys)):
            yield RecordList(".".join([*where, MEMBERS]), len(value))


def _members(value: object, path: tuple[str, ...], depth: int) -> Iterator[tuple[tuple[str, ...], object]]:
    """A value and those in it, each with its path; not those whose path cannot be written."""
    yield path, value
    if isinstance(value, dict) and depth < MAX_DEPTH:
        for key, below in value.items():
            if _WORD.fullmatch(key) and key != MEMBERS:
                yield from _members(below, (*path, key), depth + 1)


def _rank(path: str) -> int:
    if not path or path == MEMBERS:
        return -1
    names = [name for name in path.lower().split(".") if name != MEMBERS]
    return USUAL.index(names[-1]) if names[-1] in USUAL else len(USUAL)
