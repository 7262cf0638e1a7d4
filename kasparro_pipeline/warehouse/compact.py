"""What the unified table says in fewer bytes than its readers see; how it is written and read. No statement.

A run's id is a UUID wherever Dagster makes it, a third of its text; no tags and no attributes are null.
"""

from contextlib import suppress
from uuid import UUID

_READ = {
    "tags": "coalesce({row}tags, '{{}}')",
    "attributes": "coalesce({row}attributes, '{{}}')",
    # Whoever writes by hand writes the text alone
    "run_id": "coalesce({row}run_id, {row}run_uuid::text)",
}
_STORED = {"tags": "nullif({value}::text[], '{{}}')", "attributes": "nullif({value}, '{{}}')"}


def read(column: str, row: str = "") -> str:
    """SQL of what a column of the table, or of its history, says; `row` is the row's name, if it has one."""
    row = row and f"{row}."
    return _READ.get(column, "{row}" + column).format(row=row)


def is_stored(column: str) -> bool:
    """Whether the column itself is what readers see."""
    return column not in _READ


def stored(column: str, value: str) -> str:
    """SQL of what a column holds if it is to say `value`."""
    return _STORED.get(column, "{value}").format(value=value)


def run(run_id: str) -> dict[str, object]:
    """The two columns that name a run: one of them is null."""
    uuid = as_uuid(run_id)
    return {"run_id": run_id if uuid is None else None, "run_uuid": uuid}


def as_uuid(text: str) -> UUID | None:
    """The UUID of which this is the text in its usual form; None of any other text."""
    with suppress(ValueError):
        uuid = UUID(text)
        return uuid if str(uuid) == text else None
    return None
