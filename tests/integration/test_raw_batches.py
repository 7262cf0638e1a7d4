"""Raw records lie many to a row; no reader sees where a row ends, and each record keeps its id and bytes."""

from __future__ import annotations

import hashlib
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from itertools import count
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kasparro_pipeline.extract.documents import Batch, Document, RawRecord
from kasparro_pipeline.warehouse import drift, ledger, raw, raw_batches, raw_reader, rejected
from kasparro_pipeline.warehouse.errors import RepeatedRecordError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from kasparro_pipeline.warehouse.ledger import Connection, Hold

DAY = "2026-01-01"
MOST = raw_batches.MOST_BYTES
numbers = count()


@pytest.fixture(autouse=True)
def small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(raw_reader, "MOST_BYTES", 2 * MOST)


def payloads_of(sizes: Sequence[int], start: int = 0) -> list[RawRecord]:
    """Records of some sizes in bytes, each with bytes of its own, at positions from `start` on."""
    return [
        RawRecord(position, hashlib.sha256(b"%d" % position).digest()[:1] * size, None)
        for position, size in enumerate(sizes, start)
    ]


def held(connection: Connection) -> Hold:
    """A source of its own."""
    return ledger.begin(connection, f"source-{next(numbers)}", DAY, "run")


def store(connection: Connection, hold: Hold, records: Sequence[RawRecord], *, complete: bool = True) -> None:
    """A batch of the source's one document comes."""
    document = Document("x", 1, b"s" * 32, datetime.now(UTC), {"format": "json"})
    batch = Batch(document, records, {}, complete=complete, done=complete)
    raw.store(connection, hold, batch, profile={}, source_cursor=None, lookback_window=None)


def shown(connection: Connection, source: str) -> list[Any]:
    """The records of a source in the view."""
    return connection.execute(
        "select r.id, r.position, r.payload from kasparro.raw_record r"
        " join kasparro.document d on d.id = r.document_id where d.source = %s order by r.id",
        (source,),
    ).fetchall()


def document_of(connection: Connection, hold: Hold) -> int:
    row = connection.execute("select id from kasparro.document where source = %s", (hold.source,)).fetchone()
    assert row is not None
    return int(row[0])


def records_of(read: list[raw_reader.StoredBatch]) -> list[tuple[int, bytes]]:
    return [
        pair for one in read for pair in zip(one.records.raw_ids, one.records.payloads, strict=True)
    ]  # fmt: skip


def cut(records: Sequence[tuple[int, bytes]], size: int) -> list[list[tuple[int, bytes]]]:
    """A document's records as they are validated together: behind each `size`, and within by bytes."""
    parts: list[list[tuple[int, bytes]]] = []
    for start in range(0, len(records), size):
        total = 0
        for record in records[start : start + size]:
            if record is records[start] or total + len(record[1]) > raw_reader.MOST_BYTES:
                parts.append([])
                total = 0
            parts[-1].append(record)
            total += len(record[1])
    return parts


sizes = st.lists(
    st.one_of(st.integers(0, 9), st.sampled_from([MOST // 3, MOST - 1, MOST, MOST + 1])), max_size=9
)


@given(st.lists(st.one_of(st.integers(0, 3), st.sampled_from([MOST // 2, MOST, MOST + 1])), max_size=12))
def test_a_row_holds_at_most_a_mebibyte_or_one_larger_record_and_no_record_is_left_out(
    found: list[int],
) -> None:
    records = payloads_of(found)
    rows = list(raw_batches.rows_of(records))
    numbered = [(start + place, payload) for start, row in rows for place, payload in enumerate(row)]
    assert numbered == [(record.position, record.payload) for record in records]
    for _, row in rows:
        assert len(row) == 1 or sum(map(len, row)) <= MOST


@pytest.mark.parametrize(
    ("records", "rows"), [(0, []), (1000, [1000]), (1001, [1000, 1]), (2000, [1000] * 2)]
)
def test_a_row_holds_at_most_1000_records(records: int, rows: list[int]) -> None:
    assert [len(row) for _, row in raw_batches.rows_of(payloads_of([1] * records))] == rows


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(batches=st.lists(sizes, min_size=1, max_size=4), size=st.integers(1, 12), data=st.data())
def test_p1_p7_every_reader_sees_each_record_byte_for_byte_wherever_rows_end(
    warehouse: Connection, batches: list[list[int]], size: int, data: st.DataObject
) -> None:
    hold = held(warehouse)
    records: list[RawRecord] = []
    for number, batch in enumerate(batches, 1):
        arrived = payloads_of(batch, len(records))
        store(warehouse, hold, arrived, complete=number == len(batches))
        records += arrived
    found = shown(warehouse, hold.source)
    ids = [row[0] for row in found]
    assert [row[1:] for row in found] == [(record.position, record.payload) for record in records]
    assert ids == sorted(set(ids))
    beyond = max(ids, default=2**40) + 1
    single = warehouse.execute(
        "select kasparro.raw_payload(id) from unnest(%s::bigint[]) with ordinality asked (id, n) order by n",
        ([*ids, beyond, 0],),
    ).fetchall()
    assert [row[0] for row in single] == [*(record.payload for record in records), None, None]

    after = data.draw(st.sampled_from([0, *ids]))
    read = list(raw_reader.batches(warehouse, hold, after=after, size=size))
    expected = [part for part in cut([(row[0], row[2]) for row in found], size) if part[-1][0] > after]
    assert [records_of([batch_read]) for batch_read in read] == expected

    document = document_of(warehouse, hold)
    places = [(document, position) for position in range(-1, len(ids) + 1)]
    assert drift.raw_ids(warehouse, places) == dict(zip(places[1:], ids, strict=False))

    refused = data.draw(st.lists(st.sampled_from(ids), unique=True)) if ids else []
    for raw_id in refused:
        warehouse.execute(
            "insert into kasparro.rejected_record (document_id, raw_id, run_id, contract_version, source,"
            " reasons) values (%s, %s, 'run', 1, %s, '[]')",
            (document, raw_id, hold.source),
        )
    again = list(rejected.batches(warehouse, hold, size=size))
    assert records_of(again) == [(row[0], row[2]) for row in found if row[0] in refused]
    assert all(len(batch_read.records) <= size for batch_read in again)
    for batch_read in again:  # a row of it that was begun is taken
        assert sum(map(len, batch_read.records.payloads)) <= raw_reader.MOST_BYTES + MOST + 1


def test_a_document_that_was_interrupted_within_a_row_goes_on_behind_its_last_record(
    warehouse: Connection,
) -> None:
    hold = held(warehouse)
    store(warehouse, hold, payloads_of([5] * 7), complete=False)
    partial = raw.partial_document(warehouse, hold.source, "x")
    assert partial is not None
    assert partial.records == 7
    store(warehouse, hold, payloads_of([5] * 4, start=7))
    assert raw.partial_document(warehouse, hold.source, "x") is None
    known = raw.known_document(warehouse, hold.source, "x")
    assert known is not None
    assert known.record_count == 11
    last = shown(warehouse, hold.source)[-1]
    row = warehouse.execute("select raw_through from kasparro.checkpoint where source = %s", (hold.source,))
    assert row.fetchone() == last[:1]


@pytest.mark.parametrize("start", [0, 1, 6])
def test_p1_a_record_that_is_stored_already_is_refused_wherever_a_row_would_begin(
    warehouse: Connection, start: int
) -> None:
    hold = held(warehouse)
    store(warehouse, hold, payloads_of([5] * 7), complete=False)
    before = shown(warehouse, hold.source)
    with pytest.raises(RepeatedRecordError, match=f"position {start} comes after 6"):
        store(warehouse, hold, payloads_of([5] * 9, start=start))
    twice = [*payloads_of([5] * 3, start=7), *payloads_of([5] * 2, start=8)]
    with pytest.raises(RepeatedRecordError, match="position 8 comes after 9"):
        store(warehouse, hold, twice)
    assert shown(warehouse, hold.source) == before


def test_a_document_whose_last_batch_is_empty_is_whole_and_moves_no_checkpoint(warehouse: Connection) -> None:
    hold = held(warehouse)
    store(warehouse, hold, payloads_of([5] * 3), complete=False)
    store(warehouse, hold, [])
    known = raw.known_document(warehouse, hold.source, "x")
    assert known is not None
    assert known.record_count == 3


TAKERS, TAKES, MOST_TAKEN = 8, 60, 50


def test_raw_ids_that_many_take_at_once_never_overlap_and_leave_no_gap(
    warehouse: Connection, database_url: str
) -> None:
    barrier = threading.Barrier(TAKERS)

    def take(taker: int) -> list[int]:
        taken: list[int] = []
        with psycopg.connect(database_url, autocommit=True) as connection:
            barrier.wait()
            for number in range(TAKES):
                wanted = 1 + (taker * 31 + number * 17) % MOST_TAKEN
                row = connection.execute("select kasparro.take_raw_ids(%s)", (wanted,)).fetchone()
                assert row is not None
                taken += range(row[0], row[0] + wanted)
        return taken

    with ThreadPoolExecutor(TAKERS) as threads:
        taken = [raw_id for found in threads.map(take, range(TAKERS)) for raw_id in found]
    assert sorted(taken) == list(range(1, len(taken) + 1))
    row = warehouse.execute("select count(*) from pg_locks where locktype = 'advisory'").fetchone()
    assert row == (0,)


def test_a_long_transaction_that_took_raw_ids_holds_nobody_up(
    warehouse: Connection, database_url: str
) -> None:
    warehouse.execute("set lock_timeout = '5s'")
    with psycopg.connect(database_url) as slow:
        slow.execute("select kasparro.take_raw_ids(10)")
        assert warehouse.execute("select kasparro.take_raw_ids(1)").fetchone() == (11,)
        slow.rollback()
    assert warehouse.execute("select kasparro.take_raw_ids(1)").fetchone() == (12,)  # a gap does no harm


def test_raw_ids_that_run_out_leave_no_lock_behind(warehouse: Connection, database_url: str) -> None:
    warehouse.execute("select setval('kasparro.raw_id_seq', 9223372036854775806)")
    with pytest.raises(psycopg.errors.DataError):
        warehouse.execute("select kasparro.take_raw_ids(10)")
    with psycopg.connect(database_url) as other:
        other.execute("select setval('kasparro.raw_id_seq', 1)")
        other.execute("set lock_timeout = '5s'")
        assert other.execute("select kasparro.take_raw_ids(1)").fetchone() == (2,)
    with pytest.raises(psycopg.errors.InvalidParameterValue, match="1 or more"):
        warehouse.execute("select kasparro.take_raw_ids(0)")


def test_rows_are_packed_by_lz4_where_the_server_has_it(warehouse: Connection) -> None:
    found = warehouse.execute(
        "select distinct a.attcompression, 'lz4' = any(s.enumvals) from pg_attribute a, pg_settings s"
        " where a.attrelid = 'kasparro.raw_batch'::regclass and a.attname in ('ends', 'payloads')"
        " and s.name = 'default_toast_compression'"
    ).fetchall()
    assert found in ([("l", True)], [("", False)])
    hold = held(warehouse)
    store(warehouse, hold, payloads_of([170] * 1000))
    row = warehouse.execute("select pg_column_size(payloads) from kasparro.raw_batch").fetchone()
    assert row is not None
    assert row[0] < 170 * 1000 / 2


def test_the_view_unpacks_a_row_once_for_all_its_records(warehouse: Connection) -> None:
    plan = "\n".join(
        row[0] for row in warehouse.execute("explain verbose select * from kasparro.raw_record").fetchall()
    )
    [below] = [line for line in plan.splitlines() if "payloads ||" in line and "SUBSTRING" not in line][1:]
    assert below.strip().startswith("Output: b.records")  # of a node that has one line for each row
    counted = warehouse.execute("explain verbose select count(*) from kasparro.raw_record").fetchall()
    assert "payloads ||" not in "\n".join(row[0] for row in counted)


def test_postgresql_keeps_no_statistics_of_payloads_and_of_arrays_in_batches(warehouse: Connection) -> None:
    asked = warehouse.execute(
        "select a.attrelid::regclass::text, a.attname"
        " from pg_attribute a join pg_type t on t.oid = a.atttypid"
        " where a.attrelid = any (%s::regclass[]) and a.attnum > 0 and not a.attisdropped"
        " and (t.typcategory = 'A' or a.attname = 'payloads') and a.attstattarget is distinct from 0",
        ([f"kasparro.{name}_batch" for name in ("raw", "repeated", "validated")],),
    ).fetchall()
    assert asked == []
