"""Cursor paging reaches every record once, whatever the dates are and whatever comes and goes."""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest
import requests
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kasparro_api.data.cursor import Position, encode

Get = Callable[..., requests.Response]
Walk = Callable[..., Iterator[list[dict[str, Any]]]]

NOON = datetime(2026, 11, 1, 12, tzinfo=UTC)

# few distinct dates over many rows, so that most are equal, with the microsecond and the null among them
dates = st.lists(
    st.sampled_from([None, NOON, NOON + timedelta(microseconds=1), NOON - timedelta(days=9000)]),
    max_size=40,
)


def fill(warehouse: psycopg.Connection[Any], published: list[datetime | None]) -> list[int]:
    """Replace every record by one per date; the ids as a reader should meet them."""
    warehouse.execute("truncate kasparro.unified_record")
    warehouse.execute(
        "insert into kasparro.unified_record "
        "(source, source_id, kind, epoch, version, content_hash, raw_id, run_id, published_at) "
        "select 's' || mod(n, 2), n::text, 'k', 1, 1, '', n, 'r', at "
        "from unnest(%s::timestamptz[]) with ordinality as given(at, n)",
        [published],
    )
    rows = warehouse.execute(
        "select id from kasparro.unified_record order by published_at desc nulls last, id desc"
    ).fetchall()
    return [row[0] for row in rows]


@settings(
    max_examples=40,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],  # each example fills the table anew
)
@given(published=dates, limit=st.integers(1, 12))
def test_a_walk_meets_every_record_once_and_in_order(
    walk: Walk, warehouse: psycopg.Connection[Any], published: list[datetime | None], limit: int
) -> None:
    expected = fill(warehouse, published)
    pages = list(walk(limit=limit))
    assert [record["id"] for page in pages for record in page] == expected
    assert all(len(page) == limit for page in pages[:-1])
    assert pages[-1] or len(pages) == 1


@settings(
    max_examples=25,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],  # each example fills the table anew
)
@given(published=dates.filter(bool), limit=st.integers(1, 5), data=st.data())
def test_a_walk_meets_every_record_that_stays_once_while_others_come_and_go(
    walk: Walk,
    warehouse: psycopg.Connection[Any],
    published: list[datetime | None],
    limit: int,
    data: st.DataObject,
) -> None:
    stable = set(fill(warehouse, published))
    met: list[int] = []
    came = 0
    for page in walk(limit=limit):
        met += [record["id"] for record in page]
        if came >= 20:  # more could come for ever
            continue
        for at in data.draw(st.lists(st.sampled_from([None, NOON, NOON + timedelta(days=1)]), max_size=3)):
            came += 1
            warehouse.execute(
                "insert into kasparro.unified_record "
                "(source, source_id, kind, epoch, version, content_hash, raw_id, run_id, published_at) "
                "values ('new', %s, 'k', 1, 1, '', 1, 'r', %s)",
                [str(came), at],
            )
        gone = data.draw(st.sampled_from(sorted(stable)))
        if data.draw(st.booleans()):
            warehouse.execute("delete from kasparro.unified_record where id = %s", [gone])
        else:
            warehouse.execute("update kasparro.unified_record set deleted_at = now() where id = %s", [gone])
        stable.discard(gone)
        if not stable:
            break
    assert len(met) == len(set(met))
    assert stable <= set(met)


def test_a_walk_with_filters_stays_inside_them(walk: Walk, warehouse: psycopg.Connection[Any]) -> None:
    fill(warehouse, [NOON, None] * 15)
    met = [record for page in walk(limit=4, source="s1") for record in page]
    assert len(met) == 15
    assert {record["source"] for record in met} == {"s1"}


def test_the_limit_may_change_between_pages(get: Get, warehouse: psycopg.Connection[Any]) -> None:
    expected = fill(warehouse, [NOON] * 9)
    first = get("/data", limit=2).json()
    second = get("/data", limit=100, cursor=first["pagination"]["next_cursor"]).json()
    assert [record["id"] for record in first["data"] + second["data"]] == expected


@pytest.mark.parametrize("published", [datetime(1, 1, 1, tzinfo=UTC), datetime(9999, 12, 31, tzinfo=UTC)])
def test_the_ends_of_the_calendar_page_too(
    walk: Walk, warehouse: psycopg.Connection[Any], published: datetime
) -> None:
    expected = fill(warehouse, [published] * 3)
    met = [record for page in walk(limit=1) for record in page]
    assert [record["id"] for record in met] == expected
    assert {record["published_at"] for record in met} == {published.isoformat().replace("+00:00", "Z")}


@pytest.mark.parametrize(
    "damage", [lambda c: "x" + c, lambda c: c[:-1], lambda c: c + "=", lambda _: "", str.lower]
)
def test_a_damaged_cursor_is_refused(
    get: Get, warehouse: psycopg.Connection[Any], damage: Callable[[str], str]
) -> None:
    fill(warehouse, [NOON] * 3)
    cursor = get("/data", limit=1).json()["pagination"]["next_cursor"]
    response = get("/data", limit=1, cursor=damage(cursor))
    assert response.status_code == 400
    problem = response.json()
    assert problem["type"] == "urn:kasparro:problem:invalid-cursor"
    assert problem["errors"][0]["parameter"] == "cursor"


def test_a_cursor_of_another_list_is_refused(get: Get, warehouse: psycopg.Connection[Any]) -> None:
    fill(warehouse, [NOON] * 6)
    cursor = get("/data", limit=1, source="s1").json()["pagination"]["next_cursor"]
    assert get("/data", limit=1, source="s1", cursor=cursor).status_code == 200
    for other in ({}, {"source": "s0"}, {"source": "s1", "category": "c"}, {"category": "s1"}):
        response = get("/data", limit=1, cursor=cursor, **other)
        assert response.status_code == 400
        assert "other filters" in response.json()["detail"]


@pytest.mark.parametrize("sort_key", ["x", "2026-13-45 00:00:00+00", "", "'; drop table x", "\0"])
def test_a_cursor_made_up_with_a_right_checksum_is_refused(get: Get, sort_key: str) -> None:
    response = get("/data", cursor=encode(Position(sort_key, 1), {}))
    assert response.status_code == 400
    assert response.headers["Content-Type"] == "application/problem+json"
