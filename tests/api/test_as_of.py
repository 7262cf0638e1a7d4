"""`as_of=`: the table as it was at a time, for every filter, order and format, and the same each time."""

from __future__ import annotations

import csv
import io
import json
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
import requests
from hypothesis import given, settings
from hypothesis import strategies as st
from psycopg.types.json import Jsonb

from kasparro_api.data import selection
from kasparro_api.data.selection import Selection
from kasparro_pipeline.warehouse.history import CHANGE_LOCK
from tests.api import model
from tests.api.test_changes import mark, put

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.api.conftest import Service
    from tests.api.model import Question, Row

MICROSECOND = timedelta(microseconds=1)
CHANGING = (
    "kind",
    "title",
    "category",
    "tags",
    "amount",
    "published_at",
    "deleted_at",
    "attributes",
    "raw_id",
)


@pytest.fixture(scope="module")
def declared(service: Service) -> Service:
    """The service, with attributes that contracts declare."""
    model.declare_contracts(service.warehouse)
    return service


def now_of(service: Service) -> datetime:
    """The time of the newest change."""
    row = service.warehouse.execute("select max(changed_at) from kasparro.unified_change").fetchone()
    assert row is not None
    return row[0]  # type: ignore[no-any-return]


def written(moment: datetime) -> str:
    return moment.isoformat()


step = st.one_of(
    st.tuples(st.just("insert"), st.lists(model.row, min_size=1, max_size=6)),
    st.tuples(st.just("update"), st.lists(st.tuples(st.integers(0, 30), model.row), min_size=1, max_size=4)),
    st.tuples(st.just("remove"), st.lists(st.integers(0, 30), min_size=1, max_size=3)),
)
histories = st.lists(step, min_size=1, max_size=6)


def live(service: Service, history: list[tuple[str, Any]]) -> list[tuple[datetime, list[Row]]]:
    """Let the table live through a history; what it held after each change, with the change's time."""
    records: list[Row] = model.fill(service.warehouse, [])
    inserted = 0
    held = []
    for what, details in history:
        with service.warehouse.transaction():
            if what == "insert":
                records = records + model.insert(service.warehouse, details, first=inserted)
                inserted += len(details)
            elif records and what == "update":
                for number, drawn in details:
                    records = changed(service, records, number % len(records), drawn)
            elif records:
                gone = {records[number % len(records)]["id"] for number in details}
                service.warehouse.execute(
                    "delete from kasparro.unified_record where id = any(%s)", [list(gone)]
                )
                records = [each for each in records if each["id"] not in gone]
        held.append((now_of(service), records))
    return held


def changed(service: Service, records: list[Row], number: int, drawn: Row) -> list[Row]:
    columns = {name: drawn[name] for name in CHANGING}
    record = {**records[number], **columns}
    sets = ", ".join(f"{name} = %s" for name in columns)
    bound = [Jsonb(value) if isinstance(value, dict) else value for value in columns.values()]
    service.warehouse.execute(
        f"update kasparro.unified_record set {sets} where id = %s", [*bound, record["id"]]
    )
    return [*records[:number], record, *records[number + 1 :]]


def walked(service: Service, limit: int, **parameters: Any) -> list[int]:
    """The ids of a list, page by page."""
    found: list[int] = []
    while True:
        answer = service.get("/data", limit=limit, fields="id", **parameters)
        assert answer.status_code == 200, answer.text
        body = answer.json()
        found += [record["id"] for record in body["data"]]
        if not body["pagination"]["has_more"]:
            return found
        parameters["cursor"] = body["pagination"]["next_cursor"]


@settings(max_examples=60, deadline=None)
@given(history=histories, asked=st.lists(model.questions(), min_size=1, max_size=3), limit=st.integers(1, 9))
def test_at_any_time_the_answer_is_that_of_a_plain_model(
    declared: Service, history: list[tuple[str, Any]], asked: list[Question], limit: int
) -> None:
    held = live(declared, history)
    for (moment, records), following in zip(held, [*held[1:], None], strict=True):
        last = following[0] - MICROSECOND if following and following[0] > moment else moment
        for question in asked:
            sent = question.sent()
            expected = question.answer(records)
            assert walked(declared, limit, as_of=written(moment), **sent) == expected, sent
            assert walked(declared, 1000, as_of=written(last), **sent) == expected, sent
            assert walked(declared, 1000, as_of=written(last), offset=2, **sent) == expected[2:], sent


@settings(max_examples=15, deadline=None)
@given(history=histories, question=model.questions())
def test_counts_files_and_single_records_are_of_that_time_too(
    declared: Service, history: list[tuple[str, Any]], question: Question
) -> None:
    for moment, records in live(declared, history):
        parameters: dict[str, Any] = {**question.sent(), "as_of": written(moment)}
        expected = question.answer(records)
        page = declared.get("/data", count="exact", **parameters).json()
        assert page["pagination"]["total"] == len(expected)
        assert declared.get("/data", count="estimated", **parameters).status_code == 200
        ordered = {"sort": "-published_at", **parameters}
        lines = declared.get("/data.ndjson", **ordered).text.splitlines()
        assert [json.loads(line)["id"] for line in lines] == expected
        cells = csv.DictReader(io.StringIO(declared.get("/data.csv", **parameters).text))
        assert sorted(int(row["id"]) for row in cells) == sorted(expected)
        for record in records[:2]:
            answer = declared.get(f"/data/{record['id']}", as_of=written(moment), deleted="include")
            assert answer.json()["data"]["title"] == record["title"]
            assert answer.json()["data"]["raw_id"] == record["raw_id"]


def test_a_search_finds_the_words_that_a_record_had(service: Service) -> None:
    put(service.warehouse, "words", title="an old heron")
    before = now_of(service)
    put(service.warehouse, "words", title="a new stork")
    for sort in ({}, {"sort": "-relevance"}):
        found = service.get("/data", q="heron", as_of=written(before), **sort).json()["data"]
        assert [record["title"] for record in found] == ["an old heron"]
        assert service.get("/data", q="stork", as_of=written(before), **sort).json()["data"] == []
        assert service.get("/data", q="heron", **sort).json()["data"] == []


def test_a_kind_that_no_record_has_any_more_is_found_where_it_was(service: Service) -> None:
    put(service.warehouse, "kind", kind="rare")
    before = now_of(service)
    put(service.warehouse, "kind", kind="common")
    assert len(service.get("/data", kind="rare", as_of=written(before)).json()["data"]) == 1
    assert service.get("/data", kind="rare").json()["data"] == []


def test_a_deleted_record_is_there_before_and_shown_as_asked_after(service: Service) -> None:
    record = put(service.warehouse, "gone")
    before = now_of(service)
    mark(service.warehouse, "gone")
    after = now_of(service)
    service.warehouse.execute("delete from kasparro.unified_record where id = %s", [record])
    removed = now_of(service)
    path = f"/data/{record}"
    assert service.get(path, as_of=written(before)).status_code == 200
    assert service.get(path, as_of=written(after)).status_code == 404
    shown = service.get(path, as_of=written(after), deleted="include").json()["data"]
    assert shown["deleted_at"] is not None
    gone = service.get(path, as_of=written(removed), deleted="include")
    assert (gone.status_code, gone.json()["type"]) == (404, "urn:kasparro:problem:no-record")


def test_a_time_in_the_future_is_refused_and_names_the_last_one_that_is_known(service: Service) -> None:
    later = datetime.now(UTC) + timedelta(hours=1)
    for path in ("/data", "/data.csv", "/data.ndjson", "/data/1"):
        answer = service.get(path, as_of=written(later))
        assert answer.status_code == 422, path
        [error] = answer.json()["errors"]
        assert error["parameter"] == "as_of"
        assert "future" in error["message"]


def test_a_time_before_the_history_is_refused_and_names_its_beginning(service: Service) -> None:
    row = service.warehouse.execute("select min(changed_at) from kasparro.unified_change").fetchone()
    assert row is not None
    begun = row[0].isoformat().replace("+00:00", "Z")
    for path in ("/data", "/data.csv", "/data/1"):
        answer = service.get(path, as_of=written(row[0] - MICROSECOND))
        assert answer.status_code == 404
        assert answer.json()["type"] == "urn:kasparro:problem:no-history"
        assert begun in answer.json()["detail"]
    assert service.get("/data", as_of=begun).json()["data"] == []


@pytest.mark.parametrize("sent", ["", "yesterday", "2026-13-01", ["2026-11-01", "2026-11-02"]])
def test_a_time_that_is_none_is_refused(service: Service, sent: str | list[str]) -> None:
    answer = service.get("/data", as_of=sent)
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["parameter"] == "as_of"


@pytest.mark.parametrize("sort", ["-published_at", "amount", "title"])
def test_the_present_is_asked_without_a_look_at_the_history(sort: Any) -> None:
    statement = selection.page(Selection(sort=sort), limit=10).text
    assert "unified_history" not in statement
    assert "unified_change" not in statement
    assert "unified_history" in selection.page(Selection(as_of=datetime.now(UTC)), limit=10).text


def test_a_cursor_belongs_to_its_time(service: Service) -> None:
    for number in range(3):
        put(service.warehouse, f"page-{number}")
    moment = now_of(service)
    first = service.get("/data", as_of=written(moment), limit=1)
    cursor = first.json()["pagination"]["next_cursor"]
    assert service.get("/data", as_of=written(moment), limit=1, cursor=cursor).status_code == 200
    for other in ({}, {"as_of": written(moment - MICROSECOND)}):
        assert service.get("/data", limit=1, cursor=cursor, **other).status_code == 400
    assert service.get(first.links["next"]["url"].removeprefix(service.url)).status_code == 200


def test_an_answer_about_the_past_stays_the_same_and_so_does_its_etag(service: Service) -> None:
    record = put(service.warehouse, "tagged", title="then")
    moment = written(now_of(service))
    for path in ("/data", f"/data/{record}"):
        first = service.get(path, as_of=moment)
        put(service.warehouse, "tagged", title=f"after {path}")
        second = service.get(path, as_of=moment, headers={"If-None-Match": first.headers["ETag"]})
        assert second.status_code == 304
        assert service.get(path, as_of=moment).json()["data"] == first.json()["data"]
        assert service.get(path).headers["ETag"] != first.headers["ETag"]


def test_what_a_contract_has_a_say_in_has_no_etag_that_stays(declared: Service) -> None:
    moment = written(now_of(declared))
    answer = declared.get("/data", **{"as_of": moment, "attributes.rank.gt": 1})
    assert answer.status_code == 200
    assert "ETag" not in answer.headers


def test_an_answer_waits_for_a_commit_that_is_dated_already(service: Service) -> None:
    """The transaction has its time, and holds the lock: an answer without it could change later."""
    with psycopg.connect(service.database_url) as slow, ThreadPoolExecutor(1) as threads:
        put(slow, "dated")
        slow.execute("set constraints all immediate")
        row = slow.execute("select max(changed_at) from kasparro.unified_change").fetchone()
        assert row is not None
        asked = threads.submit(service.get, "/data", as_of=written(row[0]), source_id="dated")
        time.sleep(0.3)
        assert not asked.done()
        slow.commit()
        assert len(asked.result().json()["data"]) == 1


def test_a_lock_that_is_not_given_up_is_503_and_not_a_wrong_answer(
    service: Service, serve: Callable[..., str]
) -> None:
    hurried = serve(service.database_url, KASPARRO_API_STATEMENT_TIMEOUT=1)
    with psycopg.connect(service.database_url) as slow:
        slow.execute("select pg_advisory_xact_lock(%s)", [CHANGE_LOCK])
        assert requests.get(f"{hurried}/data", timeout=30).status_code == 200
        then = {"as_of": written(now_of(service))}
        answer = requests.get(f"{hurried}/data", params=then, timeout=30)
        assert (answer.status_code, answer.json()["type"]) == (503, "urn:kasparro:problem:query-timeout")


def test_the_same_question_has_the_same_answer_while_writers_are_at_work(service: Service) -> None:
    stop = threading.Event()

    def write(source: str) -> None:
        with psycopg.connect(service.database_url, autocommit=True) as connection:
            number = 0
            while not stop.is_set():
                with connection.transaction():
                    for key in range(4):
                        put(connection, str(key), source, title=str(number))
                    connection.execute("set constraints all immediate")  # dated, and committed later
                    time.sleep(0.002)
                number += 1

    with ThreadPoolExecutor(3) as threads:
        writers = [threads.submit(write, f"busy-{number}") for number in range(3)]
        try:
            asked = {}
            for _ in range(60):
                moment = service.warehouse.execute("select clock_timestamp()").fetchone()
                assert moment is not None
                asked[written(moment[0])] = snapshot(service, written(moment[0]))
        finally:
            stop.set()
        for writer in writers:
            writer.result()
    for moment, found in asked.items():
        assert snapshot(service, moment) == found
        for source in {source for source, *_ in found}:  # P6: whole batches
            assert len({title for of, _, title in found if of == source}) == 1


def snapshot(service: Service, moment: str) -> list[tuple[str, str, str]]:
    sources = [f"busy-{number}" for number in range(3)]
    body = service.get("/data", as_of=moment, source=sources, limit=100, sort="title").json()
    return sorted((record["source"], record["source_id"], record["title"]) for record in body["data"])
