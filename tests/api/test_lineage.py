"""`GET /data/{id}/lineage`: from a record back to the bytes that came, and through all its versions (P8)."""

from __future__ import annotations

import base64
import hashlib
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kasparro_api.data.lineage import ORIGIN
from kasparro_pipeline.components.steps import merge_validated, validate_raw
from kasparro_pipeline.extract.documents import Batch, Document, RawRecord
from kasparro_pipeline.extract.json_records import records
from kasparro_pipeline.warehouse import contracts, ledger, raw
from tests.api.conftest import Service, service_of
from tests.api.test_changes import put
from tests.integration.conftest import add_raw
from tests.integration.test_merge_order import CONTRACTS, LOOSE, PARTITIONS, STRICT, World

if TYPE_CHECKING:
    from collections.abc import Iterator

    from kasparro_pipeline.warehouse.ledger import Hold
    from tests.conftest import Server

DAGSTER = "http://dagster.example:3000"
CSV = {
    "format": "csv",
    "columns": ["id", "name", "junk"],
    "delimiter": ",",
    "quote": '"',
    "encoding": "utf-8",
}


@pytest.fixture(scope="module")
def linked(postgres: Server) -> Iterator[Service]:
    """A server that knows where Dagster's pages are."""
    with service_of(postgres, KASPARRO_DAGSTER_UI_URL=f"{DAGSTER}/") as running:
        yield running


def ids(service: Service, source: str) -> dict[str, int]:
    rows = service.warehouse.execute(
        "select source_id, id from kasparro.unified_record where source = %s", [source]
    )
    return dict(rows.fetchall())


def lineage(service: Service, record_id: int, **parameters: Any) -> dict[str, Any]:
    answer = service.get(f"/data/{record_id}/lineage", **parameters)
    assert answer.status_code == 200, answer.text
    return dict(answer.json()["data"])


def take_in(world: World, *partitions: str, whole: bool = False) -> None:
    for partition in partitions:
        world.validate(partition)
        world.merge(partition, whole=whole)


def store(world: World, document: Document, found: list[RawRecord]) -> Hold:
    """A document comes, is validated and merged, all by one run."""
    hold = world.hold(PARTITIONS[0])
    batch = Batch(document, found, {}, done=True)
    raw.store(world.connection, hold, batch, profile=None, source_cursor=None, lookback_window=None)
    validate_raw(world.connection, hold, CONTRACTS[world.rules], whole=False)
    merge_validated(world.connection, hold, whole=False)
    ledger.close(world.connection, hold)
    return hold


def document_of(body: bytes, layout: dict[str, Any]) -> Document:
    return Document(
        "https://upstream.example/items?page=1",
        len(body),
        hashlib.sha256(body).digest(),
        datetime(2026, 11, 1, 12, 0, 0, 5, tzinfo=UTC),
        layout,
        {"page": 1},
        {"etag": '"v1"', "content-type": "application/json"},
    )


def test_p8_a_record_leads_to_its_payload_document_contract_and_run_and_back(linked: Service) -> None:
    world = World(linked.warehouse)
    body = b'[ {"id": 1, "name": "A"},\n  {"id":2,"name" : "B", "price": 1.50e+0, "price": 2}]'
    layout, found = records(body, "", "x")
    document = document_of(body, dict(layout))
    hold = store(world, document, found)
    record_id = ids(linked, world.source)["2"]
    told = lineage(linked, record_id)
    assert told["record"] == linked.get(f"/data/{record_id}").json()["data"]
    assert told["raw"] == {
        "raw_id": told["record"]["raw_id"],
        "bytes": 51,
        "encoding": "utf-8",
        "payload": '{"id":2,"name" : "B", "price": 1.50e+0, "price": 2}',
    }
    document_id = told["document"].pop("id")
    assert told["document"] == {
        "location": "https://upstream.example/items?page=1",
        "position": 1,
        "sha256": hashlib.sha256(body).hexdigest(),
        "bytes": len(body),
        "records": 2,
        "fetched_at": "2026-11-01T12:00:00.000005Z",
        "headers": {"etag": '"v1"', "content-type": "application/json"},
        "context": {"page": 1},
        "partition_key": PARTITIONS[0],
        "run_id": hold.run_id,
    }
    assert told["contract_version"] == 1
    assert told["rejected"] is None
    run = told["run"]
    assert (run["run_id"], run["status"]) == (hold.run_id, "success")
    assert run["started_at"] <= run["finished_at"]
    assert run["dagster_url"] == f"{DAGSTER}/runs/{hold.run_id}"
    [shown] = linked.get(run["url"]).json()["data"]
    assert document_id in [each["id"] for each in shown["documents"]]
    of_run = linked.get("/data", run_id=hold.run_id, source=world.source).json()["data"]
    assert record_id in [each["id"] for each in of_run]
    assert lineage_of_version(linked, record_id)["run"]["url"] == f"/api/v1/runs/{hold.run_id}"


def lineage_of_version(service: Service, record_id: int) -> dict[str, Any]:
    return dict(service.get(f"/api/v1/data/{record_id}/lineage").json()["data"])


def test_a_record_that_was_updated_withdrawn_and_restored_tells_all_of_it(linked: Service) -> None:
    world = World(linked.warehouse)
    for partition, name in zip(PARTITIONS, "AC", strict=False):
        world.arrive(partition, [("1", name, None)])
        take_in(world, partition)
    record_id = ids(linked, world.source)["1"]
    updated = lineage(linked, record_id)
    assert [(v["change"], v["changed"]) for v in updated["versions"]] == [
        ("update", {"title": {"from": "A", "to": "C"}}),
        ("insert", {}),
    ]

    world.rules = (STRICT, False)  # C is not valid any more, A is
    take_in(world, *PARTITIONS[:2], whole=True)
    back = lineage(linked, record_id)
    assert back["record"]["title"] == "A"
    assert back["versions"][0]["changed"] == {"title": {"from": "C", "to": "A"}}
    assert back["raw"]["raw_id"] == updated["versions"][1]["raw_id"]

    world.rules = (LOOSE, True)  # and now neither has the revision that it needs
    take_in(world, *PARTITIONS[:2], whole=True)
    withdrawn = lineage(linked, record_id)
    assert withdrawn["record"]["deleted_at"] is not None
    assert linked.get(f"/data/{record_id}").status_code == 404
    assert withdrawn["raw"] == back["raw"]
    assert withdrawn["document"]["sha256"] == back["document"]["sha256"]
    assert withdrawn["contract_version"] is None
    assert {reason["rule"] for reason in withdrawn["rejected"]["reasons"]}
    newest = withdrawn["versions"][0]
    assert (newest["change"], newest["raw_id"], newest["changed"]) == ("delete", None, {})
    assert newest["run_id"] == withdrawn["run"]["run_id"] != back["run"]["run_id"]

    world.rules = (LOOSE, False)
    take_in(world, *PARTITIONS[:2], whole=True)
    restored = lineage(linked, record_id)
    assert restored["record"]["title"] == "C"
    assert restored["rejected"] is None
    assert [version["change"] for version in restored["versions"][:2]] == ["update", "insert"]
    assert restored["versions"][2:] == withdrawn["versions"]
    times = [version["at"] for version in restored["versions"]]
    assert times == sorted(times, reverse=True)
    for version, title in zip(restored["versions"], ["C", "A", "A", "A", "C", "A"], strict=True):
        path = f"/data/{record_id}"
        then = linked.get(path, as_of=version["at"], deleted="include").json()["data"]
        assert then["title"] == title
        assert then["content_hash"] == version["content_hash"]
        assert (then["deleted_at"] is not None) == (version["change"] == "delete")


@pytest.mark.parametrize(
    "payload",
    [
        b"1,A,",
        "1,A,é\u2028\n".encode(),
        b"1,A,\x00\x01\x7f\n",
        b'1,A,"two\r\nlines"\r\n',
    ],
)
def test_p7_a_row_comes_back_byte_for_byte(linked: Service, payload: bytes) -> None:
    world = World(linked.warehouse)
    store(world, document_of(payload, CSV), [RawRecord(0, payload, None)])
    [record_id] = ids(linked, world.source).values()
    assert sent(lineage(linked, record_id)["raw"]) == payload


def sent(told: dict[str, Any]) -> bytes:
    """The bytes that an answer stands for."""
    if told["encoding"] == "base64":
        return base64.b64decode(told["payload"], validate=True)
    assert told["encoding"] == "utf-8"
    return str(told["payload"]).encode()


@pytest.mark.parametrize(
    "item",
    [
        b'{"id":1,"name":"B","name":"A"}',
        b'{ "name" :\t"A",\n "id": 1 , "n": 1.10e2, "big": 123456789012345678901234567890 }',
        '{"id":1,"name":"A","x":"\U0001f600 é \\u00e9 \\ud83d\\ude00"}'.encode(),
    ],
)
def test_p7_a_json_record_comes_back_byte_for_byte(linked: Service, item: bytes) -> None:
    world = World(linked.warehouse)
    body = b"[ " + item + b" ]"
    layout, found = records(body, "", "x")
    store(world, document_of(body, dict(layout)), found)
    [record_id] = ids(linked, world.source).values()
    assert sent(lineage(linked, record_id)["raw"]) == item


@settings(max_examples=60, deadline=None)
@given(
    payload=st.binary(max_size=300) | st.text(max_size=100).map(lambda text: text.encode("utf-8", "ignore"))
)
def test_p7_any_payload_comes_back_byte_for_byte(linked: Service, payload: bytes) -> None:
    row = linked.warehouse.execute(
        "insert into kasparro.document (source, partition_key, run_id, location, context,"
        " layout, headers, byte_count, sha256, fetched_at)"
        " values ('odd', '', 'r', 'l', '{}', '{}', '{}', 0, '', now()) returning id",
    ).fetchone()
    assert row is not None
    raw_id = add_raw(linked.warehouse, row[0], b"one before", payload, b"one behind") - 1
    record_id = put(linked.warehouse, f"odd-{raw_id}", source="odd", raw_id=raw_id)
    told = lineage(linked, record_id)
    assert sent(told["raw"]) == payload
    assert told["raw"]["bytes"] == len(payload)
    assert told["run"]["status"] is None  # the ledger does not know the run


def test_the_payload_is_found_by_key_and_of_all_raw_one_row_is_read(linked: Service) -> None:
    for document in range(40):
        last = add_raw(linked.warehouse, 2**40 + document, *(b"%d" % number for number in range(1010)))
    record_id = put(linked.warehouse, "one-of-many", raw_id=last - 1010 * 20)
    linked.warehouse.execute("analyze kasparro.raw_batch")
    with psycopg.RawCursor(linked.warehouse) as cursor:
        row = cursor.execute(f"explain (analyze, format json) {ORIGIN}", (record_id, "", "")).fetchone()
    assert row is not None
    [scan] = [node for node in nodes(row[0][0]["Plan"]) if node.get("Relation Name") == "raw_batch"]
    assert scan["Index Name"] == "raw_batch_pkey"
    assert scan["Actual Rows"] * scan["Actual Loops"] == 1
    assert sent(lineage(linked, record_id)["raw"]) == b"1009"


def nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield plan
    for below in plan.get("Plans", ()):
        yield from nodes(below)


def test_versions_come_in_pages_each_once(linked: Service) -> None:
    for number in range(7):
        record_id = put(linked.warehouse, "paged", title=str(number))
    found: list[dict[str, Any]] = []
    path: str | None = f"/data/{record_id}/lineage?limit=3"
    sizes = []
    while path:
        answer = linked.get(path)
        found += answer.json()["data"]["versions"]
        sizes.append(len(answer.json()["data"]["versions"]))
        path = answer.links["next"]["url"].removeprefix(linked.url) if "next" in answer.links else None
    assert sizes == [3, 3, 1]
    assert [version["changed"].get("title", {}).get("to") for version in found] == [*"654321", None]
    other = put(linked.warehouse, "other")
    cursor = linked.get(f"/data/{record_id}/lineage", limit=1).json()["pagination"]["next_cursor"]
    assert linked.get(f"/data/{other}/lineage", cursor=cursor).status_code == 400


def test_a_record_whose_origin_is_not_kept_any_more_still_has_versions(linked: Service) -> None:
    record_id = put(linked.warehouse, "alone", raw_id=2**40)
    told = lineage(linked, record_id)
    assert (told["raw"], told["document"], told["contract_version"], told["rejected"]) == (None,) * 4
    assert [version["change"] for version in told["versions"]] == ["insert"]


@pytest.mark.parametrize("number", ["0", "-1", "x", "9" * 19, "9" * 30, "%00", "+1", "1.0"])
def test_a_lineage_of_no_record_is_404(linked: Service, number: str) -> None:
    answer = linked.get(f"/data/{number}/lineage")
    assert answer.status_code == 404
    assert answer.headers["Content-Type"] == "application/problem+json"


@pytest.mark.parametrize("parameters", [{"limit": 0}, {"fields": "id"}, {"as_of": "2026-11-01"}])
def test_parameters_that_there_are_not_are_refused(linked: Service, parameters: dict[str, Any]) -> None:
    assert linked.get("/data/1/lineage", **parameters).status_code == 422


def test_the_contract_is_the_one_that_the_raw_record_was_validated_with(linked: Service) -> None:
    world = World(linked.warehouse)
    world.arrive(PARTITIONS[0], [("1", "A", 1)])
    take_in(world, PARTITIONS[0])
    [record_id] = ids(linked, world.source).values()
    assert lineage(linked, record_id)["contract_version"] == 1
    world.rules = (STRICT, False)
    take_in(world, PARTITIONS[0], whole=True)
    assert contracts.has_changed(linked.warehouse, world.source)
    assert lineage(linked, record_id)["contract_version"] == 2
