"""The totals of each source agree with its runs, and what only grows never goes down."""

from __future__ import annotations

import itertools
import threading
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import psycopg
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from psycopg.rows import dict_row

from kasparro_pipeline.warehouse import ledger
from kasparro_pipeline.warehouse.tables import COUNT_COLUMNS, RUN_STATUSES

if TYPE_CHECKING:
    from kasparro_pipeline.warehouse.ledger import Connection

NOON = datetime(2026, 11, 1, 12, tzinfo=UTC)
ENDINGS = RUN_STATUSES[1:]
SUCCESSES = ("success", "partial")
numbers = itertools.count()


@dataclass
class Run:
    """A row of the ledger in the model."""

    source: str
    status: str
    read: int
    finished_at: datetime | None
    pruned: bool = False


@dataclass
class Model:
    """What the totals must say."""

    runs: dict[str, Run] = field(default_factory=dict)
    grown: dict[tuple[str, str], float] = field(default_factory=dict)
    last_success: dict[str, datetime | None] = field(default_factory=dict)

    def put(self, run_id: str, source: str, status: str, read: int, minute: int) -> None:
        """Insert or change a row."""
        before = self.runs.get(run_id, Run(source, "running", 0, None))
        finished_at = None if status == "running" else NOON + timedelta(minutes=minute)
        self.runs[run_id] = Run(source, status, read, finished_at)
        self.grow(source, "read", max(read - before.read, 0))
        if status not in {before.status, "running"}:
            self.grow(source, f"ended_{status}", 1)
            self.grow(source, "run_seconds", minute * 60)

    def grow(self, source: str, name: str, amount: float) -> None:
        self.grown[source, name] = self.grown.get((source, name), 0) + amount

    def newest(self, source: str, *statuses: str) -> datetime | None:
        ends = [
            run.finished_at
            for run in self.runs.values()
            if run.source == source and run.status in statuses and run.finished_at
        ]
        return max(ends, default=None)

    def totals(self, source: str) -> dict[str, Any]:
        names = ("read", "run_seconds", *(f"ended_{status}" for status in ENDINGS))
        of_source = [run for run in self.runs.values() if run.source == source]
        return {
            **{status: sum(run.status == status for run in of_source) for status in ENDINGS},
            **{name: self.grown.get((source, name), 0) for name in names},
            "last_success_at": self.newest(source, *SUCCESSES),
            "last_failure_at": self.newest(source, "failed"),
        }


changes = st.lists(
    st.tuples(
        st.integers(0, 5),  # which run
        st.sampled_from(RUN_STATUSES),
        st.integers(0, 3),  # records read
        st.integers(1, 4),  # minutes it took
    ),
    min_size=1,
    max_size=4,
    unique_by=lambda change: change[0],
)


@settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],  # each example has sources of its own
)
@given(statements=st.lists(changes, max_size=8))
def test_totals_are_those_of_a_plain_model_whatever_happens_to_the_runs(
    warehouse: Connection, statements: list[list[tuple[int, str, int, int]]]
) -> None:
    example = next(numbers)
    model = Model()
    for statement in statements:
        rows = []
        for number, status, read, minute in statement:
            run_id, source = f"{example}-{number}", f"{example}-{'ab'[number % 2]}"
            model.put(run_id, source, status, read, minute)
            rows.append((run_id, source, status, read, model.runs[run_id].finished_at))
        write(warehouse, rows)
    for source in {run.source for run in model.runs.values()}:
        found = totals(warehouse, source)
        assert found == {**found, **model.totals(source)}


def write(connection: Connection, rows: list[tuple[Any, ...]]) -> None:
    """Change the rows that are there in one statement, and insert the others in one."""
    given_rows = (
        "with given as (select * from unnest(%s::text[], %s::text[], %s::text[], %s::bigint[],"
        " %s::timestamptz[]) as g (run_id, source, status, read, finished_at)) "
    )
    columns = [list(column) for column in zip(*rows, strict=True)]
    connection.execute(
        given_rows + "update kasparro.etl_run r set status = g.status, read = g.read,"
        " finished_at = g.finished_at from given g where g.run_id = r.run_id",
        columns,
    )
    connection.execute(
        given_rows + "insert into kasparro.etl_run"
        " (run_id, source, partition_key, fence, status, started_at, read, finished_at)"
        " select g.run_id, g.source, 'p', 1, g.status, %s, g.read, g.finished_at from given g"
        " where not exists (select from kasparro.etl_run r where r.run_id = g.run_id)",
        [*columns, NOON],
    )


def totals(connection: Connection, source: str) -> dict[str, Any]:
    with connection.cursor(row_factory=dict_row) as cursor:
        found = cursor.execute("select * from kasparro.source_total where source = %s", [source]).fetchone()
    assert found is not None
    return found


def finished_run(connection: Connection, run_id: str, status: ledger.Status = "success") -> None:
    hold = ledger.begin(connection, "it", "2026-01-01", run_id)
    ledger.add_counts(connection, hold, dict.fromkeys(COUNT_COLUMNS, 2))
    ledger.close(connection, hold, status)


def test_pruning_the_ledger_takes_nothing_away(warehouse: Connection) -> None:
    for number in range(3):
        finished_run(warehouse, f"run-{number}")
    before = totals(warehouse, "it")
    assert (before["success"], before["ended_success"], before["read"]) == (3, 3, 6)
    warehouse.execute("delete from kasparro.etl_run")
    assert totals(warehouse, "it") == before
    finished_run(warehouse, "run-3", "failed")
    after = totals(warehouse, "it")
    assert (after["success"], after["failed"], after["read"]) == (3, 1, 8)
    assert after["last_success_at"] == before["last_success_at"]
    assert after["last_failure_at"] > before["last_success_at"]


def test_a_source_has_its_totals_from_its_first_run_on(warehouse: Connection) -> None:
    ledger.begin(warehouse, "it", "2026-01-01", "run")
    found = totals(warehouse, "it")
    assert {found[name] for name in (*ENDINGS, *COUNT_COLUMNS)} == {0}
    assert found["last_success_at"] is None


def test_work_that_begins_anew_counts_again(warehouse: Connection) -> None:
    hold = ledger.begin(warehouse, "it", "2026-01-01", "run")
    ledger.add_counts(warehouse, hold, {"read": 5, "validated": 5})
    ledger.reset_counts(warehouse, hold, "read", "validated")
    assert totals(warehouse, "it")["read"] == 5
    ledger.add_counts(warehouse, hold, {"read": 7, "validated": 6, "rejected": 1})
    assert totals(warehouse, "it")["read"] == 12


def test_a_success_that_a_check_takes_back_was_not_the_last_success(warehouse: Connection) -> None:
    finished_run(warehouse, "run-1")
    first = totals(warehouse, "it")["last_success_at"]
    finished_run(warehouse, "run-2")
    assert totals(warehouse, "it")["last_success_at"] > first
    ledger.fail(warehouse, "run-2", "it", "schema_drift: removed")
    found = totals(warehouse, "it")
    assert found["last_success_at"] == first
    assert (found["success"], found["failed"], found["ended_success"], found["ended_failed"]) == (1, 1, 2, 1)


def test_a_change_of_nothing_that_counts_writes_no_total(warehouse: Connection) -> None:
    hold = ledger.begin(warehouse, "it", "2026-01-01", "run")
    version = "select xmin, ctid from kasparro.source_total"
    before = warehouse.execute(version).fetchall()
    warehouse.execute("update kasparro.etl_run set contract_version = 3, active_at = now()")
    ledger.reset_counts(warehouse, hold, "read")
    assert warehouse.execute(version).fetchall() == before


def test_runs_at_once_lose_no_count_and_do_not_block_each_other_for_good(
    warehouse: Connection, database_url: str
) -> None:
    times = 40

    def work(name: str) -> None:
        with psycopg.connect(database_url, autocommit=True) as connection:
            for number in range(times):
                # one statement over both sources, in another order of the rows for each worker
                with connection.transaction():
                    order = "desc" if name == "b" else "asc"
                    connection.execute(
                        "insert into kasparro.etl_run (run_id, source, partition_key, fence, status, read)"
                        f" select %s, source, %s, 1, 'success', 1 from unnest(array['x', 'y']) source"
                        f" order by source {order}",
                        [f"{name}-{number}", name],
                    )

    threads = [threading.Thread(target=work, args=[name]) for name in "ab"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for source in "xy":
        found = totals(warehouse, source)
        assert (found["success"], found["ended_success"], found["read"]) == (2 * times,) * 3
