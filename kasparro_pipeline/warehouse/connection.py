"""One way to open a connection to the warehouse. No statement of the pipeline belongs here."""

import psycopg
from psycopg.rows import TupleRow
from tenacity import retry, retry_if_exception_type, stop_after_delay, wait_exponential_jitter

from kasparro_pipeline.warehouse.settings import WarehouseSettings

# Statements have thousands of ids or keys as one array. Planned for any array, as PostgreSQL may after ten
# times, `= any` compares each record with each of them; planned for this one, it looks into their hashes.
# It cannot know how many records an array has: what it takes for costly, it would compile for nothing
_PLANNED_FOR_WHAT_IS_GIVEN = "-c plan_cache_mode=force_custom_plan -c jit=off"
WAREHOUSE_WAIT = 30
"""Seconds to go on trying while the server is starting or away."""


@retry(
    retry=retry_if_exception_type(psycopg.OperationalError),
    stop=stop_after_delay(WAREHOUSE_WAIT),
    wait=wait_exponential_jitter(multiplier=0.2, max=3),
    reraise=True,
)
def connect(settings: WarehouseSettings) -> psycopg.Connection[TupleRow]:
    """Open a connection whose time zone is UTC and whose statements do not wait for locks for ever.

    Each statement is planned for the values that it is given, however often it runs.

    Raises:
        WarehouseNotConfiguredError: no `DATABASE_URL` is set.
        psycopg.OperationalError: no connection within `WAREHOUSE_WAIT` seconds.
    """
    return psycopg.connect(
        settings.require_database_url(),
        autocommit=True,  # each transaction is opened by name, so none is held by accident
        connect_timeout=settings.connect_timeout,
        application_name="kasparro",
        options=f"-c timezone=UTC -c lock_timeout={settings.lock_timeout}s {_PLANNED_FOR_WHAT_IS_GIVEN}",
    )
