"""The promises that need an upstream which misbehaves or changes its mind."""

from __future__ import annotations

import json
import threading
from contextlib import contextmanager
from datetime import UTC, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import psycopg
import pytest

from kasparro_pipeline.components import CsvSource, FeedSource, RestSource, steps
from kasparro_pipeline.components.steps import merge_validated, validate_raw
from kasparro_pipeline.contract.spec import Contract
from kasparro_pipeline.extract.documents import Batch, Document
from kasparro_pipeline.extract.json_records import records
from kasparro_pipeline.warehouse import ledger, raw
from kasparro_pipeline.warehouse.errors import HoldLostError
from tests.conftest import corpus
from tests.integration.conftest import today

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from kasparro_pipeline.warehouse.ledger import Connection
    from tests.integration.conftest import Pipeline, Upstream

FAST = {"attempts": 2, "backoff": 0.01}


def things(address: str, **more: Any) -> dict[str, Any]:
    """A REST source of `{id, name, price}`, as its `defs.yaml` would say it."""
    return {
        "base_url": address,
        "path": "/things",
        "kind": "thing",
        "key": "id",
        "http": FAST,
        "fields": {"title": {"path": "name", "required": True}, "amount": {"path": "price"}},
    } | more


@pytest.fixture
def rest(upstream: Upstream, pipeline_of: Callable[..., Pipeline]) -> Pipeline:
    return pipeline_of(RestSource, things(upstream.address))


def titles(pipeline: Pipeline) -> dict[str, str]:
    return {key: row["title"] for key, row in pipeline.unified("it").items()}


def test_p3_an_upstream_that_goes_a_b_a_ends_at_a(rest: Pipeline, upstream: Upstream) -> None:
    for name in ("A", "B", "A"):
        upstream.answers["/things"] = [{"id": 1, "name": name, "price": 1}]
        assert rest.run("it").success

    assert titles(rest) == {"1": "A"}
    assert rest.value("select count(*) from kasparro.raw_record") == 3


def test_p3_an_older_version_that_comes_late_does_not_replace_a_newer_one(
    upstream: Upstream, pipeline_of: Callable[..., Pipeline]
) -> None:
    fields = {"title": {"path": "name"}, "revision": {"type": "integer", "required": True}}
    pipeline = pipeline_of(RestSource, things(upstream.address, version="revision", fields=fields))
    upstream.answers["/things"] = [{"id": 1, "name": "new", "revision": 7}]
    pipeline.run("it")
    upstream.answers["/things"] = [{"id": 1, "name": "old", "revision": 6}]

    run = pipeline.run("it")

    assert titles(pipeline) == {"1": "new"}
    assert run.counts("updated", "stale") == (0, 1)


def test_p2_of_records_with_one_key_in_one_document_the_last_wins_and_the_others_are_superseded(
    rest: Pipeline, upstream: Upstream
) -> None:
    upstream.answers["/things"] = [{"id": 1, "name": str(n), "price": n} for n in range(3)]

    run = rest.run("it")

    assert run.counts("read", "validated", "rejected", "superseded") == (3, 1, 0, 2)
    assert titles(rest) == {"1": "2"}
    assert run.check("every_record_accounted").passed


def test_p9_a_bad_record_never_stops_a_good_one(rest: Pipeline, upstream: Upstream) -> None:
    upstream.answers["/things"] = [
        {"id": 1, "name": "good", "price": 1.5},
        {"id": 2, "name": "bad price", "price": "n/a"},
        {"id": 3, "name": None, "price": 1},
        "not even an object",
        {"id": 4, "name": "nul \x00", "price": 1},
        {"id": 5, "name": "surrogate \ud800", "price": 1},
        {"name": "no key", "price": 1},
        {"id": 6, "name": "good too", "price": None},
    ]

    run = rest.run("it")

    assert run.success
    assert run.ledger["status"] == "partial"
    assert titles(rest) == {"1": "good", "6": "good too"}
    assert run.counts("read", "validated", "rejected") == (8, 2, 6)
    reasons = rest.rows(
        "select source_id, reasons->0 as reason from kasparro.rejected_record order by raw_id"
    )
    assert [(row["source_id"], row["reason"]["field"], row["reason"]["rule"]) for row in reasons] == [
        ("2", "amount", "number_parsing"),
        ("3", "title", "required"),
        (None, "record", "not_an_object"),
        ("4", "title", "nul_character"),
        ("5", "title", "lone_surrogate"),
        (None, "id", "key_missing"),
    ]


def test_p7_raw_keeps_the_bytes_of_each_record_as_received(rest: Pipeline, upstream: Upstream) -> None:
    first = b'{"price": 1.10, "id":1,\n "name":"\\u0041", "name": "B"}'
    second = b'{"id" : 2, "name":"\\ud800", "price":1e400}'
    upstream.answers["/things"] = b"[ " + first + b" ,\t" + second + b"]"

    rest.run("it")

    rows = rest.rows("select payload from kasparro.raw_record order by position")
    assert [bytes(row["payload"]) for row in rows] == [first, second]


def test_p1_every_record_invalid_leaves_all_in_raw_and_unified_as_it_was(
    rest: Pipeline, upstream: Upstream
) -> None:
    upstream.answers["/things"] = [{"id": 1, "name": "A", "price": 1}]
    rest.run("it")
    upstream.answers["/things"] = [{"id": n, "name": "B", "price": "?"} for n in range(5)]

    run = rest.run("it")

    assert titles(rest) == {"1": "A"}
    assert run.counts("extracted", "rejected") == (5, 5)
    assert not run.check("schema_drift").passed


def test_a_frozen_contract_stops_the_run_before_validated_and_stays_red_until_the_upstream_returns(
    rest: Pipeline, upstream: Upstream
) -> None:
    upstream.answers["/things"] = [{"id": 1, "name": "A", "price": 1}]
    rest.run("it")
    for attempt in range(2):
        upstream.answers["/things"] = [{"id": 1, "label": f"B{attempt}", "price": 1}]
        broken = rest.run("it")
        assert not broken.success
        assert broken.ledger["status"] == "failed"
        assert "name removed" in broken.ledger["error"]
        assert "every_record_accounted" not in broken.checks
    assert titles(rest) == {"1": "A"}

    upstream.answers["/things"] = [{"id": 1, "name": "C", "price": 1}]
    run = rest.run("it")

    assert run.check("schema_drift").passed
    assert titles(rest) == {"1": "C"}
    events = rest.rows("select distinct change, field from kasparro.drift_event order by 1")
    assert events == [{"change": "added", "field": "label"}, {"change": "removed", "field": "name"}]


def test_an_unchanged_upstream_with_drift_stays_red(rest: Pipeline, upstream: Upstream) -> None:
    upstream.answers["/things"] = [{"id": 1, "name": "A", "price": 1, "colour": "red"}]

    assert not rest.run("it").check("schema_drift").passed
    again = rest.run("it").check("schema_drift")

    assert not again.passed
    assert "colour added" in (again.description or "")


def test_a_bad_upstream_fails_its_own_run_with_a_reason_and_moves_no_checkpoint(
    rest: Pipeline, upstream: Upstream
) -> None:
    upstream.answers["/things"] = b"<html>Down for maintenance</html>"

    run = rest.run("it")

    assert not run.success
    assert "not JSON" in run.ledger["error"]
    assert "Down for maintenance" in run.ledger["error"]
    assert run.ledger["status"] == "failed"
    assert rest.value("select count(*) from kasparro.document") == 0


def test_a_record_that_moves_between_pages_is_one_entity_with_its_last_version(
    upstream: Upstream, pipeline_of: Callable[..., Pipeline]
) -> None:
    pages = {
        "1": [{"id": 1, "name": "a", "price": 1}, {"id": 2, "name": "b", "price": 1}],
        "2": [{"id": 2, "name": "b moved", "price": 2}, {"id": 3, "name": "c", "price": 1}],
    }
    upstream.answers["/things"] = lambda query, _: pages.get(query["page"], [])
    pipeline = pipeline_of(RestSource, things(upstream.address, paginator={"type": "page_number"}))

    run = pipeline.run("it")

    assert titles(pipeline) == {"1": "a", "2": "b moved", "3": "c"}
    assert run.counts("read", "validated", "superseded") == (4, 4, 0)
    assert run.counts("inserted", "stale") == (3, 1)


def test_a_changed_contract_is_applied_to_all_of_raw_without_the_upstream(
    upstream: Upstream, pipeline_of: Callable[..., Pipeline]
) -> None:
    upstream.answers["/things"] = [
        {"id": 1, "name": "A", "price": 1},
        {"id": 2, "name": "B", "price": "free"},
    ]
    pipeline_of(RestSource, things(upstream.address)).run("it")
    asked = len(upstream.requests)
    text_price = {"title": {"path": "name", "required": True}, "price": {"type": "json"}}
    changed = pipeline_of(RestSource, things(upstream.address, fields=text_price))

    run = changed.run("it", layers="validated unified")

    assert len(upstream.requests) == asked
    assert run.counts("read", "validated", "rejected", "inserted", "updated") == (2, 2, 0, 1, 1)
    assert changed.value("select count(*) from kasparro.rejected_record") == 0
    versions = changed.rows("select distinct contract_version from kasparro.validated_record")
    assert versions == [{"contract_version": 2}]


def test_p4_a_run_that_lost_its_hold_can_write_nothing(rest: Pipeline) -> None:
    connection = rest.warehouse
    stopped = ledger.begin(connection, "it", "2026-01-01", "run-a")
    ledger.begin(connection, "it", "2026-01-01", "run-b")
    before = rest.everything()

    layout, found = records(b'[{"id": 1}]', "", "x")
    batch = _batch(layout, found)
    with pytest.raises(HoldLostError, match="run run-b has taken over"):
        raw.store(connection, stopped, batch, profile=None, source_cursor=None, lookback_window=None)
    with pytest.raises(HoldLostError):
        ledger.begin(connection, "it", "2026-01-01", "run-a")
    contract = Contract.model_validate({"kind": "thing", "key": "id", "fields": {"title": {"path": "id"}}})
    with pytest.raises(HoldLostError):
        validate_raw(connection, stopped, contract, whole=True)
    with pytest.raises(HoldLostError):
        merge_validated(connection, stopped, whole=True)

    assert rest.everything() == before
    taken_over = rest.one("select status, error from kasparro.etl_run where run_id = 'run-a'")
    assert taken_over == {
        "status": "failed",
        "error": "ended without closing itself; run run-b took over",
    }


def test_p4_a_run_that_cannot_store_outcomes_ends_the_thread_that_reads_before_its_connection(
    rest: Pipeline, upstream: Upstream, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    upstream.answers["/things"] = [{"id": number, "name": "n", "price": 1} for number in range(300)]
    rest.run("it", layers="raw")
    monkeypatch.setattr(steps, "BATCH_SIZE", 10)
    reading: list[list[str]] = []

    @contextmanager
    def another() -> Iterator[Connection]:
        with psycopg.connect(database_url, autocommit=True) as reader:
            ledger.begin(rest.warehouse, "it", today(), "run-b")
            try:
                yield reader
            finally:
                reading.append([thread.name for thread in threading.enumerate()])

    contract = Contract.model_validate({"kind": "thing", "key": "id", "fields": {"title": {"path": "name"}}})
    hold = ledger.begin(rest.warehouse, "it", today(), "run-a")
    with pytest.raises(HoldLostError):
        validate_raw(rest.warehouse, hold, contract, whole=True, another=another)

    assert [name for name in reading[0] if name.startswith("ahead")] == []


def _batch(layout: dict[str, str], found: list[Any]) -> Batch:

    document = Document("x", 11, b"0" * 32, datetime.now(UTC), layout)
    return Batch(document, found, {}, done=True)


def test_p6_a_reader_never_sees_half_a_batch(rest: Pipeline, upstream: Upstream, database_url: str) -> None:
    """Each document gives all records one price, so a reader must only ever see one price."""

    seen: set[int] = set()
    over = threading.Event()

    def read() -> None:
        with psycopg.connect(database_url, autocommit=True) as reader:
            while not over.is_set():
                row = reader.execute("select count(distinct amount) from kasparro.unified_record").fetchone()
                seen.add(row[0] if row else -1)

    thread = threading.Thread(target=read)
    thread.start()
    try:
        for price in range(4):
            upstream.answers["/things"] = [{"id": n, "name": "x", "price": price} for n in range(3000)]
            assert rest.run("it").success
    finally:
        over.set()
        thread.join()
    assert seen == {0, 1}


def test_the_recorded_coingecko_lists_give_33_new_and_1_changed(
    upstream: Upstream, pipeline_of: Callable[..., Pipeline]
) -> None:
    first = corpus("coins/coingecko_coins_list_2021-05-15.json").read_bytes()
    second = corpus("coins/coingecko_coins_list_2021-05-16.json").read_bytes()
    fields = {"title": {"path": "name", "required": True}, "symbol": {"required": True}}
    pipeline = pipeline_of(RestSource, things(upstream.address, fields=fields))

    upstream.answers["/things"] = first
    one = pipeline.run("it")
    before = pipeline.unified("it")
    upstream.answers["/things"] = second
    two = pipeline.run("it")
    after = pipeline.unified("it")
    again = pipeline.run("it")

    assert one.counts("read", "rejected", "inserted") == (7248, 0, 7248)
    assert two.counts("inserted", "updated", "unchanged", "rejected") == (33, 1, 7247, 0)
    assert before.keys() - after.keys() == set()
    assert sum(before[key] == after[key] for key in before) == 7247
    assert again.counts("documents", "inserted", "updated") == (0, 0, 0)


def test_the_recorded_coinpaprika_list_is_unified_whole(
    upstream: Upstream, pipeline_of: Callable[..., Pipeline]
) -> None:
    body = corpus("coins/coinpaprika_coins_2021.json").read_bytes()
    upstream.answers["/things"] = body
    fields = {"title": {"path": "name", "required": True}, "symbol": {}, "rank": {"type": "integer"}}
    ignored = ["is_new", "is_active", "type"]
    pipeline = pipeline_of(RestSource, things(upstream.address, fields=fields, ignore=ignored))

    run = pipeline.run("it")

    assert run.counts("read", "inserted", "rejected", "superseded") == (13383, 13383, 0, 0)
    unified = pipeline.unified("it")
    assert {row["id"] for row in json.loads(body)} == unified.keys()
    names = {(row["title"], row["attributes"]["symbol"]) for row in unified.values()}
    assert len(names) < len(unified)  # symbol and name do not tell them apart; the ids do


def test_the_recorded_markets_page_is_unified_with_exact_numbers(
    upstream: Upstream, pipeline_of: Callable[..., Pipeline]
) -> None:

    body = corpus("coins/coingecko_coins_markets_2022-02-23.json").read_bytes()
    upstream.answers["/things"] = body
    fields = {
        "title": {"path": "name"},
        "amount": {"path": "current_price"},
        "total_supply": {"type": "number"},
    }
    pipeline = pipeline_of(RestSource, things(upstream.address, fields=fields))

    run = pipeline.run("it")

    assert run.counts("inserted", "rejected") == (250, 0)
    expected = {row["id"]: row["current_price"] for row in json.loads(body, parse_float=Decimal)}
    assert {key: row["amount"] for key, row in pipeline.unified("it").items()} == expected


def test_a_csv_file_sent_again_with_changed_rows_changes_exactly_those(
    folder: Path, pipeline_of: Callable[..., Pipeline]
) -> None:
    fields = {"title": {"path": "name", "required": True}, "amount": {"path": "price"}}
    spec = {"files": f"{folder}/*.csv", "kind": "thing", "key": "id", "fields": fields}
    pipeline = pipeline_of(CsvSource, spec)
    pipeline.add_files("it", "a.csv")
    file = folder / "a.csv"
    for text, expected in (
        ("id,name,price\n1,one,1.0\n2,two,2.0\n", (2, 0, 0)),
        ("id,name,price\n1,one,1.0\n2,TWO,2.0\n", (0, 1, 1)),
        ("id,name,price\n1,one,1.0\n2,two,2.0\n", (0, 1, 1)),
        ("id,name,price\n1,one,1.0\n2,two,2.0\n", (0, 0, 0)),
    ):
        file.write_text(text)
        run = pipeline.run("it", "a.csv")
        assert run.counts("inserted", "updated", "unchanged") == expected

    assert titles(pipeline) == {"1": "one", "2": "two"}


def test_an_atom_feed_gives_entries_and_an_unchanged_one_nothing(
    upstream: Upstream, pipeline_of: Callable[..., Pipeline]
) -> None:
    def feed(title: str) -> bytes:
        return (
            '<?xml version="1.0"?><feed xmlns="http://www.w3.org/2005/Atom"><title>f</title>'
            f"<entry><id>urn:1</id><title>{title}</title><updated>2026-01-01T00:00:00Z</updated>"
            '<link href="http://example.invalid/1"/></entry></feed>'
        ).encode()

    fields = {"title": {"required": True}, "url": {"path": "link"}, "published_at": {"path": "published"}}
    spec = {"url": f"{upstream.address}/feed", "kind": "article", "key": "id", "fields": fields}
    pipeline = pipeline_of(FeedSource, spec)
    counts = []
    for title in ("first", "first", "second"):
        upstream.answers["/feed"] = feed(title)
        counts.append(pipeline.run("it").counts("inserted", "updated", "documents_unchanged"))

    assert counts == [(1, 0, 0), (0, 0, 1), (0, 1, 0)]
    assert titles(pipeline) == {"urn:1": "second"}


def test_a_source_that_keeps_the_same_drift_stays_red_on_the_next_day(
    rest: Pipeline, upstream: Upstream
) -> None:
    upstream.answers["/things"] = [{"id": 1, "label": "A", "price": 1}]
    assert not rest.run("it").success
    for table in ("document", "checkpoint", "etl_run"):
        rest.warehouse.execute(f"update kasparro.{table} set partition_key = '2026-01-01'")

    run = rest.run("it")

    assert run.counts("documents", "documents_unchanged") == (0, 1)
    assert not run.check("schema_drift").passed
    assert run.ledger["status"] == "failed"


def test_a_run_of_raw_alone_that_a_check_blocks_has_failed_in_the_ledger_too(
    rest: Pipeline, upstream: Upstream
) -> None:
    upstream.answers["/things"] = [{"id": 1, "label": "A", "price": 1}]

    run = rest.run("it", layers="raw")

    assert run.ledger["status"] == "failed"
    assert "name removed" in run.ledger["error"]


def test_p9_values_too_long_for_an_index_or_a_name_stop_nothing(
    upstream: Upstream, pipeline_of: Callable[..., Pipeline]
) -> None:
    fields = {"title": {"path": "name"}, "category": {}}
    pipeline = pipeline_of(RestSource, things(upstream.address, fields=fields))
    noise = "".join(chr(0x4E00 + n % 20000) for n in range(6000))
    upstream.answers["/things"] = [
        {"id": 1, "name": "good", "category": "c"},
        {"id": 2, "name": "bad", "category": noise},
        {"id": 3, "name": "odd", noise: 1},
    ]

    run = pipeline.run("it")

    assert run.success
    assert titles(pipeline) == {"1": "good", "3": "odd"}
    assert run.ledger["rejected"] == 1
    assert run.ledger["status"] == "partial"


def test_p4_two_sources_in_one_run_have_a_hold_and_counts_of_their_own(rest: Pipeline) -> None:
    connection = rest.warehouse
    one = ledger.begin(connection, "one", "2026-01-01", "run-a")
    ledger.begin(connection, "other", "2026-01-01", "run-b")
    other = ledger.begin(connection, "other", "2026-01-01", "run-a")

    ledger.add_counts(connection, one, {"read": 1})
    ledger.add_counts(connection, other, {"read": 2})
    ledger.close(connection, one)

    rows = rest.rows(
        "select source, status, read from kasparro.etl_run where run_id = 'run-a' order by source"
    )
    assert rows == [
        {"source": "one", "status": "success", "read": 1},
        {"source": "other", "status": "running", "read": 2},
    ]


def test_p9_after_a_permanent_failure_the_next_run_begins_anew(
    upstream: Upstream, pipeline_of: Callable[..., Pipeline]
) -> None:
    for_each = {"param": "item", "values": ["x", "y", "z"]}
    fields = {"title": {"path": "name", "required": True}}
    spec = things(upstream.address, path="/{item}", for_each=for_each, fields=fields)
    upstream.answers |= {"/x": [{"id": "x", "name": "1"}], "/y": [{"id": "y", "name": "1"}]}
    pipeline = pipeline_of(RestSource, spec)
    assert not pipeline.run("it").success  # /z is gone
    upstream.answers["/x"] = [{"id": "x", "name": "2"}]

    shorter = pipeline_of(RestSource, spec | {"for_each": for_each | {"values": ["x", "y"]}})
    run = shorter.run("it")

    assert run.success
    assert titles(shorter) == {"x": "2", "y": "1"}
