"""Writes the results of a run into the project's documents: the tables and the chart."""

from collections.abc import Sequence
from pathlib import Path

from tests.benchmarks.read_api import chart, rates, report
from tests.benchmarks.read_api.bench import FEW
from tests.benchmarks.read_api.chart import Panel
from tests.benchmarks.read_api.figures import Figures
from tests.benchmarks.read_api.goals import Goal

DOCUMENT = Path("docs/api-performance.md")
CHART = Path("docs/images/bench-api.svg")
BEGIN, END = "<!-- written by make bench-api: begin -->", "<!-- written by make bench-api: end -->"
PANELS = {
    rates.NEWEST: (rates.PGBENCH, rates.API, rates.POSTGREST, rates.USUAL),
    rates.RECORD: (rates.API, rates.POSTGREST, rates.USUAL),
}
AGAIN = (rates.PGBENCH, rates.CACHED, rates.NOT_MODIFIED)


def publish(project: Path, figures: Figures, goals: Sequence[Goal], facts: dict[str, object]) -> None:
    """Replace what stands between the document's two marks, and the chart."""
    document = project / DOCUMENT
    document.write_text(replaced(document.read_text(), text(figures, goals, facts)))
    (project / CHART).write_text(picture(figures, facts))


def text(figures: Figures, goals: Sequence[Goal], facts: dict[str, object]) -> str:
    """The tables as Markdown."""
    machine = f"{facts['cores']} cores ({facts['system']})"
    how = f"{facts['rounds']} rounds of {facts['seconds']} s, {facts['started']}"
    parts = [
        f"{facts['rows']:,} records, {machine}, {how}. {report.noise(figures)}",
        report.markdown(report.goals_table(goals)),
        report.markdown(report.rates_table(figures)),
        report.markdown(report.others_table(figures)),
        *[f"Skipped: {part}: {reason}" for part, reason in figures.skipped.items()],
    ]
    return "\n\n".join(parts)


def picture(figures: Figures, facts: dict[str, object]) -> str:
    """The chart of the rates at few connections."""
    panels = [Panel(case, _bars(figures, case, variants)) for case, variants in PANELS.items()]
    panels.append(
        Panel(f"{rates.NEWEST}, again while nothing has changed", _bars(figures, rates.NEWEST, AGAIN))
    )
    return chart.svg(f"Read API, {facts['rows']:,} records, {FEW} connections", "requests/s", panels)


def replaced(document: str, content: str) -> str:
    """The document with `content` between its marks.

    Raises:
        ValueError: it does not have both marks.
    """
    before, begin, rest = document.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"the document has no {BEGIN} … {END}")
    return f"{before}{BEGIN}\n\n{content}\n\n{END}{after}"


def _bars(figures: Figures, case: str, variants: Sequence[str]) -> list[tuple[str, float]]:
    found = [(variant, figures.spread(rates.SECTION, case, variant, "rate", FEW)) for variant in variants]
    return [(variant, spread.median) for variant, spread in found if spread is not None]
