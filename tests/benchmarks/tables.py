"""Tables for the terminal and for documents, and the sentence on how quiet the machine was."""

from collections.abc import Sequence

from tests.benchmarks.figures import Figures
from tests.benchmarks.judging import FLOOR, Goal

Table = list[list[str]]
"""The first row holds the headings."""


def goals_table(goals: Sequence[Goal]) -> Table:
    """Each goal, its figure, and whether it is met."""
    verdict = {True: "met", False: "not met", None: "not measured"}
    rows = [
        [goal.name, goal.wanted, goal.shown, "" if goal.wanted == FLOOR else verdict[goal.met]]
        for goal in goals
    ]
    return [["figure", "goal", "measured: median (lowest to highest round)", "verdict"], *rows]


def plain(table: Table) -> str:
    """A table for the terminal."""
    widths = [max(len(row[index]) for row in table) for index in range(len(table[0]))]
    lines = [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in table
    ]
    return "\n".join([lines[0], "  ".join("-" * width for width in widths), *lines[1:]])


def markdown(table: Table) -> str:
    """A table for a document."""
    lines = ["| " + " | ".join(row) + " |" for row in table]
    return "\n".join([lines[0], "|" + " --- |" * len(table[0]), *lines[1:]])


def noise(figures: Figures) -> str:
    """How much of the machine others were using."""
    foreign = sorted(row.values["foreign_cores"] for row in figures.rows if "foreign_cores" in row.values)
    if not foreign:
        return "Nothing was measured under load."
    middle = foreign[len(foreign) // 2]
    return (
        f"Other processes used {middle:.2f} cores in the median measurement, {foreign[-1]:.2f} in the worst."
    )
