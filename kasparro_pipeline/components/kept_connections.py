"""Dagster's own connections during a run: kept open, instead of a new one for each of some 300 statements.

That was more than half of the time of a small run. Dagster keeps none because its long-lived processes make
many instances; a run has one, in a process that ends with it. What goes over them is Dagster's business, but
for one thing: event by event it asks anew what its own tables look like, a twelfth of a run without news.
"""

from collections.abc import Callable, Hashable
from select import POLLIN, poll
from typing import Any
from weakref import WeakSet

import dagster as dg
from sqlalchemy import Connection, Pool, event
from sqlalchemy.exc import DisconnectionError

STATEMENT_TIMEOUT = 60_000
"""Milliseconds that one of Dagster's statements may take."""
RECYCLE = 3600
"""Seconds after which a connection is replaced: as long as a run may last."""
MOST = 20
"""Connections of each of Dagster's three storages that may be open at once, beside one that stays."""

_kept: WeakSet[dg.DagsterInstance] = WeakSet()


def keep_connections(instance: dg.DagsterInstance) -> None:
    """Let the instance's storages keep their connections from now on; one that broke is replaced."""
    if instance in _kept:
        return
    if not event.contains(Pool, "checkout", _require_alive):
        event.listen(Pool, "checkout", _require_alive)
    _kept.add(instance)
    instance.optimize_for_webserver(
        statement_timeout=STATEMENT_TIMEOUT, pool_recycle=RECYCLE, max_overflow=MOST
    )
    for storage, connecting in (
        (instance.event_log_storage, "index_connection"),
        (instance.run_storage, "connect"),
    ):
        connected = getattr(storage, connecting, None)
        if connected is not None:  # it is a database
            with connected() as connection:
                dialect = connection.dialect  # of this storage alone
            dialect.has_table = _asked_once(dialect.has_table)
            dialect.get_columns = _asked_once(dialect.get_columns)


def _asked_once(ask: Callable[..., Any]) -> Callable[..., Any]:
    """What asks a database about a table, and remembers what is there: no run changes Dagster's tables."""
    known: dict[Hashable, Any] = {}

    def asked(connection: Connection, *about: Hashable, **options: Any) -> Any:  # noqa: ANN401 - SQLAlchemy's own
        table = about, options.get("schema")
        if not (answer := known.get(table)):
            answer = known[table] = ask(connection, *about, **options)
        return answer

    return asked


def _require_alive(connection: Any, _record: object, _proxy: object) -> None:  # noqa: ANN401 - a driver's own
    """Ask the server before a kept connection is used, if there is something to be read from it.

    A server that restarts says so or closes its connections, and otherwise it says nothing unasked.

    Raises:
        DisconnectionError: SQLAlchemy's pool makes a new one then.
    """
    if hasattr(connection, "fileno"):  # SQLite has no server
        waiting = poll()
        waiting.register(connection.fileno(), POLLIN)
        if not waiting.poll(0):
            return
    cursor = connection.cursor()
    try:
        cursor.execute("select 1")
    except connection.Error as error:
        raise DisconnectionError from error
    finally:
        cursor.close()


def _in_process(context: dg.InitExecutorContext) -> dg.Executor:
    keep_connections(context.instance)
    made = dg.in_process_executor.executor_creation_fn
    assert made is not None  # noqa: S101 - Dagster's own has one
    return made(context)


in_process_executor = dg.ExecutorDefinition(
    dg.in_process_executor.name,
    dg.in_process_executor.config_schema,  # type: ignore[arg-type]  # it takes one that is made already
    executor_creation_fn=_in_process,
    description="All steps of a run in one process, which keeps Dagster's connections.",
)
"""Dagster's own of that name. It is made before a run tells that it has begun; resources are made later."""
