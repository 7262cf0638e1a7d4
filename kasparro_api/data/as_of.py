"""The table as it was at a time: what stands in its place in a statement, and which times may be asked for.

A version of a record was there at a time if its change was dated then or before, and that of its replacement
later (see `kasparro_pipeline.warehouse.history`).
"""

from datetime import UTC, datetime, timedelta
from http import HTTPStatus
from typing import TYPE_CHECKING

from fastapi import Request

from kasparro_api import problems
from kasparro_api.data.parameters import DataParameters
from kasparro_api.wire import TextStatement
from kasparro_pipeline.warehouse.history import CHANGE_LOCK, VERSION_COLUMNS
from kasparro_pipeline.warehouse.tables import SCHEMA, SEARCH_VECTOR

if TYPE_CHECKING:
    from kasparro_api.database import Database

_CHANGES = f"{SCHEMA}.unified_change"
_COLUMNS = ", ".join(f"r.{name}" for name in VERSION_COLUMNS)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)

# A change that is being dated holds the lock until it is committed: whoever comes later is dated later. A
# standby has no such lock, but the changes in their order: it knows of all up to the newest that it has.
_KNOWN = """greatest(max(changed_at),
    case when not pg_is_in_recovery() then clock_timestamp() - interval '1 microsecond' end)"""
_BOUNDS = TextStatement(
    "select pg_advisory_xact_lock_shared($1::bigint),"
    " (extract(epoch from min(changed_at)) * 1000000)::bigint,"
    f" (extract(epoch from {_KNOWN}) * 1000000)::bigint from {_CHANGES}",
    (CHANGE_LOCK,),
    prepare=True,
)


def parts(time: str) -> tuple[str, str]:
    """The versions at `time` (a placeholder) that are still there, and those that were replaced since."""
    present = (
        f"(select {_COLUMNS}, r.search from {SCHEMA}.unified_record r"
        f" where {_was_written('r', time)}) unified"
    )
    replaced = (
        f"(select {_COLUMNS}, {SEARCH_VECTOR} as search"
        f" from {_CHANGES} later join {SCHEMA}.unified_history r on r.replaced_in = later.id"
        f" where later.changed_at > {time} and {_was_written('r', time)}) unified"
    )
    return present, replaced


def table(time: str) -> str:
    """All of them, in the place of the table."""
    return "(" + " union all ".join(f"select * from {part}" for part in parts(time)) + ") unified"


def _was_written(row: str, time: str) -> str:
    return f"not exists (select from {_CHANGES} c where c.id = {row}.changed_in and c.changed_at > {time})"


async def settle(request: Request, time: datetime | None) -> None:
    """Wait for changes that are dated up to `time` and not committed yet: the answer is then final.

    Raises:
        ProblemError: 404, the history begins later; 422, the time lies in the future.
        psycopg.Error: the database is away, or a commit takes too long.
    """
    if time is None:
        return
    database: Database = request.app.state.database
    result = await database.fetch_text(_BOUNDS)
    begins, known = (int(result.get_value(0, column) or b"0") for column in (1, 2))
    asked = (time - _EPOCH) // _MICROSECOND
    if asked > known:
        message = f"must not lie in the future: the records are known up to {_written(known)}"
        allowed = DataParameters.model_fields["as_of"].description or ""
        raise problems.ProblemError(
            HTTPStatus.UNPROCESSABLE_ENTITY,
            "A parameter cannot be used",
            "Not usable: as_of. Each entry of `errors` says what was sent and what is allowed.",
            kind="invalid-parameters",
            errors=[problems.parameter_error("as_of", _written(asked), message, allowed)],
        )
    if asked < begins:
        raise problems.ProblemError(
            HTTPStatus.NOT_FOUND,
            "There is no history",
            f"The history of records begins at {_written(begins)}: what they were before is not known.",
            kind="no-history",
        )


def _written(microseconds: int) -> str:
    return (_EPOCH + microseconds * _MICROSECOND).isoformat().replace("+00:00", "Z")
