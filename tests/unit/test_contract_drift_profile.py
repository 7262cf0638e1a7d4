"""The profile of what came: exact over all records, the same in parts as in the whole, and bounded."""

import json
import re
from collections import Counter
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from kasparro_pipeline.contract import formats, observed, profile, sketch
from kasparro_pipeline.contract.observed import Field
from kasparro_pipeline.contract.profile import Profile
from kasparro_pipeline.contract.sketch import MAX_VALUES, SAMPLE, Sketch, overlap, shown
from kasparro_pipeline.contract.table import Table
from tests.unit.conftest import Calls


def profile_of(records: list[Any], *, first: int = 0, text_only: bool = False, batch: int = 1000) -> Profile:
    made = Profile(text_only=text_only)
    for start in range(0, len(records), batch):
        part = records[start : start + batch]
        made.observe(part, range(first + start, first + start + len(part)))
    return made


def stored(made: Profile) -> dict[str, Any]:
    """As it comes back from the database."""
    text = json.dumps(made.as_json(), ensure_ascii=False)
    text.encode()  # PostgreSQL takes no lone surrogate
    assert re.search(r"(?<!\\)(\\\\)*\\u0000", text) is None  # and no NUL
    back: dict[str, Any] = json.loads(text)
    return back


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.decimals(allow_nan=False, allow_infinity=False)
    | st.text(max_size=3)
    | st.sampled_from(["2024-01-01", "01/02/2024", "31/01/2024", "5", " ", "", "a\nb"]),
    lambda inner: (
        st.lists(inner, max_size=2) | st.dictionaries(st.text(st.characters(), max_size=2), inner, max_size=3)
    ),
    max_leaves=6,
)
rows = st.lists(
    st.fixed_dictionaries({"a": st.none() | st.text(max_size=4), "b": st.integers(0, 200).map(str)}),
    max_size=150,
)


@given(records=st.lists(json_values, max_size=12), cut=st.integers(0, 12), batch=st.integers(1, 13))
def test_the_profile_of_the_parts_is_the_profile_of_the_whole(
    *, records: list[Any], cut: int, batch: int
) -> None:
    whole = profile_of(records)
    first, second = profile_of(records[:cut], batch=batch), profile_of(records[cut:], first=cut)
    assert Profile.of([(0, stored(first)), (0, stored(second))]) == whole
    assert Profile.of([(0, stored(second)), (0, stored(first))]) == whole
    assert Profile.of([]).records == 0


@given(records=rows, cut=st.integers(0, 150))
def test_the_same_holds_of_columns_with_many_values(*, records: list[dict[str, Any]], cut: int) -> None:
    whole = profile_of(records, text_only=True)
    first = profile_of(records[:cut], text_only=True, batch=7)
    second = profile_of(records[cut:], first=cut, text_only=True)
    assert Profile.of([(0, stored(first)), (0, stored(second))]) == whole


@given(rows)
def test_the_counts_are_those_of_every_record(records: list[dict[str, Any]]) -> None:
    made = profile_of(records, text_only=True, batch=11)
    assert made.records == len(records)
    for name in ("a", "b") if records else ():
        column = [record[name] for record in records]
        found = made.root.fields[name]
        classes = Counter("null" if cell is None else formats.class_of(cell) for cell in column)
        assert {name: seen.count for name, seen in found.classes.items()} == classes
        values = Counter(shown(cell) for cell in column if cell is not None)
        assert found.values.is_sample == (len(values) > MAX_VALUES)
        assert len(found.values.kept) == (SAMPLE if len(values) > MAX_VALUES else len(values))
        for text, seen in found.values.kept.items():
            assert seen.count == values[text]
            assert seen.place is not None
            assert shown(column[seen.place[1]]) == text
            assert text not in [shown(cell) for cell in column[: seen.place[1]] if cell is not None]


@given(st.lists(st.text(max_size=12) | st.sampled_from(["1.5", "12/31/2024", "Mon, 01 Jan 2024 10:00 GMT"])))
def test_the_classes_of_many_texts_are_those_of_each(texts: list[str]) -> None:
    assert formats.count_classes(texts, "\n".join(texts)) == Counter(map(formats.class_of, texts))


@pytest.mark.parametrize(
    "texts",
    [
        ["12", "34", "56"],
        ["1", "22", "a"],
        ["31/01/2024", "01/31/2024", "01/02/2024"],
        ["one", "two", "yes"],
        ["one", "two", "yes, sir"],
        ["one", "Mon, 01 Jan 2024 10:00 GMT"],
        ["one", "two "],
        ["one", "two\t"],
        ["one", ""],
        ["1\n2", "3"],
        ["1", "٣"],
    ],
)
def test_the_classes_of_a_column_are_those_of_each_value(texts: list[str]) -> None:
    assert formats.count_classes(texts, "\n".join(texts)) == Counter(map(formats.class_of, texts))


@pytest.mark.parametrize("different", [3, 50, 51, 700, 2900])
@pytest.mark.parametrize("form", ["{}", "{}\n", "é{}", "\x00{}", "{}" + "x" * 200])
def test_the_values_of_a_long_column_are_kept_as_if_they_came_one_by_one(different: int, form: str) -> None:
    column = [form.format(number * 7919 % different) for number in range(3000)]
    records = [{"a": text, "b": None if place % 9 else text} for place, text in enumerate(column)]
    made = profile_of(records, batch=3000)
    assert made == profile_of(records, batch=1)
    assert made == profile_of(records, batch=999)


def test_a_long_table_has_the_profile_of_its_records() -> None:
    records = [
        {"a": str(number), "b": None if number % 3 else "x", "c": str(number % 7)} for number in range(9001)
    ]
    table = Table({name: [record[name] for record in records] for name in "abc"}, len(records))
    made = Profile(text_only=True)
    made.observe_table(table, range(5, 5 + len(records)))
    assert made == profile_of(records, first=5, text_only=True)


@given(
    st.lists(st.integers(), min_size=1)
    | st.lists(st.decimals(), min_size=1)
    | st.lists(st.booleans(), min_size=1)
)
@example([5, formats.SECONDS.start])
def test_numbers_are_counted_by_class_as_each_by_itself(values: list[Any]) -> None:
    assert formats.count_classes_of_numbers(values) == Counter(map(formats.class_of_number, values))


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("12", "integer"),
        ("-7", "integer"),
        (" 12 ", "integer"),
        ("1704103200", "integer/unix"),
        ("1704103200000", "integer/unix_ms"),
        ("1704103200.5", "number/unix"),
        ("1e5", "number"),
        (".5", "number"),
        ("TRUE", "boolean"),
        ("tRue ", "boolean"),
        ("Yes", "string/yes_no"),
        ("2024-02-31", "date/iso_date"),
        ("2024-01-01T10:00:00.123456+02:00", "timestamp/iso_timestamp"),
        ("2024-01-01 10:00", "timestamp/iso_timestamp"),
        ("2024-01-01 10:00:00 UTC", "string"),
        ("20240101", "integer/yyyymmdd"),
        ("Mon, 01 Jan 2024 10:00:00 +0000", "string/rfc822"),
        ("1 Jan 24 10:00 GMT", "string/rfc822"),
        ("31/01/2024", "string/dd/mm/yyyy"),
        ("1/31/2024 9:05 PM", "string/mm/dd/yyyy"),
        ("01/02/2024", "string/dd/mm/yyyy or mm/dd/yyyy"),
        ("31.01.2024", "string/dd.mm.yyyy"),
        ("2024/01/31", "string/yyyy/mm/dd"),
        ("1.2.3", "string"),
        ("12 coins", "string"),
        ("", "blank"),
        (" \t", "blank"),
        ("May, be", "string"),
        ("٣", "string"),
    ],
)
def test_a_text_is_classed_by_its_look(text: str, found: str) -> None:
    assert formats.class_of(text) == found


def test_the_place_of_an_example_names_its_document() -> None:
    first, second = (stored(profile_of([{"a": "x"}, {"a": word}])) for word in ("y", "z"))
    total = Profile.of([(9, second), (4, first)]).root.fields["a"]
    assert total.classes["string"].place == (4, 0)
    assert {text: seen.place for text, seen in total.values.kept.items()} == {
        "x": (4, 0),
        "y": (4, 1),
        "z": (9, 1),
    }


def test_an_object_with_too_many_keys_becomes_a_mapping_whichever_way_its_parts_come() -> None:
    records = [{"by": {f"k{n}-{m}": m for m in range(40)}} for n in range(10)]
    whole = profile_of(records).root.fields["by"]
    parts = [(0, stored(profile_of(records[n : n + 1], first=n))) for n in range(10)]
    merged = Profile.of(parts).root.fields["by"]
    for found in (whole, merged):
        assert found.is_mapping
        assert list(found.fields) == [observed.ANY_KEY]
        assert found.fields[observed.ANY_KEY].count() == 400
    assert merged.elements == whole.elements
    assert merged.fields[observed.ANY_KEY].values == whole.fields[observed.ANY_KEY].values


def test_records_of_any_width_and_depth_leave_a_bounded_profile() -> None:
    wide = [{f"a{n}": {f"b{m}": n for m in range(150)}} for n in range(100)]
    made = profile_of(wide)
    assert sum(1 for _ in made.root.walk()) <= profile.MAX_FIELDS
    deep: Any = "x"
    for _ in range(400):
        deep = {"a": deep}
    assert len(json.dumps(profile_of([deep]).as_json())) < 10_000
    long = profile_of([{"k" * 10_000: "v" * 10_000_000}])
    assert len(json.dumps(long.as_json())) < 1000


def values_in(value: Any) -> int:
    """How many values there are in a value, itself and objects included."""
    return 1 + (sum(map(values_in, value.values())) if isinstance(value, dict) else 0)


@pytest.mark.parametrize(
    "record",
    [
        {f"k{n}": {"a": {"b": 1}} for n in range(1900)},
        {f"k{n}": {f"a{n % 7}": {f"b{n % 11}": {"c": {f"d{n}": n}}}} for n in range(1999)},
        {f"k{n}": {f"a{m}": {f"b{n}": m, "c": 1} for m in range(n % 20)} for n in range(1500)},
        {
            "all": {
                f"k{n}": {f"a{m}-{n}": {f"b{o}-{n}": 1 for o in range(10)} for m in range(9)}
                for n in range(190)
            }
        },
    ],
    ids=["chains", "deep chains", "pairs", "nested"],
)
def test_a_record_of_very_many_objects_leaves_a_bounded_profile_soon(record: dict[str, Any]) -> None:
    with Calls() as calls:
        made = profile_of([record])
    assert calls.count < 200 * values_in(record)
    assert sum(1 for _ in made.root.walk()) <= profile.MAX_FIELDS
    again = Profile.of([(1, stored(made)), (2, stored(profile_of([record])))])
    assert sum(1 for _ in again.root.walk()) <= profile.MAX_FIELDS
    assert again.records == 2


def test_of_many_objects_only_the_widest_become_mappings() -> None:
    record = {f"wide{n}": {f"k{m}": m for m in range(150)} for n in range(33)}
    made = profile_of([record | {"wider": {f"k{m}": m for m in range(180)}}])
    assert [name for name, one in made.root.fields.items() if one.is_mapping] == ["wider"]


def test_a_million_different_values_leave_a_sample() -> None:
    made = profile_of([{"a": str(n)} for n in range(20_000)], text_only=True)
    assert len(json.dumps(made.as_json())) < 1000


@pytest.mark.parametrize(
    ("one", "other", "share"),
    [
        (range(10), range(10), 1.0),
        (range(10), range(5, 15), 0.5),
        (range(10), range(10, 20), 0.0),
        (range(5000), range(5000), 1.0),
        (range(5000), range(5000, 10_000), 0.0),
        (range(4000), range(2000, 6000), 0.5),
        (range(10), [], None),
    ],
)
def test_the_overlap_of_values_is_found_from_the_sketches(one: Any, other: Any, share: float | None) -> None:
    sketches = []
    for numbers in (one, other):
        made = Sketch()
        if numbers:
            texts = [str(number) for number in numbers]
            made.observe(texts, "\n".join(texts), lambda index: (0, index))
        sketches.append(made)
    assert overlap(*sketches) == (share if share is None else pytest.approx(share, abs=0.3))


@pytest.mark.parametrize("value", [{"a": 10**400}, ["\ud800"], {"a": [Decimal("1.5"), None, "é"]}])
def test_the_size_of_a_value_that_is_hard_to_write_is_told_all_the_same(value: Any) -> None:
    assert sketch.json_size(value) > 0


def test_the_size_of_a_plain_value_is_that_of_its_json() -> None:
    assert sketch.json_size({"a": [1, "b"]}) == len('{"a":[1,"b"]}')


def test_the_form_of_an_earlier_release_still_reads() -> None:
    types = {"": {"integer": 1}, "a.b": {"string": 2, "null": 1}}
    total = Profile.of([(3, {"text_only": True, "records": 4, "types": types})])
    assert (total.text_only, total.records) == (True, 4)
    [found] = total.root.at("a.b")
    assert found.types() == {"null": 1, "string": 2}
    again = Profile.of([(3, stored(total)), (5, stored(profile_of([{"a": {"b": "x"}}])))])
    [found] = again.root.at("a.b")
    assert found.types() == {"null": 1, "string": 3}
    assert isinstance(found, Field)
