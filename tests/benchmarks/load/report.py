"""Says what was measured: a table of every figure, and one line of JSON."""

import json
from collections.abc import Sequence

from tests.benchmarks.figures import Figures
from tests.benchmarks.judging import Goal
from tests.benchmarks.tables import Table

COLUMNS = {
    "rows": ("rows", 0),
    "seconds": ("s", 2),
    "rate": ("rows/s", 0),
    "client_mib": ("client MiB", 0),
    "server_mib": ("server MiB", 0),
    "wal_mib": ("log MiB", 1),
    "client_cpu": ("client CPU s", 2),
    "postgres_cpu": ("server CPU s", 2),
}
"""Heading and digits of the figures that have a column."""
NOT_SHOWN = {"foreign_cores", "checks"}


def table(figures: Figures) -> Table:
    """The medians of everything that was measured, in the order of measuring."""
    lines = [["section", "case", "who", *(heading for heading, _ in COLUMNS.values()), "further"]]
    for section, case, variant, names in _measured(figures):
        medians = {}
        for name in names:
            spread = figures.spread(section, case, variant, name)
            if spread is not None:
                medians[name] = spread.median
        lines.append(
            [
                *(section, case, variant),
                *(
                    f"{medians[name]:,.{digits}f}" if name in medians else ""
                    for name, (_, digits) in COLUMNS.items()
                ),
                ", ".join(
                    f"{name} {value:,.4g}" if value % 1 else f"{name} {value:,.0f}"
                    for name, value in medians.items()
                    if name not in COLUMNS and name not in NOT_SHOWN
                ),
            ]
        )
    return lines


def one_line(figures: Figures, goals: Sequence[Goal], facts: dict[str, object]) -> str:
    """The figures of a run as one JSON object: of each the median, the lowest and the highest."""
    found = {}
    for section, case, variant, names in _measured(figures):
        for name in names:
            spread = figures.spread(section, case, variant, name)
            if spread is not None:
                ordered = (spread.median, spread.lowest, spread.highest)
                found[f"{section}, {case}, {variant}, {name}"] = [round(value, 3) for value in ordered]
    judged = {
        goal.name: {
            "goal": goal.wanted,
            "figure": None if goal.figure is None else round(goal.figure, 4),
            "met": goal.met,
        }
        for goal in goals
    }
    return json.dumps(
        {**facts, "goals": judged, "figures": found, "skipped": figures.skipped}, ensure_ascii=False
    )


def _measured(figures: Figures) -> list[tuple[str, str, str, list[str]]]:
    """Section, case, variant and names of figures, each combination once."""
    found: dict[tuple[str, str, str], dict[str, None]] = {}
    for row in figures.rows:
        found.setdefault((row.section, row.case, row.variant), {}).update(dict.fromkeys(row.values))
    return [(*key, list(names)) for key, names in found.items()]
