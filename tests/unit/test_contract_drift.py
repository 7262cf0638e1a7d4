"""Drift: what came against what the contract promises."""

from decimal import Decimal
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from pydantic_core import PydanticCustomError

from kasparro_pipeline.contract import formats
from kasparro_pipeline.contract.drift import Drift, Example, compare
from kasparro_pipeline.contract.field_spec import FieldSpec
from kasparro_pipeline.contract.profile import MAX_COLUMNS, Profile
from kasparro_pipeline.contract.spec import Contract
from kasparro_pipeline.contract.types import converter


def drift(
    records: list[Any], fields: dict[str, Any], *, text_only: bool = False, **parts: Any
) -> list[Drift]:
    contract = Contract.model_validate({"kind": "thing", "key": "id", "fields": fields} | parts)
    return compare(contract, profile_of(records, text_only=text_only))


def profile_of(records: list[Any], *, text_only: bool = False) -> Profile:
    profile = Profile(text_only=text_only)
    profile.observe(records, range(len(records)))
    return Profile.of([(7, profile.as_json())])


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
    assert found == Drift("added", "new", "evolve", None, "integer", 2, Decimal("0.666667"))
    assert found.examples[0] == Example("1", 7, 0)


def test_a_removed_field_breaks_only_what_was_promised() -> None:
    fields = {"title": {"required": True}, "note": {}}
    found = drift([{"id": 1}], fields)
    assert [(one.field, one.change, one.mode) for one in found] == [
        ("note", "removed", "evolve"),
        ("title", "removed", "freeze"),
    ]
    assert {one.share for one in found} == {1}


def test_a_required_field_without_a_value_in_some_records_is_told_with_how_it_is_missing() -> None:
    records = [{"id": 1}, {"id": 2, "title": "a"}, {"id": 3, "title": None}]
    (found,) = drift(records, {"title": {"required": True}})
    expected = Drift(
        "nullability",
        "title",
        "quarantine_row",
        "a value",
        "1 null, 1 missing",
        2,
        Decimal("0.666667"),
    )
    assert found == expected
    assert found.examples == (Example(None, 7, 2),)


def test_an_optional_field_may_be_without_a_value() -> None:
    assert drift([{"id": 1}, {"id": 2, "title": "a"}, {"id": 3, "title": None}], {"title": {}}) == []


def test_a_record_that_cannot_be_read_does_not_make_each_of_its_fields_a_change() -> None:
    records = [{"id": "1", "title": "a"}, None]
    assert drift(records, {"title": {"required": True}}, text_only=True) == []


def test_a_field_that_is_empty_in_every_record_is_not_removed() -> None:
    assert changes([{"id": 1, "title": None}], {"title": {"required": True}}) == [("nullability", "title")]


def test_a_key_that_is_gone_is_a_removed_promise() -> None:
    (found,) = drift([{"title": "a"}], {"title": {}})
    assert (found.change, found.field, found.mode) == ("removed", "id", "freeze")


def test_two_fields_that_nothing_connects_are_one_removed_and_one_added() -> None:
    assert changes([{"id": 1, "name": "a"}], {"title": {}}) == [("added", "name"), ("removed", "title")]


@pytest.mark.parametrize(
    ("kind", "value", "found"),
    [
        ("string", 5, "integer"),
        ("string", {"a": 1}, "object"),
        ("number", "five", "string"),
        ("integer", Decimal("1.5"), "number"),
        ("boolean", 1, "integer"),
        ("timestamp", 5, "integer"),
        ("timestamp", "tomorrow", "string"),
        ("date", " ", "blank"),
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


def test_a_value_where_an_object_was_promised_is_told() -> None:
    fields: dict[str, Any] = {"cost": {"path": "q.usd.price", "type": "integer"}}
    records = [{"id": 1, "q": 5}, {"id": 2, "q": {"usd": {"price": 1}}}, {"id": 3, "q": None}]
    (one,) = drift(records, fields)
    assert (one.change, one.field, one.mode) == ("retyped", "q", "quarantine_row")
    assert (one.expected, one.found, one.records) == ("object", "integer", 1)
    assert one.examples == (Example("5", 7, 0),)
    assert changes([{"id": 1, "q": {"usd": "5"}}], fields) == [
        ("removed", "q.usd.price"),
        ("retyped", "q.usd"),
    ]
    assert drift(records, fields | {"whole": {"path": "q", "type": "json"}}) == []
    assert drift(records, fields, ignore=["q"]) == []


def test_a_column_is_no_way_to_another_whose_name_goes_on_after_a_dot() -> None:
    row = {"id": "1", "price": "5", "price.usd": "6"}
    assert changes([row], {"amount": {"path": "price.usd"}}, text_only=True) == [("added", "price")]


def test_what_came_at_both_places_that_a_path_names_counts_together() -> None:
    fields: dict[str, Any] = {"title": {"path": "a.b", "required": True}}
    assert drift([{"id": 1, "a.b": "x"}, {"id": 2, "a": {"b": "y"}}], fields) == []
    (one,) = drift([{"id": 1, "a.b": 5}, {"id": 2, "a": {"b": 6}}, {"id": 3}], fields)[1:]
    assert (one.change, one.records) == ("retyped", 2)


def test_a_format_decides_what_a_timestamp_may_be() -> None:
    assert drift([{"id": 1, "x": 5}], {"x": {"type": "timestamp", "format": "unix"}}) == []
    assert changes([{"id": 1, "x": "noon"}], {"x": {"type": "timestamp", "format": "unix_ms"}}) == [
        ("retyped", "x")
    ]


ISO, SECONDS, MILLIS = "2024-01-01T10:00:00Z", 1_704_103_200, 1_704_103_200_000
RFC822 = "Mon, 01 Jan 2024 10:00:00 GMT"


@pytest.mark.parametrize(
    ("promised", "came", "found"),
    [
        ({"type": "timestamp"}, SECONDS, "unix"),
        ({"type": "timestamp"}, MILLIS, "unix_ms"),
        ({"type": "timestamp"}, RFC822, "rfc822"),
        ({"type": "timestamp"}, "31/12/2024 10:00", "dd/mm/yyyy"),
        ({"type": "date"}, "12/31/2024", "mm/dd/yyyy"),
        ({"type": "date"}, "01/02/2024", "dd/mm/yyyy or mm/dd/yyyy"),
        ({"type": "date"}, ISO, "iso_timestamp"),
        ({"type": "timestamp", "format": "unix"}, MILLIS, "unix_ms"),
        ({"type": "timestamp", "format": "unix"}, ISO, "iso_timestamp"),
        ({"type": "timestamp", "format": "unix_ms"}, SECONDS, "unix"),
        ({"type": "timestamp", "format": "rfc822"}, ISO, "iso_timestamp"),
    ],
)
def test_a_date_written_in_another_way_is_told_with_both_ways(
    promised: dict[str, Any], came: object, found: str
) -> None:
    (one,) = drift([{"id": 1, "at": came}], {"at": promised})
    assert (one.change, one.field, one.mode, one.found) == ("format", "at", "quarantine_row", found)


@pytest.mark.parametrize(
    ("promised", "came"),
    [
        ({"type": "timestamp"}, ISO),
        ({"type": "timestamp"}, "2024-01-01 10:00:00.123+02:00"),
        ({"type": "timestamp"}, "2024-01-01"),
        ({"type": "timestamp"}, "20240101T100000Z"),
        ({"type": "date"}, "2024-01-01"),
        ({"type": "timestamp", "format": "rfc822"}, RFC822),
        ({"type": "timestamp", "format": "rfc822"}, "Monday, 1 January 2024 10:00"),
        ({"type": "timestamp", "format": "unix"}, SECONDS),
        ({"type": "timestamp", "format": "unix"}, Decimal("1704103200.25")),
        ({"type": "timestamp", "format": "unix"}, 5),
    ],
)
def test_a_date_written_as_promised_is_no_drift(promised: dict[str, Any], came: object) -> None:
    assert drift([{"id": 1, "at": came}], {"at": promised}) == []


def test_a_day_that_shows_which_comes_first_tells_how_the_others_are_written() -> None:
    records = [
        {"id": "1", "at": "01/02/2024"},
        {"id": "2", "at": "31/02/2024"},
        {"id": "3", "at": "2024-01-01"},
    ]
    (one,) = drift(records, {"at": {"type": "date"}}, text_only=True)
    assert (one.change, one.found, one.records) == ("format", "dd/mm/yyyy", 2)


def test_new_values_of_an_enum_are_told_with_their_records() -> None:
    records = [{"id": n, "type": kind} for n, kind in enumerate(["coin", "nft", "coin", "dao", "nft"])]
    (one,) = drift(records, {"type": {"type": "enum", "values": ["coin", "token"]}})
    assert (one.change, one.mode, one.expected, one.found) == (
        "enum",
        "quarantine_row",
        "coin, token",
        "dao, nft",
    )
    assert (one.records, one.share) == (3, Decimal("0.6"))
    assert one.examples == (Example("dao", 7, 3), Example("nft", 7, 1))


def test_an_enum_that_became_free_text_is_told_as_such() -> None:
    records = [{"id": n, "type": f"word {n}"} for n in range(60)]
    (one,) = drift(records, {"type": {"type": "enum", "values": ["coin"]}})
    assert (one.change, one.records) == ("enum", 60)
    assert one.found is not None
    assert one.found.startswith("more than 50 values, such as word ")


def test_a_list_that_is_far_larger_than_promised_is_an_explosion() -> None:
    records = [{"id": 1, "x": [1]}, {"id": 2, "x": [1] * 5000}]
    (one,) = drift(records, {"x": {"type": "json"}})
    assert (one.change, one.mode, one.expected, one.found) == (
        "explosion",
        "evolve",
        "at most 1,000 elements",
        "5,000 elements",
    )
    assert (one.records, one.examples) == (1, (Example("5,000 elements", 7, 1),))


def test_a_nested_value_of_many_bytes_is_an_explosion() -> None:
    (one,) = drift([{"id": 1, "x": {"text": "a" * 200_000}}], {"x": {"type": "json"}})
    assert (one.change, one.expected, one.found) == ("explosion", "at most 65,536 bytes", "200,011 bytes")


def test_an_object_with_a_key_for_each_thing_is_one_explosion_and_not_2000_fields() -> None:
    record = {"id": 1, "title": "a", "by_id": {f"k{number}": {"price": number} for number in range(2000)}}
    (one,) = drift([record], {"title": {}})
    assert (one.change, one.field, one.mode, one.found) == (
        "explosion",
        "by_id",
        "evolve",
        "more than 200 different keys",
    )
    assert one.examples == (Example("2,000 keys", 7, 0),)
    assert drift([record], {"title": {}}, ignore=["by_id"]) == []


@pytest.mark.parametrize(
    ("explosion", "added", "mode"),
    [
        ("evolve", "evolve", "evolve"),
        ("evolve", "quarantine_row", "quarantine_row"),
        ("freeze", "quarantine_row", "freeze"),
        ("quarantine_row", "freeze", "freeze"),
    ],
)
def test_an_object_with_a_key_for_each_thing_is_treated_as_the_new_fields_that_it_has(
    explosion: str, added: str, mode: str
) -> None:
    record = {"id": 1, "by_id": {f"k{number}": number for number in range(300)}}
    modes = {"explosion": explosion, "added": added}
    (one,) = drift([record], {"title": {"value": "t"}}, schema_contract=modes)
    assert (one.change, one.mode) == ("explosion", mode)


def test_keys_that_differ_from_record_to_record_explode_too() -> None:
    records = [{"id": number, "by_id": {f"k{number}": 1}} for number in range(300)]
    (one,) = drift(records, {"title": {"value": "t"}})
    assert (one.change, one.field, one.records) == ("explosion", "by_id", 300)


def test_a_promise_inside_an_object_with_too_many_keys_is_not_called_removed() -> None:
    record = {"id": 1, "by_id": {f"k{number}": number for number in range(2000)}}
    assert changes([record], {"amount": {"path": "by_id.k7", "required": True}}) == [("explosion", "by_id")]


def test_every_mode_can_be_set_for_its_kind_of_change() -> None:
    record = {"id": 1, "old_price": 5, "n": "x", "at": SECONDS, "e": "b", "big": [1] * 5000, "new": True}
    fields: dict[str, Any] = {
        "gone": {"required": True},
        "price": {"type": "number"},
        "n": {"type": "integer"},
        "at": {"type": "timestamp"},
        "e": {"type": "enum", "values": ["a"]},
        "big": {"type": "json"},
        "must": {"required": True},
    }
    kinds = ("added", "removed", "renamed", "retyped", "nullability", "enum", "format", "explosion")
    for mode in ("evolve", "freeze", "quarantine_row"):
        found = drift([record | {"must": None}], fields, schema_contract=dict.fromkeys(kinds, mode))
        assert {one.change for one in found} == set(kinds)
        assert {one.mode for one in found} == {mode}


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
    found = changes([5, None], {"title": {"required": True}})
    assert found == [("removed", "id"), ("removed", "title")]


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


def test_a_cell_that_seems_empty_is_no_number() -> None:
    (found,) = drift([{"id": "1", "x": " "}], {"x": {"type": "number"}}, text_only=True)
    assert (found.change, found.found) == ("retyped", "blank")


def test_an_empty_cell_is_no_retyping() -> None:
    assert drift([{"id": "1", "x": None}], {"x": {"type": "integer"}}, text_only=True) == []


def test_records_with_too_many_keys_are_one_explosion_and_break_no_promise() -> None:
    record = {f"k{number}": 1 for number in range(10_000)} | {"title": "a"}
    (found,) = drift([record], {"title": {"required": True}})
    assert (found.change, found.field) == ("explosion", "")
    assert found.found == f"more than {MAX_COLUMNS:,} different keys"
    assert (found.records, found.share) == (1, Decimal(1))


def test_a_profile_of_an_earlier_release_is_compared_as_far_as_it_goes() -> None:
    types = {"id": {"integer": 3}, "title": {"integer": 1, "null": 1}, "x.y": {"string": 2}}
    old = Profile.of([(7, {"text_only": False, "records": 3, "types": types})])
    contract = Contract.model_validate(
        {"kind": "thing", "key": "id", "fields": {"title": {"required": True}}}
    )
    found = [(one.change, one.field, one.records, one.examples) for one in compare(contract, old)]
    assert found == [
        ("added", "x.y", 2, ()),
        ("nullability", "title", 2, ()),
        ("retyped", "title", 1, (Example(None),)),
    ]


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


@given(st.lists(json_values, min_size=1, max_size=8))
def test_every_difference_counts_some_of_the_records(records: list[Any]) -> None:
    found = drift(records, {"title": {"path": "a"}, "note": {"path": "a.b"}, "n": {"type": "number"}})
    assert found == sorted(found, key=lambda one: (one.change, one.field))
    for one in found:
        assert 0 < one.records <= len(records)
        assert 0 < one.share <= 1
        assert "\x00" not in one.field
        one.field.encode()


TYPES: list[dict[str, Any]] = [
    {"type": "string"},
    {"type": "integer"},
    {"type": "number"},
    {"type": "boolean"},
    {"type": "list"},
    {"type": "url"},
    {"type": "json"},
    {"type": "date"},
    {"type": "date", "format": "%Y%m%d"},
    {"type": "date", "format": "%d/%m/%Y"},
    {"type": "timestamp"},
    {"type": "timestamp", "format": "rfc822"},
    {"type": "timestamp", "format": "unix"},
    {"type": "timestamp", "format": "unix_ms"},
]
LOOKING_LIKE = [
    "12",
    "-7",
    "+7",
    " 12 ",
    "3.0",
    "3.5",
    ".5",
    "1e3",
    "true",
    "False",
    "tRUE",
    "yes",
    "NO",
    "no ",
]
LOOKING_LIKE += [
    "1",
    "0",
    "20240131",
    "1704103200",
    "1704103200.5",
    "1704103200000",
    "2024-01-31",
    "31/01/2024",
]
LOOKING_LIKE += [
    "2024-01-31T10:00:00Z",
    "Mon, 01 Jan 2024 10:00:00 +0000",
    "https://example.org/a",
    "abc",
    "n/a",
]
texts = st.sampled_from(LOOKING_LIKE) | st.text("0123456789.+-eE ", min_size=1, max_size=6)
numbers = st.integers() | st.decimals(
    allow_nan=False, allow_infinity=False, min_value=1 - 10**9, max_value=10**9 - 1
)


@given(
    promised=st.sampled_from(TYPES),
    value=texts | numbers | st.booleans() | st.sampled_from([[], ["a"], {}, {"a": 1}]),
    text_only=st.booleans(),
)
def test_what_validation_takes_is_neither_retyped_nor_of_another_format(
    *, promised: dict[str, Any], value: Any, text_only: bool
) -> None:
    if text_only and not isinstance(value, str):
        return
    spec = FieldSpec.model_validate(promised)
    look = formats.class_of(str(value)).partition("/")[2]
    # one of them read as the other is a moment far away: told on purpose
    assume({look, spec.format} != {"unix", "unix_ms"})
    # strptime reads digits that no pattern writes
    assume("%" not in spec.format or value in LOOKING_LIKE)
    try:
        converter(spec.type or "string", spec)(value)
    except (PydanticCustomError, ValueError):
        return
    assert changes([{"id": "a", "x": value}], {"x": promised}, text_only=text_only) in (
        [],
        [("added", "x.a")],
    )


@given(
    kind=st.sampled_from(["integer", "number"]),
    value=texts | numbers | st.booleans() | st.sampled_from([[], {}]),
)
def test_what_validation_refuses_of_numbers_is_retyped(kind: str, value: Any) -> None:
    spec = FieldSpec.model_validate({"type": kind})
    try:
        converter(spec.type or "string", spec)(value)
    except PydanticCustomError as error:
        assume(error.type != "number_out_of_range")
        expected = [("retyped", "x")]
    else:
        expected = []
    assume(value != "1704103200.5")  # looks like seconds, whole or not
    assert changes([{"id": "a", "x": value}], {"x": {"type": kind}}) == expected
