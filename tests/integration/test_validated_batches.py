"""Validated records lie many to a row: what each says is kept, whatever it says and wherever rows end."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, Any

import orjson
import psycopg
import pytest
from alembic import command
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kasparro_pipeline.warehouse import ledger, migrate, validated
from kasparro_pipeline.warehouse.contracts import ContractVersion
from kasparro_pipeline.warehouse.validated import RejectedRecord, ValidatedRecords

if TYPE_CHECKING:
    from collections.abc import Callable

    from kasparro_pipeline.warehouse.ledger import Connection, Hold

TEXTS = st.text(
    st.characters(exclude_characters="\x00", exclude_categories=["Cs"]), max_size=6
) | st.sampled_from(["NULL", '"', "\\", '\\"', "{}", "a,b", "\\N", "\n", "\t", "\\x41"])
NAMES = ("title", "summary", "url", "category", "author", "currency")
RECORDS = st.fixed_dictionaries(
    {
        **dict.fromkeys(NAMES, st.none() | TEXTS),
        "tags": st.lists(TEXTS, max_size=3),
        "amount": st.none() | st.decimals(allow_nan=False, allow_infinity=False, places=2),
        "attributes": st.dictionaries(TEXTS, TEXTS | st.integers(-5, 5) | st.none(), max_size=2),
        "version": st.integers(0, 3),
        "replaced": st.booleans(),
    }
)
CONTRACT = ContractVersion(1, 1)


def packed(raw_ids: list[int], records: list[dict[str, Any]]) -> ValidatedRecords:
    columns: dict[str, Any] = {name: [record[name] for record in records] for name in NAMES}
    columns["tags"] = [orjson.dumps(record["tags"]).decode() for record in records]
    columns["attributes"] = [orjson.dumps(record["attributes"]).decode() for record in records]
    amounts = [record["amount"] for record in records]
    columns["amount"] = [None if amount is None else str(amount) for amount in amounts]
    columns["published_at"] = [None] * len(records)
    return ValidatedRecords(
        [7] * len(records),
        raw_ids,
        [f"key {raw_id}" for raw_id in raw_ids],
        [Decimal(record["version"]) for record in records],
        columns,
        [b"%016d" % raw_id for raw_id in raw_ids],
        [raw_ids[0] if record["replaced"] else None for record in records],
    )


def shown(connection: Connection, hold: Hold) -> dict[int, Any]:
    rows = connection.execute(
        "select raw_id, source_id, title, summary, url, category, author, currency, tags, amount, attributes,"
        " version, content_hash, superseded_by, document_id, kind, epoch from kasparro.validated_record"
        " where source = %s order by raw_id",
        (hold.source,),
    ).fetchall()
    return {row[0]: row[1:] for row in rows}


def said(raw_id: int, first: int, record: dict[str, Any]) -> tuple[Any, ...]:
    return (
        f"key {raw_id}",
        *(record[name] for name in NAMES),
        record["tags"],
        record["amount"],
        record["attributes"],
        Decimal(record["version"]),
        b"%016d" % raw_id,
        first if record["replaced"] else None,
        *(7, "thing", 1),
    )


@settings(max_examples=120, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(records=st.lists(RECORDS, min_size=1, max_size=6))
def test_what_a_record_says_comes_back_from_its_batch(
    warehouse: Connection, records: list[dict[str, Any]]
) -> None:
    warehouse.execute("truncate kasparro.validated_batch")
    hold = ledger.begin(warehouse, "it", "day", "run")
    raw_ids = list(range(1, len(records) + 1))
    outcomes = validated.prepare(hold, CONTRACT, "thing", packed(raw_ids, records), [])
    validated.store(warehouse, hold, CONTRACT, outcomes, through=None)
    assert shown(warehouse, hold) == {
        raw_id: said(raw_id, 1, record) for raw_id, record in zip(raw_ids, records, strict=True)
    }


@settings(max_examples=80, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_p2_batches_that_overlap_leave_the_newest_outcome_of_each_record(
    warehouse: Connection, data: st.DataObject
) -> None:
    warehouse.execute("truncate kasparro.validated_batch, kasparro.rejected_record")
    hold = ledger.begin(warehouse, "it", "day", "run")
    expected: dict[int, Any] = {}
    refused: set[int] = set()
    for _ in range(data.draw(st.integers(1, 5))):
        judged = sorted(data.draw(st.sets(st.integers(1, 12), min_size=1)))
        bad = data.draw(st.sets(st.sampled_from(judged)))
        kept = [raw_id for raw_id in judged if raw_id not in bad]
        records = [data.draw(RECORDS) for _ in kept]
        rejected = [RejectedRecord(7, raw_id, None, [{"field": "x"}]) for raw_id in sorted(bad)]
        outcomes = validated.prepare(hold, CONTRACT, "thing", packed(kept, records), rejected)
        validated.store(warehouse, hold, CONTRACT, outcomes, through=None)
        for raw_id in bad:
            expected.pop(raw_id, None)
        for raw_id, record in zip(kept, records, strict=True):
            expected[raw_id] = said(raw_id, kept[0], record)
        refused = (refused - set(kept)) | bad
    assert shown(warehouse, hold) == expected
    rows = warehouse.execute("select raw_id from kasparro.rejected_record").fetchall()
    assert {row[0] for row in rows} == refused


def test_p5_outcomes_that_are_the_same_are_not_written_again(warehouse: Connection) -> None:
    record: dict[str, Any] = dict.fromkeys(NAMES, "x") | {
        "tags": ["a"], "amount": None, "attributes": {}, "version": 1, "replaced": False
    }  # fmt: skip
    for run in ("first", "second"):
        hold = ledger.begin(warehouse, "it", "day", run)
        outcomes = validated.prepare(hold, CONTRACT, "thing", packed([1, 2], [record, record]), [])
        validated.store(warehouse, hold, CONTRACT, outcomes, through=None)
    rows = warehouse.execute("select run_id from kasparro.validated_batch").fetchall()
    assert rows == [("first",)]


@pytest.fixture
def row_database(database_at: Callable[[str], str]) -> str:
    """A database whose validated records are a row each."""
    return database_at("0006")


COLUMNS = (
    "document_id, raw_id, run_id, contract_version, source, source_id, kind, title, tags, amount,"
    " published_at, attributes, epoch, version, content_hash, superseded_by, validated_at"
)


def rows_of(url: str) -> list[Any]:
    with psycopg.connect(url) as connection:
        return connection.execute(
            f"select {COLUMNS} from kasparro.validated_record order by raw_id"
        ).fetchall()


def test_records_that_are_there_are_packed_and_unpacked_again(row_database: str) -> None:
    with psycopg.connect(row_database) as connection:
        for number in (1, 2):
            connection.execute(
                "insert into kasparro.document (source, partition_key, run_id, location, context, layout,"
                " headers, byte_count, sha256, fetched_at) values"
                " ('s', %s, 'r', %s, '{}', '{}', '{}', 1, '', now())",
                (f"day {number}", str(number)),
            )
        connection.execute(
            f"insert into kasparro.validated_record ({COLUMNS})"
            " select 1 + n % 2, n, 'r' || n % 3, 1, 's', 'k' || n, 'thing',"
            " case when n % 5 > 0 then 't' || n end,"
            " case when n % 7 = 0 then array['a', 'b \"c'] else '{}' end, n / 3.0, now(),"
            " case when n % 4 = 0 then '{\"x\": 1}' else '{}' end::jsonb, 1,"
            " case when n % 2 = 0 then '-Infinity'::numeric else n end, decode(md5(n::text), 'hex'),"
            " case when n % 9 = 0 then n + 1 end, now() from generate_series(1, 12000) n"
        )
    before = rows_of(row_database)
    command.upgrade(migrate.alembic_config(row_database), "head")
    assert rows_of(row_database) == before
    with psycopg.connect(row_database) as connection:
        [(batches, records)] = connection.execute(
            "select count(*), sum(records) from kasparro.validated_batch"
        ).fetchall()
    assert records == len(before) == 12_000
    assert batches == 6  # two documents, three runs
    command.downgrade(migrate.alembic_config(row_database), "0006")
    assert rows_of(row_database) == before


def test_arrays_that_compression_saves_little_of_are_stored_as_they_are(warehouse: Connection) -> None:
    found = warehouse.execute(
        "select attname from pg_attribute where attrelid = 'kasparro.validated_batch'::regclass"
        " and attstorage = 'e' order by attname"
    ).fetchall()
    assert found == [("content_hash",), ("raw_id",)]
