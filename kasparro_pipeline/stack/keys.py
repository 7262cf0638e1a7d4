"""`kasparro keys`: makes, lists, revokes and rotates keys of the API. The rules are the warehouse's."""

import sys
from argparse import Namespace
from datetime import UTC, datetime, timedelta

from kasparro_pipeline.stack.console import say, table
from kasparro_pipeline.stack.errors import StackError
from kasparro_pipeline.stack.running_warehouse import connected
from kasparro_pipeline.stack.settings import StackSettings
from kasparro_pipeline.warehouse import api_keys

COLUMNS = ("id", "name", "scopes", "created (UTC)", "revoked (UTC)", "state")


def run(settings: StackSettings, chosen: Namespace) -> int:
    """Do what the arguments say; a new key is all that is written to standard output.

    Raises:
        StackError: there is no database, or the warehouse refuses.
    """
    with connected(settings) as connection:
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
