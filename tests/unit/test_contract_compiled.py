"""What a contract compiles to: the rules of its fields, and their SQL types."""

from decimal import Decimal
from typing import Any

import psycopg
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from pydantic import ValidationError

from kasparro_pipeline.contract.compiled import compile_contract
from kasparro_pipeline.contract.spec import Contract
from kasparro_pipeline.contract.validation import Rejected, Validated, compile_validator


def contract(fields: dict[str, Any], **parts: Any) -> Contract:
    return Contract.model_validate({"kind": "thing", "key": "id", "fields": fields} | parts)


def rule(value: object, modes: dict[str, str] | None = None, **field: Any) -> str | None:
    """The rule that the value breaks as a field; None if it breaks none."""
    made = contract({"x": field}, schema_contract=modes or {})
    outcome = compile_validator(made)({"id": "1", "x": value}, {})
    if isinstance(outcome, Validated):
        return None
    (reason,) = outcome.reasons
    assert reason.message
    return reason.rule


def problem(field: dict[str, Any], **parts: Any) -> str:
    with pytest.raises(ValidationError) as error:
        contract({"x": field}, **parts)
    return str(error.value)


@pytest.mark.parametrize(
    ("number", "precision", "scale", "broken"),
    [
        ("123.45", 5, 2, None),
        ("123.456", 6, 2, "number_scale"),
        ("1234.5", 5, 2, "number_precision"),
        ("123.4500", 5, 2, None),
        ("0.05", 2, 2, None),
        ("0.5", 2, 2, None),
        ("1", 2, 2, "number_precision"),
        ("0", 2, 2, None),
        ("0.000", 2, 2, None),
        ("-99", 2, 0, None),
        ("100", 2, 0, "number_precision"),
        ("1e3", 4, 0, None),
        ("1e4", 4, 0, "number_precision"),
        ("12.345", 5, None, None),
        ("12.3456", 5, None, "number_precision"),
        ("123456789012345678901234567890.12", None, 2, None),
        ("0.001", None, 2, "number_scale"),
    ],
)
def test_a_number_with_more_digits_is_rejected(
    number: str, precision: int | None, scale: int | None, broken: str | None
) -> None:
    field: dict[str, Any] = {"type": "number", "precision": precision, "scale": scale}
    assert rule(Decimal(number), **field) == rule(number, **field) == broken


def test_a_number_is_never_rounded() -> None:
    made = contract({"amount": {"precision": 40, "scale": 10}})
    outcome = compile_validator(made)({"id": "1", "amount": "123456789012345678901234567890.0123456789"}, {})
    assert isinstance(outcome, Validated)
    assert str(outcome.columns["amount"]) == "123456789012345678901234567890.0123456789"


@given(
    number=st.decimals(
        allow_nan=False, allow_infinity=False, min_value=-(10**12), max_value=10**12, places=8
    ),
    precision=st.integers(1, 20),
    scale=st.integers(0, 8),
)
def test_a_number_passes_if_and_only_if_it_loses_nothing_at_its_precision(
    number: Decimal, precision: int, scale: int
) -> None:
    assume(scale <= precision)
    fits = number == number.quantize(Decimal(1).scaleb(-scale)) and abs(number) < 10 ** (precision - scale)
    assert (rule(number, type="number", precision=precision, scale=scale) is None) == fits


@pytest.mark.parametrize(
    ("field", "said"),
    [
        ({"type": "integer", "precision": 3}, "`precision` is for number"),
        ({"type": "string", "scale": 3}, "`scale` is for number"),
        ({"type": "number", "precision": 2, "scale": 3}, "`scale` must not be larger than `precision`"),
        ({"type": "number", "precision": 0}, "greater than or equal to 1"),
        ({"type": "list", "min_length": 1}, "`min_length` is for enum, string, url"),
        ({"type": "string", "max_items": 1}, "`max_items` is for json, list"),
        ({"type": "number", "max_bytes": 1}, "`max_bytes` is for json, list"),
        ({"type": "number", "minimum": 2, "maximum": 1}, "`minimum` is larger than `maximum`"),
        ({"min_length": 2, "max_length": 1}, "`min_length` is larger than `max_length`"),
        (
            {"type": "enum", "values": ["a", "EUR"], "transforms": ["lower"]},
            "`EUR` never comes out of the transforms",
        ),
        ({"default": "a", "required": True}, "give `default` or `required`, not both"),
        ({"default": "a", "value": "b"}, "give `default` or `value`, not both"),
    ],
)
def test_a_rule_that_does_not_fit_its_field_is_refused(field: dict[str, Any], said: str) -> None:
    assert said in problem(field)


def test_a_text_can_be_too_short() -> None:
    assert rule("", min_length=1) == "string_too_short"
    assert rule("  ", min_length=1, transforms=["trim"]) == "string_too_short"
    assert rule("a", min_length=1) is None


def test_bounds_are_exact_also_beyond_what_a_float_holds() -> None:
    assert rule(2**53 + 1, type="integer", maximum=2**53) == "less_than_equal"
    assert rule(2**53 + 1, type="integer", maximum=2**53 + 1) is None
    assert rule(2**53 + 2, type="integer", maximum=2**53 + 1) == "less_than_equal"


@pytest.mark.parametrize(
    ("field", "default", "taken"),
    [
        ({}, "none", '"none"'),
        ({"type": "integer"}, 0, "0"),
        ({"type": "number"}, 0.1, "0.1"),
        ({"type": "boolean"}, False, "false"),
        ({"type": "list"}, [], "[]"),
        ({"type": "json"}, {"a": [0.1]}, '{"a":[0.1]}'),
        ({"type": "date"}, "2024-03-02", '"2024-03-02"'),
        ({"type": "date", "format": "%d/%m/%Y"}, "02/03/2024", '"2024-03-02"'),
        ({"type": "timestamp", "zone": "Europe/Berlin"}, "2024-07-01T12:00", '"2024-07-01T10:00:00Z"'),
        ({"transforms": ["lower"]}, "NONE", '"none"'),
    ],
)
def test_a_default_is_taken_where_there_is_no_value(
    field: dict[str, Any], default: object, taken: str
) -> None:
    validate = compile_validator(contract({"x": field | {"default": default}}))
    for record in ({"id": "1"}, {"id": "1", "x": None}):
        outcome = validate(record, {})
        assert isinstance(outcome, Validated)
        assert outcome.columns["attributes"] == f'{{"x":{taken}}}'


def test_an_unquoted_day_of_a_yaml_file_is_a_default_too() -> None:
    from datetime import date  # noqa: PLC0415 - as a YAML reader gives it

    made = contract({"x": {"type": "date", "default": date(2024, 3, 2)}})
    assert made.fields["x"].default == "2024-03-02"
    assert Contract.model_validate_json(made.as_json()) == made


@pytest.mark.parametrize(
    ("field", "said"),
    [
        ({"type": "integer", "default": "x"}, "not a whole number"),
        ({"type": "integer", "minimum": 1, "default": 0}, "greater than or equal to 1"),
        ({"type": "number", "scale": 1, "default": 0.25}, "2 digits after the point"),
        ({"type": "enum", "values": ["a"], "default": "b"}, "not one of a"),
        ({"type": "list", "default": "a"}, "expected a list"),
        ({"type": "list", "max_items": 1, "default": ["a", "b"]}, "2 items, at most 1"),
        ({"pattern": "^a", "default": "b"}, "match pattern"),
        ({"type": "timestamp", "zone": "required", "default": "2024-01-01"}, "names no zone"),
    ],
)
def test_a_default_that_breaks_its_own_rules_is_refused_with_the_contract(
    field: dict[str, Any], said: str
) -> None:
    found = problem(field)
    assert "field `x`: its `default` breaks its own rules: " in found
    assert said in found


def test_a_constant_that_breaks_its_own_rules_is_refused_with_the_contract() -> None:
    assert "field `x`: its `value` breaks its own rules: the text is not a number" in problem(
        {"type": "number", "value": "free"}
    )


def test_a_version_has_no_default() -> None:
    assert "version: field `x` has a `default`" in problem({"type": "integer", "default": 0}, version="x")


@pytest.mark.parametrize("mode", ["quarantine_row", "freeze"])
def test_an_exploded_value_is_rejected_only_where_the_mode_says_so(mode: str) -> None:
    reject = {"explosion": mode}
    words = ["a"] * 3
    assert rule(words, type="list", max_items=2) is None
    assert rule(words, reject, type="list", max_items=2) == "too_many_items"
    assert rule(words, reject, type="list", max_items=3) is None
    assert rule({"a": 1, "b": 2}, reject, type="json", max_items=1) == "too_many_items"
    assert rule({"a": "é"}, reject, type="json", max_bytes=9) == "too_large"
    assert rule({"a": "é"}, reject, type="json", max_bytes=10) is None
    assert rule("x" * 70_000, reject, type="json") == "too_large"
    assert rule(["a"] * 1001, reject, type="list") == "too_many_items"
    assert rule(["a"] * 1000, reject, type="list") is None


def test_what_counts_as_exploded_has_a_default_and_can_be_set() -> None:
    made = contract({"a": {"type": "json"}, "b": {"type": "list", "max_items": 5, "max_bytes": 100}})
    assert made.largest("a") == (1000, 65_536)
    assert made.largest("b") == (5, 100)


SQL_TYPES: list[tuple[dict[str, Any], str]] = [
    ({}, "text"),
    ({"type": "url"}, "text"),
    ({"type": "enum", "values": ["a"]}, "text"),
    ({"type": "boolean"}, "boolean"),
    ({"type": "integer"}, "numeric"),
    ({"type": "integer", "minimum": 0}, "numeric"),
    ({"type": "integer", "minimum": -(2**63), "maximum": 2**63 - 1}, "bigint"),
    ({"type": "integer", "minimum": 0, "maximum": 2**63}, "numeric"),
    ({"type": "number"}, "numeric"),
    ({"type": "number", "precision": 10}, "numeric"),
    ({"type": "number", "scale": 2}, "numeric"),
    ({"type": "number", "precision": 10, "scale": 2}, "numeric(10,2)"),
    ({"type": "timestamp"}, "timestamptz"),
    ({"type": "date"}, "date"),
    ({"type": "list"}, "text[]"),
    ({"type": "json"}, "jsonb"),
]


@pytest.mark.parametrize(("field", "type_"), SQL_TYPES)
def test_every_type_has_an_sql_type_that_holds_it_exactly(field: dict[str, Any], type_: str) -> None:
    assert compile_contract(contract({"x": field})).sql_types == {"x": type_}


def test_postgresql_knows_every_sql_type(warehouse: psycopg.Connection[Any]) -> None:
    for _, type_ in SQL_TYPES:
        warehouse.execute(f"select null::{type_}")
    (kept,) = warehouse.execute("select '12345678.25'::numeric(10,2)::text").fetchone() or ("",)
    assert kept == "12345678.25"


def test_the_model_is_named_like_the_kind_and_knows_the_fields() -> None:
    compiled = compile_contract(contract({"title": {"required": True}, "rank": {"type": "integer"}}))
    assert compiled.model.__name__ == "thing_record"
    schema = compiled.model.model_json_schema()
    assert set(schema["properties"]) == {"title", "rank"}
    assert schema["required"] == ["title"]
    assert "required" not in compiled.lenient.model_json_schema()


def test_a_contract_is_compiled_once_and_another_one_by_itself() -> None:
    one = compile_contract(contract({"title": {}, "rank": {"type": "integer"}}))
    assert compile_contract(contract({"title": {}, "rank": {"type": "integer"}})) is one
    other = compile_contract(contract({"title": {"max_length": 3}, "rank": {"type": "integer"}}))
    assert other is not one
    other.model.model_validate({"title": "abc"})
    with pytest.raises(ValidationError):
        other.model.model_validate({"title": "abcd"})


def test_the_json_schema_of_a_contract_explains_every_key() -> None:
    schema = Contract.model_json_schema()
    parts = [schema, *(schema["$defs"][name] for name in ("FieldSpec", "VersionSpec", "SchemaContract"))]
    for part in parts:
        for name, key in part["properties"].items():
            assert key.get("description"), name


def test_a_description_is_part_of_the_contract_and_no_rule() -> None:
    plain, told = contract({"x": {}}), contract({"x": {"description": "What it means."}})
    assert plain.digest() != told.digest()
    one, other = (compile_validator(made)({"id": "1", "x": "a"}, {}) for made in (plain, told))
    assert one == other
    assert not isinstance(one, Rejected)
