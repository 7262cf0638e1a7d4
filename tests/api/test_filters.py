"""Every filter, in every combination, finds what a plain Python model finds; bad values are refused."""

import json
from collections.abc import Callable
from typing import Any

import pytest
import requests
from hypothesis import given, settings
from hypothesis import strategies as st

from kasparro_api.data import filters
from tests.api import model
from tests.api.conftest import Service
from tests.api.model import Question, Row
from tests.conftest import corpus

BAD = {
    "time": ["", "noon", "2026-13-01", "2026-11-01T25:00:00Z", "1", "2026-11-01T12:00:00+99:00", "20261101"],
    "number": ["", "x", "1,5", "NaN", "Infinity", "1_000", "0x10", "1e999999999", "\u0665", "9" * 2000],
    "integer": ["", "x", "1.5", str(2**63), "1e30", "NaN"],
    "boolean": ["", "TRUE", "1", "yes", "null"],
    "hash": ["0", "xyz", "\\x00"],
    "text": ["", " ", "\0", "a\0b"],
}


@pytest.fixture(scope="module")
def declared(service: Service) -> Service:
    """The service, with attributes that contracts declare."""
    model.declare_contracts(service.warehouse)
    return service


def listed(service: Service, **parameters: Any) -> list[int]:
    response = service.get("/data", limit=1000, **parameters)
    assert response.status_code == 200, response.text
    return [record["id"] for record in response.json()["data"]]


def error_of(response: requests.Response) -> dict[str, Any]:
    assert response.status_code == 422, response.text
    [error] = response.json()["errors"]
    return dict(error)


@settings(max_examples=100, deadline=None)
@given(drawn=model.rows, asked=st.lists(model.questions(), min_size=1, max_size=4))
def test_any_combination_of_filters_finds_what_the_model_finds(
    declared: Service, drawn: list[Row], asked: list[Question]
) -> None:
    records = model.fill(declared.warehouse, drawn)
    for question in asked:
        assert listed(declared, **question.sent()) == question.answer(records), question.sent()


@pytest.mark.parametrize("column", list(model.TYPES))
def test_every_operator_of_a_column_finds_what_the_model_finds(declared: Service, column: str) -> None:
    @settings(max_examples=8, deadline=None)
    @given(
        drawn=st.lists(model.row, min_size=10, max_size=25),
        conditions=st.lists(model.compared([column]), min_size=4, max_size=4),
    )
    def holds(drawn: list[Row], conditions: list[model.Condition]) -> None:
        records = model.fill(declared.warehouse, drawn)
        for name, sent, keep in conditions:
            question = Question({name: sent}, (keep,))
            assert listed(declared, **question.sent()) == question.answer(records), (name, sent)

    holds()


@settings(max_examples=40, deadline=None)
@given(
    drawn=st.lists(model.row, min_size=5, max_size=25),
    lists=st.fixed_dictionaries(
        {},
        optional={
            name: st.lists(model.values(name), min_size=1, max_size=3)
            for name in ("source", "category", "kind")
        },
    ),
    within=st.fixed_dictionaries(
        {},
        optional={
            f"{name}.in": st.lists(model.values(name).filter(lambda v: "," not in v), min_size=1, max_size=3)
            for name in ("source", "category", "kind")
        },
    ),
    sort=st.sampled_from(["-published_at", "published_at", "title"]),
    deleted=st.sampled_from(["exclude", "include", "only"]),
    offset=st.integers(0, 4),
)
def test_several_values_of_source_category_and_kind_are_any_of_and_together_all_of(
    declared: Service,
    drawn: list[Row],
    lists: dict[str, list[str]],
    within: dict[str, list[str]],
    sort: str,
    deleted: str,
    offset: int,
) -> None:
    records = model.fill(declared.warehouse, drawn)
    asked = [*lists.items(), *((name.removesuffix(".in"), several) for name, several in within.items())]
    question = Question(
        {**lists, **{name: [",".join(several)] for name, several in within.items()}},
        tuple(model.any_of(name, several) for name, several in asked),
        deleted,
        sort,
    )
    assert listed(declared, offset=offset, **question.sent()) == question.answer(records)[offset:]


@pytest.mark.parametrize(
    ("unknown", "closest"),
    [
        ("attributes.rnk", "attributes.rank"),
        ("attributes.undeclared", "attributes."),
        ("attributes.rank.gtt", "attributes.rank"),
        ("attributes", "attributes."),
        ("title.like", "title"),
        ("id.gt.gt", "id"),
        ("search", "source"),
        ("epoch", ""),
    ],
)
def test_what_no_contract_declares_is_refused_and_the_closest_one_named(
    declared: Service, unknown: str, closest: str
) -> None:
    error = error_of(declared.get("/data", **{unknown: "1"}))
    assert error["parameter"] == unknown
    assert error["closest"].startswith(closest)
    assert f"`{error['closest']}`" in error["message"]


def test_an_attribute_is_known_as_soon_as_a_contract_declares_it(
    get: Callable[..., requests.Response], warehouse: Any, add_record: Callable[..., int]
) -> None:
    found = add_record(attributes={"rank": 7})
    add_record(attributes={"rank": 8})
    assert get("/data", **{"attributes.rank": "7"}).status_code == 422
    model.declare_contracts(warehouse)
    response = get("/data", **{"attributes.rank": "7"})
    assert [record["id"] for record in response.json()["data"]] == [found]


@pytest.mark.parametrize("column", list(model.TYPES))
def test_a_bad_value_is_refused_with_what_is_allowed(declared: Service, column: str) -> None:
    type_ = model.TYPES[column]
    for suffix in ("", ".gt", ".ne", ".in", ".is_null"):
        kind = "boolean" if suffix == ".is_null" else type_
        for value in BAD.get(kind, ["1"]):
            if suffix == ".in" and "," in value:  # two values, both good
                continue
            error = error_of(declared.get("/data", **{column + suffix: value}))
            assert error["parameter"] == column + suffix
            assert error["message"]
            assert error["allowed"]


@pytest.mark.parametrize(
    ("name", "type_"),
    [
        ("published_after", "time"),
        ("published_before", "time"),
        ("updated_since", "time"),
        ("amount_min", "number"),
        ("amount_max", "number"),
        ("kind", "text"),
        ("author", "text"),
        ("tag", "text"),
        ("q", "text"),
    ],
)
def test_a_bad_value_of_a_named_filter_is_refused(declared: Service, name: str, type_: str) -> None:
    for value in BAD[type_]:
        error = error_of(declared.get("/data", **{name: value}))
        assert error["parameter"] == name
        assert error["allowed"]


def test_naughty_strings_as_values_are_data_or_refused(declared: Service) -> None:
    strings = json.loads((corpus("naughty-strings") / "blns.json").read_text("utf-8"))
    names = ["id", "amount.gt", "published_after", "content_hash.in", "attributes.live", "attributes.seen.lt"]
    names += ["title.gte", "author.ne", "attributes.label", "q", "fields", "sort", "deleted", "count", "tag"]
    for number, text in enumerate(strings):
        # every text with some of the names, every name with some of the texts
        for name in names[number % 5 :: 5]:
            assert declared.get("/data", **{name: text}).status_code in {200, 422}, (name, text)


INJECTIONS = ["'; drop table kasparro.unified_record; --", "' or '1'='1", "%s", "%(p0)s", "\\", "$1", "{}"]


@pytest.mark.parametrize("name", [*model.TYPES, "tag", "q", "fields", "sort", "cursor", "limit", "as_of"])
def test_no_value_and_no_name_becomes_sql(declared: Service, name: str) -> None:
    [record] = model.fill(declared.warehouse, [_plain()])
    for text in INJECTIONS:
        for suffix in ("", ".gt", ".in", ".ne") if name in model.TYPES else ("",):
            response = declared.get("/data", **{name + suffix: text})
            assert response.status_code in {200, 400, 404, 422}, (name, suffix, text)
            if response.status_code == 200 and suffix == "":
                assert response.json()["data"] == []
        assert declared.get("/data", **{name + text: "1"}).status_code == 422
    assert listed(declared) == [record["id"]]


def _plain() -> Row:
    return {**{name: pool[0] for name, pool in model.POOLS.items()}, "attributes": {}}


@pytest.mark.parametrize(
    "name",
    [
        "published_after",
        "amount_min",
        "q",
        "deleted",
        "sort",
        "fields",
        "limit",
        "offset",
        "cursor",
        "count",
        "amount.gt",
        "title.ne",
        "id.is_null",
        "attributes.rank.lte",
    ],
)
def test_a_parameter_of_one_value_sent_twice_is_refused(declared: Service, name: str) -> None:
    value = {"published_after": "2026-11-01", "q": "a", "deleted": "only", "sort": "title", "fields": "id"}
    value |= {"cursor": "x", "count": "none", "id.is_null": "true"}
    error = error_of(declared.get("/data", **{name: [value.get(name, "1")] * 2}))
    assert error["parameter"] == name
    assert "more than once" in error["message"]


def test_more_values_than_a_filter_takes_are_refused(declared: Service) -> None:
    assert (
        error_of(declared.get("/data", **{"id.in": ",".join(map(str, range(101)))}))["parameter"] == "id.in"
    )
    assert declared.get("/data", **{"id.in": ",".join(map(str, range(100)))}).status_code == 200
    assert declared.get("/data", source=["a"] * 101).status_code == 422


def test_more_parameters_than_a_query_takes_are_refused(declared: Service) -> None:
    assert declared.get("/data?" + "&".join(["source=a"] * 101)).status_code == 422


@pytest.mark.parametrize(
    "written", ["2026-11-01T14:00:00+02:00", "2026-11-01T14:00:00.0%2B02:00", "2026-11-01T14:00:00+0200"]
)
def test_a_plus_sign_of_a_time_zone_may_come_unencoded(declared: Service, written: str) -> None:
    records = model.fill(declared.warehouse, [{**_plain(), "published_at": at} for at in (model.NOON, None)])
    for name in ("published_after", "published_at.gte", "published_at"):
        response = declared.get(f"/data?{name}={written}")
        assert response.status_code == 200, response.text
        assert [record["id"] for record in response.json()["data"]] == [records[0]["id"]]


@settings(max_examples=30, deadline=None)
@given(drawn=st.lists(model.row, max_size=5), data=st.data())
def test_fields_picks_members_and_keeps_their_order(
    declared: Service, drawn: list[Row], data: st.DataObject
) -> None:
    model.fill(declared.warehouse, drawn)
    whole = declared.get("/data").json()["data"]
    if not whole:
        return
    names = data.draw(st.lists(st.sampled_from(list(whole[0])), min_size=1))
    picked = declared.get("/data", fields=", ".join(names)).json()["data"]
    expected = [{name: value for name, value in record.items() if name in names} for record in whole]
    assert json.dumps(picked) == json.dumps(expected)
    one = declared.get(f"/data/{whole[0]['id']}", fields=",".join(names)).json()["data"]
    assert one == expected[0]


@pytest.mark.parametrize("fields", ["", ",", "id,nothing", "*", "search", "epoch", "id;title"])
def test_a_member_that_there_is_not_is_refused(declared: Service, fields: str) -> None:
    assert error_of(declared.get("/data", fields=fields))["parameter"] == "fields"
    assert error_of(declared.get("/data/1", fields=fields))["parameter"] == "fields"


@pytest.mark.parametrize("name", [name for name in model.ATTRIBUTES if name != "in"])
def test_a_value_of_another_type_that_a_contract_let_pass_breaks_no_filter_of_its_attribute(
    declared: Service, name: str
) -> None:
    evolved = [
        {"usd": 1},
        [1, "a"],
        "n/a",
        "2026-02-30",
        "2026-11-01T25:00:00Z",
        "1e999999",
        5,
        10**40,
        True,
        None,
    ]
    model.fill(
        declared.warehouse,
        [{**_plain(), "attributes": {name: value, "quotes.EUR.price": 1}} for value in evolved],
    )
    kind = model.TYPES[f"attributes.{name}"]
    sent = {"number": "4.5", "boolean": "false", "time": "2026-01-01T00:00:00Z", "text": "n/a"}.get(kind)
    for suffix in filters.OPERATORS if sent else ():
        if kind == "boolean" and suffix in filters.COMPARISONS:
            continue
        listed(declared, **{f"attributes.{name}.{suffix}": "true" if suffix == "is_null" else sent})
    assert len(listed(declared, **{f"attributes.{name}.is_null": "false"})) == len(evolved) - 1
    if kind == "number":
        assert len(listed(declared, **{f"attributes.{name}.gt": "4.5"})) == 2


def test_an_attribute_that_looks_like_a_time_and_is_none_has_no_value(declared: Service) -> None:
    model.fill(
        declared.warehouse,
        [{**_plain(), "attributes": {"seen": text}} for text in ("2026-02-31", "2026-99-99T00:00:00Z")],
    )
    assert listed(declared, **{"attributes.seen.gt": "2026-01-01"}) == []
