"""Fields that a contract does not name, taken by columns, are what each record by itself would give."""

from typing import Any

import orjson
from hypothesis import given
from hypothesis import strategies as st

from kasparro_pipeline.contract.added import added_columns
from kasparro_pipeline.contract.evolution import LEFT_OUT, MAX_ADDED_BYTES, added_attributes, unknown_leaves
from kasparro_pipeline.contract.json_text import to_json
from kasparro_pipeline.contract.spec import Contract

FIELDS = {"title": {}, "link": {"path": "links.site"}}
NAMES = ("id", "title", "links", "colour", "size", "a.b", 'quo"ted', "%s")
TEXTS = st.sampled_from(["red", "", 'say "hi"', "back\\slash", "a\nb", "\x00", "\ud800", "日本", "x" * 9000])
VALUES = st.one_of(
    TEXTS,
    st.none(),
    st.booleans(),
    st.integers(-(2**70), 2**70),
    st.decimals(allow_nan=True),
    st.lists(TEXTS, max_size=2),
    st.dictionaries(st.sampled_from(["site", "other"]), TEXTS, max_size=2),
)
unknown = unknown_leaves(Contract.model_validate({"kind": "thing", "key": "id", "fields": FIELDS}))


def columns_of(records: list[Any]) -> Any:
    return added_columns(records, unknown, FIELDS)


@given(st.data(), st.lists(st.sampled_from(NAMES), unique=True, min_size=1))
def test_columns_say_what_each_record_says_by_itself(data: st.DataObject, names: list[str]) -> None:
    kinds = {
        name: data.draw(st.sampled_from([VALUES, TEXTS, st.just("plain"), st.just(7)])) for name in names
    }
    records = data.draw(st.lists(st.fixed_dictionaries(kinds), min_size=1, max_size=4))
    columns = columns_of(records)
    if columns is None:
        return
    for index, record in enumerate(records):
        alone = added_attributes(unknown(record), FIELDS)
        assert {name: texts[index] for name, texts in columns.items()} == {
            name: to_json(value).decode() for name, value in alone.items()
        }


def test_what_all_records_have_and_is_plain_is_taken_by_columns() -> None:
    records = [{"id": n, "colour": f"red {n}", "size": n, "title": "t"} for n in range(3)]
    assert columns_of(records) == {"colour": ['"red 0"', '"red 1"', '"red 2"'], "size": ["0", "1", "2"]}


def test_without_fields_that_the_contract_does_not_name_there_is_no_column() -> None:
    assert columns_of([{"id": 1, "title": "t"}]) == {}


def test_records_with_different_keys_or_values_that_hold_others_are_looked_at_one_by_one() -> None:
    assert columns_of([{"id": 1, "colour": "red"}, {"id": 2}]) is None
    assert columns_of([{"id": 1, "colour": {"r": 255}}]) is None
    assert columns_of([{"id": 1, "links": {"other": "x"}}]) is None
    assert columns_of([{"id": 1}, None]) is None
    assert columns_of([]) is None


def test_records_that_may_be_over_the_limit_are_looked_at_one_by_one() -> None:
    records = [{"id": 1, "colour": "x" * MAX_ADDED_BYTES}]
    assert columns_of(records) is None
    assert orjson.loads(to_json(added_attributes(unknown(records[0]), FIELDS))) == {LEFT_OUT: 1}
