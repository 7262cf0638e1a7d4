"""One field of a contract as a user writes it. What the fields make together is in `spec`.

Reads no record.
"""

from datetime import date
from decimal import Decimal
from typing import Annotated, Any, Literal, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    JsonValue,
    ModelWrapValidatorHandler,
    ValidationError,
    field_validator,
    model_validator,
)
from pydantic_core import InitErrorDetails, PydanticCustomError, SchemaError, SchemaValidator, core_schema

from kasparro_pipeline.contract.times import NAMED_FORMATS, check_format, check_zone, reads_time
from kasparro_pipeline.contract.transforms import TRANSFORM_TYPES, Transform, transformer

FieldType = Literal[
    "string", "integer", "number", "boolean", "timestamp", "date", "url", "enum", "list", "json"
]

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

RULE_TYPES: dict[str, set[FieldType]] = {
    "format": {"timestamp", "date"},
    "zone": {"timestamp"},
    "minimum": {"integer", "number"},
    "maximum": {"integer", "number"},
    "precision": {"number"},
    "scale": {"number"},
    "min_length": {"string", "url", "enum"},
    "max_length": {"string", "url", "enum"},
    "pattern": {"string", "url", "enum"},
    "max_items": {"list", "json"},
    "max_bytes": {"list", "json"},
}
"""Which types of field each rule can be set for."""
MAX_ITEMS = 1000
"""Items of a list, or members of an object, where the field sets no `max_items`."""
MAX_BYTES = 65_536
"""Bytes of a list's or a json value's text, where the field sets no `max_bytes`."""
MAX_PRECISION = 1000
"""Digits that PostgreSQL's `numeric(precision, scale)` can be declared with."""

Path = Annotated[str, Field(min_length=1)]
Format = Annotated[str, Field(json_schema_extra={"pattern": rf"^({'|'.join(NAMED_FORMATS)}|.*%.*)$"})]


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
    default: JsonValue = None
    """Taken where a record has no value. It must keep the field's own type and rules."""
    transforms: tuple[Transform, ...] = ()
    """What is done to a text before it is checked, in this order: `trim` (outer white space), `lower`,
    `upper`, `strip_html` (tags, scripts and comments go, entities become characters). For a list, to each of
    its texts."""
    format: Format = "iso"
    """How a timestamp or date is written: `iso`; for timestamps also `rfc822`, `unix` (seconds) or `unix_ms`
    (milliseconds); or a strptime pattern such as `%d/%m/%Y %H:%M`. Nothing is guessed."""
    zone: str = "utc"
    """How a timestamp without a zone is read: as `utc`, not at all (`required`), or as local time of a zone
    such as `Europe/Berlin`. A local time that a clock change skips or repeats is rejected."""
    values: tuple[str, ...] | None = None
    """What an enum allows."""
    minimum: int | float | None = Field(default=None, allow_inf_nan=False)
    """Smallest number allowed."""
    maximum: int | float | None = Field(default=None, allow_inf_nan=False)
    """Largest number allowed."""
    precision: int | None = Field(default=None, ge=1, le=MAX_PRECISION)
    """Most digits of a number, before and after the point together. With `scale`, at most `precision - scale`
    of them are before the point. A number with more is rejected, never rounded."""
    scale: int | None = Field(default=None, ge=0, le=MAX_PRECISION)
    """Most digits after the point. Zeros at the end do not count."""
    min_length: int | None = Field(default=None, ge=1)
    """Shortest text allowed, in characters."""
    max_length: int | None = Field(default=None, ge=1)
    """Longest text allowed, in characters."""
    pattern: str | None = None
    """A regular expression that the text must match somewhere."""
    max_items: int | None = Field(default=None, ge=1)
    """Items of a list, or members of an object, beyond which a value has exploded: see
    `schema_contract.explosion`. Default: 1,000."""
    max_bytes: int | None = Field(default=None, ge=1)
    """Bytes of JSON text beyond which a list or json value has exploded: see `schema_contract.explosion`.
    Default: 65,536."""
    description: str | None = None
    """What the field means, for the people who find it in Dagster."""

    @model_validator(mode="after")
    def _rules_fit_each_other(self) -> Self:
        if self.value is not None and self.path is not None:
            raise ValueError("give `path` or `value`, not both")
        if self.default is not None and (self.required or self.value is not None):
            other = "required" if self.required else "value"
            raise ValueError(f"give `default` or `{other}`, not both: with either there is always a value")
        if (self.type == "enum") != (self.values is not None):
            raise ValueError("`type: enum` and `values: [...]` go together")
        if self.scale is not None and self.precision is not None and self.scale > self.precision:
            raise ValueError("`scale` must not be larger than `precision`, which counts its digits too")
        for least, most in (("minimum", "maximum"), ("min_length", "max_length")):
            low, high = getattr(self, least), getattr(self, most)
            if low is not None and high is not None and low > high:
                raise ValueError(f"`{least}` is larger than `{most}`: no value would fit")
        transform = transformer(self.transforms)
        if lost := [value for value in self.values or () if transform(value) != value]:
            raise ValueError(f"`values`: `{lost[0]}` never comes out of the transforms; write it as they do")
        if self.zone != "utc" and self.format in {"unix", "unix_ms"}:
            raise ValueError(f"`zone` has no meaning for `format: {self.format}`, which counts from 1970 UTC")
        return self

    @field_validator("default", mode="before")
    @classmethod
    def _days_are_texts(cls, default: object) -> object:
        # YAML reads an unquoted day or time as one
        return default.isoformat() if isinstance(default, date) else default

    @field_validator("format")
    @classmethod
    def _format_is_known(cls, written: str) -> str:
        return check_format(written)

    @field_validator("zone")
    @classmethod
    def _zone_is_known(cls, zone: str) -> str:
        return check_zone(zone)

    @field_validator("pattern")
    @classmethod
    def _pattern_compiles(cls, pattern: str | None) -> str | None:
        try:
            SchemaValidator(core_schema.str_schema(pattern=pattern))
        except SchemaError as error:
            # Rust's expressions: linear in time, hence without look-around and back-references
            raise ValueError(f"`{pattern}` is not a regular expression of Rust's regex") from error
        return pattern

    def problem_as(self, kind: FieldType) -> str | None:
        """What is wrong with these rules in a field of that type, for people; None if nothing is."""
        for rule, types in RULE_TYPES.items():
            if getattr(self, rule) != type(self).model_fields[rule].default and kind not in types:
                return f"is of type {kind}; `{rule}` is for {', '.join(sorted(types))}"
        for transform in self.transforms:
            if kind not in TRANSFORM_TYPES[transform]:
                allowed = ", ".join(sorted(TRANSFORM_TYPES[transform]))
                return f"is of type {kind}; the transform `{transform}` is for {allowed}"
        if kind == "date" and self.format in NAMED_FORMATS[1:]:
            return f"is of type date; `format: {self.format}` is for timestamp"
        if kind == "date" and self.format != "iso" and reads_time(self.format):
            return f"is of type date; `format: {self.format}` reads more than a day: make it a timestamp"
        return None


class VersionSpec(StrictModel):
    """A version that is not itself content: a file's date, a counter."""

    path: Path
    """Where it is, like a field's path."""
    type: Literal["integer", "number", "timestamp", "date"]
    """How versions compare."""
    format: Format = "iso"
    """How a timestamp or date is written, as in a field. Without a zone it is UTC."""

    @field_validator("format")
    @classmethod
    def _format_is_known(cls, written: str) -> str:
        return check_format(written)

    @model_validator(mode="after")
    def _format_fits_the_type(self) -> Self:
        if problem := self.as_field().problem_as(self.type):
            raise ValueError(f"version {problem}")
        return self

    def as_field(self) -> FieldSpec:
        """The version as a field of its type."""
        return FieldSpec(type=self.type, format=self.format)


def exact(value: JsonValue | float) -> Any:  # noqa: ANN401 - any JSON value, with decimals for floats
    """A number of a YAML file as written there: the float 0.1 lies a little above 0.1."""
    if isinstance(value, float):
        return Decimal(repr(value))
    if isinstance(value, list):
        return [exact(item) for item in value]
    if isinstance(value, dict):
        return {key: exact(item) for key, item in value.items()}
    return value
