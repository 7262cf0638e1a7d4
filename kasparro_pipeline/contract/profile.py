"""What came: a profile of every record of a document, in bounded memory, taken while the document is read.

A profile needs no contract. Profiles of the parts of a document, or of several documents, add up to the
profile of the whole. The comparison with a contract is in `drift`; what is kept of one field in `observed`.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Self

from kasparro_pipeline.contract.observed import Field
from kasparro_pipeline.contract.sketch import Seen

MAX_COLUMNS = 2000
"""Different keys of the records themselves that are told apart."""
MAX_FIELDS = 5000
"""Fields that a profile tells apart; beyond them the widest objects become mappings."""
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
        while sum(1 for _ in self.root.walk()) > MAX_FIELDS:
            wide = [one for path, one in self.root.walk() if path and one.fields and not one.is_mapping]
            if not wide:
                return
            max(wide, key=lambda one: len(one.fields)).become_mapping()


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
