"""Validation as a whole: each record becomes a row or a list of reasons, and nothing else."""

import json
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kasparro_pipeline.contract.json_text import to_json
from kasparro_pipeline.contract.spec import COLUMN_TYPES, Contract
from kasparro_pipeline.contract.validation import (
    MAX_REASON_VALUE,
    NO_VERSION,
    Outcome,
    Rejected,
    Validated,
    compile_validator,
    winners,
)
from kasparro_pipeline.extract import json_records
from tests.conftest import corpus

FIELDS: dict[str, dict[str, Any]] = {
    "title": {},
    "url": {},
    "tags": {},
    "amount": {},
    "published_at": {},
    "text": {"type": "string"},
    "whole": {"type": "integer"},
    "number": {"type": "number"},
    "flag": {"type": "boolean"},
    "at": {"type": "timestamp", "format": "unix"},
    "mailed": {"type": "timestamp", "format": "rfc822"},
    "day": {"type": "date"},
    "choice": {"type": "enum", "values": ("a", "b")},
    "words": {"type": "list"},
    "extra": {"type": "json"},
}
ANY_FIELD = Contract.model_validate({"kind": "thing", "key": "id", "fields": FIELDS})


def validate(
    record: object, fields: dict[str, Any], context: Mapping[str, Any] | None = None, **parts: Any
) -> Outcome:
    contract = Contract.model_validate({"kind": "thing", "key": "id", "fields": fields} | parts)
    return compile_validator(contract)(record, context or {})


def row(record: object, fields: dict[str, Any], **parts: Any) -> Validated:
    outcome = validate(record, fields, **parts)
    assert isinstance(outcome, Validated), outcome
    return outcome


def reasons(record: object, fields: dict[str, Any], **parts: Any) -> list[tuple[str, str]]:
    outcome = validate(record, fields, **parts)
    assert isinstance(outcome, Rejected), outcome
    return [(reason.field, reason.rule) for reason in outcome.reasons]


def exact(text: str) -> Any:
    return json.loads(text, parse_float=Decimal, parse_int=Decimal)


def test_shared_columns_and_attributes_are_filled() -> None:
    record = {"id": "btc", "n": "Bitcoin", "usd": {"price": Decimal("1.50")}, "rank": 1}
    fields = {
        "title": {"path": "n"},
        "amount": {"path": "usd.price"},
        "rank": {"type": "integer"},
        "note": {},
    }
    found = row(record, fields)
    assert found.source_id == "btc"
    assert found.version == NO_VERSION
    assert found.columns["title"] == "Bitcoin"
    assert str(found.columns["amount"]) == "1.50"
    assert found.columns["tags"] == []
    assert found.columns["kind"] == "thing"
    assert found.columns["summary"] is None
    assert exact(found.columns["attributes"]) == {"rank": 1, "note": None}
    assert found.columns.keys() == {*COLUMN_TYPES, "kind", "attributes"}


def test_a_constant_and_the_documents_context_are_values_too() -> None:
    fields = {"currency": {"value": "USD"}, "category": {"path": "$document.coin"}}
    found = row({"id": "1"}, fields, context={"coin": "btc"})
    assert (found.columns["currency"], found.columns["category"]) == ("USD", "btc")


@pytest.mark.parametrize("record", [{"id": "1"}, {"id": "1", "title": None}])
def test_null_and_missing_break_a_required_field_alike(record: dict[str, Any]) -> None:
    outcome = validate(record, {"title": {"required": True}})
    assert isinstance(outcome, Rejected)
    assert outcome.source_id == "1"
    (reason,) = outcome.reasons
    assert (reason.field, reason.rule, reason.value, reason.message) == (
        "title",
        "required",
        None,
        "a value is required",
    )


def test_every_broken_rule_of_a_record_is_told_at_once() -> None:
    record = {"id": " ", "amount": "x", "rank": 3.5, "title": "ok"}
    fields = {"amount": {}, "rank": {"type": "number", "maximum": 2}, "title": {}, "note": {"required": True}}
    found = reasons(record | {"rank": Decimal("3.5")}, fields)
    assert found == [
        ("id", "key_blank"),
        ("amount", "number_parsing"),
        ("rank", "less_than_equal"),
        ("note", "required"),
    ]


@pytest.mark.parametrize(
    ("field", "value", "rule"),
    [
        ({"max_length": 3}, "abcd", "string_too_long"),
        ({"pattern": "^[a-z]+$"}, "A", "string_pattern_mismatch"),
        ({"type": "integer", "minimum": 1}, 0, "greater_than_equal"),
        ({"type": "number", "maximum": 0.1}, Decimal("0.10000000000000000001"), "less_than_equal"),
        ({"type": "enum", "values": ["a"]}, "b", "enum"),
        ({"type": "list"}, "a", "list_type"),
        ({"type": "url"}, "x", "url_parsing"),
        ({"type": "date"}, "x", "date_parsing"),
        ({"type": "json"}, Decimal("NaN"), "number_not_finite"),
        ({}, 5, "string_type"),
    ],
)
def test_a_broken_rule_is_named_with_the_value(field: dict[str, Any], value: object, rule: str) -> None:
    outcome = validate({"id": "1", "x": value}, {"x": field})
    assert isinstance(outcome, Rejected)
    (reason,) = outcome.reasons
    assert (reason.field, reason.rule) == ("x", rule)
    assert reason.value == str(value)
    assert reason.message


@pytest.mark.parametrize("bound", ["minimum", "maximum"])
@pytest.mark.parametrize("value", ["0.1", "0.2", "0.3", "1e-7", "1234567.89", "-0.7"])
def test_a_bound_itself_is_allowed_also_where_floats_are_inexact(bound: str, value: str) -> None:
    found = row({"id": "1", "amount": Decimal(value)}, {"amount": {bound: float(value)}})
    assert found.columns["amount"] == Decimal(value)


@pytest.mark.parametrize(
    "name", ["json", "copy", "schema", "model_config", "model_dump", "validate", "class", "dict"]
)
def test_a_field_may_have_any_name(name: str) -> None:
    found = row({"id": "1", name: "v"}, {name: {"required": True}})
    assert exact(found.columns["attributes"]) == {name: "v"}
    assert reasons({"id": "1", name: 5}, {name: {}}) == [(name, "string_type")]


NUMBERS = [
    "9" * 400,
    "0." + "1" * 300,
    "1e309",
    "-1E-400",
    str(2**63),
    str(-(2**63)),
    str(2**64 - 1),
    "1.10",
    "0",
]


@pytest.mark.parametrize("text", NUMBERS)
@pytest.mark.parametrize("kind", ["number", "json"])
def test_attributes_keep_numbers_to_the_last_digit(text: str, kind: str) -> None:
    (record,) = json_records.records(f'[{{"id":"1","x":{text}}}]'.encode(), "", "")[1]
    found = row(record.value, {"x": {"type": kind}})
    assert exact(found.columns["attributes"])["x"].as_tuple() == Decimal(text).as_tuple()


@pytest.mark.parametrize("number", [2**63 - 1, 2**63, 2**64, -(2**63), -(2**63) - 1, 10**500])
def test_attributes_keep_whole_numbers_of_any_size(number: int) -> None:
    found = row({"id": "1", "x": number}, {"x": {"type": "integer"}})
    assert exact(found.columns["attributes"]) == {"x": number}


@pytest.mark.parametrize("text", ["1e99999999999999999999", "1e2000", "9" * 5000])
def test_a_number_beyond_all_bounds_is_rejected_with_a_reason(text: str) -> None:
    (record,) = json_records.records(f'[{{"id":"1","x":{text}}}]'.encode(), "", "")[1]
    for kind in ("number", "integer", "json"):
        ((_, rule),) = reasons(record.value, {"x": {"type": kind}})
        assert rule in {"number_not_finite", "number_out_of_range"}


def test_instants_are_written_as_utc() -> None:
    found = row({"id": "1", "at": "2024-01-01T05:30:00+05:30"}, {"at": {"type": "timestamp"}})
    assert found.columns["attributes"] == '{"at":"2024-01-01T00:00:00Z"}'


@pytest.mark.parametrize("depth", [70, 500, *range(900, 1100, 9), 50_000])
def test_a_deeply_nested_value_is_rejected_wherever_it_stands(depth: int) -> None:
    value: list[Any] = []
    for _ in range(depth):
        value = [value]
    for record in ({"id": value, "title": "x"}, {"id": "1", "title": value}, {"id": "1", "extra": value}):
        outcome = compile_validator(ANY_FIELD)(record, {})
        assert isinstance(outcome, Rejected)


def test_a_reason_shows_the_beginning_of_a_long_value() -> None:
    outcome = validate({"id": "1", "title": ["x" * 10_000_000]}, {"title": {}})
    assert isinstance(outcome, Rejected)
    assert len(outcome.reasons[0].value or "") == MAX_REASON_VALUE


@pytest.mark.parametrize("record", [None, [], "text", 5, True, Decimal(1)])
def test_what_is_no_object_is_rejected_as_such(record: object) -> None:
    assert reasons(record, {"title": {}}) == [("record", "not_an_object")]


anything = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.decimals()
    | st.text(st.characters(), max_size=20)
    | st.sampled_from(
        ["1", "true", "2024-01-01", "Mon, 01 Jan 2024 00:00:00 GMT", "http://a", "a", "\ud800", "\x00"]
    ),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(st.characters(), max_size=3), inner, max_size=4)
    ),
    max_leaves=10,
)
VALIDATE_ANY = compile_validator(ANY_FIELD)


def storable(text: str) -> bool:
    text.encode()
    return "\x00" not in text


@settings(max_examples=300)
@given(st.fixed_dictionaries({}, optional=dict.fromkeys(["id", *FIELDS], anything)) | anything)
def test_any_value_becomes_a_row_or_reasons_that_can_be_stored(record: object) -> None:
    outcome = VALIDATE_ANY(record, {})
    if isinstance(outcome, Validated):
        assert storable(outcome.source_id)
        assert storable(to_json(dict(outcome.columns)).decode())
        assert exact(outcome.columns["attributes"]).keys() == FIELDS.keys() - COLUMN_TYPES.keys()
        return
    assert outcome.reasons
    for reason in outcome.reasons:
        assert reason.field
        assert reason.rule
        assert storable(reason.message)
        assert storable(reason.value or "")


small = st.fixed_dictionaries(
    {"id": st.sampled_from(["1", "2"])},
    optional={
        "title": st.sampled_from(["a", "b", "", None]),
        "amount": st.sampled_from([0, 1, "1"]),
        "words": st.sampled_from([[], ["a"], ["a", "b"]]),
        "extra": st.sampled_from([None, {}, {"a": 1, "b": 2}, {"b": 2, "a": 1}, [1], [2**70], [2**70 + 1]]),
    },
)


@given(small, small)
def test_the_hash_changes_if_and_only_if_the_content_does(one: dict[str, Any], other: dict[str, Any]) -> None:
    first, second = VALIDATE_ANY(one, {}), VALIDATE_ANY(other, {})
    assert isinstance(first, Validated)
    assert isinstance(second, Validated)
    assert (first.content_hash == second.content_hash) == (first.columns == second.columns)


def test_the_hash_covers_neither_key_nor_version() -> None:
    fields: dict[str, Any] = {"title": {}}
    version = {"path": "v", "type": "integer"}
    one = row({"id": "1", "v": 1, "title": "a"}, fields, version=version)
    other = row({"id": "2", "v": 2, "title": "a"}, fields, version=version)
    assert one.content_hash == other.content_hash


@pytest.mark.parametrize(
    ("kind", "older", "newer"),
    [
        ("integer", 9, 10),
        ("integer", 2**63, 2**63 + 1),
        ("number", Decimal("0.1"), Decimal("0.10000000000000000000000000000000001")),
        ("timestamp", "2024-01-01T00:00:00+01:00", "2024-01-01T00:00:00Z"),
        ("timestamp", "1969-12-31T23:59:59.5Z", "1969-12-31T23:59:59.6Z"),
        ("timestamp", "1969-12-31T23:59:59.999999Z", "1970-01-01T00:00:00Z"),
        ("timestamp", "9999-12-31T23:59:59.999998Z", "9999-12-31T23:59:59.999999Z"),
        ("timestamp", "2999-12-31T23:59:59.999999Z", "3000-01-01T00:00:00Z"),
        ("date", "1969-12-31", "1970-01-01"),
        ("date", "2024-02-29", "2024-03-01"),
    ],
)
def test_versions_compare_as_what_they_are(kind: str, older: object, newer: object) -> None:
    fields = {"title": {}, "at": {"type": kind}}
    versions = [row({"id": "1", "at": value}, fields, version="at").version for value in (older, newer)]
    assert versions[0] < versions[1]


def test_a_record_without_its_version_is_rejected() -> None:
    fields = {"title": {}, "at": {"type": "date"}}
    assert reasons({"id": "1"}, fields, version="at") == [("at", "required")]
    assert reasons({"id": "1"}, fields, version={"path": "v", "type": "integer"}) == [
        ("$version", "required")
    ]


versions = st.sampled_from([NO_VERSION, Decimal(0), Decimal(1), Decimal("1.5")])


@given(
    st.lists(st.tuples(st.integers(1, 50), st.sampled_from("abc"), versions), unique_by=lambda item: item[0])
)
def test_the_highest_version_wins_then_the_last_to_arrive(batch: list[tuple[int, str, Decimal]]) -> None:
    by_rank = sorted(batch, key=lambda item: (item[2], item[0]))
    assert winners(batch) == {key: raw_id for raw_id, key, _ in by_rank}


def test_every_naughty_string_survives_as_title_and_as_id_or_is_rejected_with_a_reason() -> None:
    strings = json.loads(corpus("naughty-strings/blns.json").read_text("utf-8"))
    check = compile_validator(
        Contract.model_validate({"kind": "thing", "key": "id", "fields": {"title": {}, "note": {}}})
    )
    kept = 0
    for text in strings:
        outcome = check({"id": text, "title": text, "note": text}, {})
        if isinstance(outcome, Validated):
            kept += 1
            assert outcome.source_id == text
            assert outcome.columns["title"] == text
            assert exact(outcome.columns["attributes"]) == {"note": text}
        else:
            assert [reason.rule for reason in outcome.reasons] == ["key_blank"] or "\x00" in text
    assert kept > len(strings) - 20
