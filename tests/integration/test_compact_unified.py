"""The revision that lets a unified record take fewer bytes: each one says what it said, both ways (P8)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from uuid import uuid4

import psycopg
import pytest
from alembic import command
from hypothesis import given
from hypothesis import strategies as st

from kasparro_pipeline.warehouse import compact, migrate

if TYPE_CHECKING:
    from collections.abc import Callable

WRITTEN = (
    "insert into kasparro.unified_record (source, source_id, kind, title, epoch, version, content_hash, "
)
SAID = (
    "id, source, source_id, kind, title, summary, url, category, author, {tags}, amount, currency,"
    " published_at, {attributes}, epoch, version, content_hash, raw_id, {run}, first_seen_at, updated_at,"
    " deleted_at, changed_in"
)
AS_IT_WAS = SAID.format(tags="tags", attributes="attributes", run="run_id")
AS_IT_IS = SAID.format(
    tags=compact.read("tags"), attributes=compact.read("attributes"), run=compact.read("run_id")
)
BELONGINGS = """
select pg_get_indexdef(indexrelid) from pg_index where indrelid = 'kasparro.unified_record'::regclass
union all select pg_get_constraintdef(oid) from pg_constraint
where conrelid = 'kasparro.unified_record'::regclass and contype <> 'n'
union all select pg_get_triggerdef(oid) from pg_trigger
where tgrelid = 'kasparro.unified_record'::regclass and not tgisinternal
union all select grantee::regrole::text || ' ' || privilege_type from pg_class, aclexplode(relacl)
where oid = 'kasparro.unified_record'::regclass and grantee <> relowner order by 1
"""
RUN = str(uuid4())


@pytest.fixture
def older(database_at: Callable[[str], str]) -> str:
    """A database of the revision before, with records, a version that was replaced, and a reader's rights."""
    url = database_at("0010")
    with psycopg.connect(url) as connection:
        connection.execute(
            f"{WRITTEN} raw_id, run_id, tags, attributes, amount, published_at, deleted_at) values"
            " ('a', '1', 'k', '100%% plain', 1, 1, 'h', 1, %s, '{x,y}', '{\"b\": 1}', 2.50, now(), null),"
            " ('a', '2', 'k', 'nothing', 1, '-Infinity', 'h', 2, %s, '{}', '{}', null, null, null),"
            " ('a', '3', 'k', 'by another hand', 1, 1, 'h', 0, 'run-1', '{}', '{}', null, null, now()),"
            " ('a', '4', 'k', 'in capitals', 1, 1, 'h', 4, %s, '{}', '{}', null, null, null)",
            [RUN, RUN, RUN.upper()],
        )
        connection.commit()
        connection.execute("update kasparro.unified_record set title = 'changed' where source_id < '3'")
        connection.execute("delete from kasparro.unified_record where source_id = '4'")
        connection.execute("grant select on kasparro.unified_record to pg_monitor")
        connection.execute("create index of_a_user on kasparro.unified_record (currency)")
    return url


def said(url: str, columns: str) -> dict[str, list[Any]]:
    with psycopg.connect(url) as connection:
        return {
            table: connection.execute(
                f"select {columns} from kasparro.{table} order by 1, changed_in"
            ).fetchall()
            for table in ("unified_record", "unified_history")
        }


def belongings(url: str) -> list[Any]:
    with psycopg.connect(url) as connection:
        return connection.execute(BELONGINGS).fetchall()


def test_p8_records_and_their_versions_say_what_they_said_both_ways(older: str) -> None:
    before, belonged = said(older, AS_IT_WAS), belongings(older)
    assert [len(rows) for rows in before.values()] == [3, 3]
    command.upgrade(migrate.alembic_config(older), "0011")
    assert said(older, AS_IT_IS) == before
    with psycopg.connect(older) as connection:
        stored = connection.execute(
            "select run_id, run_uuid::text, tags, attributes from kasparro.unified_record order by id"
        ).fetchall()
    assert stored == [(None, RUN, ["x", "y"], {"b": 1}), (None, RUN, None, None), ("run-1", None, None, None)]
    command.downgrade(migrate.alembic_config(older), "0010")
    assert said(older, AS_IT_WAS) == before
    assert belongings(older) == belonged


def test_a_search_an_id_and_a_history_go_on_after_it(older: str) -> None:
    command.upgrade(migrate.alembic_config(older), "0011")
    with psycopg.connect(older) as connection:
        row = connection.execute(
            f"{WRITTEN} raw_id, run_id) values ('a', '5', 'k', 'new', 1, 1, 'h', 5, 'run-2') returning id"
        ).fetchone()
        assert row == (5,)
        connection.execute("update kasparro.unified_record set kind = 'other' where source_id = '1'")
        found = connection.execute(
            "select source_id from kasparro.unified_record where search @@ to_tsquery('english', 'changed')"
            " order by id"
        ).fetchall()
        assert found == [("1",), ("2",)]
        kept = connection.execute(
            f"select title, {compact.read('run_id')} from kasparro.unified_history where source_id = '1'"
            " order by changed_in"
        ).fetchall()
        assert kept == [("100% plain", RUN), ("changed", RUN)]
        with pytest.raises(psycopg.errors.CheckViolation):
            connection.execute("update kasparro.unified_record set run_id = null, run_uuid = null")


def test_what_a_user_added_and_the_rights_to_read_stay(older: str) -> None:
    command.upgrade(migrate.alembic_config(older), "0011")
    found = [row[0] for row in belongings(older)]
    assert "pg_monitor SELECT" in found
    assert any("of_a_user" in one for one in found)


def test_what_only_grows_at_its_end_has_full_pages(older: str) -> None:
    command.upgrade(migrate.alembic_config(older), "0011")
    full = [one[0] for one in belongings(older) if "fillfactor='100'" in one[0]]
    assert ["(changed_in, id)" in one or "(updated_at, id)" in one for one in full] == [True, True]


@given(st.one_of(st.uuids().map(str), st.uuids().map(lambda uuid: uuid.hex), st.text(), st.uuids().map(repr)))
def test_p8_a_runs_id_is_a_uuid_only_if_that_says_the_same(run_id: str) -> None:
    columns = compact.run(run_id)
    assert set(columns) == {"run_id", "run_uuid"}
    assert [str(value) for value in columns.values() if value is not None] == [run_id]
