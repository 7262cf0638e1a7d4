"""`kasparro contract`: accepts the contract that a drift check proposed, and shows a contract's versions.

What is proposed is made by the check on raw, over all that came; here it is shown, and written into the file.
"""

import difflib
import hashlib
from argparse import Namespace
from pathlib import Path
from typing import Any

import kasparro_pipeline
from kasparro_pipeline.stack.console import say, table
from kasparro_pipeline.stack.errors import StackError
from kasparro_pipeline.stack.running_warehouse import connected
from kasparro_pipeline.stack.settings import StackSettings
from kasparro_pipeline.warehouse import drift
from kasparro_pipeline.warehouse.drift import ContractVersion, Verdict

DEFS = Path(kasparro_pipeline.__file__).parent / "defs"
"""Where the sources of this deployment are."""
NEXT = """\
Next: reload the code location (in Dagster: Deployment, Reload), and materialize raw, validated and unified of
partition {partition}: the check turns green on the same raw data. Partitions of before keep what they have;
materialize their validated and unified where their records should keep the new contract."""


def run(settings: StackSettings, chosen: Namespace) -> int:
    """Do what the arguments say.

    Raises:
        StackError: no such source, nothing to accept, or the file is not the one that was looked at.
    """
    if chosen.action == "show":
        with connected(settings) as connection:
            versions = drift.contract_versions(connection, chosen.source)
        _show(chosen.source, versions)
    else:
        file = file_of(chosen.source)
        with connected(settings) as connection:
            verdicts = drift.verdicts(connection, chosen.source)
        _accept(chosen, file, verdicts)
    return 0


def _show(source: str, versions: list[ContractVersion]) -> None:
    if not versions:
        raise StackError(f"No run of a source {source!r} has validated records yet. Is that its name?")
    before: dict[str, Any] = {}
    rows = []
    for one in versions:
        rows.append((one.version, f"{one.created_at:%Y-%m-%d %H:%M:%S}", _changes(before, one.contract)))
        before = one.contract
    say(table(rows, ("version", "since (UTC)", "fields"), right=("version",)))


def _changes(before: dict[str, Any], after: dict[str, Any]) -> str:
    old, new = before.get("fields", {}), after.get("fields", {})
    if not old:
        return f"{len(new)}: {', '.join(sorted(new))}"
    parts = [f"+{name}" for name in sorted(new) if name not in old]
    parts += [f"-{name}" for name in sorted(old) if name not in new]
    parts += [f"~{name}" for name in sorted(new) if name in old and new[name] != old[name]]
    others = sorted(key for key in before.keys() | after.keys() if key != "fields")
    parts += [f"~({key})" for key in others if before.get(key) != after.get(key)]
    return " ".join(parts)


def file_of(source: str) -> Path:
    """The file of a source.

    Raises:
        StackError: there is none; the message names one that is spelled alike, or all.
    """
    known = sorted(folder.parent.name for folder in DEFS.glob("*/defs.yaml"))
    if source not in known:
        close = difflib.get_close_matches(source, known)
        hint = f"Did you mean {' or '.join(close)}?" if close else f"There are: {', '.join(known)}."
        raise StackError(f"There is no source {source!r}. {hint}")
    return DEFS / source / "defs.yaml"


def _accept(chosen: Namespace, file: Path, verdicts: list[Verdict]) -> None:
    verdict = _chosen_verdict(chosen, verdicts)
    if verdict.proposed is None:
        raise StackError(
            f"The drift of {chosen.source} in partition {verdict.partition_key} has no proposal:"
            f"\n{verdict.left_over}"
        )
    text = file.read_text("utf-8")
    if hashlib.sha256(text.encode()).digest() != verdict.base_sha256:
        raise StackError(
            f"{file} has changed since run {verdict.run_id} looked at it. "
            f"Materialize raw of partition {verdict.partition_key} again: the check makes a new proposal."
        )
    changes = f"{verdict.changes} change{'' if verdict.changes == 1 else 's'}"
    say(f"{chosen.source}, partition {verdict.partition_key}: {changes}, found by run {verdict.run_id}.")
    say(f"Compatibility: {verdict.compatibility}.")
    say()
    say(_difference(text, verdict.proposed, file))
    if verdict.left_over:
        say(f"What this does not put right:\n{verdict.left_over}")
    if chosen.dry_run:
        say("Nothing was written.")
    elif chosen.yes or _agreed():
        file.write_text(verdict.proposed, "utf-8")
        say(f"{file} is written.")
        say(NEXT.format(partition=verdict.partition_key))
    else:
        raise StackError("Nothing was written.")


def _chosen_verdict(chosen: Namespace, verdicts: list[Verdict]) -> Verdict:
    """The verdict on the partition asked for, else on the newest."""
    if not verdicts:
        raise StackError(f"The drift check of {chosen.source} has not run yet. Materialize its raw asset.")
    if chosen.partition is None:
        verdict = verdicts[0]
    else:
        found = [one for one in verdicts if one.partition_key == chosen.partition]
        if not found:
            raise StackError(f"The drift check has not looked at partition {chosen.partition!r}.")
        verdict = found[0]
    if not verdict.changes:
        others = [one.partition_key for one in verdicts if one.changes]
        more = f" There is drift in {', '.join(others)}: name one with --partition." if others else ""
        raise StackError(
            f"There is no drift in partition {verdict.partition_key}: what came is what the contract"
            f" promises.{more}"
        )
    return verdict


def _difference(before: str, after: str, file: Path) -> str:
    lines = difflib.unified_diff(
        before.splitlines(), after.splitlines(), str(file), f"{file} (proposed)", lineterm=""
    )
    return "\n".join(lines)


def _agreed() -> bool:
    try:
        return input("Write it? [y/N] ").strip().lower() in {"y", "yes"}
    except EOFError:
        return False
