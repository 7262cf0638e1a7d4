"""What came: a profile of every record of a document, in bounded memory, taken while the document is read.

A profile needs no contract. Profiles of the parts of a document, or of several documents, add up to the
profile of the whole. The comparison with a contract is in `drift`; what is kept of one field in `observed`.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Self

from kasparro_pipeline.contract.observed import Field
from kasparro_pipeline.contract.sketch import Seen
from kasparro_pipeline.contract.table import Table

MAX_COLUMNS = 2000
"""Different keys of the records themselves that are told apart."""
MAX_FIELDS = 5000
"""Fields that a profile tells apart; beyond them the widest objects become mappings, at last the records."""
AT_ONCE = 4_000
"""Records of a table that are looked at together: a column of so many stays in the processor's cache."""
VERSION = 2
"""Of the stored form. The first had only how many records came by path and type."""


@dataclass(slots=True)
class Profile:
    """What came in some records. `text_only`: the format has no types (CSV, feeds)."""

    text_only: bool = False
    records: int = 0
    root: Field = field(default_factory=Field)
    """The records themselves."""

    def observe(self, values: Sequence[object], positions: Sequence[int]) -> None:
        """Count records: what they hold, and where they are in their document, in rising order."""
        self.records += len(values)
        objects = [value for value in values if type(value) is dict]
        if len(objects) == len(values):
            where = positions
        else:
            others = [(p, v) for p, v in zip(positions, values, strict=True) if type(v) is not dict]
            found, at = [value for _, value in others], [position for position, _ in others]
            self.root.observe(found, at, 0, text_only=self.text_only)
            where = [p for p, v in zip(positions, values, strict=True) if type(v) is dict]
        if objects:
            self.root.observe_objects(objects, where, 1, MAX_COLUMNS, text_only=self.text_only)
        self._limit()

    def observe_table(self, table: Table, positions: Sequence[int]) -> None:
        """Count the records of a table."""
        self.records += len(table)
        for start in range(0, len(table), AT_ONCE):
            stop = start + AT_ONCE
            some, where = table.part(start, stop), positions[start:stop]
            self.root.observe_table(some, where, MAX_COLUMNS, text_only=self.text_only)
        self._limit()

    def as_json(self) -> dict[str, Any]:
        """The profile as stored beside its document."""
        return {
            "version": VERSION,
            "text_only": self.text_only,
            "records": self.records,
            "root": self.root.as_json(),
        }

    @classmethod
    def of(cls, stored: Iterable[tuple[int, Mapping[str, Any]]]) -> Self:
        """One profile over the stored ones of several documents; each with the id of its document.

        Within one document that is being read, the id is 0.
        """
        total = cls()
        for document, profile in stored:
            total.text_only |= profile["text_only"]
            total.records += profile["records"]
            found = (
                _of_first_form(profile["types"])
                if "types" in profile
                else Field.of(profile["root"], document)
            )
            total.root.add(found, MAX_COLUMNS)
            total._limit()
        return total

    def _limit(self) -> None:
        while (excess := self.root.size() - MAX_FIELDS) > 0:
            wide = [one for one in _objects(self.root, ()) if len(one.field.fields) > 1]
            if wide:
                _collapse(wide, excess)
            elif not self.root.is_mapping:
                self.root.become_mapping()
            else:
                return


@dataclass(frozen=True, slots=True)
class _Object:
    """An object below the records, and those it is in."""

    field: Field
    within: tuple[int, ...]


def _objects(parent: Field, within: tuple[int, ...]) -> Iterator[_Object]:
    for below in parent.fields.values():
        if below.fields:
            yield _Object(below, within)
            yield from _objects(below, (*within, id(below)))


def _collapse(objects: list[_Object], excess: int) -> None:
    """Make mappings of the widest objects until there are `excess` fields fewer.

    An object in one that has become a mapping, or around one, waits: its size is another now.
    """
    collapsed: set[int] = set()
    around: set[int] = set()
    for one in sorted(objects, key=lambda one: -len(one.field.fields)):
        if id(one.field) in around or not collapsed.isdisjoint(one.within):
            continue
        before = one.field.size()
        one.field.become_mapping()
        collapsed.add(id(one.field))
        around.update(one.within)
        excess -= before - one.field.size()
        if excess <= 0:
            return


def _of_first_form(types: Mapping[str, Mapping[str, int]]) -> Field:
    """The fields of a profile that an earlier release stored: types by path, nothing more."""
    root = Field()
    for path, counts in types.items():
        one = root
        for key in path.split(".") if path else []:
            one = one.fields.setdefault(key, Field())
        for kind, count in counts.items():
            one.classes[kind] = Seen(count)
        one.values.is_sample = True  # there were values, of which nothing is known
    return root
