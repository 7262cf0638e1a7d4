"""`kasparro replay`: launches the replay of a source's rejected records, and tells what came of it."""

import json
import time
from collections.abc import Sequence

import psycopg
from psycopg.rows import dict_row

from kasparro_pipeline.stack.commands import running_stack
from kasparro_pipeline.stack.console import say, table
from kasparro_pipeline.stack.dagster_api import DagsterApi
from kasparro_pipeline.stack.errors import StackError
from kasparro_pipeline.stack.launches import wait_for_sources
from kasparro_pipeline.stack.settings import StackSettings

POLL_INTERVAL = 0.5
COUNTS = ("read", "validated", "superseded", "rejected", "inserted", "updated", "unchanged", "stale")
COLUMNS = ("partition", "status", *COUNTS)
JOB = "replay_rejected_{source}"


def run(settings: StackSettings, source: str, partitions: Sequence[str]) -> int:
    """Replay what is rejected, all of it or of some partitions; 1 if the run failed.

    Raises:
        StackError: no stack runs, there is no such source, or Dagster refuses.
    """
    running = running_stack(settings)
    if running is None or not running.ready:
        raise StackError(
            "The stack does not run. Start it with `make up`; elsewhere launch the job "
            f"{JOB.format(source=source)} in Dagster."
        )
    api = DagsterApi(running.addresses["webserver"])
    known = [found.name for found in wait_for_sources(api)]
    if source not in known:
        raise StackError(f"There is no source {source}. Known sources: {', '.join(known)}.")
    job = JOB.format(source=source)
    op = {"config": {"partitions": list(partitions)}}
    run_id = api.launch(job, {}, json.dumps({"ops": {f"{job}_op": op}}))
    say(f"{job}: launched {run_id}")
    while not (states := api.runs([run_id])) or not states[0].finished:
        if running_stack(settings) is None:
            raise StackError("The stack stopped meanwhile, and the run with it.")
        time.sleep(POLL_INTERVAL)
    done = _tell(running.environment["DATABASE_URL"], run_id)
    if states[0].status != "SUCCESS":
        say(f"\nThe run {states[0].status.lower()}: {api.failure(run_id)}")
        return 1
    if missing := sorted(set(partitions) - done):
        say(f"No rejected records in {', '.join(missing)}: is the name right?")
        return 1
    return 0


def _tell(database_url: str, run_id: str) -> set[str]:
    """Say what the run did; the partitions that it worked on."""
    with psycopg.connect(database_url, row_factory=dict_row) as connection:
        rows = connection.execute(
            "select * from kasparro.etl_run where run_id = %s order by partition_key", [run_id]
        ).fetchall()
    if not rows:
        say("There was nothing to replay.")
        return set()
    say(
        table(
            [
                tuple(row["partition_key" if name == "partition" else name] for name in COLUMNS)
                for row in rows
            ],
            COLUMNS,
            right=COUNTS,
        )
    )
    passed = sum(row["validated"] + row["superseded"] for row in rows)
    say(f"\n{passed} passed, {sum(row['rejected'] for row in rows)} are still rejected.")
    return {row["partition_key"] for row in rows}
