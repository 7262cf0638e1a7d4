"""Compiles a contract, once: to a pydantic model that checks and converts values, and to SQL types."""

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from functools import lru_cache
from typing import TYPE_CHECKING, Annotated, Any, Final

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, TypeAdapter, create_model
from pydantic_core import PydanticCustomError

from kasparro_pipeline.contract.field_spec import FieldSpec, FieldType, VersionSpec, exact
from kasparro_pipeline.contract.json_text import to_json
from kasparro_pipeline.contract.sql_types import sql_type
from kasparro_pipeline.contract.types import converter

if TYPE_CHECKING:
    from kasparro_pipeline.contract.spec import Contract

VERSION: Final = "$version"
"""Name under which a version that is no field is validated."""
FIELD: Final = "field_"
"""Before a field's name in the pydantic model: `json` and `copy` are names of pydantic's own."""
MAX_CATEGORY = 500
"""Characters of a category: it leads indexes, whose rows PostgreSQL limits to 2,704 bytes."""

_PYTHON_TYPES: dict[FieldType, Any] = {
    "integer": int,
    "number": Decimal,
    "boolean": bool,
    "timestamp": datetime,
    "date": date,
    "list": list[str],
    "json": Any,
}


@dataclass(frozen=True, slots=True)
class CompiledContract:
    """What a contract compiles to."""

    model: type[BaseModel]
    """Checks and converts the values of a record; its attributes are named FIELD + the field's name."""
    lenient: type[BaseModel]
    """The same, but no field has to have a value, the version apart."""
    sql_types: Mapping[str, str]
    """Field → the PostgreSQL type that holds its values exactly."""


@dataclass(frozen=True, slots=True)
class _ByDigest:
    digest: bytes
    contract: "Contract" = dataclasses.field(compare=False)


def compile_contract(contract: "Contract") -> CompiledContract:
    """Compile a contract to its model and its SQL types; one that was compiled lately is not once more.

    The assets ask for the types when they are defined, and the run that validates for the model.
    """
    return _compiled(_ByDigest(contract.digest(), contract))


@lru_cache(maxsize=32)
def _compiled(asked: _ByDigest) -> CompiledContract:
    contract = asked.contract
    sql_types = {name: sql_type(contract.type_of(name), field) for name, field in contract.fields.items()}
    return CompiledContract(_model_of(contract), _model_of(contract, lenient=True), sql_types)


def accept(name: str, kind: FieldType, field: FieldSpec, value: object) -> object:
    """The value as the field takes it.

    Raises:
        ValidationError: the value breaks a rule of the field.
    """
    return TypeAdapter(annotation_of(name, kind, field, (field.max_items, field.max_bytes))).validate_python(
        value
    )


def _model_of(contract: "Contract", *, lenient: bool = False) -> type[BaseModel]:
    definitions: dict[str, Any] = {}
    modes = contract.schema_contract
    for name, field in contract.fields.items():
        kind = contract.type_of(name)
        largest = (None, None) if modes.explosion == "evolve" else contract.largest(name)
        annotation: Any = annotation_of(name, kind, field, largest)
        optional = lenient or (modes.removed == modes.nullability == "evolve")
        if name == contract.version or (field.required and not optional):
            definitions[FIELD + name] = (annotation, Field(alias=name))
        else:
            definitions[FIELD + name] = (annotation | None, Field(None, alias=name))
    if isinstance(contract.version, VersionSpec):
        kind, field = contract.version.type, contract.version.as_field()
        annotation = annotation_of(VERSION, kind, field, (None, None))
        definitions[FIELD + VERSION] = (annotation, Field(alias=VERSION))
    config = ConfigDict(extra="forbid", hide_input_in_errors=True)
    return create_model(f"{contract.kind}_record", __config__=config, **definitions)


def annotation_of(
    name: str, kind: FieldType, field: FieldSpec, largest: tuple[int | None, int | None]
) -> Any:  # noqa: ANN401 - an annotation
    """The field's type with its rules, for pydantic. `largest`: items and bytes that are still accepted."""
    longest = field.max_length or (MAX_CATEGORY if name == "category" else None)
    rules: list[Any] = [
        Field(min_length=field.min_length, max_length=longest, pattern=field.pattern),
        BeforeValidator(converter(kind, field)),
        Field(ge=exact(field.minimum), le=exact(field.maximum)),
    ]
    if field.precision is not None or field.scale is not None:
        rules.append(AfterValidator(_digits_rule(field.precision, field.scale)))
    if kind in {"list", "json"} and largest != (None, None):
        rules.append(AfterValidator(_size_rule(*largest)))
    return Annotated[_PYTHON_TYPES.get(kind, str), *rules]


def _digits_rule(precision: int | None, scale: int | None) -> Callable[[Decimal], Decimal]:
    before_point = None if precision is None else precision - (scale or 0)

    def check(number: Decimal) -> Decimal:
        if not number:
            return number
        _, digits, exponent = number.as_tuple()
        assert isinstance(exponent, int)  # noqa: S101 - the converter lets finite numbers through only
        zeros = len(digits) - len("".join(map(str, digits)).rstrip("0"))
        after = max(-(exponent + zeros), 0)
        before = max(len(digits) + exponent, 0)
        if scale is not None and after > scale:
            raise PydanticCustomError(
                "number_scale", f"{after} digits after the point, at most {scale} are allowed"
            )
        if precision is not None and (before + after > precision or before > (before_point or 0)):
            allowed = f"{precision} in all" + (f", {before_point} before the point" if scale else "")
            raise PydanticCustomError(
                "number_precision",
                f"{before} digits before and {after} after the point, at most {allowed} are allowed",
            )
        return number

    return check


def _size_rule(items: int | None, size: int | None) -> Callable[[Any], Any]:
    def check(value: Any) -> Any:  # noqa: ANN401 - any JSON value
        if items is not None and isinstance(value, (list, dict)) and len(value) > items:
            raise PydanticCustomError("too_many_items", f"{len(value)} items, at most {items} are allowed")
        if size is not None and (found := len(to_json(value))) > size:
            raise PydanticCustomError("too_large", f"{found} bytes of JSON, at most {size} are allowed")
        return value

    return check
