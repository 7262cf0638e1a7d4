"""Every version of a record is kept, and changes are dated in the order in which they become visible."""

from __future__ import annotations

import itertools
import json
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
import requests
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import create_engine

from kasparro_api.app import create_app
from kasparro_pipeline.warehouse import migrate, tables
from tests.api.conftest import serving, settings_of
from tests.integration.test_merge_order import PARTITIONS, World

if TYPE_CHECKING:
    from collections.abc import Iterator

    from kasparro_pipeline.warehouse.ledger import Connection
    from tests.conftest import Server
    from tests.integration.conftest import Pipeline

AT = """
select {columns} from kasparro.unified_record r
where not exists (select from kasparro.unified_change c where c.id = r.changed_in and c.changed_at > %(at)s)
union all
select {columns} from kasparro.unified_history r
join kasparro.unified_change later on later.id = r.replaced_in
where later.changed_at > %(at)s
    and not exists (select from kasparro.unified_change c where c.id = r.changed_in and c.changed_at > %(at)s)
"""
SHOWN = ("id", "source", "source_id", "title", "raw_id", "deleted_at")


def put(connection: Connection, key: str, title: str, source: str = "a") -> None:
    """Insert a record, or change the one that is there."""
    connection.execute(
        "insert into kasparro.unified_record as u"
        " (source, source_id, kind, title, epoch, version, content_hash, raw_id, run_id)"
        " values (%s, %s, 'k', %s, 1, 1, %s, 1, 'run') on conflict (source, source_id) do update"
        " set title = excluded.title, updated_at = now() where u.title is distinct from excluded.title",
        [source, key, title, title.encode()],
    )


def present(connection: Connection) -> list[Any]:
    columns = ", ".join(SHOWN)
    return connection.execute(f"select {columns} from kasparro.unified_record order by id").fetchall()


def at(connection: Connection, moment: datetime) -> list[Any]:
    columns = ", ".join(f"r.{name}" for name in SHOWN)
    return sorted(connection.execute(AT.format(columns=columns), {"at": moment}).fetchall())


def changes(connection: Connection) -> list[tuple[int, datetime, list[str]]]:
    """Every change but the first, in order."""
    return connection.execute(
        "select id, changed_at, sources from kasparro.unified_change where id > 0 order by changed_at"
    ).fetchall()


def versions(connection: Connection) -> int:
    row = connection.execute("select count(*) from kasparro.unified_history").fetchone()
    return int(row[0]) if row else 0


@contextmanager
def other(database_url: str) -> Iterator[Connection]:
    with psycopg.connect(database_url, autocommit=True) as opened:
        yield opened


keys = st.sampled_from("abcd")
statement = st.one_of(
    st.tuples(st.just("put"), keys, st.sampled_from("xyz")),
    st.tuples(st.just("mark"), keys, st.none()),
    st.tuples(st.just("delete"), keys, st.none()),
    st.tuples(st.just("undo"), keys, st.sampled_from("xyz")),
    st.tuples(st.just("truncate"), keys, st.none()),
)
transactions = st.lists(
    st.tuples(st.lists(statement, max_size=4), st.sampled_from(["commit", "commit", "commit", "roll back"])),
    max_size=8,
)


def execute(connection: Connection, what: str, key: str, title: str | None) -> None:
    if what == "put":
        put(connection, key, title or "", source=key)
    elif what == "mark":
        connection.execute(
            "update kasparro.unified_record set deleted_at = now()"
            " where source_id = %s and deleted_at is null",
            [key],
        )
    elif what == "delete":
        connection.execute("delete from kasparro.unified_record where source_id = %s", [key])
    elif what == "undo":
        with connection.transaction(force_rollback=True):
            put(connection, key, title or "", source=key)
    else:
        connection.execute("truncate kasparro.unified_record")


@settings(
    max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)  # fmt: skip
@given(plan=transactions, isolation=st.sampled_from(list(psycopg.IsolationLevel)))
def test_the_table_can_be_told_for_every_change_that_ever_was(
    warehouse: Connection, plan: list[tuple[list[Any], str]], isolation: psycopg.IsolationLevel
) -> None:
    warehouse.execute("truncate kasparro.unified_record, kasparro.unified_history")
    warehouse.execute("delete from kasparro.unified_change where id > 0")
    warehouse.execute("update kasparro.unified_change set changed_at = clock_timestamp() where id = 0")
    told: list[tuple[datetime, list[Any]]] = []
    warehouse.isolation_level = isolation
    for statements, ending in plan:
        before, known = present(warehouse), len(changes(warehouse))
        with warehouse.transaction(force_rollback=ending == "roll back"):
            for each in statements:
                execute(warehouse, *each)
        now, dated = present(warehouse), changes(warehouse)
        assert len(dated) - known in {0, 1}
        if now != before:
            assert len(dated) == known + 1
            touched = {row[1] for row in set(before) ^ set(now)}
            assert touched <= set(dated[-1][2])
        if len(dated) > known:
            told.append((dated[-1][1], now))
    warehouse.isolation_level = None
    assert [moment for moment, _ in told] == sorted({moment for moment, _ in told})
    for (moment, expected), following in itertools.zip_longest(told, told[1:]):
        assert at(warehouse, moment) == expected
        if following:
            assert at(warehouse, following[0] - timedelta(microseconds=1)) == expected


def test_what_a_transaction_itself_replaces_was_never_seen_and_is_not_kept(warehouse: Connection) -> None:
    with warehouse.transaction():
        for title in "xyz":
            put(warehouse, "1", title)
    with warehouse.transaction():
        for title in "abc":
            put(warehouse, "1", title)
    assert len(changes(warehouse)) == 2
    rows = warehouse.execute("select title, replaced_in from kasparro.unified_history").fetchall()
    assert rows == [("z", changes(warehouse)[1][0])]


def test_p5_a_statement_that_changes_no_row_is_no_change(warehouse: Connection) -> None:
    put(warehouse, "1", "x")
    put(warehouse, "1", "x")
    warehouse.execute("delete from kasparro.unified_record where id < 0")
    warehouse.execute("update kasparro.unified_record set title = 'y' where id < 0")
    assert len(changes(warehouse)) == 1
    assert versions(warehouse) == 0


def test_p5_a_merge_of_what_is_there_already_leaves_no_change_and_no_version(warehouse: Connection) -> None:
    world = World(warehouse)
    world.arrive(PARTITIONS[0], [("1", "A", None), ("2", "B", None)])
    world.validate(PARTITIONS[0])
    world.merge(PARTITIONS[0], whole=False)
    [(_, _, sources)] = changes(warehouse)
    assert sources == [world.source]
    world.merge(PARTITIONS[0], whole=True)
    world.arrive(PARTITIONS[1], [("1", "A", None)])
    world.validate(PARTITIONS[1])
    world.merge(PARTITIONS[1], whole=False)
    assert len(changes(warehouse)) == 1
    assert versions(warehouse) == 0


def test_a_record_that_goes_a_b_a_has_three_versions(warehouse: Connection) -> None:
    world = World(warehouse)
    for partition, name in zip(PARTITIONS, "ABA", strict=True):
        world.arrive(partition, [("1", name, None)])
        world.validate(partition)
        world.merge(partition, whole=False)
    titles = [at(warehouse, moment)[0][3] for _, moment, _ in changes(warehouse)]
    assert titles == ["A", "B", "A"]


def test_whoever_changes_a_record_cannot_name_another_change(warehouse: Connection) -> None:
    put(warehouse, "a", "x")
    warehouse.execute("update kasparro.unified_record set title = 'y', changed_in = 0")
    assert warehouse.execute("select changed_in from kasparro.unified_record").fetchall() == [
        (changes(warehouse)[-1][0],)
    ]


def test_p9_a_long_transaction_holds_up_no_other_and_is_dated_when_it_ends(
    warehouse: Connection, database_url: str
) -> None:
    with other(database_url) as slow:
        warehouse.execute("set lock_timeout = '5s'")
        with slow.transaction():
            put(slow, "1", "slow", source="slow")
            put(warehouse, "2", "fast", source="fast")
            assert len(changes(warehouse)) == 1
        assert [moment for _, moment, _ in changes(warehouse)] == sorted(
            moment for _, moment, _ in changes(warehouse)
        )
        ids = [number for number, _, _ in changes(warehouse)]
    assert ids == sorted(ids, reverse=True)  # begun in one order, committed in the other


WRITERS, WRITES = 12, 15


def late_changes(database_url: str) -> list[int]:
    """Look until every change is there; those that were dated before one that was seen earlier."""
    late: list[int] = []
    known: set[int] = set()
    newest = datetime.min.replace(tzinfo=UTC)
    deadline = time.monotonic() + 60
    with other(database_url) as reader:
        while len(known) < WRITERS * WRITES:
            assert time.monotonic() < deadline, f"{len(known)} changes"
            fresh = [(number, moment) for number, moment, _ in changes(reader) if number not in known]
            late += [number for number, moment in fresh if moment <= newest]
            known |= {number for number, _ in fresh}
            newest = max([newest, *(moment for _, moment in fresh)])
    return late


def write_with_pauses(database_url: str, writer: int) -> None:
    with other(database_url) as connection:
        for number in range(WRITES):
            with connection.transaction():
                put(connection, f"{writer}-{number}", "x", source=f"source-{writer}")
                time.sleep((writer * 7 + number * 3) % 10 / 1000)


def test_changes_become_visible_in_the_order_of_their_times(database_url: str) -> None:
    """Twelve writers whose transactions overlap; no reader sees one that is dated before a known one."""
    with ThreadPoolExecutor(WRITERS + 1) as threads:
        watching = threads.submit(late_changes, database_url)
        for writer in range(WRITERS):
            threads.submit(write_with_pauses, database_url, writer)
        assert watching.result() == []


def test_times_rise_also_when_the_clock_is_set_back(warehouse: Connection) -> None:
    put(warehouse, "1", "x")
    ahead = datetime.now(UTC) + timedelta(hours=1)
    warehouse.execute(
        "select setval('kasparro.unified_change_clock', (extract(epoch from %s) * 1000000)::bigint)", [ahead]
    )
    for title in "yz":
        put(warehouse, "1", title)
    assert [moment for _, moment, _ in changes(warehouse)][1:] == [
        ahead + timedelta(microseconds=number) for number in (1, 2)
    ]


@pytest.fixture
def older_database(postgres: Server) -> Iterator[str]:
    """A database without a history, with three records in it."""
    with psycopg.connect(postgres.url("postgres"), autocommit=True) as admin:
        admin.execute("create database kasparro_test_older")
        url = postgres.url("kasparro_test_older")
        command.upgrade(migrate.alembic_config(url), "0002")
        with other(url) as connection:
            for key in "123":
                put(connection, key, "x")
        yield url
        admin.execute("drop database kasparro_test_older with (force)")


def test_history_begins_with_the_records_that_are_there(older_database: str) -> None:
    command.upgrade(migrate.alembic_config(older_database), "0003")
    with other(older_database) as connection:
        rows = connection.execute("select id, changed_at, sources from kasparro.unified_change").fetchall()
        assert [(number, sources) for number, _, sources in rows] == [(0, ["a"])]
        begun = rows[0][1]
        put(connection, "1", "y")
        assert [row[3] for row in at(connection, begun)] == ["x", "x", "x"]
        [(_, moment, _)] = changes(connection)
        assert sorted(row[3] for row in at(connection, moment)) == ["x", "x", "y"]
    command.downgrade(migrate.alembic_config(older_database), "0002")
    with other(older_database) as connection:
        put(connection, "1", "z")
        assert len(present(connection)) == 3


def test_the_tables_are_as_they_are_described(database_url: str) -> None:
    engine = create_engine(database_url.replace("postgresql://", "postgresql+psycopg://", 1))
    with engine.connect() as connection:
        context = MigrationContext.configure(
            connection,
            opts={
                "include_schemas": True,
                "include_name": lambda name, kind, _parents: kind != "schema" or name == "kasparro",
                "version_table_schema": "kasparro",
            },
        )
        assert compare_metadata(context, tables.metadata) == []
    engine.dispose()


def test_p8_each_materialization_leads_to_its_run_and_its_records_in_the_api(
    built_in: Pipeline, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with serving(create_app(settings_of(database_url))) as api:
        monkeypatch.setenv("KASPARRO_API_URL", f"{api}/")
        run = built_in.run("coinpaprika_tickers")
        events = run.result.get_asset_materialization_events()
        links = {
            event.materialization.asset_key.path[0]: {
                name: value.value
                for name, value in event.materialization.metadata.items()
                if name.endswith("in the API")
            }
            for event in events
        }
        assert {layer: set(found) for layer, found in links.items()} == {
            "raw": {"run in the API"},
            "validated": {"run in the API"},
            "unified": {"run in the API", "records in the API"},
        }
        for found in links.values():
            [shown] = requests.get(str(found["run in the API"]), timeout=30).json()["data"]
            assert shown["run_id"] == run.result.run_id
        page = requests.get(f"{links['unified']['records in the API']}&count=exact", timeout=30).json()
        assert page["pagination"]["total"] == run.ledger["inserted"] > 0
        [record, *_] = page["data"]
        lineage = requests.get(f"{api}/data/{record['id']}/lineage", timeout=30).json()["data"]
        assert lineage["run"]["run_id"] == run.result.run_id
        assert json.loads(lineage["raw"]["payload"])["id"] == record["source_id"]


def test_without_an_address_of_the_api_there_are_no_links(built_in: Pipeline) -> None:
    run = built_in.run("coinpaprika_tickers")
    for event in run.result.get_asset_materialization_events():
        assert not [name for name in event.materialization.metadata if "API" in name]


def test_a_sequence_that_is_behind_is_refused_and_hides_no_change(warehouse: Connection) -> None:
    put(warehouse, "1", "one")
    before = warehouse.execute("select * from kasparro.unified_change order by id").fetchall()
    warehouse.execute("select setval('kasparro.unified_change_id_seq', 1, false)")
    with pytest.raises(psycopg.errors.RaiseException, match=r"sequence of .* is behind"):
        put(warehouse, "2", "two")
    assert warehouse.execute("select * from kasparro.unified_change order by id").fetchall() == before
