"""Writes the results of a run into the project's documents: the tables and the chart."""

from collections.abc import Sequence
from pathlib import Path

from tests.benchmarks import chart, tables
from tests.benchmarks.chart import Panel
from tests.benchmarks.figures import Figures
from tests.benchmarks.judging import Goal
from tests.benchmarks.load import report, w1
from tests.benchmarks.load.bench import OURS
from tests.benchmarks.marked import replaced

DOCUMENT = Path("docs/performance.md")
CHART = Path("docs/images/bench-load.svg")
BEGIN, END = "<!-- written by make bench: begin -->", "<!-- written by make bench: end -->"
PANELS = {(w1.SECTION, case): loaders for case, loaders in w1.LOADERS.items()}


def publish(project: Path, figures: Figures, goals: Sequence[Goal], facts: dict[str, object]) -> None:
    """Replace what stands between the document's two marks, and the chart."""
    document = project / DOCUMENT
    document.write_text(replaced(document.read_text(), BEGIN, END, text(figures, goals, facts)))
    (project / CHART).write_text(picture(figures, facts))


def text(figures: Figures, goals: Sequence[Goal], facts: dict[str, object]) -> str:
    """The tables as Markdown."""
    machine = f"{facts['cores']} cores ({facts['system']})"
    how = f"{facts['rounds']} rounds, {facts['started']}"
    parts = [
        f"![Rows a second, by who loads them]({CHART.relative_to(DOCUMENT.parent)})",
        f"{facts['rows']:,} rows, {machine}, {how}. {tables.noise(figures)}",
        tables.markdown(tables.goals_table(goals)),
        tables.markdown(report.table(figures)),
        *[f"Skipped: {part}: {reason}" for part, reason in figures.skipped.items()],
    ]
    return "\n\n".join(parts)


def picture(figures: Figures, facts: dict[str, object]) -> str:
    """The chart: rows a second by case and loader."""
    panels = []
    for (section, case), variants in PANELS.items():
        found = [(variant, figures.spread(section, case, variant, "rate")) for variant in variants]
        bars = [(variant, spread.median) for variant, spread in found if spread is not None]
        panels.append(Panel(f"{section}: {case}", bars))
    return chart.svg(f"Loading, {facts['rows']:,} rows", "rows/s", panels, {OURS})
