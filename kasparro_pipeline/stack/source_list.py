"""`kasparro source list`: what each source is, beside how it is doing in the warehouse."""

import json
from collections.abc import Sequence
from datetime import UTC
from typing import Any

from kasparro_pipeline.stack.console import say, table
from kasparro_pipeline.stack.errors import StackError
from kasparro_pipeline.stack.running_warehouse import connected
from kasparro_pipeline.stack.settings import StackSettings
from kasparro_pipeline.warehouse import checkpoints, unified
from kasparro_pipeline.warehouse.ledger import Connection
from kasparro_pipeline.warehouse.tables import SCHEMA
from kasparro_pipeline.warehouse.totals import source_total

CURSOR = 40
"""Characters of a cursor that the table shows."""
COLUMNS = ("source", "kind", "runs", "last success (UTC)", "cursor", "unified", "rejected", "waiting")
UNKNOWN = dict.fromkeys(("last_success_at", "cursor", "unified", "rejected", "waiting", "last_error"))
COUNTS = ("unified", "rejected", "waiting")


def run(settings: StackSettings, described: Sequence[dict[str, Any]], *, as_json: bool) -> None:
    """Show the sources. Without a warehouse only what they are."""
    missing = None
    try:
        with connected(settings) as connection:
            rows = [{**one, **_state(connection, one["source"])} for one in described]
    except StackError as error:
        rows, missing = [{**one, **UNKNOWN} for one in described], str(error)
    if as_json:
        say(json.dumps(rows, ensure_ascii=False))
        return
    say(table([_line(row) for row in rows], COLUMNS, right=COUNTS))
    for row in rows:
        for what in ("problem", "last_error"):
            if row[what]:
                said = "cannot be loaded" if what == "problem" else "last run"
                say(f"\n{row['source']} {said}: {row[what]}")
    if missing:
        say(f"\nHow they are doing is not known. {missing}")


def _state(connection: Connection, source: str) -> dict[str, Any]:
    """How a source is doing; zeros for one that has not run yet."""
    row = connection.execute(
        f"""
        select (select last_success_at from {SCHEMA}.{source_total.name} where source = %(source)s),
               (select count(*) from {SCHEMA}.rejected_record where source = %(source)s),
               (select error from {SCHEMA}.etl_run where source = %(source)s
                 order by started_at desc, run_id desc limit 1)
        """,
        {"source": source},
    ).fetchone()
    success, rejected, error = row or (None, 0, None)
    return {
        "last_success_at": success.astimezone(UTC).isoformat(timespec="seconds") if success else None,
        "cursor": checkpoints.read_cursor(connection, source),
        "unified": unified.count(connection, source),
        "rejected": rejected,
        "waiting": checkpoints.pending(connection, source),
        "last_error": error,
    }


def _line(row: dict[str, Any]) -> tuple[object, ...]:
    cursor = "" if row["cursor"] is None else json.dumps(row["cursor"], ensure_ascii=False)
    return (
        row["source"],
        row["kind"],
        row["runs"],
        (row["last_success_at"] or "").replace("T", " ").removesuffix("+00:00"),
        cursor if len(cursor) <= CURSOR else f"{cursor[: CURSOR - 1]}…",
        row["unified"],
        row["rejected"],
        None if row["waiting"] is None else len(row["waiting"]),
    )
