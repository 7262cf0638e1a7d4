"""Compares what came (a `profile`) with what the contract promises, and says each difference with its mode.

The comparison is against the committed contract, never against an earlier run; what came earlier serves only
to tell a rename (`renames`). Whether a class of value fits a promise is in `fits`.
"""

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from typing import Literal

from kasparro_pipeline.contract import fits, formats, renames
from kasparro_pipeline.contract.fits import Promise
from kasparro_pipeline.contract.mapping import MAX_DEPTH
from kasparro_pipeline.contract.observed import MAX_KEYS, Field
from kasparro_pipeline.contract.profile import MAX_COLUMNS, Profile
from kasparro_pipeline.contract.sketch import MAX_VALUES, Place, Seen, Sizes, shown
from kasparro_pipeline.contract.spec import Contract, Mode
from kasparro_pipeline.contract.transforms import transformer

Change = Literal["added", "removed", "renamed", "retyped", "nullability", "enum", "format", "explosion"]

MAX_EXAMPLES = 5
STRICTNESS: tuple[Mode, ...] = ("evolve", "quarantine_row", "freeze")
"""What happens on a change, the mildest first."""
OVERFLOW = "…"
"""Where a profile of the first form counted the fields that it did not tell apart."""


@dataclass(frozen=True, slots=True)
class Example:
    """A value that shows a difference, and where it came; no place in a profile of the first form."""

    value: str | None
    document: int | None = None
    position: int | None = None


@dataclass(frozen=True, slots=True)
class Drift:
    """One difference between what came and the contract."""

    change: Change
    field: str
    """Its path; of a renamed one the promised path."""
    mode: Mode
    expected: str | None
    found: str | None
    records: int
    share: Decimal
    """Of the records looked at, 0 to 1."""
    confidence: Decimal | None = None
    """Of a suspected rename, 0 to 1."""
    examples: tuple[Example, ...] = dataclasses.field(default=(), compare=False)


def compare(contract: Contract, profile: Profile, before: Profile | None = None) -> list[Drift]:
    """The differences, sorted by kind and field. No records: no statement, so no difference.

    `before` is what came when the fields that are gone now were still there: evidence of a rename.
    """
    if profile.records == 0:
        return []
    return _Comparison(contract, profile).differences(before)


@dataclass(frozen=True, slots=True)
class _Comparison:
    contract: Contract
    profile: Profile

    def differences(self, before: Profile | None) -> list[Drift]:
        promises = fits.promises(self.contract)
        gone: list[Promise] = []
        found: list[Drift] = []
        for promise in promises:
            came = self.profile.root.came_at(promise.path)
            if came is not None:
                found += self._kept(promise, came)
            elif not _may_be_hidden(self.profile.root, promise.path):
                gone.append(promise)
        promised = [promise.path for promise in promises]
        found += self._no_objects(promised)
        new = dict(self._unknown(promised))
        added = {path: one for path, one in new.items() if not one.is_mapping}
        pairs = renames.suspected(gone, added, self.profile, before)
        found += [self._renamed(pair, added[pair.new]) for pair in pairs]
        old, taken = {pair.old for pair in pairs}, {pair.new for pair in pairs}
        found += [self._removed(promise) for promise in gone if promise.path not in old]
        found += [self._added(path, one) for path, one in new.items() if path not in taken]
        # two fields may be read from one path
        once = {(drift.change, drift.field): drift for drift in found}
        return [drift for _, drift in sorted(once.items())]

    def _kept(self, promise: Promise, came: Field) -> Iterator[Drift]:
        modes = self.contract.schema_contract
        verdicts: dict[str, dict[str, Seen]] = {}
        for name, seen in sorted(came.classes.items()):
            verdict = fits.verdict(promise, name, text_only=self.profile.text_only)
            verdicts.setdefault(verdict, {})[name] = seen
        if wrong := verdicts.get("retyped"):
            types = ", ".join(sorted({formats.split(name)[0] for name in wrong}))
            yield self._of_classes("retyped", promise.path, modes.retyped, promise.kind, types, wrong)
        if other := verdicts.get("format"):
            expected = fits.written(promise)
            ways = ", ".join(fits.told_apart(other))
            yield self._of_classes("format", promise.path, modes.format, expected, ways, other)
        yield from self._nullability(promise, came)
        if promise.spec.values is not None:
            yield from self._enum(promise, came, promise.spec.values)
        if promise.kind in {"list", "json"}:
            yield from self._explosion(promise, came)

    def _of_classes(
        self,
        change: Literal["retyped", "format"],
        path: str,
        mode: Mode,
        expected: str,
        found: str,
        classes: dict[str, Seen],
    ) -> Drift:
        examples = tuple(_example(seen.example, seen.place) for seen in classes.values())
        records = sum(seen.count for seen in classes.values())
        return self._drift(change, path, mode, expected, found, records, examples)

    def _nullability(self, promise: Promise, came: Field) -> Iterator[Drift]:
        null = came.classes.get("null", Seen(0))
        # what is no object at all, such as a row with too few cells, is rejected as a whole
        objects = self.profile.records - self.profile.root.count()
        missing = objects - (came.count() - null.count)
        if promise.required and missing > 0:
            ways = [f"{null.count} null"] if null.count else []
            ways += [f"{missing - null.count} missing"] if missing > null.count else []
            examples = (_example(None, null.place),) if null.place else ()
            mode = self.contract.schema_contract.nullability
            yield self._drift(
                "nullability", promise.path, mode, "a value", ", ".join(ways), missing, examples
            )

    def _enum(self, promise: Promise, came: Field, values: tuple[str, ...]) -> Iterator[Drift]:
        allowed = set(map(shown, values))
        transform = transformer(promise.spec.transforms)
        new = {
            text: seen for text, seen in sorted(came.values.kept.items()) if transform(text) not in allowed
        }
        if not new:
            return
        records = sum(seen.count for seen in new.values())
        found = ", ".join(new)
        if came.values.is_sample:
            # how many came with an allowed value is known only of those in the sample: at most so many
            known = sum(seen.count for text, seen in came.values.kept.items() if text not in new)
            records = came.count() - came.classes.get("null", Seen(0)).count - known
            found = f"more than {MAX_VALUES} values, such as {found}"
        examples = tuple(_example(text, seen.place) for text, seen in new.items())
        mode = self.contract.schema_contract.enum
        yield self._drift("enum", promise.path, mode, ", ".join(values), found, records, examples)

    def _explosion(self, promise: Promise, came: Field) -> Iterator[Drift]:
        limits = (
            (came.elements, fits.limit(promise.spec, "max_items"), "elements"),
            (came.bytes, fits.limit(promise.spec, "max_bytes"), "bytes"),
        )
        over = [(sizes, limit, unit) for sizes, limit, unit in limits if sizes.largest > limit]
        if over:
            yield self._drift(
                "explosion",
                promise.path,
                self.contract.schema_contract.explosion,
                ", ".join(f"at most {limit:,} {unit}" for _, limit, unit in over),
                ", ".join(f"{sizes.largest:,} {unit}" for sizes, _, unit in over),
                max(sizes.over(limit) for sizes, limit, _ in over),
                tuple(_example(f"{sizes.largest:,} {unit}", sizes.place) for sizes, _, unit in over),
            )

    def _removed(self, promise: Promise) -> Drift:
        # an upstream may leave out what it may also leave empty: only a promise can be broken
        mode = self.contract.schema_contract.removed if promise.required else "evolve"
        return self._drift("removed", promise.path, mode, promise.kind, None, self.profile.records, ())

    def _renamed(self, pair: renames.Rename, came: Field) -> Drift:
        mode = self.contract.schema_contract.renamed
        examples = _examples_of(came)
        return self._drift(
            "renamed", pair.old, mode, pair.old, pair.new, came.count(), examples, pair.confidence
        )

    def _added(self, path: str, came: Field) -> Drift:
        modes = self.contract.schema_contract
        if came.is_mapping:
            most = MAX_KEYS if path else MAX_COLUMNS
            found = f"more than {most:,} different keys"
            examples = _examples_of_sizes(came.elements)
            records = came.count() if path else self.profile.records
            # each of its keys is a new field, and is treated as one by the validation
            mode = max(modes.explosion, modes.added, key=STRICTNESS.index)
            return self._drift("explosion", path, mode, None, found, records, examples)
        types = ", ".join(name for name in came.types() if name != "null" or len(came.types()) == 1)
        return self._drift("added", path, modes.added, None, types, came.count(), _examples_of(came))

    def _no_objects(self, promised: list[str]) -> Iterator[Drift]:
        """Values where an object is expected, on the way to a promised path."""
        if self.profile.text_only:
            return  # there are no objects: dots belong to the names of columns
        known = {*promised, *self.contract.ignore}
        ways = {path[:dot] for path in promised for dot, character in enumerate(path) if character == "."}
        for path in sorted(ways):
            came = None if any(_within(path, one) for one in known) else self.profile.root.came_at(path)
            classes = came.classes if came else {}
            if values := {name: classes[name] for name in sorted(classes.keys() - {"object", "null"})}:
                types = ", ".join(sorted({formats.split(name)[0] for name in values}))
                mode = self.contract.schema_contract.retyped
                yield self._of_classes("retyped", path, mode, "object", types, values)

    def _unknown(self, promised: list[str]) -> Iterator[tuple[str, Field]]:
        """The fields that no promise and no `ignore` names, by path."""
        waiting = list(self.profile.root.fields.items())
        known = (*promised, *self.contract.ignore)
        if self.profile.root.is_mapping:
            yield "", self.profile.root
            return
        while waiting:
            path, came = waiting.pop()
            if any(_within(path, one) for one in known):
                continue
            if came.is_mapping:
                yield path, came
                continue
            is_way = not self.profile.text_only and any(_within(one, path) for one in known)
            if (came.classes.keys() - {"object", "null"} or not came.fields) and not is_way:
                yield path, came
            waiting += [(f"{path}.{key}", below) for key, below in came.fields.items()]

    def _drift(  # noqa: PLR0913, PLR0917 - the parts of a difference
        self,
        change: Change,
        path: str,
        mode: Mode,
        expected: str | None,
        found: str | None,
        records: int,
        examples: tuple[Example, ...],
        confidence: Decimal | None = None,
    ) -> Drift:
        whole = self.profile.records
        records = min(records, whole)
        share = (Decimal(records) / whole).quantize(Decimal("0.000001"))
        return Drift(change, path, mode, expected, found, records, share, confidence, examples[:MAX_EXAMPLES])


def _may_be_hidden(came: Field, path: str, depth: int = 0) -> bool:
    """Whether the field may have come without being told apart: among too many keys, or nested too deep."""
    if came.is_mapping or OVERFLOW in came.fields:
        return True
    if depth >= MAX_DEPTH and "object" in came.classes:
        return True
    dots = [index for index, character in enumerate(path) if character == "."]
    return any(
        _may_be_hidden(came.fields[path[:dot]], path[dot + 1 :], depth + 1)
        for dot in dots
        if path[:dot] in came.fields
    )


def _within(path: str, parent: str) -> bool:
    return path == parent or path.startswith(f"{parent}.")


def _example(value: str | None, place: Place | None) -> Example:
    return Example(value, *(place or ()))


def _examples_of(came: Field) -> tuple[Example, ...]:
    """The first value of each class; null only where there is nothing else."""
    seen = sorted(came.classes.items(), key=lambda item: (item[0] == "null", item[0]))
    return tuple(_example(one.example, one.place) for _, one in seen if one.place)


def _examples_of_sizes(sizes: Sizes) -> tuple[Example, ...]:
    return (_example(f"{sizes.largest:,} keys", sizes.place),) if sizes.place else ()
