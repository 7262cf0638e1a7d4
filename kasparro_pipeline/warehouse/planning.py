"""Settings for statements over batches: the planner cannot know how many records lie in one, and takes few.

It would compare each of thousands with each other one, where they are joined with records of other batches.
They hold until the end of a transaction.
"""

from typing import LiteralString

from kasparro_pipeline.warehouse.ledger import Connection
from kasparro_pipeline.warehouse.tables import SCHEMA

A_PASS = 20
"""Rows of the unified table that a pass over it reads in the time of one look-up by key, roughly."""
_MEMORY: LiteralString = "set local work_mem = '64MB'"
_LARGE_MEMORY: LiteralString = "set local work_mem = '128MB'"
# By the size that is known without counting. That of a table that was never looked at is -1
_IS_SMALL: LiteralString = (
    f"(select reltuples < %s from pg_class where oid = '{SCHEMA}.unified_record'::regclass)"
)


def compare_by_hashes(connection: Connection) -> None:
    """Join by hashes whatever can be. Look-ups are written as such: LATERAL with a LIMIT, or `= any`."""
    connection.execute(f"{_MEMORY}; set local enable_nestloop = off")


def compare_files(connection: Connection) -> None:
    """Join by hashes alone, with memory for the keys of a file: sorting a million of them costs more."""
    connection.execute(f"{_LARGE_MEMORY}; set local enable_nestloop = off; set local enable_mergejoin = off")


def group_keys(connection: Connection) -> None:
    """Sort the keys of a file to find equal ones: a table of hashes grows with each of a million, in vain."""
    compare_files(connection)
    connection.execute("set local enable_hashagg = off; set local cursor_tuple_fraction = 1")


def are_few(connection: Connection, records: int) -> bool:
    """Whether looking so many records up in the unified table by key costs less than a pass over it."""
    row = connection.execute(f"select not {_IS_SMALL}", (records * A_PASS,)).fetchone()
    return bool(row and row[0])


def compare_by_number(connection: Connection, records: int) -> None:
    """Let the planner look so many records up by their keys if they are few, and make a pass otherwise.

    For statements that join no two sets of records but the unified table.
    """
    connection.execute(_MEMORY)
    connection.execute(
        f"select set_config('enable_nestloop', case when {_IS_SMALL} then 'off' else 'on' end, true)",
        (records * A_PASS,),
    )
