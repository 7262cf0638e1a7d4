"""The hash of a record as its key: what it covers, and that many at once have the hash of each."""

from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kasparro_pipeline.contract.judging import compile_judge
from kasparro_pipeline.contract.mapping import KeyRefusedError, source_id
from kasparro_pipeline.contract.record_hash import RECORD_HASH, record_hash, record_hashes
from kasparro_pipeline.contract.spec import Contract
from kasparro_pipeline.contract.table import Table
from kasparro_pipeline.extract import json_records

TEXTS = st.one_of(
    st.text(max_size=5),
    st.sampled_from(["", '"', "\\", "%s", "\x00", "\ud800", "\u2028", ',"b":"x"', "a", "b"]),
)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.decimals(allow_nan=False) | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=6,
)
RECORDS = st.dictionaries(TEXTS, VALUES, max_size=4)


def plain(value: Any) -> Any:
    """What a value is to the hash, so that it can be compared: numbers by their text, true apart from 1."""
    if isinstance(value, dict):
        return {name: plain(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [plain(inner) for inner in value]
    return value if value is None or isinstance(value, str) else (str(value),)


@given(RECORDS, RECORDS)
def test_records_share_a_hash_only_if_every_field_with_a_value_is_the_same(
    one: dict[str, Any], other: dict[str, Any]
) -> None:
    given_one = {name: plain(value) for name, value in one.items() if value is not None}
    given_other = {name: plain(value) for name, value in other.items() if value is not None}
    assert (record_hash(one) == record_hash(other)) == (given_one == given_other)


@given(st.dictionaries(TEXTS, VALUES, min_size=2, max_size=4))
def test_the_order_of_fields_does_not_matter_at_any_level(record: dict[str, Any]) -> None:
    def turned(value: Any) -> Any:
        if isinstance(value, dict):
            return {name: turned(value[name]) for name in reversed(value)}
        return [turned(inner) for inner in value] if isinstance(value, list) else value

    assert record_hash(turned(record)) == record_hash(record)


@given(
    st.lists(TEXTS, unique=True, min_size=1, max_size=4).flatmap(
        lambda names: st.lists(st.fixed_dictionaries(dict.fromkeys(names, st.none() | TEXTS)), max_size=5)
    )
)
def test_rows_of_a_table_have_the_hash_that_each_has_as_a_record(rows: list[dict[str, str | None]]) -> None:
    names = list(rows[0]) if rows else []
    table = Table({name: [row[name] for row in rows] for name in names}, len(rows))
    assert record_hashes(table) == [record_hash(row) for row in rows]


def test_the_hash_of_a_record_is_the_same_for_ever() -> None:
    """Keys that are stored must be found again by a later version of the program."""
    record = json_records.read(
        b'{"b": [1.50, true, null], "a": "\xc3\xa9", "n": null}', {"encoding": "utf-8"}
    )
    assert record == {"b": [Decimal("1.50"), True, None], "a": "é", "n": None}
    assert record_hash(record) == "45246c5879ed89fbadfaddf955112b3e"


def test_a_field_that_is_null_or_empty_is_the_same_as_none() -> None:
    assert record_hash({"a": "1", "b": None}) == record_hash({"a": "1"}) != record_hash({"a": "1", "b": ""})


def test_a_record_without_a_value_has_no_key() -> None:
    for record in ({}, {"a": None}, "text", None):
        with pytest.raises(KeyRefusedError) as refused:
            source_id(record, (RECORD_HASH,), {})
        assert refused.value.rule == "key_missing"


def test_a_record_that_is_nested_too_deep_is_refused_by_rule() -> None:
    deep: Any = "x"
    for _ in range(100_000):
        deep = [deep]
    with pytest.raises(KeyRefusedError) as refused:
        source_id({"a": deep}, (RECORD_HASH,), {})
    assert refused.value.rule == "key_type"


def test_the_contract_decides_nothing_about_the_hash() -> None:
    def contract(**parts: Any) -> Contract:
        return Contract.model_validate({"kind": "t", "key": "$record_hash", "fields": {"title": {}}} | parts)

    records = [{"title": "a", "noise": "1"}, {"title": "a", "noise": "2"}, {"noise": "2", "title": "a"}]
    plain_keys = compile_judge(contract())(records, {}).source_ids
    other_keys = compile_judge(contract(ignore=["noise"], fields={"noise": {}}))(records, {}).source_ids
    assert plain_keys == other_keys
    assert plain_keys[0] != plain_keys[1] == plain_keys[2]


def test_a_hash_beside_a_path_tells_the_same_row_of_two_files_apart() -> None:
    paths = ("$document.file", RECORD_HASH)
    record = {"a": "1"}
    found = {source_id(record, paths, {"file": name}) for name in ("x.csv", "y.csv")}
    assert found == {f"{name}:{record_hash(record)}" for name in ("x.csv", "y.csv")}
