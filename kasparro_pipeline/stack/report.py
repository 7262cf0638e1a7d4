"""What `up` and `status` show of a stack that runs."""

import psycopg

from kasparro_pipeline.stack.console import say, table
from kasparro_pipeline.stack.programs import answers
from kasparro_pipeline.stack.state import State

LAST_RUNS = """
select distinct on (source) source, partition_key, status,
       to_char(started_at at time zone 'UTC', 'YYYY-MM-DD HH24:MI:SS'),
       round(extract(epoch from coalesce(finished_at, now()) - started_at), 1),
       read, inserted, updated, unchanged, rejected, error
  from kasparro.etl_run order by source, started_at desc
"""
COLUMNS = ("source", "partition", "last run", "started (UTC)", "seconds")
COUNTS = ("read", "inserted", "updated", "unchanged", "rejected")
PATHS = {"api": "/docs", "webserver": "", "sandbox": ""}
NAMES = {"api": "API", "webserver": "Dagster", "sandbox": "Sandbox"}


def show_addresses(record: State) -> None:
    """The addresses, and what to try next."""
    say()
    for name, title in NAMES.items():
        if name in record.addresses:
            say(f"  {title:<9} {record.addresses[name]}{PATHS[name]}")
    api = record.addresses.get("api", "")
    say(
        f"""
Try next:
  curl '{api}/data?limit=3'      the newest records
  curl '{api}/stats'             what each source did
  make status                    the same, here; in another terminal
  make etl                       run every source now and wait

Ctrl-C, or `make down` in another terminal, stops everything."""
    )


def show_status(record: State) -> None:
    """The processes, and the last run of each source."""
    rows = []
    for name, child in record.children.items():
        address = record.addresses.get(name)
        if child.process is None:
            condition = "ended"
        elif address is None:
            condition = "runs"
        else:
            condition = "answers" if answers(f"{address}/") else "does not answer"
        rows.append((name, child.pid, condition, address))
    say(table(rows, ("process", "pid", "state", "address"), right=("pid",)))
    say()
    with psycopg.connect(record.environment["DATABASE_URL"], connect_timeout=10) as connection:
        runs = connection.execute(LAST_RUNS).fetchall()
    if not runs:
        say("No source has run yet.")
        return
    say(table([run[:-1] for run in runs], (*COLUMNS, *COUNTS), right=("seconds", *COUNTS)))
    for source, partition, *_, error in runs:
        if error:
            say(f"\n{source} {partition}: {error}")
