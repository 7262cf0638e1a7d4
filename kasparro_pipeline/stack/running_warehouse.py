"""The warehouse that a command works on: that of DATABASE_URL, else of the running stack. Starts nothing."""

from collections.abc import Iterator
from contextlib import contextmanager

import psycopg

from kasparro_pipeline.stack.commands import running_stack
from kasparro_pipeline.stack.errors import StackError
from kasparro_pipeline.stack.settings import StackSettings
from kasparro_pipeline.warehouse import revision
from kasparro_pipeline.warehouse.errors import WarehouseError
from kasparro_pipeline.warehouse.ledger import Connection
from kasparro_pipeline.warehouse.settings import WarehouseSettings


@contextmanager
def connected(settings: StackSettings) -> Iterator[Connection]:
    """A transaction in the warehouse.

    Raises:
        StackError: there is none, it does not answer, or it is of another revision.
    """
    try:
        with psycopg.connect(_database_url(settings), connect_timeout=10) as connection:
            revision.require_head(connection)
            yield connection
    except psycopg.OperationalError as error:
        raise StackError(f"The database does not answer: {str(error).strip()}") from error
    except WarehouseError as error:
        raise StackError(str(error)) from error


def _database_url(settings: StackSettings) -> str:
    if settings.database_url is not None:
        return WarehouseSettings.model_validate(
            {"DATABASE_URL": settings.database_url}
        ).require_database_url()
    running = running_stack(settings)
    if running is None or "DATABASE_URL" not in running.environment:
        raise StackError(
            "There is no warehouse: DATABASE_URL is not set, and no stack runs in "
            f"{settings.home}. Start it with `make up`, or set DATABASE_URL."
        )
    return running.environment["DATABASE_URL"]
