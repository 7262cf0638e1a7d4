"""Profiles what came and compares it with the contract: added, removed and retyped fields.

The profile is taken over every record of a document, not over a sample, and needs no contract; the comparison
is against the committed contract, never against an earlier run. Storing either belongs to the warehouse.
"""

import hashlib
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, Literal, Self

from kasparro_pipeline.contract.mapping import DOCUMENT_PREFIX, is_encodable
from kasparro_pipeline.contract.spec import Contract, FieldSpec, FieldType, Mode, VersionSpec

Change = Literal["added", "removed", "retyped"]

MAX_PATH = 200
"""Characters of a field's path; a longer one is shown with a hash."""
MAX_PATHS = 2000
"""Fields that one profile tells apart; further ones are counted under OVERFLOW."""
OVERFLOW = "…"
MAX_DEPTH = 8
"""Objects nested deeper are one field."""

_CELL = re.compile(
    r"(?P<integer>[+-]?\d+)|(?P<number>[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)|(?P<boolean>true|false)"
    r"|(?P<timestamp>\d{4}-\d\d-\d\d[T ]\d\d:\d\d.*)|(?P<date>\d{4}-\d\d-\d\d)",
    re.ASCII | re.IGNORECASE,
)
_ALLOWED: dict[FieldType, frozenset[str]] = {
    "integer": frozenset({"integer"}),
    "number": frozenset({"integer", "number"}),
    "boolean": frozenset({"boolean"}),
    "list": frozenset({"list"}),
}
_TEXT = frozenset({"string"})
_ALLOWED_IN_TEXT: dict[FieldType, frozenset[str]] = {
    "integer": frozenset({"integer"}),
    "number": frozenset({"integer", "number"}),
    "boolean": frozenset({"boolean", "string", "integer"}),
    "timestamp": frozenset({"timestamp", "date"}),
    "date": frozenset({"date"}),
}


@dataclass(slots=True)
class Profile:
    """How often each field came, with which types. `text_only`: the format has no types (CSV, feeds)."""

    text_only: bool = False
    records: int = 0
    types: dict[str, dict[str, int]] = field(default_factory=dict)
    """Path → type → number of records."""

    def observe(self, record: object) -> None:
        """Count one record."""
        self.records += 1
        if not isinstance(record, dict):
            self._count("", _type_of(record))
            return
        for path, value in _leaves(record, "", 0):
            self._count(path, _cell_type(value) if self.text_only else _type_of(value))

    def _count(self, path: str, kind: str) -> None:
        path = _storable(path)
        if path not in self.types and len(self.types) >= MAX_PATHS:
            path = OVERFLOW
        kinds = self.types.setdefault(path, {})
        kinds[kind] = kinds.get(kind, 0) + 1

    def as_json(self) -> dict[str, Any]:
        """The profile as stored beside its document."""
        return {"text_only": self.text_only, "records": self.records, "types": self.types}

    @classmethod
    def of(cls, stored: Iterable[Mapping[str, Any]]) -> Self:
        """One profile over the stored ones of several documents."""
        total = cls()
        for profile in stored:
            total.text_only |= profile["text_only"]
            total.records += profile["records"]
            for path, kinds in profile["types"].items():
                sums = total.types.setdefault(path, {})
                for kind, count in kinds.items():
                    sums[kind] = sums.get(kind, 0) + count
        return total


@dataclass(frozen=True, slots=True)
class Drift:
    """One difference between what came and the contract."""

    change: Change
    field: str
    mode: Mode
    expected: str | None
    found: str | None
    records: int
    share: Decimal
    """Of the records looked at, 0 to 1."""


def compare(contract: Contract, profile: Profile) -> list[Drift]:
    """The differences, sorted by kind and field. No records: no statement, so no difference."""
    if profile.records == 0:
        return []
    paths = {
        name: contract.path_of(name)
        for name, spec in contract.fields.items()
        if spec.value is None and not contract.path_of(name).startswith(DOCUMENT_PREFIX)
    }
    found = [*_removed_or_retyped(contract, paths, profile), *_added(contract, set(paths.values()), profile)]
    return sorted(found, key=lambda drift: (drift.change, drift.field))


def _removed_or_retyped(contract: Contract, paths: Mapping[str, str], profile: Profile) -> Iterator[Drift]:
    for name, path in paths.items():
        kind, modes = contract.type_of(name), contract.schema_contract
        if not any(_within(seen, path) for seen in profile.types):
            if _may_be_hidden(path, profile):
                continue
            # an upstream may leave out what it may also leave empty: only a promise can be broken
            mode = modes.removed if contract.fields[name].required else "evolve"
            yield Drift("removed", path, mode, kind, None, profile.records, Decimal(1))
            continue
        allowed = _allowed(kind, contract.fields[name], text_only=profile.text_only)
        if allowed is None:
            continue
        wrong = {k: n for k, n in profile.types.get(path, {}).items() if k not in allowed and k != "null"}
        if objects := _objects_at(path, profile):
            wrong["object"] = wrong.get("object", 0) + objects
        if wrong:
            records = sum(wrong.values())
            types = ", ".join(sorted(wrong))
            share = _share(records, profile.records)
            yield Drift("retyped", path, modes.retyped, kind, types, records, share)


def _added(contract: Contract, mapped: set[str], profile: Profile) -> Iterator[Drift]:
    known = mapped | set(contract.ignore)
    known |= {path for path in contract.key_paths if not path.startswith(DOCUMENT_PREFIX)}
    if isinstance(contract.version, VersionSpec):
        known.add(contract.version.path)
    for path, kinds in profile.types.items():
        if path == "" or any(_within(path, one) or _within(one, path) for one in known):
            continue
        # OVERFLOW counts fields, of which a record may have many
        records, types = min(sum(kinds.values()), profile.records), ", ".join(sorted(kinds))
        share = _share(records, profile.records)
        yield Drift("added", path, contract.schema_contract.added, None, types, records, share)


def _allowed(kind: FieldType, spec: FieldSpec, *, text_only: bool) -> frozenset[str] | None:
    """The observed types that fit, or None where every type does."""
    if text_only:
        return _ALLOWED_IN_TEXT.get(kind) if spec.format == "iso" else None
    if kind == "json":
        return None
    if kind == "timestamp" and spec.format in {"unix", "unix_ms"}:
        return _ALLOWED["number"]
    return _ALLOWED.get(kind, _TEXT)


def _may_be_hidden(path: str, profile: Profile) -> bool:
    """Whether the field may have come without being told apart: too many fields, or nested too deep."""
    cut = (
        seen for seen, kinds in profile.types.items() if "object" in kinds and seen.count(".") >= MAX_DEPTH
    )
    return OVERFLOW in profile.types or any(_within(path, seen) for seen in cut)


def _objects_at(path: str, profile: Profile) -> int:
    """In how many records, at least, an object with fields stands at `path`.

    Records that hold a value at the path itself are not among them: there the dots belong to a key.
    """
    below = [
        sum(kinds.values()) for seen, kinds in profile.types.items() if seen != path and _within(seen, path)
    ]
    return min(max(below, default=0), profile.records - sum(profile.types.get(path, {}).values()))


def _within(path: str, parent: str) -> bool:
    return path == parent or path.startswith(f"{parent}.")


def _share(part: int, whole: int) -> Decimal:
    return (Decimal(part) / Decimal(whole)).quantize(Decimal("0.000001"))


def _storable(path: str) -> str:
    """A field name that PostgreSQL can store: NUL and lone surrogates are shown, not kept."""
    if len(path) > MAX_PATH:
        path = f"{path[:MAX_PATH]}…{hashlib.sha256(path.encode('utf-8', 'surrogatepass')).hexdigest()[:12]}"
    if "\x00" in path or not is_encodable(path):
        return path.encode("utf-8", "backslashreplace").decode().replace("\x00", "\\u0000")
    return path


def _leaves(record: Mapping[str, Any], prefix: str, depth: int) -> Iterator[tuple[str, Any]]:
    for key, value in record.items():
        path = f"{prefix}{key}"
        if isinstance(value, dict) and value and depth < MAX_DEPTH:
            yield from _leaves(value, f"{path}.", depth + 1)
        else:
            yield path, value


def _type_of(value: object) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "boolean"
    if isinstance(value, int):
        return "integer"
    if isinstance(value, (Decimal, float)):
        return "number"
    if isinstance(value, list):
        return "list"
    return "object" if isinstance(value, dict) else "string"


def _cell_type(value: object) -> str:
    if not isinstance(value, str):
        return _type_of(value)
    match = _CELL.fullmatch(value.strip())
    return (match.lastgroup or "string") if match else "string"
