"""What the contract promises of each field, and whether a class of value fits it. Counts nothing."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from typing import Literal

from kasparro_pipeline.contract import formats
from kasparro_pipeline.contract.field_spec import MAX_BYTES, MAX_ITEMS
from kasparro_pipeline.contract.mapping import DOCUMENT_PREFIX
from kasparro_pipeline.contract.record_hash import RECORD_HASH
from kasparro_pipeline.contract.spec import Contract, FieldSpec, FieldType, VersionSpec

Verdict = Literal["fits", "retyped", "format"]

KEY: Literal["key"] = "key"
"""The type of a key that is no field: a text or an integer."""
LIMITS = {"max_items": MAX_ITEMS, "max_bytes": MAX_BYTES}
_TEXT = frozenset({"string", formats.BLANK})
_WHOLE_LOOKS = frozenset({f"string/{look}" for look in ("integer", "unix", "unix_ms", "yyyymmdd")})
"""Classes of texts of JSON that read as whole numbers."""
_ALLOWED: dict[str, frozenset[str]] = {
    "integer": frozenset({"integer", "number/whole"}) | _WHOLE_LOOKS,
    "number": frozenset({"integer", "number", "string/number"}) | _WHOLE_LOOKS,
    # what else an integer may be than 1 or 0 is not told
    "boolean": frozenset({"boolean", "string/boolean", "string/yes_no", "string/integer"}),
    "list": frozenset({"list"}),
    KEY: frozenset({"string", "integer"}),
}
"""By type: classes with or without their look, as `types` takes them."""
_ALLOWED_IN_TEXT: dict[str, frozenset[str]] = {
    "integer": frozenset({"integer"}),
    "number": frozenset({"integer", "number"}),
    "boolean": frozenset({"boolean", "string/yes_no", "integer"}),
}
_MOMENTS: dict[tuple[str, str], frozenset[str]] = {
    ("timestamp", "iso"): frozenset({"iso_timestamp", "iso_date", "yyyymmdd"}),
    ("date", "iso"): frozenset({"iso_date", "yyyymmdd"}),
    ("timestamp", "rfc822"): frozenset({"rfc822"}),
    ("timestamp", "unix"): frozenset({"unix"}),
    ("timestamp", "unix_ms"): frozenset({"unix_ms"}),
}
"""How a timestamp or date may be written, by type and format."""


_MOMENTS_TO_WRITE = (datetime(2001, 10, 13, 16, 25, 36, 5, UTC), datetime(2001, 3, 4, 6, 5, 7, 0, UTC))
"""One tells day and month apart, the other does not."""


@dataclass(frozen=True, slots=True)
class Promise:
    """A value that the contract wants at a path; without a name if it is only key or version."""

    name: str | None
    path: str
    kind: FieldType | Literal["key"]
    spec: FieldSpec
    required: bool


def promises(contract: Contract) -> list[Promise]:
    """What the contract wants of a record: its fields, key and version, one promise a path."""
    found = [
        Promise(
            name,
            contract.path_of(name),
            contract.type_of(name),
            spec,
            required=spec.required
            or name == contract.version
            or contract.path_of(name) in contract.key_paths,
        )
        for name, spec in contract.fields.items()
        if spec.value is None
    ]
    known = {promise.path for promise in found}
    found += [
        Promise(None, path, KEY, FieldSpec(), required=True)
        for path in contract.key_paths
        if path not in known
    ]
    version = contract.version
    if isinstance(version, VersionSpec) and version.path not in known:
        spec = FieldSpec(type=version.type, format=version.format)
        found.append(Promise(None, version.path, version.type, spec, required=True))
    return [
        promise
        for promise in found
        if not promise.path.startswith(DOCUMENT_PREFIX) and promise.path != RECORD_HASH
    ]


def verdict(promise: Promise, name: str, *, text_only: bool) -> Verdict:
    """Whether values of class `name` keep the promise; null is judged elsewhere."""
    kind, _ = formats.split(name)
    if kind == "null":
        return "fits"
    if promise.kind in {"timestamp", "date"}:
        return _verdict_on_moment(promise, name, text_only=text_only)
    if promise.kind == "json":
        return "fits"
    allowed = _ALLOWED_IN_TEXT.get(promise.kind) if text_only else _ALLOWED.get(promise.kind, _TEXT)
    return "fits" if allowed is None or not allowed.isdisjoint({kind, name}) else "retyped"


def _verdict_on_moment(promise: Promise, name: str, *, text_only: bool) -> Verdict:
    kind, look = formats.split(name)
    found = None if look in formats.LOOKS else look
    if "%" in promise.spec.format:
        expected = _written_as(promise.spec.format)
        if not text_only:
            expected = frozenset(map(formats.in_json, expected))
        return "fits" if name in expected else "retyped" if found is None else "format"
    if found in _MOMENTS[promise.kind, promise.spec.format]:
        return "fits"
    counts = promise.spec.format in {"unix", "unix_ms"}
    is_number = kind in {"integer", "number"} or look in {"integer", "number", "yyyymmdd"}
    if counts and is_number and found in {None, "yyyymmdd"}:
        return "fits"  # a moment near 1970, or far away: no other format either
    if found is None:
        # the reader of RFC 822 takes more than one can tell by the look
        return "fits" if promise.spec.format == "rfc822" and name == "string" else "retyped"
    return "format"


@lru_cache
def _written_as(pattern: str) -> frozenset[str]:
    """The classes of texts that a strptime pattern writes."""
    return frozenset(formats.class_of(moment.strftime(pattern)) for moment in _MOMENTS_TO_WRITE)


def written(promise: Promise) -> str:
    """How the values of a date or timestamp are promised to be written."""
    if "%" in promise.spec.format:
        return promise.spec.format
    return (
        "iso_date"
        if promise.kind == "date"
        else {"iso": "iso_timestamp"}.get(promise.spec.format, promise.spec.format)
    )


def told_apart(classes: Iterable[str]) -> list[str]:
    """The formats of classes; 03/04/2026 goes with those that show which comes first, day or month."""
    found = {formats.split(name)[1] or name for name in classes}
    decided = found & {formats.DAY_FIRST, formats.MONTH_FIRST}
    if len(decided) == 1:
        found.discard(formats.EITHER_DAY_OR_MONTH)
    return sorted(found)


def limit(spec: FieldSpec, rule: Literal["max_items", "max_bytes"]) -> int:
    """A limit of a nested field: its own, or the default."""
    own: int | None = getattr(spec, rule)
    return LIMITS[rule] if own is None else own
