"""`kasparro source`: tries a source without writing anything, and lists the sources. Shows; others find out.

What needs the components runs as a process of its own, beside the running stack if there is one.
"""

import json
import os
import subprocess
import sys
from argparse import Namespace
from collections.abc import Mapping
from typing import Any

from kasparro_pipeline.stack import source_list
from kasparro_pipeline.stack.commands import running_stack
from kasparro_pipeline.stack.console import say, table
from kasparro_pipeline.stack.contract import file_of
from kasparro_pipeline.stack.errors import StackError
from kasparro_pipeline.stack.settings import StackSettings

INTERRUPTED = 130
SHOWN = 20
"""Records, and rejected records, that a table shows."""
CELL = 32
"""Characters of a cell."""
REASONS = ("document", "position", "source_id", "field", "rule", "value", "message")
REASON = 80
"""Characters of a cell that says why."""
COLUMNS = 6
"""Columns beside `source_id`: the shared ones first."""


def run(settings: StackSettings, chosen: Namespace) -> int:
    """Do what the arguments say.

    Raises:
        StackError: no such source, or it cannot be tried; its sentence says why.
    """
    if chosen.action == "list":
        source_list.run(settings, _described(settings), as_json=chosen.json)
        return 0
    file_of(chosen.source)
    try:
        told = _process(settings, "trial", chosen.source, "--records", str(chosen.records))
    except KeyboardInterrupt:
        say("Interrupted; nothing was written.")
        return INTERRUPTED
    if chosen.json:
        say(told.strip())
    else:
        _show(json.loads(told))
    return 0


def _described(settings: StackSettings) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(_process(settings, "listing"))
    return found


def _process(settings: StackSettings, module: str, *arguments: str) -> str:
    """What a process with the components writes; it works with the running stack's settings."""
    running = running_stack(settings)
    environment = {**os.environ, **(running.environment if running else {})}
    command = [sys.executable, "-m", f"kasparro_pipeline.components.{module}", *arguments]
    done = subprocess.run(  # noqa: S603 - our own module
        command, env=environment, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise StackError(done.stderr.strip())
    return done.stdout


def _show(trial: Mapping[str, Any]) -> None:
    records, rejected = trial["records"], trial["rejected"]
    if records:
        names = _columns(records)
        rows = [(one["source_id"], *(_cell(_value(one, name)) for name in names)) for one in records[:SHOWN]]
        say(table(rows, ("source_id", *names)))
        if len(records) > SHOWN:
            say(f"… and {len(records) - SHOWN} more: --json shows all of them.")
        say()
    if rejected:
        say("Rejected:")
        reasons = [
            (
                _end_of(one["document"]),
                one["position"],
                one["source_id"],
                *(_cell(why[name], REASON) for name in REASONS[3:]),
            )
            for one in rejected
            for why in one["reasons"]
        ]
        say(table(reasons[:SHOWN], REASONS, right=REASONS[1:2]))
        if len(reasons) > SHOWN:
            say(f"… and {len(reasons) - SHOWN} more: --json shows all of them.")
        say()
    counts = ", ".join(f"{name} {count}" for name, count in trial["counts"].items())
    say(f"{trial['source']}: {counts}. Nothing was written.")
    if trial["has_more"]:
        say(f"Stopped after {trial['counts']['read']} records; there may be more (--records N).")
    if not trial["counts"]["read"]:
        say("There was no record: the upstream has none now, or `records`, `params`, `files` lead elsewhere.")


def _columns(records: list[dict[str, Any]]) -> list[str]:
    """The columns that hold something in a record that is shown."""
    shared = [name for name in records[0] if name not in {"source_id", "kind", "attributes"}]
    own = list(dict.fromkeys(name for one in records[:SHOWN] for name in one["attributes"]))
    filled = [
        name
        for name in [*shared, *own]
        if any(_value(one, name) not in (None, [], "") for one in records[:SHOWN])
    ]
    first = [name for name in ("title", "amount", "currency", "category", "published_at") if name in filled]
    return [*first, *(name for name in filled if name not in first)][:COLUMNS]


def _value(record: Mapping[str, Any], name: str) -> object:
    found: object = record[name] if name in record else record["attributes"].get(name)
    return found


def _cell(value: object, longest: int = CELL) -> str:
    text = value if isinstance(value, str) else "" if value is None else json.dumps(value, ensure_ascii=False)
    text = " ".join(text.split())
    return text if len(text) <= longest else f"{text[: longest - 1]}…"


def _end_of(location: str) -> str:
    """The end of an address or path, which tells documents apart."""
    return location if len(location) <= CELL else f"…{location[-CELL + 1 :]}"
