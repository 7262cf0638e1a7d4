"""`kasparro keys`: makes, lists, revokes and rotates keys of the API. The rules are the warehouse's."""

import sys
from argparse import Namespace
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta

import psycopg

from kasparro_pipeline.stack.commands import running_stack
from kasparro_pipeline.stack.console import say, table
from kasparro_pipeline.stack.errors import StackError
from kasparro_pipeline.stack.settings import StackSettings
from kasparro_pipeline.warehouse import api_keys, migrate
from kasparro_pipeline.warehouse.errors import WarehouseError
from kasparro_pipeline.warehouse.ledger import Connection
from kasparro_pipeline.warehouse.settings import WarehouseSettings

COLUMNS = ("id", "name", "scopes", "created (UTC)", "revoked (UTC)", "state")


def run(settings: StackSettings, chosen: Namespace) -> int:
    """Do what the arguments say; a new key is all that is written to standard output.

    Raises:
        StackError: there is no database, or the warehouse refuses.
    """
    with _warehouse(settings) as connection:
        if chosen.action == "create":
            _show(api_keys.create(connection, chosen.name, chosen.scope))
        elif chosen.action == "list":
            _list(api_keys.read_all(connection))
        elif chosen.action == "revoke":
            api_keys.revoke(connection, chosen.id)
            _explain(f"The key {chosen.id} is revoked: the API refuses it from the next request on.")
        else:
            _show(api_keys.rotate(connection, chosen.id, timedelta(minutes=chosen.overlap)))
            until = f"for {chosen.overlap} minutes more" if chosen.overlap else "no longer"
            _explain(f"The key {chosen.id} is valid {until}.")
    return 0


@contextmanager
def _warehouse(settings: StackSettings) -> Iterator[Connection]:
    """A transaction in the warehouse of DATABASE_URL, else of the running stack."""
    try:
        with psycopg.connect(_database_url(settings), connect_timeout=10) as connection:
            migrate.require_head(connection)
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
            "There is no database to keep keys in: DATABASE_URL is not set, and no stack runs in "
            f"{settings.home}. Start it with `make up`, or set DATABASE_URL."
        )
    return running.environment["DATABASE_URL"]


def _show(key: str) -> None:
    try:
        print(key, flush=True)
    except OSError as error:  # within the transaction: a key that nobody saw is not kept
        raise StackError(f"The key could not be written, so none was made: {error}") from error
    _explain("This is the only time that the key is shown. Send it as the header X-API-Key.")


def _explain(text: str) -> None:
    print(text, file=sys.stderr)


def _list(keys: list[api_keys.StoredKey]) -> None:
    if not keys:
        _explain("There is no key yet. `kasparro keys create --name NAME --scope read` makes one.")
        return
    rows = [
        (key.id, key.name, ", ".join(key.scopes), _utc(key.created_at), _utc(key.revoked_at), _state(key))
        for key in keys
    ]
    say(table(rows, COLUMNS))


def _utc(time: datetime | None) -> str:
    return f"{time.astimezone(UTC):%Y-%m-%d %H:%M:%S}" if time else ""


def _state(key: api_keys.StoredKey) -> str:
    if not key.is_valid:
        return "revoked"
    return "valid until revoked" if key.revoked_at else "valid"
