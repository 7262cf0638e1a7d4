"""Work on a partition under its hold: however it ends, the ledger says so and Dagster knows what to do.

What the work is, belongs to `assets` and `replay`.
"""

import logging
from collections.abc import Iterator
from contextlib import contextmanager

import dagster as dg
import psycopg

from kasparro_pipeline.components import run_log
from kasparro_pipeline.components.resources import Warehouse
from kasparro_pipeline.extract.errors import PermanentUpstreamError, TransientUpstreamError
from kasparro_pipeline.warehouse import ledger
from kasparro_pipeline.warehouse.errors import BaseReplacedError, WarehouseError
from kasparro_pipeline.warehouse.ledger import Connection, Hold

MAX_RETRIES = 2
RETRY_WAIT = 10
"""Seconds before a step is tried again after a failure that may pass."""
TRANSIENT = (
    TransientUpstreamError,
    psycopg.OperationalError,  # lost connections, lock time-outs, deadlocks, a full disk
    psycopg.InterfaceError,
    BaseReplacedError,
)

logger = logging.getLogger(__name__)


@contextmanager
def held(
    warehouse: Warehouse, source: str, partition_key: str, run_id: str, *, closing: bool
) -> Iterator[tuple[Connection, Hold]]:
    """Hold a partition of a source for one step of a run.

    `closing` says that the run has no further step for the partition: its row of the ledger ends with this.

    Raises:
        dagster.RetryRequested: what failed may pass.
        dagster.Failure: it will not.
    """
    try:
        with warehouse.connect() as connection:
            hold = ledger.begin(connection, source, partition_key, run_id)
            with run_log.bound_to(hold):
                try:
                    yield connection, hold
                except BaseException as error:
                    _close_after(error, warehouse, hold)
                    raise
                if closing:
                    ledger.close(connection, hold)
                else:
                    ledger.show_life(connection, hold.run_id)
    except TRANSIENT as error:
        raise dg.RetryRequested(max_retries=MAX_RETRIES, seconds_to_wait=RETRY_WAIT) from error
    except (PermanentUpstreamError, WarehouseError) as error:
        raise dg.Failure(str(error), allow_retries=False) from error


def _close_after(error: BaseException, warehouse: Warehouse, hold: Hold) -> None:
    """Tell the ledger why the run ends, over a connection of its own: the step's may be what broke."""
    status: ledger.Status = "failed" if isinstance(error, Exception) else "cancelled"
    logger.error("%s: %s", status, error)
    try:
        with warehouse.connect() as connection:
            ledger.close(connection, hold, status, f"{type(error).__name__}: {error}")
    except psycopg.Error as second:
        # the database is away; the next run of the partition, or the sensor on failed runs, closes it
        logger.error("the ledger could not be told: %s", second)  # noqa: TRY400 - the first error matters
