"""`/sources` and `/categories` against a plain Python model."""

from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.api import model
from tests.api.conftest import Get, Service
from tests.api.model import Row


@settings(max_examples=40, deadline=None)
@given(
    drawn=model.rows,
    asked=st.lists(st.sampled_from(["a", "b", "nobody"]), max_size=2, unique=True),
    limit=st.integers(1, 3),
)
def test_categories_are_counted_and_walked_largest_first(
    service: Service, drawn: list[Row], asked: list[str], limit: int
) -> None:
    records = [record for record in model.fill(service.warehouse, drawn) if record["deleted_at"] is None]
    found = Counter(
        record["category"]
        for record in records
        if record["category"] is not None and (not asked or record["source"] in asked)
    )
    expected = [
        {"category": name, "records": number}
        for name, number in sorted(found.items(), key=lambda pair: (-pair[1], pair[0]))
    ]
    assert service.get("/categories", source=asked).json()["data"] == expected
    met: list[dict[str, Any]] = []
    cursor: dict[str, str] = {}
    while True:
        response = service.get("/categories", source=asked, limit=limit, **cursor)
        body = response.json()
        assert response.status_code == 200
        met += body["data"]
        assert body["pagination"]["has_more"] is ("next" in response.links)
        if not body["pagination"]["has_more"]:
            break
        cursor = {"cursor": body["pagination"]["next_cursor"]}
    assert met == expected


@settings(max_examples=25, deadline=None)
@given(drawn=model.rows)
def test_sources_have_their_counts_kinds_and_newest_record(service: Service, drawn: list[Row]) -> None:
    service.warehouse.execute("delete from kasparro.unified_record")
    service.warehouse.execute("delete from kasparro.data_version")
    records = model.fill(service.warehouse, drawn)
    body = service.get("/sources").json()
    assert [each["source"] for each in body["data"]] == sorted({record["source"] for record in records})
    for each in body["data"]:
        own = [record for record in records if record["source"] == each["source"]]
        live = [record for record in own if record["deleted_at"] is None]
        dated = [record["published_at"] for record in live if record["published_at"] is not None]
        assert each["kinds"] == sorted({record["kind"] for record in own})
        assert (each["records"], each["deleted"]) == (len(live), len(own) - len(live))
        newest = each["newest_published_at"]
        assert (newest and datetime.fromisoformat(newest)) == max(dated, default=None)
        assert each["changed_at"].endswith("Z")


def test_a_source_tells_its_last_success(get: Get, add_record: Any, add_run: Any, warehouse: Any) -> None:
    now = datetime.now(UTC)
    add_record(source="prices")
    add_run("success", now - timedelta(minutes=9), finished_at=now - timedelta(minutes=8))
    add_run("failed", now - timedelta(minutes=5), finished_at=now - timedelta(minutes=4))
    add_run("running", now - timedelta(minutes=1))
    warehouse.execute("insert into kasparro.checkpoint (source, partition_key) values ('planned', '')")
    planned, prices = get("/sources").json()["data"]
    assert datetime.fromisoformat(prices["last_success_at"]) == now - timedelta(minutes=8)
    assert prices["seconds_since_success"] == pytest.approx(8 * 60, abs=30)
    assert (planned["source"], planned["records"], planned["last_success_at"]) == ("planned", 0, None)


@pytest.mark.parametrize(
    "cursor", ["", "x", "AUQTb6NVs2eKNDIgMjAyNi0xMS0wMSAxMjowMDowMC4xMjM0NTYrMDBbHy9o4g0xeQ"]
)
def test_a_cursor_of_another_list_is_refused(service: Service, cursor: str) -> None:
    response = service.get("/categories", cursor=cursor)
    assert response.status_code == 400
    assert response.json()["type"] == "urn:kasparro:problem:invalid-cursor"
