"""The contract as a user writes it in a `defs.yaml`: fields, key, version, modes. Reads no record."""

import hashlib
from typing import Annotated, Any, Literal, Self

import orjson
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    ModelWrapValidatorHandler,
    ValidationError,
    field_validator,
    model_validator,
)
from pydantic_core import InitErrorDetails, PydanticCustomError, SchemaError, SchemaValidator, core_schema

FieldType = Literal[
    "string", "integer", "number", "boolean", "timestamp", "date", "url", "enum", "list", "json"
]
Mode = Literal["evolve", "freeze", "quarantine_row"]

COLUMN_TYPES: dict[str, FieldType] = {
    "title": "string",
    "summary": "string",
    "url": "url",
    "category": "string",
    "author": "string",
    "tags": "list",
    "amount": "number",
    "currency": "string",
    "published_at": "timestamp",
}
"""The typed columns that every source shares. A field of another name goes to `attributes`."""

VERSION_TYPES = {"integer", "number", "timestamp", "date"}
RULE_TYPES: dict[str, set[FieldType]] = {
    "minimum": {"integer", "number"},
    "maximum": {"integer", "number"},
    "max_length": {"string", "url", "enum"},
    "pattern": {"string", "url", "enum"},
    "format": {"timestamp"},
}
"""Which types of field each rule can be set for."""
RESERVED_NAMES = {"id", "source", "source_id", "kind", "attributes", "raw_id", "run_id"}

FieldName = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,62}$")]
Path = Annotated[str, Field(min_length=1)]


class StrictModel(BaseModel):
    """A part of a `defs.yaml`: an unknown key is an error that names the known ones."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    @model_validator(mode="wrap")
    @classmethod
    def _name_the_known_keys(cls, data: Any, handler: ModelWrapValidatorHandler[Self]) -> Self:  # noqa: ANN401 - anything a YAML file holds
        try:
            return handler(data)
        except ValidationError as error:
            known = f"unknown key; the known ones are {', '.join(cls.model_fields)}"
            raise ValidationError.from_exception_data(
                error.title, [_detail(item, known) for item in error.errors(include_url=False)]
            ) from None


def _detail(item: Any, known: str) -> InitErrorDetails:  # noqa: ANN401 - pydantic's ErrorDetails
    own_key = item["type"] == "extra_forbidden" and len(item["loc"]) == 1
    message = known if own_key else item["msg"]
    # a type of its own: the models around this one leave the message as it is
    kind = "unknown_key" if own_key else item["type"]
    return InitErrorDetails(type=PydanticCustomError(kind, message), loc=item["loc"], input=item["input"])


class FieldSpec(StrictModel):
    """One promised field."""

    path: Path | None = None
    """Where the value is in a record: keys joined by dots (`quotes.USD.price`). Default: the field's name.
    `$document.<name>` reads the document's context (a request parameter, a file's date) instead."""
    value: str | None = None
    """A constant, instead of a path."""
    type: FieldType | None = None
    """Default: the type of the shared column of that name, else string."""
    required: bool = False
    """A record without a value here is rejected."""
    format: Literal["iso", "rfc822", "unix", "unix_ms"] = "iso"
    """How a timestamp is written. `unix` counts seconds, `unix_ms` milliseconds; neither is guessed."""
    values: tuple[str, ...] | None = None
    """What an enum allows."""
    minimum: float | None = Field(default=None, allow_inf_nan=False)
    """Smallest number allowed."""
    maximum: float | None = Field(default=None, allow_inf_nan=False)
    """Largest number allowed."""
    max_length: int | None = Field(default=None, ge=1)
    """Longest text allowed, in characters."""
    pattern: str | None = None
    """A regular expression that the text must match somewhere."""

    @model_validator(mode="after")
    def _rules_fit_the_type(self) -> "FieldSpec":
        if self.value is not None and self.path is not None:
            raise ValueError("give `path` or `value`, not both")
        if (self.type == "enum") != (self.values is not None):
            raise ValueError("`type: enum` and `values: [...]` go together")
        return self

    @field_validator("pattern")
    @classmethod
    def _pattern_compiles(cls, pattern: str | None) -> str | None:
        try:
            SchemaValidator(core_schema.str_schema(pattern=pattern))
        except SchemaError as error:
            # Rust's expressions: linear in time, hence without look-around and back-references
            raise ValueError(f"`{pattern}` is not a regular expression of Rust's regex") from error
        return pattern


class VersionSpec(StrictModel):
    """A version that is not itself content: a file's date, a counter."""

    path: Path
    """Where it is, like a field's path."""
    type: Literal["integer", "number", "timestamp", "date"]
    """How versions compare."""
    format: Literal["iso", "rfc822", "unix", "unix_ms"] = "iso"
    """How a timestamp is written."""


class SchemaContract(StrictModel):
    """What to do about each kind of drift.

    `evolve` warns; `quarantine_row` warns, and the records that do not fit are rejected; `freeze` fails the
    check and stops the run before validated.
    """

    added: Mode = "evolve"
    """A field came that the contract does not name."""
    removed: Mode = "freeze"
    """A required field came in no record."""
    renamed: Mode = "freeze"
    """A field is gone, and one came that looks like it."""
    retyped: Mode = "quarantine_row"
    """Values came of another type than promised."""
    nullability: Mode = "quarantine_row"
    """A required field came in some records without a value."""
    enum: Mode = "quarantine_row"
    """An enum had values that it does not allow."""
    format: Mode = "quarantine_row"
    """Dates or timestamps came written in another way."""
    explosion: Mode = "evolve"
    """A nested field came far larger than the contract allows."""


class Contract(StrictModel):
    """The fields that a source promises, with the rules that make them a unified record."""

    kind: str = Field(pattern=r"^[a-z][a-z0-9_]*$", max_length=63)
    """What one record is: asset, price, candle, article."""
    key: Path | Annotated[tuple[Path, ...], Field(min_length=1)]
    """Path of the upstream's own key of a record, or several paths. It becomes `source_id`."""
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
    def _names_fit(self) -> "Contract":
        for name, field in self.fields.items():
            if name in RESERVED_NAMES:
                raise ValueError(f"field `{name}`: the name is taken by the table itself; choose another")
            column = COLUMN_TYPES.get(name)
            if column and field.type not in (None, column):
                raise ValueError(f"field `{name}` is a shared column of type {column}, not {field.type}")
            for rule, types in RULE_TYPES.items():
                if getattr(field, rule) not in (None, "iso") and self.type_of(name) not in types:
                    raise ValueError(
                        f"field `{name}` is of type {self.type_of(name)}; "
                        f"`{rule}` is for {', '.join(sorted(types))}"
                    )
        if isinstance(self.version, str) and self.version not in self.fields:
            raise ValueError(f"version: no field is named `{self.version}`; fields: {', '.join(self.fields)}")
        if isinstance(self.version, str) and self.type_of(self.version) not in VERSION_TYPES:
            raise ValueError(
                f"version: field `{self.version}` must be one of {', '.join(sorted(VERSION_TYPES))}"
            )
        return self

    def type_of(self, name: str) -> FieldType:
        """The type of a field: its own, else its shared column's, else string."""
        return self.fields[name].type or COLUMN_TYPES.get(name, "string")

    def path_of(self, name: str) -> str:
        """Where a field's value is in a record."""
        return self.fields[name].path or name

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
            written: object = [field.value or self.path_of(rule), self.type_of(rule), field.format]
        else:
            written = [rule.path, rule.type, rule.format] if rule else None
        return orjson.dumps(written)

    def digest(self) -> bytes:
        """SHA-256 of the canonical JSON: what tells one version of the contract from another."""
        return hashlib.sha256(self.as_json()).digest()
