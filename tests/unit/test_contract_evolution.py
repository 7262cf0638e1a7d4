"""What each mode of a contract lets pass in validation. The rules are those of docs/contracts.md."""

import json
import re
from decimal import Decimal
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from kasparro_pipeline.contract.drift import compare
from kasparro_pipeline.contract.evolution import LEFT_OUT, MAX_ADDED, MAX_ADDED_BYTES
from kasparro_pipeline.contract.field_spec import MAX_BYTES, MAX_ITEMS
from kasparro_pipeline.contract.profile import Profile
from kasparro_pipeline.contract.spec import Contract
from kasparro_pipeline.contract.validation import MAX_UNKNOWN, Outcome, Rejected, Validated, compile_validator
from kasparro_pipeline.extract import json_records
from tests.conftest import PROJECT

FIELDS: dict[str, Any] = {"title": {}}
BLOCKING = ["quarantine_row", "freeze"]
Modes = dict[str, str]


def contract(fields: dict[str, Any], modes: Modes | None = None, **parts: Any) -> Contract:
    whole = {"kind": "thing", "key": "id", "fields": fields, "schema_contract": modes or {}}
    return Contract.model_validate(whole | parts)


def validate(
    record: dict[str, Any], fields: dict[str, Any], modes: Modes | None = None, **parts: Any
) -> Outcome:
    return compile_validator(contract(fields, modes, **parts))({"id": "1"} | record, {})


def attributes(record: dict[str, Any], fields: dict[str, Any] | None = None, *args: Any, **parts: Any) -> Any:
    outcome = validate(record, fields or FIELDS, *args, **parts)
    assert isinstance(outcome, Validated), outcome
    return json.loads(outcome.columns["attributes"], parse_float=Decimal)


def rules(record: dict[str, Any], fields: dict[str, Any] | None = None, *args: Any, **parts: Any) -> Any:
    outcome = validate(record, fields or FIELDS, *args, **parts)
    assert isinstance(outcome, Rejected), outcome
    return [(reason.field, reason.rule) for reason in outcome.reasons]


def test_a_field_that_the_contract_does_not_name_becomes_an_attribute_under_its_path() -> None:
    record = {"title": "a", "quotes": {"EUR": {"price": Decimal("1.50")}, "n": None}, "new": [1, {"b": 2}]}
    assert attributes(record) == {"quotes.EUR.price": Decimal("1.50"), "quotes.n": None, "new": [1, {"b": 2}]}


def test_what_is_mapped_ignored_key_or_version_is_no_new_field() -> None:
    fields = {"title": {"path": "n.name"}, "extra": {"type": "json", "path": "all"}}
    record = {"n": {"name": "a"}, "all": {"x": 1}, "noise": {"a": 1, "b": 2}, "v": 3, "k": 4}
    parts: dict[str, Any] = {"version": {"path": "v", "type": "integer"}, "key": ["id", "k"]}
    assert attributes(record, fields, ignore=["noise"], **parts) == {"extra": {"x": 1}}
    assert attributes(record, fields, ignore=["noise.a"], **parts) == {"extra": {"x": 1}, "noise.b": 2}


def test_a_value_on_the_way_to_a_promised_field_is_no_new_field() -> None:
    fields = {"title": {"path": "n.name"}}
    assert attributes({"n": None}, fields) == attributes({"n": 5}, fields) == {}


def test_a_key_with_dots_is_the_path_that_it_spells() -> None:
    fields = {"title": {"path": "a.b"}}
    assert attributes({"a.b": "x", "a.c": 1, "a.b.d": 2, "ab": 3}, fields) == {"a.c": 1, "ab": 3}


def test_empty_objects_and_lists_are_values() -> None:
    assert attributes({"a": {}, "b": []}) == {"a": {}, "b": []}


def test_a_declared_field_of_the_same_name_wins_and_the_other_is_counted() -> None:
    fields = {"price": {"path": "p", "type": "integer"}, "title": {"path": "name"}}
    assert attributes({"p": 1, "price": 2, "title": "x"}, fields) == {"price": 1, LEFT_OUT: 2}
    assert attributes({"currency": "EUR"}, fields) == {"price": None, "currency": "EUR"}


def test_new_numbers_are_kept_to_the_last_digit() -> None:
    text = (
        '[{"id":"1","a":1.10,"b":123456789012345678901234567890,"c":[1e-400],"d":{"e":18446744073709551616}}]'
    )
    (record,) = json_records.records(text.encode(), "", "")[1]
    assert isinstance(record.value, dict)
    outcome = validate(record.value, FIELDS)
    assert isinstance(outcome, Validated)
    assert outcome.columns["attributes"] == (
        '{"a":1.10,"b":123456789012345678901234567890,"c":[1E-400],"d.e":18446744073709551616}'
    )


def test_more_new_fields_than_fit_are_counted_by_name_not_by_arrival() -> None:
    record: dict[str, Any] = {f"n{number:04}": number for number in range(MAX_ADDED + 30)}
    found = attributes(record)
    assert found == attributes(dict(reversed(record.items())))
    assert found == {f"n{number:04}": number for number in range(MAX_ADDED)} | {LEFT_OUT: 30}


def test_new_fields_that_are_too_large_are_counted() -> None:
    found = attributes({"a": "x" * MAX_ADDED_BYTES, "b": "small", "c" * MAX_ADDED_BYTES: 1})
    assert found == {"b": "small", LEFT_OUT: 2}
    assert attributes({"a": "x" * (MAX_ADDED_BYTES - 3)}) == {"a": "x" * (MAX_ADDED_BYTES - 3)}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("a\x00", 1),
        ("a\ud800", 1),
        ("a", "\x00"),
        ("a", "\udfff"),
        ("a", Decimal("Infinity")),
        ("a", {"\x00": 1}),
    ],
)
def test_a_new_field_that_cannot_be_stored_is_counted_and_costs_no_record(name: str, value: object) -> None:
    assert attributes({name: value, "b": 1}) == {"b": 1, LEFT_OUT: 1}


def test_objects_below_the_eighth_level_are_one_field() -> None:
    record: Any = {"x": 1}
    for name in reversed("abcdefghi"):
        record = {name: record}
    assert attributes(record) == {"a.b.c.d.e.f.g.h.i": {"x": 1}}


@pytest.mark.parametrize("mode", BLOCKING)
def test_a_record_with_a_new_field_is_rejected_where_the_mode_says_so(mode: str) -> None:
    assert rules({"title": "a", "new": 1, "n": {"b": 2}}, FIELDS, {"added": mode}) == [
        ("n.b", "unknown_field"),
        ("new", "unknown_field"),
    ]
    assert rules({"title": 5, "new": 1}, FIELDS, {"added": mode}) == [
        ("title", "string_type"),
        ("new", "unknown_field"),
    ]
    assert attributes({"title": "a"}, FIELDS, {"added": mode}) == {}
    assert attributes({"new": 1}, FIELDS, {"added": mode}, ignore=["new"]) == {}


def test_many_new_fields_make_few_reasons() -> None:
    outcome = validate({f"n{i:06}\x00": 1 for i in range(5000)}, FIELDS, {"added": "freeze"})
    assert isinstance(outcome, Rejected)
    assert len(outcome.reasons) == MAX_UNKNOWN
    assert outcome.reasons[0].field == "n000000\\u0000"
    assert "4980 more like it" in outcome.reasons[0].message


CHANGED: list[tuple[str, dict[str, Any], Any, str]] = [
    ("retyped", {}, 5, "string_type"),
    ("retyped", {"type": "integer"}, "x", "integer_parsing"),
    ("retyped", {"type": "integer"}, Decimal("1.50"), "integer_from_number"),
    ("retyped", {"type": "number"}, {"usd": 1}, "number_type"),
    ("retyped", {"type": "number", "required": True}, "n/a", "number_parsing"),
    ("retyped", {"type": "boolean"}, "maybe", "boolean_type"),
    ("retyped", {"type": "timestamp"}, 5, "timestamp_type"),
    ("retyped", {"type": "date"}, True, "date_type"),
    ("retyped", {"type": "list"}, "a", "list_type"),
    ("retyped", {"type": "list"}, [1], "string_type"),
    ("retyped", {"type": "url"}, "ftp://a", "url_parsing"),
    ("retyped", {"type": "enum", "values": ["a"]}, 5, "string_type"),
    ("retyped", {}, -(2**70), "string_type"),
    ("retyped", {}, {"a": [2**64, None]}, "string_type"),
    ("enum", {"type": "enum", "values": ["a"], "required": True}, "b", "enum"),
    ("enum", {"type": "enum", "values": ["a"], "transforms": ["lower"]}, "B", "enum"),
    ("format", {"type": "timestamp"}, "soon", "timestamp_parsing"),
    ("format", {"type": "timestamp", "format": "unix"}, "2024-01-01", "number_parsing"),
    ("format", {"type": "timestamp", "zone": "required"}, "2024-01-01", "timestamp_without_zone"),
    ("format", {"type": "timestamp", "zone": "Europe/Berlin"}, "2024-03-31T02:30", "timestamp_skipped"),
    ("format", {"type": "timestamp", "zone": "Europe/Berlin"}, "2024-10-27T02:30", "timestamp_repeated"),
    ("format", {"type": "date"}, "01/02/2024", "date_parsing"),
]


@pytest.mark.parametrize(("mode", "field", "value", "rule"), CHANGED)
def test_a_changed_value_evolves_or_rejects_as_its_mode_says(
    mode: str, field: dict[str, Any], value: object, rule: str
) -> None:
    fields = {"x": field, "title": {}}
    record = {"x": value, "title": "kept"}
    assert attributes(record, fields, {mode: "evolve"}) == {"x": value}
    for blocking in BLOCKING:
        assert rules(record, fields, {mode: blocking}) == [("x", rule)]
    others = {
        other: "evolve" for other in ("retyped", "enum", "format", "nullability", "removed") if other != mode
    }
    assert rules(record, fields, others) == [("x", rule)]


def test_a_changed_value_of_a_shared_column_leaves_the_column_empty() -> None:
    outcome = validate(
        {"amount": "free", "tags": "a", "title": "t"}, {"amount": {}, "tags": {}, "title": {}}, EVOLVE
    )
    assert isinstance(outcome, Validated)
    assert (outcome.columns["amount"], outcome.columns["tags"], outcome.columns["title"]) == (None, [], "t")
    assert json.loads(outcome.columns["attributes"]) == {"amount": "free", "tags": "a"}


EVOLVE = dict.fromkeys(("retyped", "enum", "format", "nullability", "removed"), "evolve")


@pytest.mark.parametrize(
    ("field", "value", "rule"),
    [
        ({"max_length": 2}, "abc", "string_too_long"),
        ({"min_length": 2}, "a", "string_too_short"),
        ({"pattern": "^a"}, "b", "string_pattern_mismatch"),
        ({"type": "integer", "minimum": 2}, 1, "greater_than_equal"),
        ({"type": "number", "scale": 1}, "1.25", "number_scale"),
        ({"type": "number"}, Decimal("Infinity"), "number_not_finite"),
        ({"type": "timestamp"}, "0001-01-01T00:00:00+10:00", "timestamp_out_of_range"),
        ({}, "\x00", "nul_character"),
        ({"type": "number"}, "\x00", "number_parsing"),
        ({"type": "number"}, ["\ud800"], "number_type"),
    ],
)
def test_no_mode_lifts_a_rule_or_keeps_what_cannot_be_stored(
    field: dict[str, Any], value: object, rule: str
) -> None:
    assert rules({"x": value}, {"x": field}, EVOLVE) == [("x", rule)]


def test_one_broken_rule_rejects_whatever_else_would_evolve() -> None:
    fields = {"x": {"type": "integer"}, "y": {"max_length": 1}}
    assert rules({"x": "a", "y": "long"}, fields, EVOLVE) == [("y", "string_too_long")]


REQUIRED: dict[str, Any] = {"title": {"required": True}, "x": {"required": True, "path": "a.b"}}


@pytest.mark.parametrize("mode", BLOCKING)
def test_null_follows_nullability_and_an_absent_field_follows_removed_too(mode: str) -> None:
    null: dict[str, Any] = {"title": None, "a": {"b": None}}
    absent: dict[str, Any] = {}
    both = [("title", "required"), ("x", "required")]
    only_null, only_absent = (
        {"nullability": "evolve", "removed": mode},
        {"nullability": mode, "removed": "evolve"},
    )
    assert attributes(null, REQUIRED, only_null) == {"x": None}
    assert attributes(absent, REQUIRED, only_null) == {"x": None}
    assert attributes(absent, REQUIRED, only_absent) == {"x": None}
    assert rules(null, REQUIRED, only_absent) == both
    assert attributes(null, REQUIRED, EVOLVE) == attributes(absent, REQUIRED, EVOLVE) == {"x": None}
    assert rules(null, REQUIRED) == rules(absent, REQUIRED) == both


def test_key_and_version_never_evolve() -> None:
    fields = {"v": {"type": "integer"}, "title": {}}
    modes = EVOLVE | {"added": "evolve"}
    assert rules({"v": "x"}, fields, modes, version="v") == [("v", "integer_parsing")]
    assert rules({"v": None}, fields, modes, version="v") == [("v", "required")]
    assert rules({}, fields, modes, version="v") == [("v", "required")]
    version = {"path": "n", "type": "integer"}
    assert rules({"n": "x"}, FIELDS, modes, version=version) == [("$version", "integer_parsing")]
    assert rules({"id": None}, FIELDS, modes) == [("id", "key_missing")]


def test_new_and_changed_fields_are_content() -> None:
    def content(record: dict[str, Any]) -> bytes:
        outcome = validate(record, {"x": {"type": "integer"}}, EVOLVE)
        assert isinstance(outcome, Validated)
        return outcome.content_hash

    assert len({content(one) for one in ({}, {"n": 1}, {"n": 2}, {"x": "a"}, {"x": "b"}, {"x": 1})}) == 6
    assert content({"n": 1, "m": {"a": 1, "b": [2]}}) == content({"m": {"b": [2], "a": 1}, "n": 1})


def test_the_page_on_contracts_names_every_mode_with_its_default_and_every_rule_that_it_lifts() -> None:
    page = (PROJECT / "docs/contracts.md").read_text()
    for mode, default in contract(FIELDS).schema_contract.model_dump().items():
        assert f"| `{mode}` ({default}) |" in page or mode == "renamed"
    for _, _, _, rule in CHANGED:
        assert f"`{rule}`" in page
    for limit in (MAX_ADDED, MAX_ADDED_BYTES, MAX_ITEMS, MAX_BYTES):
        assert re.search(rf"\b{limit:,}\b", page)
    [example] = re.findall(r"```yaml\n(.*?)```", page, re.DOTALL)
    Contract.model_validate(yaml.safe_load(example))


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.decimals() | st.text(st.characters(), max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["a", "b", "a.b", "", "\x00"]), inner, max_size=3)
    ),
    max_leaves=8,
)
records = st.dictionaries(
    st.sampled_from(["title", "x", "a", "b", "a.b", "a.b.a", "", "c"]), values, max_size=6
)
LENIENT = contract(
    {"title": {"required": True}, "x": {"type": "integer", "path": "a.b"}}, EVOLVE, ignore=["b.a"]
)
STRICT = contract(dict(LENIENT.model_dump()["fields"]), {"added": "quarantine_row"}, ignore=["b.a"])


@given(records)
def test_any_new_field_is_storable_whatever_the_order_of_keys(record: dict[str, Any]) -> None:
    check = compile_validator(LENIENT)
    outcome = check({"id": "1"} | record, {})
    assert outcome == check(dict(reversed(record.items())) | {"id": "1"}, {})
    if isinstance(outcome, Validated):
        outcome.columns["attributes"].encode()
        assert "\\u0000" not in outcome.columns["attributes"]


@given(records)
def test_validation_and_the_drift_check_call_the_same_fields_new(record: dict[str, Any]) -> None:
    record.pop("", None)
    profile = Profile()
    profile.observe([{"id": "1"} | record], [0])
    # a new field may look like one that is gone
    drifted = any(drift.change in {"added", "renamed"} for drift in compare(STRICT, profile))
    outcome = compile_validator(STRICT)({"id": "1"} | record, {})
    unknown = isinstance(outcome, Rejected) and any(one.rule == "unknown_field" for one in outcome.reasons)
    assert unknown == drifted
