"""Drift: what came against what the contract promises."""

from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kasparro_pipeline.contract.drift import MAX_PATHS, OVERFLOW, Drift, Profile, compare
from kasparro_pipeline.contract.spec import Contract


def drift(
    records: list[Any], fields: dict[str, Any], *, text_only: bool = False, **parts: Any
) -> list[Drift]:
    profile = Profile(text_only=text_only)
    for record in records:
        profile.observe(record)
    contract = Contract.model_validate({"kind": "thing", "key": "id", "fields": fields} | parts)
    return compare(contract, profile)


def changes(*args: Any, **parts: Any) -> list[tuple[str, str]]:
    return [(one.change, one.field) for one in drift(*args, **parts)]


def test_no_records_make_no_statement() -> None:
    assert drift([], {"title": {"required": True}}) == []


def test_what_fits_the_contract_is_no_drift() -> None:
    record = {
        "id": 1,
        "title": "a",
        "amount": Decimal("1.5"),
        "n": 3,
        "tags": ["a"],
        "ok": True,
        "x": {"y": 1},
    }
    fields = {
        "title": {},
        "amount": {},
        "n": {"type": "integer"},
        "tags": {},
        "ok": {"type": "boolean"},
        "x": {"type": "json"},
    }
    assert drift([record, record | {"title": None}], fields) == []


def test_an_added_field_is_told_with_types_and_share() -> None:
    (found,) = drift(
        [{"id": 1, "title": "a", "new": 1}, {"id": 2, "title": "b"}, {"id": 3, "new": None}], {"title": {}}
    )
    assert found == Drift("added", "new", "evolve", None, "integer, null", 2, Decimal("0.666667"))


def test_a_removed_field_breaks_only_what_was_promised() -> None:
    fields = {"title": {"required": True}, "note": {}}
    found = drift([{"id": 1}], fields)
    assert [(one.field, one.change, one.mode) for one in found] == [
        ("note", "removed", "evolve"),
        ("title", "removed", "freeze"),
    ]
    assert {one.share for one in found} == {1}


def test_a_field_that_is_left_out_of_some_records_is_not_removed() -> None:
    assert (
        drift([{"id": 1}, {"id": 2, "title": "a"}, {"id": 3, "title": None}], {"title": {"required": True}})
        == []
    )


def test_a_renamed_field_is_one_removed_and_one_added() -> None:
    assert changes([{"id": 1, "name": "a"}], {"title": {}}) == [("added", "name"), ("removed", "title")]


@pytest.mark.parametrize(
    ("kind", "value", "found"),
    [
        ("string", 5, "integer"),
        ("string", {"a": 1}, "object"),
        ("number", "5", "string"),
        ("integer", Decimal("1.5"), "number"),
        ("boolean", 1, "integer"),
        ("timestamp", 5, "integer"),
        ("list", "a", "string"),
        ("url", ["a"], "list"),
        ("date", True, "boolean"),
    ],
)
def test_a_retyped_field_is_told_with_what_came(kind: str, value: object, found: str) -> None:
    fields = {"x": {"type": kind}}
    (one,) = drift([{"id": 1, "x": value}], fields)
    assert (one.change, one.field, one.mode, one.expected, one.found) == (
        "retyped",
        "x",
        "quarantine_row",
        kind,
        found,
    )
    assert (one.records, one.share) == (1, Decimal(1))


def test_an_object_where_a_value_was_promised_is_counted_where_it_came() -> None:
    records = [{"id": 1, "x": {"y": 1, "z": 2}}, {"id": 2}, {"id": 3}, {"id": 4, "x": "a"}]
    (one,) = drift(records, {"x": {}})
    assert (one.change, one.found, one.records, one.share) == ("retyped", "object", 1, Decimal("0.25"))


def test_a_key_with_dots_is_no_object_at_its_beginning() -> None:
    assert drift([{"id": 1, "x": "a", "x.y": "b"}], {"x": {}, "z": {"path": "x.y"}}) == []


def test_a_format_decides_what_a_timestamp_may_be() -> None:
    assert drift([{"id": 1, "x": 5}], {"x": {"type": "timestamp", "format": "unix"}}) == []
    assert changes([{"id": 1, "x": "5"}], {"x": {"type": "timestamp", "format": "unix_ms"}}) == [
        ("retyped", "x")
    ]


def test_nested_paths_are_compared_field_by_field() -> None:
    record = {"id": 1, "quotes": {"USD": {"price": 1, "volume": 2}, "EUR": {"price": 1}}}
    fields = {"amount": {"path": "quotes.USD.price"}}
    assert changes([record], fields) == [("added", "quotes.EUR.price"), ("added", "quotes.USD.volume")]
    assert changes([record], fields, ignore=["quotes.EUR", "quotes.USD.volume"]) == []
    assert changes([record], {"x": {"type": "json", "path": "quotes"}}) == []


def test_ignored_means_the_path_and_what_is_below_it() -> None:
    assert changes([{"id": 1, "title": "a", "r": {"x": 1}, "rx": 1}], {"title": {}}, ignore=["r"]) == [
        ("added", "rx")
    ]


def test_key_version_constant_and_context_are_no_drift() -> None:
    parts: dict[str, Any] = {"key": ["a", "b"], "version": {"path": "v", "type": "integer"}}
    fields = {"currency": {"value": "USD"}, "category": {"path": "$document.coin"}}
    assert changes([{"a": 1, "b": 2, "v": 3}], fields, **parts) == []


def test_records_that_are_no_objects_count_and_leave_every_field_missing() -> None:
    assert changes([5, None], {"title": {"required": True}}) == [("removed", "title")]


@pytest.mark.parametrize(
    ("kind", "cell", "fits"),
    [
        ("integer", " 12 ", True),
        ("integer", "1.5", False),
        ("number", "1e5", True),
        ("number", "n/a", False),
        ("boolean", "TRUE", True),
        ("boolean", "1.5", False),
        ("date", "2024-01-01", True),
        ("date", "01/02/2024", False),
        ("timestamp", "2024-01-01T00:00:00Z", True),
        ("timestamp", "2024-01-01", True),
        ("timestamp", "5", False),
        ("string", "5", True),
        ("url", "5", True),
    ],
)
def test_the_cells_of_a_text_format_are_judged_by_how_they_read(kind: str, cell: str, *, fits: bool) -> None:
    found = changes([{"id": "1", "x": cell}], {"x": {"type": kind}}, text_only=True)
    assert found == ([] if fits else [("retyped", "x")])


def test_an_empty_cell_is_no_retyping() -> None:
    assert drift([{"id": "1", "x": None}], {"x": {"type": "integer"}}, text_only=True) == []


def test_too_many_fields_are_counted_together_and_hide_no_promise() -> None:
    record = {f"k{number}": 1 for number in range(10_000)} | {"title": "a"}
    found = drift([record], {"title": {"required": True}})
    assert len(found) <= MAX_PATHS + 1
    assert {one.change for one in found} == {"added"}
    (rest,) = [one for one in found if one.field == OVERFLOW]
    assert (rest.records, rest.share) == (1, Decimal(1))


def test_a_field_below_the_deepest_level_told_apart_is_not_called_removed() -> None:
    path = ".".join("abcdefghijkl")
    record: Any = "x"
    for name in reversed(path.split(".")):
        record = {name: record}
    assert changes([record | {"id": 1}], {"title": {"path": path, "required": True}}) == []
    assert changes([{"id": 1, "a": {}}], {"title": {"path": path, "required": True}}) == [("removed", path)]


def test_a_field_name_that_cannot_be_stored_is_shown() -> None:
    found = drift([{"id": 1, "title": "a", "\x00": 1, "\ud800": 1}], {"title": {}})
    assert {one.field for one in found} == {"\\u0000", "\\ud800"}


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=3),
    lambda inner: (
        st.lists(inner, max_size=2) | st.dictionaries(st.text(st.characters(), max_size=2), inner, max_size=3)
    ),
    max_leaves=6,
)


@given(records=st.lists(json_values, max_size=8), cut=st.integers(0, 8), text_only=st.booleans())
def test_the_profile_of_the_parts_is_the_profile_of_the_whole(
    *, records: list[Any], cut: int, text_only: bool
) -> None:
    whole, first, second = (Profile(text_only=text_only) for _ in range(3))
    for number, record in enumerate(records):
        whole.observe(record)
        (first if number < cut else second).observe(record)
    assert Profile.of([first.as_json(), second.as_json()]) == whole
    assert Profile.of([]).records == 0


@given(st.lists(json_values, min_size=1, max_size=8))
def test_every_difference_counts_some_of_the_records(records: list[Any]) -> None:
    found = drift(records, {"title": {"path": "a"}, "note": {"path": "a.b"}, "n": {"type": "number"}})
    assert found == sorted(found, key=lambda one: (one.change, one.field))
    for one in found:
        assert 0 < one.records <= len(records)
        assert 0 < one.share <= 1
        assert "\x00" not in one.field
        one.field.encode()
