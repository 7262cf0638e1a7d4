"""`kasparro etl`: follows the runs that were launched, and tells what they did."""

import time
from collections.abc import Callable

import psycopg

from kasparro_pipeline.stack.console import say, table
from kasparro_pipeline.stack.dagster_api import DagsterApi, RunState
from kasparro_pipeline.stack.launches import Launch

POLL_INTERVAL = 1
COUNTS = ("read", "repeated", "inserted", "updated", "unchanged", "rejected", "superseded")
COLUMNS = ("source", "partition", "status", *COUNTS, "seconds")


def follow_to_the_end(
    api: DagsterApi, launches: list[Launch], database_url: str, check: Callable[[], object]
) -> int:
    """Wait for what was launched, and show what it did; returns how many launches came to nothing.

    `check` is called while waiting, and raises if the stack is gone.
    """
    for launch in launches:
        what = f"launched {launch.run_id}" if launch.run_id else launch.note
        say(f"{_name(launch):<42} {what}")
    states = _follow(api, launches, check)
    ledger = _ledger(database_url, list(states))
    rows, failures = [], {}
    for launch in launches:
        run = states.get(launch.run_id or "")
        entry = ledger.get(launch.run_id or "", {})
        status = _status(launch, run, entry)
        if status in {"failed", "cancelled"}:
            failures[_name(launch)] = launch.note or entry.get("error") or api.failure(launch.run_id or "")
        seconds = f"{run.ended - run.started:.1f}" if run and run.started and run.ended else ""
        rows.append(
            (launch.source, launch.partition, status, *(entry.get(name, "") for name in COUNTS), seconds)
        )
    say()
    say(table(rows, COLUMNS, right=(*COUNTS, "seconds")))
    for name, reason in failures.items():
        say(f"\n{name} failed: {reason}")
    return len(failures)


def _follow(api: DagsterApi, launches: list[Launch], check: Callable[[], object]) -> dict[str, RunState]:
    """Wait for the runs, saying what happens to each; the states by run id, in order of launch."""
    names = {launch.run_id: _name(launch) for launch in launches if launch.run_id}
    states: dict[str, RunState] = {}
    while names and not (len(states) == len(names) and all(run.finished for run in states.values())):
        check()
        for run in api.runs(list(names)):
            before = states.get(run.run_id)
            if before is None or before.status != run.status:
                took = f" after {run.ended - run.started:.1f} s" if run.ended and run.started else ""
                say(f"{names[run.run_id]:<42} {run.status.lower()}{took}")
            states[run.run_id] = run
        time.sleep(POLL_INTERVAL)
    return states


def _ledger(database_url: str, run_ids: list[str]) -> dict[str, dict[str, object]]:
    """What the run ledger says of the runs."""
    with psycopg.connect(database_url) as connection:
        cursor = connection.execute(
            "select run_id, status, error, read, repeated, inserted, updated, unchanged, rejected, superseded"
            " from kasparro.etl_run where run_id = any(%s)",
            [run_ids],
        )
        names = [column.name for column in cursor.description or ()]
        rows = [dict(zip(names, row, strict=True)) for row in cursor]
    return {str(row["run_id"]): row for row in rows}


def _status(launch: Launch, run: RunState | None, entry: dict[str, object]) -> str:
    if run is None:
        return "failed" if launch.refused else launch.note
    if run.status in {"FAILURE", "CANCELED"}:
        return {"FAILURE": "failed", "CANCELED": "cancelled"}[run.status]
    return str(entry.get("status") or run.status.lower())


def _name(launch: Launch) -> str:
    return f"{launch.source} {launch.partition}".strip()
