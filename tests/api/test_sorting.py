"""Every order, walked by cursor, meets every record once: the walk equals a plain Python model."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import requests
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.api import model
from tests.api.conftest import Service
from tests.api.model import Question, Row

# Made by the first release, which had no order but the newest first, and two filters
FIRST_RELEASE = {
    "AUQTb6NVs2eKNDIgMjAyNi0xMS0wMSAxMjowMDowMC4xMjM0NTYrMDBbHy9o4g0xeQ": {},
    "AXHeYmWLZc-fNDIgMjAyNi0xMS0wMSAxMjowMDowMC4xMjM0NTYrMDD__JXGDNgK1g": {"source": ["a"]},
    "AZ55BhpAV_HsNDIgMjAyNi0xMS0wMSAxMjowMDowMC4xMjM0NTYrMDDdPi6f4bvhfw": {
        "source": ["b", "a"],
        "category": ["c"],
    },
    "AXHeYmWLZc-fNyAtaW5maW5pdHnu82w4MqIV7g": {"source": ["a"]},
}


@pytest.fixture(scope="module")
def declared(service: Service) -> Service:
    """The service, with attributes that contracts declare."""
    model.declare_contracts(service.warehouse)
    return service


def walk(service: Service, **parameters: Any) -> Iterator[dict[str, Any]]:
    """Every page's body, by `next_cursor`."""
    while True:
        response = service.get("/data", **parameters)
        assert response.status_code == 200, response.text
        body = response.json()
        yield body
        pagination = body["pagination"]
        assert pagination["has_more"] is (pagination["next_cursor"] is not None) is ("next" in response.links)
        if not pagination["has_more"]:
            return
        parameters["cursor"] = pagination["next_cursor"]


@settings(max_examples=80, deadline=None)
@given(drawn=model.rows, question=model.questions(), limit=st.integers(1, 7), offset=st.integers(0, 5))
def test_a_walk_of_any_list_meets_its_records_once_and_in_order(
    declared: Service, drawn: list[Row], question: Question, limit: int, offset: int
) -> None:
    records = model.fill(declared.warehouse, drawn)
    expected = question.answer(records)
    bodies = list(walk(declared, limit=limit, count="exact", **question.sent()))
    pages = [[record["id"] for record in body["data"]] for body in bodies]
    assert [found for page in pages for found in page] == expected
    assert all(len(page) == limit for page in pages[:-1])
    assert pages[-1] or len(pages) == 1
    for body in bodies:
        assert body["pagination"]["total"] == len(expected)
        assert body["pagination"]["total_is"] == "exact"
    page = declared.get("/data", limit=limit, offset=offset, **question.sent()).json()
    assert [record["id"] for record in page["data"]] == expected[offset : offset + limit]
    assert page["pagination"]["has_more"] is (len(expected) > offset + limit)


@settings(max_examples=60, deadline=None)
@given(
    drawn=st.lists(model.row, min_size=1, max_size=20),
    question=model.questions(["source", "category", "title", "amount", "attributes.rank", "kind"]),
    limit=st.integers(1, 4),
    data=st.data(),
)
def test_records_that_stay_are_met_once_and_in_order_while_others_come_change_and_go(
    declared: Service, drawn: list[Row], question: Question, limit: int, data: st.DataObject
) -> None:
    warehouse = declared.warehouse
    records = {record["id"]: record for record in model.fill(warehouse, drawn)}
    stable = set(question.answer(list(records.values())))
    order = question.answer(list(records.values()))
    met: list[int] = []
    came = 100
    for body in walk(declared, limit=limit, **question.sent()):
        met += [record["id"] for record in body["data"]]
        if came >= 115:  # more could come for ever
            continue
        for new in data.draw(st.lists(model.row, max_size=2)):
            came += 1
            model.insert(warehouse, [new], came)
        touched = data.draw(st.sampled_from(sorted(records)))
        change = data.draw(st.sampled_from(["delete", "mark", "move", "touch"]))
        if change == "touch":  # neither the filters nor the order look at it: it stays
            warehouse.execute("update kasparro.unified_record set run_id = 'new' where id = %s", [touched])
            continue
        stable.discard(touched)
        warehouse.execute(
            {
                "delete": "delete from kasparro.unified_record where id = %s",
                "mark": "update kasparro.unified_record set deleted_at = now() where id = %s",
                "move": "update kasparro.unified_record set published_at = now(), updated_at = now(),"
                " amount = 7, title = 'moved' where id = %s",
            }[change],
            [touched],
        )
    assert [found for found in met if found in stable] == [found for found in order if found in stable]


@settings(max_examples=40, deadline=None)
@given(drawn=model.rows, question=model.questions())
def test_counts_are_exact_or_say_that_they_are_estimated(
    declared: Service, drawn: list[Row], question: Question
) -> None:
    records = model.fill(declared.warehouse, drawn)
    number = len(question.answer(records))
    plain, estimated, exact = (
        declared.get("/data", limit=1, count=count, **question.sent()).json()["pagination"]
        for count in ("none", "estimated", "exact")
    )
    assert {"total", "total_is"} & set(plain) == set()
    assert (exact["total"], exact["total_is"]) == (number, "exact")
    assert isinstance(estimated["total"], int)
    assert estimated["total"] >= 0
    kept = set(question.parameters) <= {"source", "kind", "source.in", "kind.in"}
    assert estimated["total_is"] == ("exact" if kept else "estimated")
    assert not kept or estimated["total"] == number


def test_a_cursor_belongs_to_its_filters_and_its_order(declared: Service) -> None:
    row = {**{name: pool[0] for name, pool in model.POOLS.items()}, "attributes": {"rank": 1}}
    model.fill(declared.warehouse, [{**row, "title": f"word {n}", "amount": n} for n in range(4)])
    lists: list[dict[str, str]] = [
        {},
        {"sort": "published_at"},
        {"sort": "title"},
        {"sort": "-amount"},
        {"deleted": "include"},
        {"source": "a"},
        {"source.ne": "b"},
        {"kind": "price"},
        {"amount_min": "0"},
        {"amount.gt": "-1"},
        {"attributes.rank": "1"},
        {"attributes.rank.is_null": "false"},
        {"q": "word"},
        {"q": "word", "sort": "-relevance"},
        {"published_after": "0001-01-01"},
    ]
    cursors = {}
    for number, asked in enumerate(lists):
        page = declared.get("/data", limit=2, **asked).json()
        cursors[number] = page["pagination"]["next_cursor"]
        assert cursors[number] or asked.get("published_after"), asked
    for of, cursor in cursors.items():
        for number, asked in enumerate(lists):
            if cursor is not None:
                status = declared.get("/data", limit=2, cursor=cursor, **asked).status_code
                assert status == (200 if of == number else 400), (lists[of], asked)


@pytest.mark.parametrize(("cursor", "filters"), FIRST_RELEASE.items())
def test_a_cursor_of_the_first_release_is_still_taken(
    declared: Service, cursor: str, filters: dict[str, list[str]]
) -> None:
    model.fill(declared.warehouse, [])
    assert declared.get("/data", cursor=cursor, **filters).status_code == 200
    assert declared.get("/data", cursor=cursor, kind="x", **filters).status_code == 400
    assert declared.get("/data", cursor=cursor, sort="title", **filters).status_code == 400
    assert declared.get("/data", cursor=cursor[:-1], **filters).status_code == 400


def test_a_cursor_survives_a_restart_of_the_service(declared: Service, serve: Callable[..., str]) -> None:
    row = {**{name: pool[0] for name, pool in model.POOLS.items()}, "attributes": {}}
    records = model.fill(declared.warehouse, [row] * 3)
    cursor = declared.get("/data", limit=1, sort="title").json()["pagination"]["next_cursor"]
    other = serve(declared.database_url)
    page = declared.get("/data", sort="title", cursor=cursor).json()
    again = requests.get(other + "/data", params={"sort": "title", "cursor": cursor}, timeout=30).json()
    assert again["data"] == page["data"]
    assert [record["id"] for record in again["data"]] == [record["id"] for record in records[1:]]
