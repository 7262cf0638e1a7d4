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
from alembic import command
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kasparro_pipeline.extract.documents import Batch, Document, RawRecord
from kasparro_pipeline.warehouse import drift, ledger, migrate, raw, raw_batches, raw_reader, rejected
from kasparro_pipeline.warehouse.errors import RepeatedRecordError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from kasparro_pipeline.warehouse.ledger import Connection, Hold
    from tests.conftest import Server

DAY = "2026-01-01"
MOST = raw_batches.MOST_BYTES
numbers = count()


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

    after = data.draw(st.sampled_from([0, *ids]))
    read = list(raw_reader.batches(warehouse, hold, after=after, size=size))
    first = (
        sum(raw_id <= after for raw_id in ids) // size * size if after != max(ids, default=0) else len(ids)
    )
    assert records_of(read) == [(row[0], row[2]) for row in found[first:]]
    assert all(len(batch_read.records) == size for batch_read in read[:-1])

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


@pytest.fixture
def row_database(postgres: Server) -> Iterator[str]:
    """A database whose raw records are a row each."""
    with psycopg.connect(postgres.url("postgres"), autocommit=True) as admin:
        admin.execute("drop database if exists kasparro_test_rows with (force)")
        admin.execute("create database kasparro_test_rows")
        url = postgres.url("kasparro_test_rows")
        command.upgrade(migrate.alembic_config(url), "0005")
        yield url
        admin.execute("drop database kasparro_test_rows with (force)")


def kept(url: str) -> list[Any]:
    with psycopg.connect(url) as connection:
        return connection.execute(
            "select id, document_id, position, payload from kasparro.raw_record order by id"
        ).fetchall()


def test_p7_the_records_that_are_there_are_packed_with_their_ids_and_unpacked_again(
    row_database: str,
) -> None:
    rows = [(number, 1, number - 1, b"%d" % number) for number in range(1, 2501)]
    rows += [(3000 + 2 * number, 2, number, b"two") for number in range(5)]  # ids that another one took
    rows += [(3001 + 2 * number, 3, number, b"three") for number in range(5)]
    rows += [(3100, 4, 0, b""), (3101, 4, 1, b""), (3105, 4, 5, b"gap"), (3106, 4, 6, b"\x00")]
    rows += [(3200 + number, 5, number, b"%d" % number * (MOST // 4)) for number in range(9)]
    rows += [(3300, 6, 0, b"s"), (3301, 6, 1, b"l" * (MOST + 1)), (3302, 6, 2, b"s"), (3303, 6, 3, b"s")]
    rows.sort()
    with psycopg.connect(row_database) as connection:
        connection.cursor().executemany(
            "insert into kasparro.raw_record (id, document_id, position, payload) overriding system value"
            " values (%s, %s, %s, %s)",
            rows[::-1],
        )
        connection.execute("select setval('kasparro.raw_record_id_seq', 4000)")
    command.upgrade(migrate.alembic_config(row_database), "0006")
    assert kept(row_database) == rows
    with psycopg.connect(row_database) as connection:
        packed = connection.execute(
            "select document_id, array_agg(array[first_position, records] order by first_position),"
            " max(octet_length(payloads)), bool_and(ends[records] = octet_length(payloads)),"
            " bool_and(cardinality(ends) = records)"
            " from kasparro.raw_batch group by document_id order by document_id"
        ).fetchall()
        assert connection.execute("select kasparro.take_raw_ids(3)").fetchone() == (4001,)
        connection.execute(
            "insert into kasparro.raw_batch values"
            " (4001, 7, 0, 2, '{3,5}', 'abcde'), (4003, 7, 2, 1, '{0}', '')"
        )
    assert [row[:2] for row in packed] == [
        (1, [[0, 1000], [1000, 1000], [2000, 500]]),
        (2, [[number, 1] for number in range(5)]),
        (3, [[number, 1] for number in range(5)]),
        (4, [[0, 2], [5, 2]]),
        (5, [[0, 4], [4, 4], [8, 1]]),
        (6, [[0, 1], [1, 1], [2, 2]]),
    ]
    assert all(ends and counted for *_, ends, counted in packed)
    assert packed[4][2] == MOST

    command.downgrade(migrate.alembic_config(row_database), "0005")
    rows += [(4001, 7, 0, b"abc"), (4002, 7, 1, b"de"), (4003, 7, 2, b"")]
    assert kept(row_database) == rows
    with psycopg.connect(row_database) as connection:
        connection.execute(
            "insert into kasparro.raw_record (document_id, position, payload) values (8, 0, 'new')"
        )
    command.upgrade(migrate.alembic_config(row_database), "head")
    assert kept(row_database) == [*rows, (4004, 8, 0, b"new")]


def test_an_empty_warehouse_is_changed_both_ways(row_database: str) -> None:
    for _ in range(2):
        command.upgrade(migrate.alembic_config(row_database), "0006")
        assert kept(row_database) == []
        command.downgrade(migrate.alembic_config(row_database), "0005")
        assert kept(row_database) == []
    with psycopg.connect(row_database) as connection:
        row = connection.execute(
            "insert into kasparro.raw_record (document_id, position, payload) values (1, 0, '') returning id"
        ).fetchone()
        assert row == (1,)
