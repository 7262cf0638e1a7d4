"""Runs for what an interrupted run left: raw records that wait for validation or merge.

A run key carries the number of attempts, so that a run that failed is asked for again, and not without end.
"""

import dagster as dg

from kasparro_pipeline.warehouse import checkpoints, ledger
from kasparro_pipeline.warehouse.ledger import Connection

MAX_ATTEMPTS = 5
"""Failures in a row after which a partition waits for a person."""


def attempts(connection: Connection, source: str, partition_key: str) -> int:
    """A number for run keys: failures of the partition in a row, at most MAX_ATTEMPTS."""
    return min(MAX_ATTEMPTS, ledger.failures_in_a_row(connection, source, partition_key))


def pending_runs(connection: Connection, source: str) -> list[dg.RunRequest]:
    """A run for each partition with records that wait, unless it has failed too often."""
    runs = []
    for partition_key in checkpoints.pending(connection, source):
        attempt = attempts(connection, source, partition_key)
        if attempt < MAX_ATTEMPTS:
            runs.append(
                dg.RunRequest(run_key=f"{partition_key}@pending@{attempt}", partition_key=partition_key)
            )
    return runs
