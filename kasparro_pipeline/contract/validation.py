"""Validates one record against a contract: out comes the typed row of the unified table, or the reasons.

The contract compiles once to a pydantic model. Which of two records of one batch wins is also decided here;
what happens to any of them in the database is not.
"""

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Annotated, Any

import orjson
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, create_model

from kasparro_pipeline.contract.mapping import MISSING, KeyRefusedError, is_encodable, source_id, value_at
from kasparro_pipeline.contract.spec import COLUMN_TYPES, Contract, FieldSpec, VersionSpec
from kasparro_pipeline.contract.types import EPOCH, converter

NO_VERSION = Decimal("-Infinity")
"""The version of a record whose contract has none: arrival alone decides."""
VERSION = "$version"
"""Name under which a version that is no field is validated."""
FIELD = "field_"
"""Before a field's name in the pydantic model: `json` and `copy` are names of pydantic's own."""
MAX_CATEGORY = 500
"""Characters of a category: it leads indexes, whose rows PostgreSQL limits to 2,704 bytes."""
MAX_REASON_VALUE = 200
"""Characters of an offending value that a reason shows; raw keeps all of it."""

_PYTHON_TYPES: dict[str, Any] = {
    "integer": int,
    "number": Decimal,
    "boolean": bool,
    "timestamp": datetime,
    "date": date,
    "list": list[str],
    "json": Any,
}


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
Validator = Callable[[object, Mapping[str, Any]], Outcome]


def compile_validator(contract: Contract) -> Validator:
    """Compile a contract to a function of (record, document context) that never raises for a bad record."""
    model = _model_of(contract)
    read = [(name, contract.path_of(name)) for name, field in contract.fields.items() if field.value is None]
    constants = {name: field.value for name, field in contract.fields.items() if field.value is not None}
    version = VERSION if isinstance(contract.version, VersionSpec) else contract.version
    if isinstance(contract.version, VersionSpec):
        read.append((VERSION, contract.version.path))

    def validate(record: object, context: Mapping[str, Any]) -> Outcome:
        if not isinstance(record, dict):
            message = "the record is not an object with fields"
            return Rejected(None, (Reason("record", "not_an_object", _shown(record), message),))
        values: dict[str, Any] = dict(constants)
        for name, path in read:
            found = value_at(record, path, context)
            # an empty CSV cell arrives as null; both mean that there is no value
            if found is not MISSING and found is not None:
                values[name] = found
        reasons: list[Reason] = []
        key: str | None = None
        try:
            key = source_id(record, contract.key_paths, context)
        except KeyRefusedError as error:
            reasons.append(Reason(error.path, error.rule, _shown(error.value), str(error)))
        try:
            found_fields = model.model_validate(values).__dict__
        except ValidationError as error:
            reasons.extend(_reasons(error))
            return Rejected(key, tuple(reasons))
        if key is None:
            return Rejected(None, tuple(reasons))
        fields = {name.removeprefix(FIELD): value for name, value in found_fields.items()}
        columns = _columns(contract, fields)
        return Validated(key, _version(fields[version]) if version else NO_VERSION, columns, _hash(columns))

    return validate


def winners(batch: Iterable[tuple[int, Validated]]) -> dict[str, int]:
    """The raw id that wins for each source_id of a batch: the highest version, then the last to arrive."""
    best: dict[str, tuple[Decimal, int]] = {}
    for raw_id, record in batch:
        rank = (record.version, raw_id)
        if record.source_id not in best or rank > best[record.source_id]:
            best[record.source_id] = rank
    return {key: raw_id for key, (_, raw_id) in best.items()}


def to_json(value: object) -> bytes:
    """Compact JSON with numbers to their last digit, dates as ISO 8601 and UTC as `Z`."""
    return orjson.dumps(value, default=_json_default, option=orjson.OPT_UTC_Z | orjson.OPT_SORT_KEYS)


def _model_of(contract: Contract) -> type[BaseModel]:
    definitions: dict[str, Any] = {}
    for name, spec in contract.fields.items():
        kind = contract.type_of(name)
        longest = spec.max_length or (MAX_CATEGORY if name == "category" else None)
        text_rules = Field(max_length=longest, pattern=spec.pattern)
        number_rules = Field(ge=_exact(spec.minimum), le=_exact(spec.maximum))
        python_type: Any = _PYTHON_TYPES.get(kind, str)
        convert = BeforeValidator(converter(kind, spec))
        annotation: Any = Annotated[python_type, text_rules, convert, number_rules]
        required = spec.required or name == contract.version
        definitions[FIELD + name] = (
            (annotation, Field(alias=name)) if required else (annotation | None, Field(None, alias=name))
        )
    if isinstance(contract.version, VersionSpec):
        spec = FieldSpec(type=contract.version.type, format=contract.version.format)
        python_type = _PYTHON_TYPES[contract.version.type]
        annotation = Annotated[python_type, BeforeValidator(converter(contract.version.type, spec))]
        definitions[FIELD + VERSION] = (annotation, Field(alias=VERSION))
    config = ConfigDict(extra="forbid", hide_input_in_errors=True)
    return create_model(f"{contract.kind}_record", __config__=config, **definitions)


def _exact(bound: float | None) -> Decimal | None:
    # 0.1 as written: the float lies a little above it, and would refuse a price of 0.1
    return None if bound is None else Decimal(repr(bound))


def _columns(contract: Contract, fields: Mapping[str, Any]) -> dict[str, Any]:
    attributes = contract.fields.keys() - COLUMN_TYPES.keys()
    columns: dict[str, Any] = {name: fields.get(name) for name in COLUMN_TYPES}
    columns["tags"] = columns["tags"] or []
    columns["kind"] = contract.kind
    rest = {name: _writable(value) for name, value in fields.items() if name in attributes}
    columns["attributes"] = to_json(rest).decode()
    return columns


def _writable(value: object) -> object:
    # orjson writes integers of 64 bits; a decimal goes through `_json_default` and has no limit
    return Decimal(value) if isinstance(value, int) and abs(value) >= 2**63 else value


def _hash(columns: Mapping[str, Any]) -> bytes:
    """128 bits that differ when the content differs; key, version and provenance are not content."""
    return hashlib.blake2b(to_json(columns), digest_size=16).digest()


def _version(value: int | Decimal | datetime | date) -> Decimal:
    """A version as one number: instants and days count microseconds since 1970, so that they compare."""
    if isinstance(value, datetime):
        return Decimal((value - EPOCH) // timedelta(microseconds=1))
    if isinstance(value, date):
        return Decimal((value - EPOCH.date()).days * 86_400_000_000)
    return Decimal(value)


def _reasons(error: ValidationError) -> Iterable[Reason]:
    for item in error.errors(include_url=False, include_context=False):
        field = str(item["loc"][0]) if item["loc"] else "record"
        missing = item["type"] == "missing"
        rule = "required" if missing else item["type"]
        message = "a value is required" if missing else item["msg"]
        yield Reason(field, rule, None if missing else _shown(item["input"]), message)


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


def _json_default(value: object) -> object:
    if isinstance(value, Decimal):
        return orjson.Fragment(str(value))
    raise TypeError(f"no JSON for {type(value).__name__}")
