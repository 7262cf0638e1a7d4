"""The PostgreSQL type that holds every value of a field exactly."""

from kasparro_pipeline.contract.field_spec import FieldSpec, FieldType

_LARGEST = 2**63 - 1
_TYPES: dict[FieldType, str] = {
    "string": "text",
    "url": "text",
    "enum": "text",
    "boolean": "boolean",
    "timestamp": "timestamptz",
    "date": "date",
    "list": "text[]",
    "json": "jsonb",
}


def sql_type(kind: FieldType, field: FieldSpec) -> str:
    """The type of a column for the field. Integers are `bigint` only where the bounds say that they fit."""
    if kind == "integer":
        low, high = field.minimum, field.maximum
        fits = low is not None and high is not None and low >= -_LARGEST - 1 and high <= _LARGEST
        return "bigint" if fits else "numeric"
    if kind == "number":
        # PostgreSQL reads numeric(p) as numeric(p, 0)
        both = field.precision is not None and field.scale is not None
        return f"numeric({field.precision},{field.scale})" if both else "numeric"
    return _TYPES[kind]
