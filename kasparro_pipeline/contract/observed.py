"""What came at one place of the records: its values by class, their sketch and sizes, and what came below.

Values are counted column by column: many values of one key at once. The whole is in `profile`.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, field
from decimal import Decimal
from functools import cache
from itertools import compress
from typing import Any, Self

from kasparro_pipeline.contract import formats
from kasparro_pipeline.contract.mapping import MAX_DEPTH
from kasparro_pipeline.contract.object_columns import columns_of, storable
from kasparro_pipeline.contract.sketch import Place, PlaceOf, Seen, Sizes, Sketch, json_size, shown
from kasparro_pipeline.contract.table import Table

MAX_KEYS = 200
"""Different keys of an object inside a record that are told apart: one with more is a mapping, not a set of
fields, and its values are one field ANY_KEY."""
ANY_KEY = "*"
_SKETCHED = {str, int, Decimal, float}


@dataclass(slots=True)
class Field:
    """What came at one place of the records."""

    classes: dict[str, Seen] = field(default_factory=dict)
    """By class of value (`formats`): how many, and the first."""
    values: Sketch = field(default_factory=Sketch)
    """Of texts and numbers."""
    elements: Sizes = field(default_factory=Sizes)
    """Elements of lists, keys of objects."""
    bytes: Sizes = field(default_factory=Sizes)
    """Of lists and objects, as JSON."""
    fields: dict[str, "Field"] = field(default_factory=dict)
    """What came below, by key."""
    is_mapping: bool = False
    """There were too many keys: what came below is in one field, ANY_KEY."""

    def types(self) -> dict[str, int]:
        """How many values of each type came, in the order of the alphabet."""
        sums: dict[str, int] = {}
        for name, seen in sorted(self.classes.items()):
            kind, _ = formats.split(name)
            sums[kind] = sums.get(kind, 0) + seen.count
        return sums

    def count(self) -> int:
        """How many values came, null ones included."""
        return sum(seen.count for seen in self.classes.values())

    def observe(
        self, values: Sequence[Any], positions: Sequence[int], depth: int, *, text_only: bool
    ) -> None:
        """Count values, which came in the records at `positions`."""
        if not values:
            return
        if (joined := _joined(values)) is not None:
            self._observe_texts(values, joined, lambda index: (0, positions[index]), text_only=text_only)
            return
        kinds = frozenset(map(type, values))
        if type(None) not in kinds:
            self._observe_kinds(values, positions, kinds, depth, text_only=text_only)
            return
        first = positions[values.index(None)]
        self._count({"null": values.count(None)}, [None], lambda _: (0, first), lambda _: "null")
        others = [value for value in values if value is not None]

        @cache  # few are asked for, if any
        def where() -> list[int]:
            return [place for place, value in zip(positions, values, strict=True) if value is not None]

        if (joined := _joined(others)) is None:
            self._observe_kinds(others, where(), kinds - {type(None)}, depth, text_only=text_only)
        elif others:
            self._observe_texts(others, joined, lambda index: (0, where()[index]), text_only=text_only)

    def _observe_kinds(
        self,
        values: Sequence[Any],
        positions: Sequence[int],
        kinds: frozenset[type],
        depth: int,
        *,
        text_only: bool,
    ) -> None:
        """The same of values of these kinds, none of them null, and not all of them texts."""
        for kind in sorted(kinds, key=repr):
            some, where = values, positions
            if len(kinds) > 1:
                some = [value for value in values if type(value) is kind]
                where = [place for place, value in zip(positions, values, strict=True) if type(value) is kind]

            def place_of(index: int, where: Sequence[int] = where) -> Place:
                return 0, where[index]

            if kind is str:
                counts = formats.count_classes(some, "\n".join(some))
                self._count_texts(counts, some, place_of, text_only=text_only)
            elif kind in {dict, list}:
                name = "object" if kind is dict else "list"
                self._count({name: len(some)}, some, place_of, lambda _: name)  # noqa: B023 - called at once
                self.elements.observe(list(map(len, some)), place_of)
                self.bytes.observe(list(map(json_size, some)), place_of)
                if kind is dict and depth < MAX_DEPTH:
                    self.observe_objects(some, where, depth + 1, MAX_KEYS, text_only=text_only)
            else:
                counts = formats.count_classes_of_numbers(some)
                self._count(counts, some, place_of, formats.class_of_number)
        is_kept = [type(value) in _SKETCHED for value in values]
        texts, where = list(map(str, compress(values, is_kept))), list(compress(positions, is_kept))
        if texts:
            self.values.observe(texts, "\n".join(texts), lambda index: (0, where[index]))

    def _observe_texts(
        self, texts: Sequence[str], joined: str, place_of: PlaceOf, *, text_only: bool
    ) -> None:
        """The same of texts, of which `joined` has one a line."""
        few = self.values.observe(texts, joined, place_of)
        if few is None:
            counts = formats.count_classes(texts, joined)
        else:
            counts = _sums((formats.class_of(text), count) for text, count in few.items())
        self._count_texts(counts, texts, place_of, text_only=text_only)

    def observe_objects(
        self,
        objects: Sequence[dict[str, Any]],
        positions: Sequence[int],
        depth: int,
        max_keys: int,
        *,
        text_only: bool,
    ) -> None:
        """Count what objects hold, key by key."""
        columns = {} if self.is_mapping else columns_of(objects, positions)
        if len(self.fields.keys() | columns.keys()) > max_keys:
            self.become_mapping()
        if self.is_mapping:
            pairs = [(v, p) for one, p in zip(objects, positions, strict=True) for v in one.values()]
            columns = {ANY_KEY: ([v for v, _ in pairs], [p for _, p in pairs])} if pairs else {}
        self._observe_columns(columns, depth, text_only=text_only)

    def observe_table(
        self, table: Table, positions: Sequence[int], max_keys: int, *, text_only: bool
    ) -> None:
        """Count what the records of a table hold."""
        if self.is_mapping or len(self.fields.keys() | table.columns.keys()) > max_keys:
            self.observe_objects(list(table), positions, 1, max_keys, text_only=text_only)
        else:
            columns = {storable(name): (column, positions) for name, column in table.columns.items()}
            self._observe_columns(columns, 1, text_only=text_only)

    def _observe_columns(
        self, columns: Mapping[str, tuple[Sequence[Any], Sequence[int]]], depth: int, *, text_only: bool
    ) -> None:
        for key, (found, where) in columns.items():
            self.fields.setdefault(key, Field()).observe(found, where, depth, text_only=text_only)

    def become_mapping(self) -> None:
        """Take all that came below as values of one field."""
        merged = Field()
        for one in self.fields.values():
            merged.add(one)
        self.fields, self.is_mapping = {ANY_KEY: merged} if self.fields else {}, True

    def add(self, other: "Field", max_keys: int = MAX_KEYS) -> None:
        """Add what came elsewhere; `other` is not used any more."""
        for name, seen in other.classes.items():
            self.classes[name] = self.classes[name] + seen if name in self.classes else seen
        self.values.add(other.values)
        self.elements.add(other.elements)
        self.bytes.add(other.bytes)
        if self.is_mapping and not other.is_mapping:
            other.become_mapping()
        elif other.is_mapping and not self.is_mapping:
            self.become_mapping()
        for key, below in other.fields.items():
            if key in self.fields:
                self.fields[key].add(below)
            else:
                self.fields[key] = below
        if not self.is_mapping and len(self.fields) > max_keys:
            self.become_mapping()

    def size(self) -> int:
        """How many fields this one and all below it are."""
        return 1 + sum(below.size() if below.fields else 1 for below in self.fields.values())

    def walk(self, path: str = "") -> Iterator[tuple[str, "Field"]]:
        """This field and all below it, with their paths."""
        yield path, self
        for key, below in self.fields.items():
            yield from below.walk(f"{path}.{key}" if path else key)

    def came_at(self, path: str) -> "Field | None":
        """All that came at a path, in one; None if nothing did."""
        places = list(self.at(path))
        if len(places) <= 1:
            return places[0] if places else None
        whole = Field()
        for one in places:
            whole.add(deepcopy(one))
        return whole

    def at(self, path: str) -> Iterator["Field"]:
        """What came at a path; its dots may belong to keys."""
        if path in self.fields:
            yield self.fields[path]
        for dot in (index for index, character in enumerate(path) if character == "."):
            if path[:dot] in self.fields:
                yield from self.fields[path[:dot]].at(path[dot + 1 :])

    def as_json(self) -> dict[str, Any]:
        """The field as stored; what is empty is left out."""
        parts: dict[str, Any] = {
            "classes": {name: seen.as_json() for name, seen in self.classes.items()},
            "values": self.values.as_json(),
            "elements": self.elements.as_json(),
            "bytes": self.bytes.as_json(),
            "fields": {key: below.as_json() for key, below in self.fields.items()},
            "is_mapping": self.is_mapping,
        }
        return {name: part for name, part in parts.items() if part}

    @classmethod
    def of(cls, stored: Mapping[str, Any], document: int) -> Self:
        """The field as stored with a document."""
        return cls(
            {name: Seen.of(seen, document) for name, seen in stored.get("classes", {}).items()},
            Sketch.of(stored.get("values", {}), document),
            Sizes.of(stored.get("elements", {}), document),
            Sizes.of(stored.get("bytes", {}), document),
            {key: cls.of(below, document) for key, below in stored.get("fields", {}).items()},
            stored.get("is_mapping", False),
        )

    def _count(
        self,
        counts: Mapping[str, int],
        values: Sequence[Any],
        place_of: PlaceOf,
        class_of: Callable[[Any], str],
    ) -> None:
        for name, count in counts.items():
            seen = self.classes.get(name)
            if seen is None:
                first = next(index for index, value in enumerate(values) if class_of(value) == name)
                self.classes[name] = Seen(count, shown(values[first]), place_of(first))
            else:
                self.classes[name] = Seen(seen.count + count, seen.example, seen.place)

    def _count_texts(
        self, counts: Mapping[str, int], texts: Sequence[str], place_of: PlaceOf, *, text_only: bool
    ) -> None:
        if text_only:
            self._count(counts, texts, place_of, formats.class_of)
        else:
            in_json = _sums((formats.in_json(name), count) for name, count in counts.items())
            self._count(in_json, texts, place_of, lambda text: formats.in_json(formats.class_of(text)))


def _joined(values: Sequence[Any]) -> str | None:
    """The values with a line each, if all of them are texts."""
    try:
        return "\n".join(values)
    except TypeError:
        return None


def _sums(counts: Iterable[tuple[str, int]]) -> Counter[str]:
    sums: Counter[str] = Counter()
    for name, count in counts:
        sums[name] += count
    return sums
