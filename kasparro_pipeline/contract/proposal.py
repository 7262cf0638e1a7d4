"""The contract that would fit what came, as changes of its parts. Writes no text; `contract_file` does."""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from kasparro_pipeline.contract import fits, inference
from kasparro_pipeline.contract.drift import Drift
from kasparro_pipeline.contract.field_spec import COLUMN_TYPES, RULE_TYPES, FieldSpec
from kasparro_pipeline.contract.fits import Promise
from kasparro_pipeline.contract.observed import Field
from kasparro_pipeline.contract.profile import Profile
from kasparro_pipeline.contract.sketch import MAX_TEXT, shown
from kasparro_pipeline.contract.spec import RESERVED_NAMES, VERSION_TYPES, Contract
from kasparro_pipeline.contract.transforms import TRANSFORM_TYPES, transformer

NEEDED = "no record can be without its key or version"
MAX_NAME = 63
"""Characters of a field's name."""
_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|[0-9]+")
_ODD = re.compile(r"[…\\]")


@dataclass(slots=True)
class Proposal:
    """Changes of a contract. What no change can put right is said in `left`."""

    fields: dict[str, dict[str, Any] | None] = field(default_factory=dict)
    """By field: the keys that get another value (None: the key goes), or None where the field goes."""
    ignore: list[str] = field(default_factory=list)
    """Paths that are known from now on, and not wanted."""
    paths: dict[str, str] = field(default_factory=dict)
    """New paths by old ones, for key and version."""
    left: list[str] = field(default_factory=list)

    def __bool__(self) -> bool:
        return bool(self.fields or self.ignore or self.paths)


def propose(contract: Contract, profile: Profile, drifts: Iterable[Drift]) -> Proposal:
    """The changes that make the contract fit what came."""
    proposal = Proposal()
    for drift in drifts:
        at_path = [promise for promise in fits.promises(contract) if promise.path == drift.field]
        if drift.change == "renamed":
            _rename(proposal, contract, drift, at_path)
        elif drift.change == "added" or not at_path:
            _unpromised(proposal, contract, profile, drift)
        for promise in at_path:
            came = profile.root.came_at(promise.path)
            if promise.name is None:
                if drift.change not in {"added", "renamed"}:
                    proposal.left.append(f"{drift.field}: {NEEDED}")
            elif drift.change == "removed":
                _remove(proposal, contract, promise.name)
            elif came is not None:
                _change(proposal, promise, promise.name, came, drift, text_only=profile.text_only)
    return proposal


def _unpromised(proposal: Proposal, contract: Contract, profile: Profile, drift: Drift) -> None:
    """What came where the contract promises nothing."""
    if drift.change == "added":
        _take_up(proposal, contract, profile, drift.field)
    elif drift.change == "explosion":
        _ignore(proposal, drift.field)
    elif drift.change == "retyped":
        proposal.left.append(f"{drift.field}: an object is expected there, for the fields below it")


def _change(
    proposal: Proposal, promise: Promise, name: str, came: Field, drift: Drift, *, text_only: bool
) -> None:
    if drift.change == "nullability":
        changes = _optional(promise)
    elif drift.change == "enum":
        changes = _more_values(promise, came)
    elif drift.change in {"retyped", "format"}:
        changes = _other_type(promise, name, came, text_only=text_only)
    elif drift.change == "explosion":
        changes = _larger(promise, came)
    else:
        return
    if isinstance(changes, str):
        proposal.left.append(f"{drift.field}: {changes}")
    else:
        _set(proposal, name, changes)


def _optional(promise: Promise) -> dict[str, Any] | str:
    return {"required": None} if promise.spec.required else NEEDED


def _more_values(promise: Promise, came: Field) -> dict[str, Any] | str:
    if came.values.is_sample:
        return _retyped(promise, "string", "iso")
    known = promise.spec.values or ()
    transform = transformer(promise.spec.transforms)
    came_as = {str(transform(text)) for text in came.values.kept} - set(map(shown, known))
    if any(len(text) >= MAX_TEXT for text in came_as):
        return "a new value is too long to be shown in full; add it by hand"
    return {"values": [*known, *sorted(came_as)]}


def _other_type(promise: Promise, name: str, came: Field, *, text_only: bool) -> dict[str, Any] | str:
    is_moment = promise.kind in {"timestamp", "date"}
    kind, written = inference.fitting(came, text_only=text_only, is_moment=is_moment)
    if promise.kind == "timestamp" and kind == "date":
        kind = "timestamp"
    if promise.required and not promise.spec.required and kind not in VERSION_TYPES:
        return f"{NEEDED}: a {kind} tells no version"
    if COLUMN_TYPES.get(name, kind) != kind:
        return f"the shared column {name} holds a {COLUMN_TYPES[name]}; read the path into another field"
    return _retyped(promise, kind, written)


def _larger(promise: Promise, came: Field) -> dict[str, Any]:
    rules = {"max_items": came.elements, "max_bytes": came.bytes}
    return {
        rule: sizes.largest
        for rule, sizes in rules.items()
        if sizes.largest > fits.limit(promise.spec, rule)  # type: ignore[arg-type] # a key of its table
    }


def _retyped(promise: Promise, kind: str, written: str) -> dict[str, Any]:
    """The keys of a field of another type: what the new type has no rule for goes."""
    changes: dict[str, Any] = {}
    if kind != promise.kind:
        changes["type"] = kind
    if written != promise.spec.format:
        changes["format"] = None if written == "iso" else written
    if kind != "enum" and promise.spec.values is not None:
        changes["values"] = None
    kept = [one for one in promise.spec.transforms if kind in TRANSFORM_TYPES[one]]
    if len(kept) < len(promise.spec.transforms):
        changes["transforms"] = kept or None
    if promise.spec.zone != "utc" and written in {"unix", "unix_ms"}:
        changes["zone"] = None
    if promise.spec.default is not None and kind != promise.kind:
        changes["default"] = None
    for rule, types in RULE_TYPES.items():
        is_set = getattr(promise.spec, rule) != FieldSpec.model_fields[rule].default
        if rule != "format" and is_set and kind not in types:
            changes[rule] = None
    return changes


def _take_up(proposal: Proposal, contract: Contract, profile: Profile, path: str) -> None:
    came = profile.root.came_at(path)
    if came is None or _ODD.search(path):
        proposal.left.append(f"{path}: the name is too long or cannot be written in full; ignore it by hand")
        return
    if not came.count() or set(came.types()) == {"null"}:
        _ignore(proposal, path)
        return
    kind, written = inference.fitting(came, text_only=profile.text_only)
    taken = contract.fields.keys() | proposal.fields.keys()
    name = next(name for name in _names(path) if name not in taken and COLUMN_TYPES.get(name, kind) == kind)
    spec: dict[str, Any] = {"path": path} if path != name else {}
    if kind != COLUMN_TYPES.get(name, "string"):
        spec["type"] = kind
    if written != "iso":
        spec["format"] = written
    proposal.fields[name] = spec


def _names(path: str) -> Iterator[str]:
    """Names for a field at a path, the best first."""
    words = "_".join(word.lower() for word in _WORD.findall(path))
    name = words if words[:1].isalpha() else f"field_{words}".rstrip("_")
    if name not in RESERVED_NAMES:
        yield name[:MAX_NAME]
    number = 2
    while True:
        yield f"{name[: MAX_NAME - 4]}_{number}"
        number += 1


def _rename(proposal: Proposal, contract: Contract, drift: Drift, at_path: list[Promise]) -> None:
    new = drift.found or ""
    for promise in at_path:
        if promise.name is not None:
            _set(proposal, promise.name, {"path": None if promise.name == new else new})
    is_version = not isinstance(contract.version, str | None) and contract.version.path == drift.field
    if drift.field in contract.key_paths or is_version:
        proposal.paths[drift.field] = new


def _remove(proposal: Proposal, contract: Contract, name: str) -> None:
    path = contract.path_of(name)
    if name == contract.version or path in contract.key_paths:
        proposal.left.append(f"{path}: {NEEDED}")
    elif len([one for one in contract.fields if proposal.fields.get(one, {}) is not None]) == 1:
        proposal.left.append(f"{path}: it is the last field of the contract")
    else:
        proposal.fields[name] = None


def _ignore(proposal: Proposal, path: str) -> None:
    if not path or _ODD.search(path):
        proposal.left.append(
            f"{path or 'the records'}: more keys than fields can be; correct `records` or the key"
        )
    else:
        proposal.ignore.append(path)


def _set(proposal: Proposal, name: str, changes: Mapping[str, Any]) -> None:
    before = proposal.fields.get(name, {})
    if before is not None and changes:
        proposal.fields[name] = {**before, **changes}
