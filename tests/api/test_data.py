"""`GET /data`: shape, order, filters, and what is refused."""

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from urllib.parse import urlsplit

import psycopg
import pytest
import requests

from kasparro_api.data.filters import COLUMN_KINDS
from kasparro_api.data.parameters import DataParameters

Get = Callable[..., requests.Response]

NOON = datetime(2026, 11, 1, 12, tzinfo=UTC)


def error_of(response: requests.Response, status: int = 422) -> dict[str, Any]:
    """The one entry of `errors` of a problem."""
    assert response.status_code == status, response.text
    assert response.headers["Content-Type"] == "application/problem+json"
    [error] = response.json()["errors"]
    return dict(error)


def ids(response: requests.Response) -> list[int]:
    assert response.status_code == 200, response.text
    return [record["id"] for record in response.json()["data"]]


def test_a_record_has_every_field_and_its_nulls(get: Get, add_record: Callable[..., int]) -> None:
    full = add_record(
        source="news",
        source_id="a",
        kind="article",
        title='Say "hi"\n\u2028',
        summary="s",
        url="https://example.org/a",
        category="c",
        author="x",
        tags=["b", "a"],
        amount=Decimal("1.50"),
        currency="EUR",
        published_at=NOON.replace(microsecond=120_000),
        attributes={"rank": 1, "nested": {"x": [None, True]}},
        content_hash=b"\x00\xff",
        raw_id=7,
        run_id="r",
        first_seen_at=NOON,
        updated_at=NOON + timedelta(microseconds=1),
    )
    empty = add_record(source_id="b")
    body = get("/data").json()
    assert body["data"][0] == {
        "id": full,
        "source": "news",
        "source_id": "a",
        "kind": "article",
        "title": 'Say "hi"\n\u2028',
        "summary": "s",
        "url": "https://example.org/a",
        "category": "c",
        "author": "x",
        "tags": ["b", "a"],
        "amount": 1.5,
        "currency": "EUR",
        "published_at": "2026-11-01T12:00:00.12Z",
        "attributes": {"rank": 1, "nested": {"x": [None, True]}},
        "content_hash": "00ff",
        "raw_id": 7,
        "run_id": "r",
        "first_seen_at": "2026-11-01T12:00:00Z",
        "updated_at": "2026-11-01T12:00:00.000001Z",
        "deleted_at": None,
    }
    assert list(body["data"][1]) == list(body["data"][0])
    nulls = {name for name, value in body["data"][1].items() if value is None}
    assert nulls == {
        "title",
        "summary",
        "url",
        "category",
        "author",
        "amount",
        "currency",
        "published_at",
        "deleted_at",
    }
    assert body["data"][1]["id"] == empty
    assert body["data"][1]["tags"] == []
    assert body["pagination"] == {"limit": 10, "next_cursor": None, "has_more": False}


def test_an_empty_list_has_the_shape_of_a_list(get: Get) -> None:
    response = get("/data")
    body = response.json()
    assert body["data"] == []
    assert body["pagination"] == {"limit": 10, "next_cursor": None, "has_more": False}
    assert body["meta"]["request_id"] == response.headers["X-Request-ID"]
    assert 0 < body["meta"]["api_latency_ms"] <= float(response.headers["X-API-Latency-MS"])
    assert "Link" not in response.headers


def test_a_number_keeps_every_digit(get: Get, add_record: Callable[..., int]) -> None:
    digits = "1234567890123456789012345678.901234567890"
    add_record(amount=Decimal(digits), attributes={"big": 2**70})
    text = get("/data").text
    assert f'"amount":{digits},' in text
    [record] = json.loads(text, parse_float=Decimal)["data"]
    assert record["amount"] == Decimal(digits)
    assert record["attributes"]["big"] == 2**70


def test_records_come_newest_first_without_a_date_last_and_equal_ones_by_id(
    get: Get, add_record: Callable[..., int]
) -> None:
    undated_1, old, new, undated_2, new_too = (
        add_record(published_at=at) for at in (None, NOON - timedelta(days=1), NOON, None, NOON)
    )
    assert ids(get("/data")) == [new_too, new, old, undated_2, undated_1]


def test_a_deleted_record_is_not_served(get: Get, add_record: Callable[..., int]) -> None:
    kept = add_record()
    add_record(deleted_at=NOON)
    assert ids(get("/data")) == [kept]


def test_filters_repeat_as_any_of_and_combine_as_all_of(get: Get, add_record: Callable[..., int]) -> None:
    rows = {
        (source, category): add_record(source=source, category=category)
        for source in "abc"
        for category in ("x", "y", None)
    }
    assert ids(get("/data", source="a")) == [rows["a", None], rows["a", "y"], rows["a", "x"]]
    assert set(ids(get("/data", source=["a", "b"]))) == {rows[s, c] for s in "ab" for c in ("x", "y", None)}
    assert ids(get("/data", source="b", category="y")) == [rows["b", "y"]]
    assert set(ids(get("/data", source=["a", "c", "a"], category=["x", "y"]))) == {
        rows[s, c] for s in "ac" for c in "xy"
    }
    assert ids(get("/data", source="nobody")) == []


def test_the_limit_is_10_unless_told_and_1000_at_most(
    get: Get, warehouse: psycopg.Connection[Any], add_record: Callable[..., int]
) -> None:
    add_record()
    warehouse.execute(
        "insert into kasparro.unified_record "
        "(source, source_id, kind, epoch, version, content_hash, raw_id, run_id) "
        "select 's', g::text, 'k', 1, 1, '', g, 'r' from generate_series(1, 1000) g"
    )
    assert len(ids(get("/data"))) == 10
    assert len(ids(get("/data", limit=1))) == 1
    page = get("/data", limit=1000)
    assert len(ids(page)) == 1000
    assert page.json()["pagination"]["has_more"] is True


@pytest.mark.parametrize("limit", ["-1", "0", "1001", "abc", "", "1.5", "1e3", "9" * 5000, "NaN"])
def test_a_limit_out_of_bounds_is_refused_with_what_is_allowed(ask: Get, limit: str) -> None:
    error = error_of(ask("/data", limit=limit))
    assert error["parameter"] == "limit"
    assert error["sent"].startswith(limit[:200])
    assert len(error["sent"]) <= 201
    assert "from 1 to 1,000" in error["allowed"]


@pytest.mark.parametrize("offset", ["-1", "100001", "x"])
def test_an_offset_out_of_bounds_is_refused_with_what_is_allowed(ask: Get, offset: str) -> None:
    error = error_of(ask("/data", offset=offset))
    assert (error["parameter"], error["sent"]) == ("offset", offset)
    assert "from 0 to 100,000" in error["allowed"]


@pytest.mark.parametrize("name", ["source", "category"])
@pytest.mark.parametrize("value", ["", "  ", "\t\n"])
def test_a_blank_filter_is_refused(ask: Get, name: str, value: str) -> None:
    error = error_of(ask("/data", **{name: ["prices", value]}))
    assert (error["parameter"], error["sent"]) == (name, value)
    assert "blank" in error["message"]


@pytest.mark.parametrize("name", ["source", "category", "limit", "offset", "a\0b"])
def test_a_nul_character_is_refused(ask: Get, name: str) -> None:
    assert error_of(ask("/data", **{name: "a\0b"}))["parameter"] == name


def test_a_nul_character_in_a_cursor_is_refused(ask: Get) -> None:
    assert error_of(ask("/data", cursor="\0"), 400)["parameter"] == "cursor"


@pytest.mark.parametrize(
    ("unknown", "closest"),
    [
        ("limt", "limit"),
        ("Source", "source"),
        ("page", "tag"),
        ("categories", "category"),
        ("off", "offset"),
        ("publishedafter", "published_after"),
        ("title.gtt", "title"),
        ("tags", "tag"),
        ("raw_idd.gte", "raw_id"),
    ],
)
def test_an_unknown_parameter_is_refused_and_the_closest_known_one_named(
    ask: Get, unknown: str, closest: str
) -> None:
    error = error_of(ask("/data", **{unknown: "1"}))
    assert error["parameter"] == unknown
    assert error["closest"] == closest
    assert f"`{closest}`" in error["message"]
    named, columns = tuple(DataParameters.model_fields), tuple(COLUMN_KINDS)
    known = error["allowed"].removeprefix("Known parameters: ").removesuffix(".").split(", ")
    assert known == list(dict.fromkeys(named + columns))


def test_every_bad_parameter_is_named_at_once(ask: Get) -> None:
    problem = ask("/data", limit="0", offset="-1", source="", colour="red").json()
    assert {error["parameter"] for error in problem["errors"]} == {"limit", "offset", "source", "colour"}


def test_an_offset_skips_and_the_next_page_goes_on_by_cursor(
    get: Get, add_record: Callable[..., int]
) -> None:
    rows = [add_record(published_at=NOON) for _ in range(7)][::-1]
    page = get("/data", offset=2, limit=3)
    assert ids(page) == rows[2:5]
    following = get("/data", cursor=page.json()["pagination"]["next_cursor"], limit=3)
    assert ids(following) == rows[5:]
    assert ids(get("/data", offset=7)) == []
    assert ids(get("/data", offset=0)) == rows


def test_a_cursor_and_an_offset_together_are_refused(get: Get, add_record: Callable[..., int]) -> None:
    add_record()
    add_record()
    cursor = get("/data", limit=1).json()["pagination"]["next_cursor"]
    error = error_of(get("/data", cursor=cursor, offset=0))
    assert error["parameter"] == "offset"


def test_the_next_link_keeps_the_filters_and_leads_to_the_next_page(
    get: Get, add_record: Callable[..., int]
) -> None:
    rows = [add_record(source="a&b=c d", category="é", published_at=NOON) for _ in range(5)][::-1]
    add_record(source="other")
    page = get("/api/v1/data", source=["a&b=c d", "x"], category="é", limit=2, offset=1)
    assert ids(page) == rows[1:3]
    link = page.links["next"]["url"]
    assert urlsplit(link).path == "/api/v1/data"
    following = requests.get(link, timeout=10)
    assert ids(following) == rows[3:]
    assert "Link" not in following.headers
