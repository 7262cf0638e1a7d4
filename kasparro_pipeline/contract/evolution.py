"""What the modes of a contract let pass: values that changed, and fields that the contract does not name.

The rules are written down in docs/contracts.md.
"""

from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any, Final

import orjson
from pydantic_core import PydanticCustomError

from kasparro_pipeline.contract import types
from kasparro_pipeline.contract.field_spec import VersionSpec
from kasparro_pipeline.contract.json_text import to_json
from kasparro_pipeline.contract.mapping import DOCUMENT_PREFIX, MAX_DEPTH
from kasparro_pipeline.contract.record_hash import RECORD_HASH
from kasparro_pipeline.contract.spec import Contract

UNKNOWN_FIELD: Final = "unknown_field"
"""The rule that a field breaks which the contract does not name."""
MAX_ADDED: Final = 100
"""Fields of one record that are taken into `attributes` though the contract does not name them."""
MAX_ADDED_BYTES: Final = 16_384
"""Bytes of JSON that the names and values of these fields may have together."""
LEFT_OUT: Final = "…"
"""The attribute that counts the fields that were left out."""

_CHANGES: Final = {
    "absent": "nullability",
    "missing": "nullability",
    "enum": "enum",
    "timestamp_parsing": "format",
    "timestamp_without_zone": "format",
    "timestamp_skipped": "format",
    "timestamp_repeated": "format",
    "date_parsing": "format",
    "string_type": "retyped",
    "number_type": "retyped",
    "number_parsing": "retyped",
    "integer_parsing": "retyped",
    "integer_from_number": "retyped",
    "boolean_type": "retyped",
    "timestamp_type": "retyped",
    "date_type": "retyped",
    "list_type": "retyped",
    "url_parsing": "retyped",
}
"""Which kind of change each broken rule is. Any other one is a rule of the contract, and no mode lifts it."""

Leaves = dict[str, object]


def evolves(contract: Contract, name: str, rule: str, value: object) -> bool:
    """Whether the record stays valid, without a value for the field, though the value broke the rule.

    `absent` and `missing` stand for a field that the record does not have, and for one that is null. A value
    that cannot be kept in `attributes` as it is does not evolve.
    """
    if rule == "absent" and contract.schema_contract.removed == "evolve":
        return True  # a record alone does not tell whether all lack it
    change = _CHANGES.get(rule)
    if rule == "number_parsing" and contract.type_of(name) == "timestamp":
        change = "format"
    return (
        change is not None and getattr(contract.schema_contract, change) == "evolve" and _is_storable(value)
    )


def as_received(value: object) -> orjson.Fragment:
    """A value that evolves, as it goes to `attributes`: numbers to the last digit."""
    return orjson.Fragment(as_text(value))


def unknown_leaves(contract: Contract) -> Callable[[dict[str, Any]], Leaves]:
    """What finds the fields of a record, by path, that the contract neither maps, ignores nor uses otherwise.

    A value where the contract expects an object, on the way to a field of its own, is not among them.
    """
    known = _known(contract)
    parents = frozenset(path[:dot] for path in known for dot in _dots(path))

    def walk(record: Mapping[str, Any], prefix: str, depth: int) -> Iterator[tuple[str, object]]:
        for key, value in record.items():
            path = prefix + key
            if path in known or ("." in key and any(path[:dot] in known for dot in _dots(path))):
                continue
            if isinstance(value, dict) and value and depth < MAX_DEPTH:
                yield from walk(value, f"{path}.", depth + 1)
            elif path not in parents:
                yield path, value

    def leaves(record: dict[str, Any]) -> Leaves:
        if known.issuperset(record):
            return {}
        found: Leaves = {}
        for path, value in walk(record, "", 0):
            # a key that holds dots can give a path twice; which value counts must not depend on their order
            if path not in found or as_text(value) < as_text(found[path]):
                found[path] = value
        return found

    return leaves


def _known(contract: Contract) -> frozenset[str]:
    paths = [*contract.ignore, *contract.key_paths]
    paths += [contract.path_of(name) for name, field in contract.fields.items() if field.value is None]
    if isinstance(contract.version, VersionSpec):
        paths.append(contract.version.path)
    return frozenset(path for path in paths if not path.startswith(DOCUMENT_PREFIX) and path != RECORD_HASH)


def added_attributes(leaves: Leaves, declared: Collection[str]) -> dict[str, object]:
    """The fields as attributes, by name, as far as MAX_ADDED and MAX_ADDED_BYTES allow.

    The rest (also a field that is named like a declared one, or that PostgreSQL cannot store) is counted.
    """
    taken: dict[str, object] = {}
    size = 0
    for path in sorted(leaves):
        text = None if path in declared or len(taken) == MAX_ADDED else as_text(leaves[path])
        if text and _is_storable(path) and size + len(path.encode()) + len(text) <= MAX_ADDED_BYTES:
            size += len(path.encode()) + len(text)
            taken[path] = orjson.Fragment(text)
    if len(taken) < len(leaves):
        taken[LEFT_OUT] = len(leaves) - len(taken)
    return taken


def _dots(path: str) -> Iterator[int]:
    return (index for index, character in enumerate(path) if character == ".")


def _is_storable(value: object) -> bool:
    return as_text(value) != b""


def as_text(value: object) -> bytes:
    """The value as JSON text; empty if PostgreSQL cannot store it."""
    try:
        return to_json(types.to_json(value))
    except PydanticCustomError:
        return b""
