"""Says of changes whether the contract before and the one that fits them read each other's data.

In the words of Confluent's Schema Registry: the contract is the old schema, the proposed one the new.
"""

from collections.abc import Iterable
from typing import Literal

from kasparro_pipeline.contract import inference
from kasparro_pipeline.contract.drift import Drift
from kasparro_pipeline.contract.fits import Promise, promises
from kasparro_pipeline.contract.observed import Field
from kasparro_pipeline.contract.profile import Profile
from kasparro_pipeline.contract.spec import Contract

Compatibility = Literal["full", "backward", "forward", "none"]

MEANINGS: dict[Compatibility, str] = {
    "full": "either contract reads the data of the other",
    "backward": "the new contract reads the old data; the old one does not read the new data",
    "forward": "the old contract reads the new data; the new one does not read the old data",
    "none": "neither contract reads the data of the other",
}


def compatibility(contract: Contract, profile: Profile, drifts: Iterable[Drift]) -> Compatibility:
    """Which directions all changes together leave open; `full` without a change."""
    backward = forward = True
    for drift in drifts:
        new_reads_old, old_reads_new = _directions(contract, profile, drift)
        backward, forward = backward and new_reads_old, forward and old_reads_new
    if backward:
        return "full" if forward else "backward"
    return "forward" if forward else "none"


def _directions(contract: Contract, profile: Profile, drift: Drift) -> tuple[bool, bool]:
    """Whether the new contract reads the old data, and the old one the new."""
    promise = next((one for one in promises(contract) if one.path == drift.field), None)
    if drift.change == "added" or promise is None:
        return True, True  # a field that nobody must have, or that no contract looks at
    needed = promise.required
    if drift.change == "removed":
        # without its key or version a record cannot be merged: no contract can do without
        holds_up = promise.name is None or promise.name == contract.version
        return not holds_up, not needed
    if drift.change == "renamed":
        return not needed, not needed  # one field less and one more: reads as null where it is optional
    if drift.change in {"retyped", "format"}:
        came = profile.root.came_at(promise.path)
        return came is not None and _reads_old(promise, came, text_only=profile.text_only), False
    return True, False  # nullability, enum, explosion: the new contract allows more


def _reads_old(promise: Promise, came: Field, *, text_only: bool) -> bool:
    """Whether the type that fits what came also takes every value that was promised."""
    is_moment = promise.kind in {"timestamp", "date"}
    new, written = inference.fitting(came, text_only=text_only, is_moment=is_moment)
    if new == "json":
        return True
    if new == "string":
        is_text = promise.kind in {"url", "enum"} or (is_moment and promise.spec.format in {"iso", "rfc822"})
        return text_only or is_text
    wider = (new, promise.kind) in {("number", "integer"), ("timestamp", "date")}
    return (new == promise.kind or wider) and written == promise.spec.format
