"""The revision that packs raw records many to a row: each keeps its id, place and bytes, both ways (P7)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import psycopg
import pytest
from alembic import command
from alembic.script import ScriptDirectory

from kasparro_pipeline.warehouse import migrate, revision
from kasparro_pipeline.warehouse.raw_batches import MOST_BYTES as MOST

if TYPE_CHECKING:
    from collections.abc import Callable


@pytest.fixture
def row_database(database_at: Callable[[str], str]) -> str:
    """A database whose raw records are a row each."""
    return database_at("0005")


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


def test_the_newest_revision_is_told_by_the_names_of_their_modules() -> None:
    scripts = ScriptDirectory.from_config(migrate.alembic_config("postgresql://"))
    assert revision.head() == scripts.get_current_head()
