"""Suspected renames: what counts as evidence, how it adds up, and which pairs are chosen."""

from decimal import Decimal
from typing import Any

import pytest

from kasparro_pipeline.contract.drift import Drift, compare
from kasparro_pipeline.contract.profile import Profile
from kasparro_pipeline.contract.renames import THRESHOLD, combined, likeness
from kasparro_pipeline.contract.spec import Contract
from tests.unit.conftest import Calls


def profile_of(records: list[Any]) -> Profile:
    made = Profile()
    made.observe(records, range(len(records)))
    return made


def drift(
    fields: dict[str, Any], now: list[Any], before: list[Any] | None = None, **parts: Any
) -> list[Drift]:
    contract = Contract.model_validate({"kind": "thing", "key": "id", "fields": fields} | parts)
    return compare(contract, profile_of(now), profile_of(before) if before else None)


def told(found: list[Drift]) -> list[tuple[str, str, str | None]]:
    return [(one.change, one.field, one.found) for one in found]


WORDS = ["ape", "bee", "cat", "dog", "eel", "fox", "gnu", "hen", "ibis", "jay"]


def test_a_new_name_like_the_old_one_is_a_suspected_rename_with_its_confidence() -> None:
    (one,) = drift({"price": {"type": "number"}}, [{"id": 1, "current_price": Decimal("1.5")}])
    assert (one.change, one.field, one.mode) == ("renamed", "price", "freeze")
    assert (one.expected, one.found, one.confidence) == ("price", "current_price", Decimal("0.68"))


def test_the_same_values_under_another_name_are_a_rename_whatever_the_name() -> None:
    now = [{"id": n, "label": word} for n, word in enumerate(WORDS)]
    before = [{"id": n, "title": word} for n, word in enumerate(WORDS)]
    assert told(drift({"title": {}}, now)) == [("added", "label", "string"), ("removed", "title", None)]
    (one,) = drift({"title": {}}, now, before)
    assert told([one]) == [("renamed", "title", "label")]
    assert one.confidence is not None
    assert one.confidence > Decimal("0.9")


def test_other_values_under_another_name_are_no_rename() -> None:
    now = [{"id": n, "label": word[::-1]} for n, word in enumerate(WORDS)]
    before = [{"id": n, "title": word} for n, word in enumerate(WORDS)]
    assert told(drift({"title": {}}, now, before)) == [
        ("added", "label", "string"),
        ("removed", "title", None),
    ]


def test_that_two_fields_hold_the_same_few_values_is_weak_evidence() -> None:
    now = [{"id": n, "flag": word} for n, word in enumerate(["yes", "no"])]
    before = [{"id": n, "title": word} for n, word in enumerate(["yes", "no"])]
    assert [one.change for one in drift({"title": {}}, now, before)] == ["added", "removed"]


def test_a_field_of_another_type_is_less_of_a_rename() -> None:
    assert [
        one.change for one in drift({"price": {"type": "number"}}, [{"id": 1, "current_price": "dear"}])
    ] == [
        "added",
        "removed",
    ]


def test_of_several_fields_that_came_the_likeliest_is_chosen_and_each_once() -> None:
    fields: dict[str, Any] = {"price": {"type": "number"}, "price_low": {"type": "number"}}
    found = drift(fields, [{"id": 1, "prices": 1, "price_lowest": 2, "color": "red"}])
    assert told(found) == [
        ("added", "color", "string"),
        ("renamed", "price", "prices"),
        ("renamed", "price_low", "price_lowest"),
    ]


def test_a_field_that_moved_into_an_object_is_a_rename() -> None:
    (one,) = drift({"price": {"type": "number"}}, [{"id": 1, "quote": {"price": 5}}])
    assert told([one]) == [("renamed", "price", "quote.price")]


def test_a_renamed_key_is_told_too() -> None:
    (one,) = drift({"title": {}}, [{"title": "a", "ids": 5}])
    assert told([one]) == [("renamed", "id", "ids")]


def test_the_confidence_is_that_of_the_formula() -> None:
    def formula(**evidence: float) -> Decimal:
        return combined(**{"name": 0.0, "values": 0.0, "kind": 0.0, "fit": 1.0} | evidence)

    assert formula() == 0
    assert formula(name=1) == Decimal("0.80")
    assert formula(values=1) == Decimal("0.90")
    assert formula(name=0.75, kind=1) == Decimal("0.68")
    assert formula(name=1, values=1, kind=1) == Decimal("0.98")
    assert formula(name=1, fit=0) == Decimal("0.40")
    assert formula(name=0.7) < THRESHOLD < formula(name=0.8)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("last_updated", "lastUpdated"),
        ("price_usd", "priceUSD"),
        ("price", "current_price"),
        ("quotes.USD.price", "quote.USD.price"),
        ("market_cap", "marketCapitalization"),
    ],
)
def test_names_that_people_would_call_alike_are(one: str, other: str) -> None:
    assert likeness(one, other) >= 0.7
    assert likeness(one, other) == likeness(other, one)


@pytest.mark.parametrize(
    ("one", "other"), [("rank", "name"), ("title", "label"), ("open", "close"), ("a", "b")]
)
def test_names_that_people_would_not_call_alike_are_not(one: str, other: str) -> None:
    assert likeness(one, other) < 0.6


def test_of_very_many_fields_the_renamed_one_is_found_soon_by_its_name_or_its_values() -> None:
    fields = {f"promised{n}": {"type": "number"} for n in range(40)} | {"title": {}, "market_cap": {}}
    deep = "a_long_name_of_an_object_" * 7
    now = [
        {f"{deep}{n}": {deep: {deep: n}} for n in range(950)}
        | {f"other{n}": n for n in range(950)}
        | {"id": number, "label": word, "marketCap": "much"}
        for number, word in enumerate(WORDS)
    ]
    before = [{"id": number, "title": word} for number, word in enumerate(WORDS)]
    with Calls() as calls:
        found = told(drift(fields, now, before))
    assert calls.count < 4_000_000
    assert ("renamed", "title", "label") in found
    assert ("renamed", "market_cap", "marketCap") in found
