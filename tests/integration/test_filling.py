"""An empty unified table is filled before it is indexed: nobody may notice but by the time it takes."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kasparro_pipeline.components.steps import merge_validated
from kasparro_pipeline.warehouse import filling
from tests.integration.test_merge_order import PARTITIONS, World

if TYPE_CHECKING:
    from kasparro_pipeline.warehouse.ledger import Connection

INDEXES = (
    "select c.relname, pg_get_indexdef(i.indexrelid), a.attstattarget from pg_index i"
    " join pg_class c on c.oid = i.indexrelid join pg_attribute a on a.attrelid = c.oid and a.attnum = 1"
    " where i.indrelid = 'kasparro.unified_record'::regclass and i.indisvalid order by 1"
)
CONSTRAINTS = (
    "select conname, pg_get_constraintdef(oid) from pg_constraint"
    " where conrelid = 'kasparro.unified_record'::regclass and contype in ('p', 'u') order by 1"
)


@pytest.fixture(autouse=True)
def always_worth_while(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(filling, "FROM_RECORDS", 1)


def made(connection: Connection) -> list[Any]:
    return [*connection.execute(INDEXES).fetchall(), *connection.execute(CONSTRAINTS).fetchall()]


def waiting(connection: Connection, names: str = "ABC") -> World:
    it = World(connection)
    it.arrive(PARTITIONS[0], [(str(number), name, None) for number, name in enumerate(names)])
    it.validate(PARTITIONS[0])
    return it


deliveries = st.lists(
    st.lists(
        st.tuples(st.sampled_from("abc"), st.sampled_from("ABCD"), st.sampled_from([None, 1, 2, 3])),
        min_size=1,
        max_size=6,
    ),
    min_size=1,
    max_size=4,
)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(arriving=deliveries, versioned=st.booleans())
def test_p3_a_table_that_is_filled_holds_what_merging_would_have_made(
    warehouse: Connection, arriving: list[Any], versioned: bool
) -> None:
    warehouse.execute("truncate kasparro.unified_record")
    it = World(warehouse, rules=("^[ABC]$", versioned))
    for items in arriving:
        it.arrive(PARTITIONS[0], items)
        it.validate(PARTITIONS[0])
    it.merge(PARTITIONS[0], whole=False)
    assert it.served() == it.expected()
    row = warehouse.execute(
        "select inserted, stale, validated from kasparro.etl_run where source = %s order by started_at desc",
        (it.source,),
    ).fetchone()
    assert row is not None
    assert row[0] == len(it.expected())


def test_keys_and_indexes_are_afterwards_what_the_migrations_made(warehouse: Connection) -> None:
    before = made(warehouse)
    warehouse.execute("create index of_a_user on kasparro.unified_record (currency)")
    it = waiting(warehouse)
    it.merge(PARTITIONS[0], whole=False)
    assert it.served() == it.expected()
    warehouse.execute("drop index kasparro.of_a_user")  # it was left alone
    assert made(warehouse) == before
    assert len(before) > 10


def test_a_filling_is_counted_and_dated_as_a_merge_is(
    warehouse: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    def noted() -> list[Any]:
        it = waiting(warehouse)
        it.merge(PARTITIONS[0], whole=False)
        versions = warehouse.execute(
            "select kind, version, records, deleted from kasparro.data_version"
            " where source = %s and kind <> '' order by 1",
            [it.source],
        ).fetchall()
        changes = warehouse.execute(
            "select changed_at is not null, (select count(*) from kasparro.unified_record r"
            " where r.changed_in = c.id) from kasparro.unified_change c where sources = %s",
            [[it.source]],
        ).fetchall()
        return [versions, changes]

    filled = noted()
    triggers = "select tgname, tgenabled from pg_trigger where tgrelid = 'kasparro.unified_record'::regclass"
    assert {row[1] for row in warehouse.execute(triggers)} == {"O"}
    monkeypatch.setattr(filling, "FROM_RECORDS", 1_000)
    assert filled == noted() == [[("thing", 1, 3, 0)], [(True, 3)]]


def test_p6_readers_see_nothing_or_everything_with_its_indexes(
    warehouse: Connection, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = made(warehouse)
    it = waiting(warehouse)
    seen: list[Any] = []
    build = filling.build_indexes

    def look_first(connection: Connection) -> None:
        with psycopg.connect(database_url) as reader:
            seen.append(reader.execute("select count(*) from kasparro.unified_record").fetchone())
        build(connection)

    monkeypatch.setattr(filling, "build_indexes", look_first)
    it.merge(PARTITIONS[0], whole=False)
    with psycopg.connect(database_url) as reader:
        assert reader.execute("select count(*) from kasparro.unified_record").fetchone() == (3,)
        assert made(reader) == before
    assert seen[0] == (0,)


def test_a_reader_that_holds_on_to_the_indexes_is_not_waited_for(
    warehouse: Connection, database_url: str
) -> None:
    before = made(warehouse)
    it = waiting(warehouse)
    with psycopg.connect(database_url) as reader:
        reader.execute("select * from kasparro.unified_record")  # its transaction stays open
        it.merge(PARTITIONS[0], whole=False)
    assert it.served() == it.expected()
    assert made(warehouse) == before


def test_what_a_killed_filling_left_out_is_built_by_the_next_merge(warehouse: Connection) -> None:
    before = made(warehouse)
    assert filling._drop_indexes(warehouse)
    assert made(warehouse) == []
    it = waiting(warehouse)
    it.merge(PARTITIONS[0], whole=False)
    it.arrive(PARTITIONS[1], [("0", "C", None)])
    it.validate(PARTITIONS[1])
    it.merge(PARTITIONS[1], whole=False)
    assert it.served() == it.expected()
    assert made(warehouse) == before


def test_a_filling_that_fails_leaves_the_indexes_and_an_empty_table(warehouse: Connection) -> None:
    before = made(warehouse)
    it = waiting(warehouse)
    warehouse.execute("alter table kasparro.unified_record add constraint broken check (title <> 'B')")
    with pytest.raises(psycopg.errors.CheckViolation):
        it.merge(PARTITIONS[0], whole=False)
    assert made(warehouse) == before
    warehouse.execute("alter table kasparro.unified_record drop constraint broken")
    it.merge(PARTITIONS[0], whole=False)
    assert it.served() == it.expected()


def test_a_merge_waits_while_another_session_fills_the_table(
    warehouse: Connection, database_url: str
) -> None:
    it = waiting(warehouse)
    hold = it.hold(PARTITIONS[0])
    warehouse.execute("set lock_timeout = '100ms'")  # for a lock of any other kind
    with psycopg.connect(database_url, autocommit=True) as other:
        other.execute("select pg_advisory_lock(%s)", (filling.MERGE_LOCK,))
        merging = threading.Thread(target=merge_validated, args=(warehouse, hold), kwargs={"whole": False})
        merging.start()
        merging.join(0.5)
        assert merging.is_alive()
        assert other.execute("select count(*) from kasparro.unified_record").fetchone() == (0,)
        other.execute("select pg_advisory_unlock(%s)", (filling.MERGE_LOCK,))
        merging.join(30)
    assert it.served() == it.expected()


def test_records_that_are_few_or_meet_others_are_merged_as_ever(
    warehouse: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    dropped: list[Connection] = []

    def drop(connection: Connection) -> bool:
        dropped.append(connection)
        return True

    monkeypatch.setattr(filling, "_drop_indexes", drop)
    monkeypatch.setattr(filling, "FROM_RECORDS", 4)
    waiting(warehouse).merge(PARTITIONS[0], whole=False)  # three
    monkeypatch.setattr(filling, "FROM_RECORDS", 1)
    waiting(warehouse).merge(PARTITIONS[0], whole=False)  # three more
    assert dropped == []
