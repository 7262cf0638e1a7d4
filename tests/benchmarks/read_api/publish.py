"""Writes the results of a run into the project's documents: the tables and the chart."""

from collections.abc import Sequence
from pathlib import Path

from tests.benchmarks import chart, tables
from tests.benchmarks.chart import Panel
from tests.benchmarks.figures import Figures
from tests.benchmarks.judging import Goal
from tests.benchmarks.marked import replaced
from tests.benchmarks.read_api import rates, report
from tests.benchmarks.read_api.bench import FEW

DOCUMENT = Path("docs/api-performance.md")
CHART = Path("docs/images/bench-api.svg")
BEGIN, END = "<!-- written by make bench-api: begin -->", "<!-- written by make bench-api: end -->"
PANELS = {
    rates.NEWEST: (rates.PGBENCH, rates.API, rates.POSTGREST, rates.USUAL),
    rates.RECORD: (rates.API, rates.POSTGREST, rates.USUAL),
}
OURS = (rates.API, rates.CACHED, rates.NOT_MODIFIED)
"""The bars that are the API's."""
AGAIN = (rates.PGBENCH, rates.CACHED, rates.NOT_MODIFIED)


def publish(project: Path, figures: Figures, goals: Sequence[Goal], facts: dict[str, object]) -> None:
    """Replace what stands between the document's two marks, and the chart."""
    document = project / DOCUMENT
    document.write_text(replaced(document.read_text(), BEGIN, END, text(figures, goals, facts)))
    (project / CHART).write_text(picture(figures, facts))


def text(figures: Figures, goals: Sequence[Goal], facts: dict[str, object]) -> str:
    """The tables as Markdown."""
    machine = f"{facts['cores']} cores ({facts['system']})"
    how = f"{facts['rounds']} rounds of {facts['seconds']} s, {facts['started']}"
    parts = [
        f"{facts['rows']:,} records, {machine}, {how}. {tables.noise(figures)}",
        tables.markdown(tables.goals_table(goals)),
        tables.markdown(report.rates_table(figures)),
        tables.markdown(report.others_table(figures)),
        *[f"Skipped: {part}: {reason}" for part, reason in figures.skipped.items()],
    ]
    return "\n\n".join(parts)


def picture(figures: Figures, facts: dict[str, object]) -> str:
    """The chart of the rates at few connections."""
    panels = [Panel(case, _bars(figures, case, variants)) for case, variants in PANELS.items()]
    panels.append(
        Panel(f"{rates.NEWEST}, again while nothing has changed", _bars(figures, rates.NEWEST, AGAIN))
    )
    return chart.svg(f"Read API, {facts['rows']:,} records, {FEW} connections", "requests/s", panels, OURS)


def _bars(figures: Figures, case: str, variants: Sequence[str]) -> list[tuple[str, float]]:
    found = [(variant, figures.spread(rates.SECTION, case, variant, "rate", FEW)) for variant in variants]
    return [(variant, spread.median) for variant, spread in found if spread is not None]
