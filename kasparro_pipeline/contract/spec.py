"""The contract as a user writes it in a `defs.yaml`: fields, key, version, modes. Reads no record."""

import hashlib
from typing import Annotated, Literal

import orjson
from pydantic import Field, ValidationError, model_validator

from kasparro_pipeline.contract.compiled import accept
from kasparro_pipeline.contract.field_spec import (
    COLUMN_TYPES,
    MAX_BYTES,
    MAX_ITEMS,
    FieldSpec,
    FieldType,
    Path,
    StrictModel,
    VersionSpec,
    exact,
)
from kasparro_pipeline.contract.record_hash import RECORD_HASH

__all__ = [
    "COLUMN_TYPES",
    "Contract",
    "FieldName",
    "FieldSpec",
    "FieldType",
    "Mode",
    "Path",
    "SchemaContract",
    "StrictModel",
    "VersionSpec",
]

Mode = Literal["evolve", "freeze", "quarantine_row"]

VERSION_TYPES = {"integer", "number", "timestamp", "date"}
RESERVED_NAMES = {"id", "source", "source_id", "kind", "attributes", "raw_id", "run_id"}

FieldName = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,62}$")]


class SchemaContract(StrictModel):
    """What to do about each kind of drift: docs/contracts.md has the rules.

    `evolve` warns and keeps the record; `quarantine_row` warns, and the records that do not fit are rejected;
    `freeze` rejects them too, fails the check and stops the run before validated.
    """

    added: Mode = "evolve"
    """A field came that the contract does not name. `evolve`: it becomes an attribute under its path."""
    removed: Mode = "freeze"
    """A required field came in no record. `evolve`: a record may lack it."""
    renamed: Mode = "freeze"
    """A field is gone, and one came that looks like it."""
    retyped: Mode = "quarantine_row"
    """Values came of another type than promised. `evolve`: the field is null, the value an attribute."""
    nullability: Mode = "quarantine_row"
    """A required field came in some records without a value. `evolve`: it may be null."""
    enum: Mode = "quarantine_row"
    """An enum had values that it does not allow. `evolve`: as for retyped."""
    format: Mode = "quarantine_row"
    """Dates or timestamps came written in another way. `evolve`: as for retyped."""
    explosion: Mode = "evolve"
    """A nested field came far larger than the contract allows (`max_items`, `max_bytes`)."""


class Contract(StrictModel):
    """The fields that a source promises, with the rules that make them a unified record."""

    kind: str = Field(pattern=r"^[a-z][a-z0-9_]*$", max_length=63)
    """What one record is: asset, price, candle, article."""
    key: Path | Annotated[tuple[Path, ...], Field(min_length=1)]
    """Path of the upstream's own key of a record, or several paths. It becomes `source_id`. `$record_hash`
    stands for the hash of the whole record, where an upstream has no key: docs/contracts.md has the rules."""
    version: str | VersionSpec | None = None
    """What is larger in a newer version of a record: a field's name, or a path and type of its own.
    Without one, the later arrival is newer."""
    fields: dict[FieldName, FieldSpec] = Field(min_length=1)
    """The promised fields by name."""
    ignore: tuple[str, ...] = ()
    """Paths that are known and not wanted, with all that is below them: they are no drift."""
    schema_contract: SchemaContract = SchemaContract()
    """What to do about drift."""

    @model_validator(mode="after")
    def _hash_is_for_the_key(self) -> "Contract":
        paths = {f"fields.{name}": self.path_of(name) for name in self.fields}
        paths |= {"version": self.version.path} if isinstance(self.version, VersionSpec) else {}
        for place, path in paths.items():
            if path == RECORD_HASH:
                raise ValueError(f"{place}: `{RECORD_HASH}` is for `key` alone, which becomes `source_id`")
        return self

    @model_validator(mode="after")
    def _names_fit(self) -> "Contract":
        for name, field in self.fields.items():
            if name in RESERVED_NAMES:
                raise ValueError(f"field `{name}`: the name is taken by the table itself; choose another")
            column = COLUMN_TYPES.get(name)
            if column and field.type not in (None, column):
                raise ValueError(f"field `{name}` is a shared column of type {column}, not {field.type}")
            if problem := field.problem_as(self.type_of(name)):
                raise ValueError(f"field `{name}` {problem}")
            for given in ("default", "value"):
                if problem := self._refusal(name, given):
                    raise ValueError(f"field `{name}`: its `{given}` breaks its own rules: {problem}")
        if isinstance(self.version, str) and self.version not in self.fields:
            raise ValueError(f"version: no field is named `{self.version}`; fields: {', '.join(self.fields)}")
        if isinstance(self.version, str) and self.type_of(self.version) not in VERSION_TYPES:
            raise ValueError(
                f"version: field `{self.version}` must be one of {', '.join(sorted(VERSION_TYPES))}"
            )
        if isinstance(self.version, str) and self.fields[self.version].default is not None:
            raise ValueError(
                f"version: field `{self.version}` has a `default`; a version must come with its record"
            )
        return self

    def _refusal(self, name: str, given: Literal["default", "value"]) -> str | None:
        """Why the field itself would refuse its default or constant; None if there is none or it fits."""
        value = getattr(self.fields[name], given)
        if value is None:
            return None
        try:
            accept(name, self.type_of(name), self.fields[name], exact(value))
        except ValidationError as error:
            return error.errors(include_url=False)[0]["msg"]
        return None

    def type_of(self, name: str) -> FieldType:
        """The type of a field: its own, else its shared column's, else string."""
        return self.fields[name].type or COLUMN_TYPES.get(name, "string")

    def path_of(self, name: str) -> str:
        """Where a field's value is in a record."""
        return self.fields[name].path or name

    def largest(self, name: str) -> tuple[int, int]:
        """Items, and bytes of JSON text, beyond which a value of the field has exploded."""
        field = self.fields[name]
        return field.max_items or MAX_ITEMS, field.max_bytes or MAX_BYTES

    @property
    def key_paths(self) -> tuple[str, ...]:
        """The paths of the key, in order."""
        return (self.key,) if isinstance(self.key, str) else self.key

    def as_json(self) -> bytes:
        """The contract as canonical JSON: equal contracts give equal bytes."""
        return orjson.dumps(self.model_dump(mode="json", exclude_defaults=True), option=orjson.OPT_SORT_KEYS)

    def version_rule(self) -> bytes:
        """How the contract tells a newer version of a record, as JSON: versions of equal rules compare."""
        rule = self.version
        if isinstance(rule, str):
            field = self.fields[rule]
            written = [field.value or self.path_of(rule), self.type_of(rule), field.format]
            return orjson.dumps(written if field.zone == "utc" else [*written, field.zone])
        return orjson.dumps([rule.path, rule.type, rule.format] if rule else None)

    def digest(self) -> bytes:
        """SHA-256 of the canonical JSON: what tells one version of the contract from another."""
        return hashlib.sha256(self.as_json()).digest()
