"""Validates one record against a contract: out comes the typed row of the unified table, or the reasons.

The contract compiles once to a pydantic model. Which of two records of one batch wins is also decided here;
what happens to any of them in the database is not.
"""

import hashlib
import json
from collections.abc import Callable, Hashable, Iterable, Mapping
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any, TypeVar

from pydantic import ValidationError

from kasparro_pipeline.contract.compiled import FIELD, VERSION, compile_contract
from kasparro_pipeline.contract.evolution import (
    UNKNOWN_FIELD,
    added_attributes,
    as_received,
    evolves,
    unknown_leaves,
)
from kasparro_pipeline.contract.field_spec import COLUMN_TYPES, VersionSpec, exact
from kasparro_pipeline.contract.json_text import to_json, writable
from kasparro_pipeline.contract.mapping import (
    DOCUMENT_PREFIX,
    MISSING,
    KeyRefusedError,
    is_encodable,
    source_id,
    value_at,
)
from kasparro_pipeline.contract.spec import Contract
from kasparro_pipeline.contract.types import EPOCH

NO_VERSION = Decimal("-Infinity")
"""The version of a record whose contract has none: arrival alone decides."""
MAX_REASON_VALUE = 200
"""Characters of an offending value, or of its field's path, that a reason shows; raw keeps all of it."""
MAX_UNKNOWN = 20
"""Unknown fields of one record that get a reason each."""


@dataclass(frozen=True, slots=True)
class Reason:
    """Why a record was rejected: the field, a stable rule name, the value (shortened) and a sentence."""

    field: str
    rule: str
    value: str | None
    message: str


@dataclass(frozen=True, slots=True)
class Rejected:
    """A record that failed its contract. `source_id` is None if the key itself was refused."""

    source_id: str | None
    reasons: tuple[Reason, ...]


@dataclass(frozen=True, slots=True)
class Validated:
    """A record that kept its contract: the unified table's columns, ready to be written."""

    source_id: str
    version: Decimal
    columns: Mapping[str, Any]
    """The shared columns that the contract fills, and `kind` and `attributes` (JSON text)."""
    content_hash: bytes


Outcome = Validated | Rejected
Key = TypeVar("Key", bound=Hashable)
Validator = Callable[[object, Mapping[str, Any]], Outcome]


def compile_validator(contract: Contract) -> Validator:
    """Compile a contract to a function of (record, document context) that never raises for a bad record."""
    compiled = compile_contract(contract)
    model, lenient = compiled.model, compiled.lenient
    read = _reader(contract)
    unknown = unknown_leaves(contract)
    takes_unknown = contract.schema_contract.added == "evolve"
    columns_of = _columns_of(contract)
    version_of = _version_of(contract)
    key_paths = contract.key_paths

    def validate(record: object, context: Mapping[str, Any]) -> Outcome:
        if not isinstance(record, dict):
            message = "the record is not an object with fields"
            return Rejected(None, (Reason("record", "not_an_object", _shown(record), message),))
        reasons: list[Reason] = []
        key: str | None = None
        try:
            key = source_id(record, key_paths, context)
        except KeyRefusedError as error:
            reasons.append(Reason(error.path, error.rule, _shown(error.value), str(error)))
        values = read(record, context)
        apart: dict[str, object] = {}
        try:
            fields = model.model_validate(values).__dict__
        except ValidationError as error:
            broken = list(_evolve(error, contract, record, context, values, apart))
            reasons.extend(broken)
            fields = {} if broken else lenient.model_validate(values).__dict__
        leaves = unknown(record)
        if leaves and not takes_unknown:
            reasons.extend(_refused_leaves(leaves))
        if key is None or reasons:
            return Rejected(key, tuple(reasons))
        if leaves:
            apart = added_attributes(leaves, contract.fields.keys()) | apart
        columns = columns_of(fields, apart)
        return Validated(key, version_of(fields), columns, _hash(columns))

    return validate


def winners(batch: Iterable[tuple[int, Key, Decimal]]) -> dict[Key, int]:
    """The raw id that wins for each key of a batch: the highest version, then the last to arrive.

    `batch` has raw id, key and version of each record.
    """
    best: dict[Key, tuple[Decimal, int]] = {}
    for raw_id, key, version in batch:
        rank = (version, raw_id)
        if key not in best or rank > best[key]:
            best[key] = rank
    return {key: raw_id for key, (_, raw_id) in best.items()}


def _reader(contract: Contract) -> Callable[[dict[str, Any], Mapping[str, Any]], dict[str, Any]]:
    """What finds a record's values by field, without those that are missing or null (an empty CSV cell)."""
    constants = {
        name: field.default if field.value is None else field.value
        for name, field in contract.fields.items()
        if field.value is not None or field.default is not None
    }
    given = {name: exact(value) for name, value in constants.items()}
    paths = {name: contract.path_of(name) for name, field in contract.fields.items() if field.value is None}
    if isinstance(contract.version, VersionSpec):
        paths[VERSION] = contract.version.path
    plain = [(name, path) for name, path in paths.items() if "." not in path]
    deep = [(name, path) for name, path in paths.items() if "." in path]
    assert "." in DOCUMENT_PREFIX  # noqa: S101 - so what the document says is among the deep ones

    def read(record: dict[str, Any], context: Mapping[str, Any]) -> dict[str, Any]:
        values = given.copy()
        for name, path in plain:
            found = record.get(path)
            if found is not None:
                values[name] = found
        for name, path in deep:
            found = value_at(record, path, context)
            if found is not MISSING and found is not None:
                values[name] = found
        return values

    return read


def _evolve(
    error: ValidationError,
    contract: Contract,
    record: dict[str, Any],
    context: Mapping[str, Any],
    values: dict[str, Any],
    apart: dict[str, object],
) -> Iterable[Reason]:
    """The reasons to reject the record. A value that its mode lets evolve moves from `values` to `apart`."""
    for item in error.errors(include_url=False, include_context=False, include_input=True):
        name, missing = str(item["loc"][0]), item["type"] == "missing"
        if name in contract.fields and name != contract.version:
            rule = item["type"]
            if missing and value_at(record, contract.path_of(name), context) is MISSING:
                rule = "absent"
            if evolves(contract, name, rule, values.get(name)):
                if not missing:
                    apart[name] = as_received(values.pop(name))
                continue
        if missing:
            yield Reason(name, "required", None, "a value is required")
        else:
            yield Reason(name, item["type"], _shown(item["input"]), item["msg"])


def _refused_leaves(leaves: Mapping[str, object]) -> Iterable[Reason]:
    message = "the contract does not name this field; map it, or add it to `ignore`"
    more = f" ({len(leaves) - MAX_UNKNOWN} more like it)" if len(leaves) > MAX_UNKNOWN else ""
    for path in sorted(leaves)[:MAX_UNKNOWN]:
        yield Reason(_shown(path) or "", UNKNOWN_FIELD, _shown(leaves[path]), message + more)


def _columns_of(contract: Contract) -> Callable[[Mapping[str, Any], Mapping[str, Any]], dict[str, Any]]:
    """What makes the unified table's columns of the model's values and of what is taken beside them."""
    columns = [(name, FIELD + name) for name in COLUMN_TYPES]
    attributes = [(name, FIELD + name) for name in contract.fields if name not in COLUMN_TYPES]
    whole = [name for name, _ in attributes if contract.type_of(name) == "integer"]

    def columns_of(fields: Mapping[str, Any], apart: Mapping[str, Any]) -> dict[str, Any]:
        made = {name: fields.get(key) for name, key in columns}
        made["tags"] = made["tags"] or []
        made["kind"] = contract.kind
        rest = {name: fields[key] for name, key in attributes}
        for name in whole:
            if rest[name] is not None:
                rest[name] = writable(rest[name])
        if apart:
            rest |= apart
        made["attributes"] = to_json(rest).decode()
        return made

    return columns_of


def _version_of(contract: Contract) -> Callable[[Mapping[str, Any]], Decimal]:
    if contract.version is None:
        return lambda _fields: NO_VERSION
    name = FIELD + (VERSION if isinstance(contract.version, VersionSpec) else contract.version)
    return lambda fields: comparable(fields[name])


def _hash(columns: Mapping[str, Any]) -> bytes:
    """128 bits that differ when the content differs; key, version and provenance are not content."""
    return hashlib.blake2b(to_json(columns), digest_size=16).digest()


def comparable(value: int | Decimal | datetime | date) -> Decimal:
    """A version as one number: instants and days count microseconds since 1970, so that they compare."""
    if isinstance(value, datetime):
        return Decimal((value - EPOCH) // timedelta(microseconds=1))
    if isinstance(value, date):
        return Decimal((value - EPOCH.date()).days * 86_400_000_000)
    return Decimal(value)


def _shown(value: object) -> str | None:
    if value is None:
        return None
    try:
        text = str(value) if isinstance(value, (str, Decimal)) else json.dumps(value, default=str)
    except RecursionError:
        # the reader goes a few levels deeper than the writer; the record itself is in raw
        text = "nested too deep to be shown"
    if not is_encodable(text):
        text = text.encode("utf-8", "backslashreplace").decode()
    return text.replace("\x00", "\\u0000")[:MAX_REASON_VALUE]
