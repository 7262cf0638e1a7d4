"""The contract that accepts a sample: the fields that came, with the narrowest types that hold their values.

Types, names and drift are the contract room's; here shared columns are chosen, and what the sample itself
breaks is loosened until no record of it is rejected.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from kasparro_pipeline.contract import drift, inference, proposal
from kasparro_pipeline.contract.field_spec import COLUMN_TYPES
from kasparro_pipeline.contract.observed import Field
from kasparro_pipeline.contract.profile import Profile
from kasparro_pipeline.contract.spec import RESERVED_NAMES, Contract
from kasparro_pipeline.contract.validation import Reason, Rejected, compile_validator

SHARED: dict[str, tuple[str, ...]] = {
    "title": ("title", "name", "full_name", "fullName", "label", "headline", "subject"),
    "summary": ("summary", "description", "abstract", "excerpt"),
    "url": ("url", "link", "html_url", "href", "website", "permalink"),
    "category": ("category",),
    "author": ("author", "author.name", "creator", "user.login"),
    "tags": ("tags", "labels", "keywords", "categories"),
    "amount": ("amount", "price", "current_price", "last_price"),
    "currency": ("currency", "currency_code"),
    "published_at": (
        "published_at",
        "published",
        "publishedAt",
        "created_at",
        "createdAt",
        "created",
        "date",
    ),
}
"""Paths that fill a shared column where the values have its type; the best first."""
MOMENTS = (
    "_at",
    "_time",
    "_date",
    "_on",
    "date",
    "time",
    "timestamp",
    "created",
    "updated",
    "modified",
    "At",
)
"""How the names of moments end: integers of such a name that look like seconds since 1970 are that."""
CHANGES = ("updated", "modified", "changed", "lastupdate", "lastedit")
"""What the names of a record's last change hold."""
MEASURES = {
    "amount", "balance", "cap", "change", "cost", "fee", "percent", "percentage", "price", "rate", "score",
    "supply", "value", "volume", "weight",
}  # fmt: skip
"""Words in the names of numbers that may be whole in a sample, and are no counts."""
COUNTS = {"count", "id", "number", "rank"}
PLACEHOLDER = "record_key"
"""The field of records that hold nothing but their key."""
_NAME = re.compile(r"[a-z][a-z0-9_]{0,62}")
_WORDS = re.compile(r"[a-z]+")


@dataclass(slots=True)
class Inferred:
    """The fields of a contract, and what was seen of each."""

    fields: dict[str, dict[str, Any]] = field(default_factory=dict)
    ignore: list[str] = field(default_factory=list)
    seen: dict[str, str] = field(default_factory=dict)
    """By field: in how many records it came with a value, and what had to be loosened."""
    left: list[str] = field(default_factory=list)
    """What could not be taken up, for people."""
    changed: str | None = None
    """Path of what looks like the moment of a record's last change."""
    rejected: int = 0
    """Records of the sample that no contract accepts, such as those without a key."""


def infer(
    kind: str, key: Sequence[str], records: Sequence[object], *, text_only: bool, below: str = ""
) -> Inferred:
    """The contract of the records.

    `text_only`: their format has no types (CSV, feeds). `below`: the path, with a dot at its end, of the
    object in each record that shared columns are looked for in.
    """
    profile = Profile(text_only=text_only)
    profile.observe(records, range(len(records)))
    inferred = Inferred()
    _take_up(inferred, kind, key, profile, below)
    if not inferred.fields:
        came = profile.root.came_at(key[0]) or Field()
        kind_of_key, _ = inference.fitting(came, text_only=text_only)
        inferred.fields[PLACEHOLDER] = {"path": key[0], "type": kind_of_key}
    _loosen(inferred, kind, key, records, text_only=text_only)
    for name, spec in inferred.fields.items():
        count = _values(profile.root.came_at(spec.get("path", name)))
        before = inferred.seen.get(name)
        inferred.seen[name] = f"in {count} of {len(records)} records" + (f"; {before}" if before else "")
        if inferred.changed is None and _tells_changes(name, spec):
            inferred.changed = spec.get("path", name)
    return inferred


def _take_up(inferred: Inferred, kind: str, key: Sequence[str], profile: Profile, below: str) -> None:
    """Shared columns first; then all that came beside them, as the drift check would propose it."""
    inferred.fields |= _shared(profile, key, below)
    seed = inferred.fields or {PLACEHOLDER: {"path": key[0]}}
    contract = _contract(kind, key, seed, ())
    added = [one for one in drift.compare(contract, profile) if one.change in {"added", "explosion"}]
    order = {name: place for place, name in enumerate(profile.root.fields)}
    added.sort(key=lambda one: order.get(one.field, order.get(one.field.partition(".")[0], len(order))))
    proposed = proposal.propose(contract, profile, added)
    for name, spec in proposed.fields.items():
        if spec is not None:
            _add(inferred, name, spec, proposed.fields, profile)
    inferred.ignore = proposed.ignore
    inferred.left = proposed.left


def _shared(profile: Profile, key: Sequence[str], below: str) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = {}
    taken: set[str] = set()
    as_written = {} if below else {path.lower(): path for path in reversed(profile.root.fields)}
    for column, paths in SHARED.items():
        for path in (as_written.get(one, f"{below}{one}") for one in paths):
            came = profile.root.came_at(path)
            if path in taken or came is None or not _values(came) or (path in key and column != "url"):
                continue
            spec = _as_column(column, came, text_only=profile.text_only)
            if spec is not None:
                found[column] = ({"path": path} if path != column else {}) | spec
                taken.add(path)
                break
    return found


def _as_column(column: str, came: Field, *, text_only: bool) -> dict[str, Any] | None:
    """What a field needs to fill a shared column; None if its values have another type."""
    wanted = COLUMN_TYPES[column]
    kind, written = inference.fitting(came, text_only=text_only, is_moment=column == "published_at")
    if column == "tags":
        return {} if came.types().keys() <= {"list", "null"} else None
    if column == "published_at":
        return ({} if written == "iso" else {"format": written}) if kind in {"timestamp", "date"} else None
    if column == "url":
        return {} if kind == "string" and all("://" in text for text in came.values.kept) else None
    if wanted == "number":
        return {} if kind in {"number", "integer"} else None
    return {} if kind == wanted else None


def _add(
    inferred: Inferred, name: str, spec: dict[str, Any], proposed: Mapping[str, Any], profile: Profile
) -> None:
    """Take up a proposed field, under the upstream's own name if it can be one."""
    path = spec.get("path", name)
    if not path:
        return  # no contract can name what has an empty name
    own = "_".join(part.lower() if part.isupper() else part for part in path.split("."))
    taken = own in RESERVED_NAMES or own in COLUMN_TYPES or own in proposed or own in inferred.fields
    shown = name if taken or not _NAME.fullmatch(own) else own
    written = {"path": path} if shown != path else {}
    rest = {key: value for key, value in spec.items() if key != "path"}
    inferred.fields[shown] = written | _as_moment(path, _as_measure(path, rest), profile)


def _as_measure(path: str, spec: dict[str, Any]) -> dict[str, Any]:
    """A price that was whole in the whole sample will not stay so."""
    words = _WORDS.findall(path.lower())
    is_measure = words and words[-1] not in COUNTS and MEASURES & set(words)
    return spec | {"type": "number"} if spec.get("type") == "integer" and is_measure else spec


def _as_moment(path: str, spec: dict[str, Any], profile: Profile) -> dict[str, Any]:
    """Integers that count seconds, where the name says that they do."""
    if spec.get("type") != "integer" or not path.endswith(MOMENTS):
        return spec
    came = profile.root.came_at(path)
    kind, written = inference.fitting(came or Field(), text_only=profile.text_only, is_moment=True)
    return spec | {"type": kind, "format": written} if kind == "timestamp" else spec


def _loosen(
    inferred: Inferred, kind: str, key: Sequence[str], records: Sequence[object], *, text_only: bool
) -> None:
    """Widen what the sample itself breaks: the day 2026-02-30 looks like a date, and is none."""
    while True:
        contract = _contract(kind, key, inferred.fields, inferred.ignore)
        validate = compile_validator(contract)
        outcomes = [validate(record, {}) for record in records]
        rejected = [outcome for outcome in outcomes if isinstance(outcome, Rejected)]
        broken = {reason.field: reason for outcome in rejected for reason in outcome.reasons}
        if not any(_widened(inferred, reason, text_only=text_only) for reason in broken.values()):
            inferred.rejected = len(rejected)
            return


def _widened(inferred: Inferred, reason: Reason, *, text_only: bool) -> bool:
    """Take less for granted of the field that a reason names; False if nothing can be done."""
    spec = inferred.fields.pop(reason.field, None)
    if spec is None:
        return False
    path = spec.get("path", reason.field)
    wide = _wider(spec.get("type") or COLUMN_TYPES.get(reason.field, "string"), text_only=text_only)
    if wide is None:
        # what PostgreSQL cannot store at all, such as NUL
        inferred.ignore.append(path)
        inferred.left.append(f"{path}: ignored, since {reason.message}")
        inferred.fields = inferred.fields or {PLACEHOLDER: {"value": "none of its fields could be kept"}}
        return True
    name = _free_name(reason.field, inferred.fields)
    inferred.fields[name] = {"path": path, "type": wide}
    inferred.seen[name] = f"{wide}, since {reason.message}"
    return True


def _wider(kind: str, *, text_only: bool) -> str | None:
    if text_only:
        return None if kind == "string" else "string"
    if kind == "json":
        return None
    return "string" if kind in {"timestamp", "date", "url"} else "json"


def _free_name(name: str, taken: Mapping[str, Any]) -> str:
    """A name that is no shared column's: those have types of their own."""
    found = f"{name}_received" if name in COLUMN_TYPES else name
    while found in taken:
        found += "_"
    return found


def _contract(
    kind: str, key: Sequence[str], fields: Mapping[str, Mapping[str, Any]], ignore: Sequence[str]
) -> Contract:
    written = {"kind": kind, "key": list(key), "fields": fields, "ignore": list(ignore)}
    return Contract.model_validate(written)


def _values(came: Field | None) -> int:
    """How many values came that are not null."""
    if came is None:
        return 0
    return sum(seen.count for name, seen in came.classes.items() if name != "null")


def _tells_changes(name: str, spec: Mapping[str, Any]) -> bool:
    path = str(spec.get("path", name)).lower().replace("_", "")
    is_moment = spec.get("type") in {"timestamp", "date"} or name == "published_at"
    return is_moment and any(word in path for word in CHANGES)
