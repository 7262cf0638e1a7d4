"""The profile of a document that repeats most of another: as if all of its records had been looked at."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from kasparro_pipeline.contract.profile import Profile
from kasparro_pipeline.contract.profile_change import can_change, changed, positions
from kasparro_pipeline.contract.sketch import MAX_VALUES

Records = list[dict[str, Any]]
values = (
    st.none() | st.sampled_from(["5", "2024-01-01", "text", "31/01/2024", ""]) | st.integers(0, 300).map(str)
)
record = st.fixed_dictionaries({"a": values, "b": st.integers(0, 3).map(str)})


def profile_of(records: Records, places: list[int]) -> Profile:
    made = Profile(text_only=True)
    if records:
        made.observe(records, places)
    return made


def counts(profile: Profile) -> dict[str, dict[str, int]]:
    return {
        path: {name: seen.count for name, seen in one.classes.items()}
        for path, one in profile.root.walk()
        if one.classes
    }


@given(
    records=st.lists(record, min_size=1, max_size=120),
    left=st.lists(st.booleans(), min_size=120, max_size=120),
    came=st.lists(record, max_size=60),
)
def test_what_went_is_taken_away_and_what_came_is_added(
    *, records: Records, left: list[bool], came: Records
) -> None:
    base = profile_of(records, list(range(len(records))))
    stay = [place for place in range(len(records)) if left[place]]
    gone = [place for place in range(len(records)) if not left[place]]
    whole = [*(records[place] for place in stay), *came]
    moved = {place: index for index, place in enumerate(stay) if place in positions(base)}
    found = changed(
        base,
        profile_of([records[place] for place in gone], gone),
        profile_of(came, list(range(len(stay), len(whole)))),
        moved,
    )
    expected = profile_of(whole, list(range(len(whole))))
    assert found.records == len(whole)
    assert counts(found) == counts(expected)
    for path, field in found.root.walk():
        for seen in field.classes.values():
            if seen.place is not None:  # an example is one of the records that are there
                value = whole[seen.place[1]][path]
                assert str(value).startswith(str(seen.example)) or value is None
        for (
            text,
            seen,
        ) in field.values.kept.items():  # also in a sample a value that is kept is counted exactly
            assert seen.count == sum(one[path] == text for one in whole)
        if path and not field.values.is_sample:
            different = {one[path] for one in whole if one[path] is not None}
            assert different == field.values.kept.keys()
            assert len(different) <= MAX_VALUES


def test_only_profiles_without_types_and_sizes_are_changed() -> None:
    table = profile_of([{"a": "1"}], [0]).as_json()
    assert can_change(table)
    assert not can_change(Profile(text_only=False).as_json())
    assert not can_change({"text_only": True, "records": 1, "types": {}, "version": 1})
    assert not can_change({"text_only": True, "records": 1, "types": {}})
    assert not can_change(table | {"root": {**table["root"], "is_mapping": True}})
