"""Where a contract finds values and keys in a record."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kasparro_pipeline.contract.mapping import (
    MAX_KEY_LENGTH,
    MISSING,
    KeyRefusedError,
    is_encodable,
    source_id,
    value_at,
)


def key(*parts: object) -> str:
    record = {f"part{number}": part for number, part in enumerate(parts)}
    return source_id(record, tuple(record), {})


@pytest.mark.parametrize(
    ("record", "path", "found"),
    [
        ({"a": 1}, "a", 1),
        ({"quotes": {"USD": {"price": 2}}}, "quotes.USD.price", 2),
        ({"a.b": 3}, "a.b", 3),
        ({"a.b": {"c": 4}}, "a.b.c", 4),
        ({"a": {"b.c": 5}}, "a.b.c", 5),
        ({"a": {"x": 0}, "a.b": {"c": 6}}, "a.b.c", 6),
        ({"a": None}, "a", None),
        ({"a": None}, "a.b", MISSING),
        ({"a": [1]}, "a.0", MISSING),
        ({}, "a", MISSING),
        ([1], "a", MISSING),
        ("text", "a", MISSING),
        (None, "a", MISSING),
        ({"": {"": 7}}, ".", 7),
    ],
)
def test_a_path_finds_a_value_and_tells_missing_from_null(record: object, path: str, found: object) -> None:
    assert value_at(record, path, {}) == found


def test_a_document_path_reads_the_context_and_never_the_record() -> None:
    record = {"$document.coin": "of the record", "coin": "of the record"}
    assert value_at(record, "$document.coin", {"coin": "btc"}) == "btc"
    assert value_at(record, "$document.coin", {}) is MISSING


@given(st.dictionaries(st.text(min_size=1, max_size=5), st.integers(), min_size=1))
def test_every_key_of_a_record_is_found_whatever_its_name(record: dict[str, int]) -> None:
    for name, value in record.items():
        if not name.startswith("$document."):
            assert value_at(record, name, {}) == value


texts = st.text(alphabet=st.sampled_from("a:\\bA \u00e9e\u0301\u212a"), min_size=1, max_size=6).filter(
    str.strip
)


@given(st.lists(texts, min_size=1, max_size=3), st.lists(texts, min_size=1, max_size=3))
def test_different_parts_never_give_the_same_key(first: list[str], second: list[str]) -> None:
    assert (key(*first) == key(*second)) == (first == second) or len(first) != len(second)


@given(texts)
def test_a_single_key_is_kept_to_the_character(text: str) -> None:
    assert key(text) == text


@pytest.mark.parametrize(
    "pair", [("a", " a"), ("a", "A"), ("\u00e9", "e\u0301"), ("K", "\u212a"), ("1", "01")]
)
def test_keys_that_look_alike_stay_apart(pair: tuple[str, str]) -> None:
    assert key(pair[0]) != key(pair[1])


def test_composite_keys_escape_the_colon() -> None:
    assert key("a:b", "c") == "a\\:b:c"
    assert key("a", "b:c") == "a:b\\:c"
    assert key("a\\", "b") == "a\\\\:b"
    assert key(7, "x") == "7:x"


@pytest.mark.parametrize(
    ("value", "rule"),
    [
        (None, "key_missing"),
        ("", "key_blank"),
        (" \t\u2003", "key_blank"),
        ("a\x00", "nul_character"),
        ("a\ud800", "lone_surrogate"),
        (True, "key_type"),
        (1.5, "key_type"),
        ([], "key_type"),
        ({}, "key_type"),
        ("x" * (MAX_KEY_LENGTH + 1), "key_too_long"),
    ],
)
def test_an_unusable_key_is_refused_by_rule(value: object, rule: str) -> None:
    with pytest.raises(KeyRefusedError) as refused:
        key(value)
    assert (refused.value.rule, refused.value.path) == (rule, "part0")
    assert str(refused.value)


def test_the_longest_key_is_taken_and_composite_keys_count_as_a_whole() -> None:
    assert len(key("x" * MAX_KEY_LENGTH)) == MAX_KEY_LENGTH
    with pytest.raises(KeyRefusedError):
        key("x" * MAX_KEY_LENGTH, "y")


def test_the_first_missing_part_is_named() -> None:
    with pytest.raises(KeyRefusedError) as refused:
        source_id({"a": "1"}, ("a", "b"), {})
    assert refused.value.path == "b"


def test_a_part_of_a_key_can_come_from_the_document() -> None:
    context: dict[str, Any] = {"coin": "btc-bitcoin"}
    assert source_id({"day": "2024-01-01"}, ("$document.coin", "day"), context) == "btc-bitcoin:2024-01-01"


@pytest.mark.parametrize(("text", "fine"), [("", True), ("\U0001f600", True), ("\ud83d", False)])
def test_only_lone_surrogates_cannot_be_encoded(text: str, *, fine: bool) -> None:
    assert is_encodable(text) is fine
