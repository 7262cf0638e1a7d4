"""Says what was measured: tables for the terminal and for the documents, and one line of JSON."""

import json
from collections.abc import Sequence

from tests.benchmarks.figures import Figures
from tests.benchmarks.judging import Goal
from tests.benchmarks.read_api import export, loading, operation, rates, search
from tests.benchmarks.read_api.bench import FEW, MANY
from tests.benchmarks.tables import Table

VARIANTS = (
    *(rates.PGBENCH, rates.POSTGREST, rates.USUAL, rates.API),
    *(rates.BARE, rates.CACHED, rates.NOT_MODIFIED, rates.FLOOR, rates.FLOOR_304),
)
CASES = (rates.NEWEST, rates.FILTERED, rates.DEEP, rates.RECORD)


def rates_table(figures: Figures) -> Table:
    """Every variant of every case: rate, share of pgbench, latencies, CPU time and memory."""
    table = [
        ["case", "variant", "conn", "1/s", "of pgbench", "p50 ms", "p99 ms", "server ms", "pg ms", "MiB"]
    ]
    for case in CASES:
        for variant in VARIANTS:
            for connections in (FEW, MANY):
                found = {
                    name: figures.spread(rates.SECTION, case, variant, name, connections)
                    for name in ("rate", "p50", "p99", "server_cpu_ms", "postgres_cpu_ms", "memory_mib")
                }
                if found["rate"] is None:
                    continue
                share = figures.ratio(
                    rates.SECTION, (case, variant), (case, rates.PGBENCH), connections=connections
                )
                table.append(
                    [
                        *(case, variant, str(connections), f"{found['rate'].median:,.0f}"),
                        f"{share.median:.2f}" if share else "",
                        *(
                            f"{found[name].median:.{digits}f}" if found[name] else ""  # type: ignore[union-attr]
                            for name, digits in (
                                *(("p50", 2), ("p99", 2), ("server_cpu_ms", 3), ("postgres_cpu_ms", 3)),
                                ("memory_mib", 0),
                            )
                        ),
                    ]
                )
    return table


def others_table(figures: Figures) -> Table:
    """Medians of what the other sections measured under load."""
    table = [["section", "case", "variant", "conn", "figures"]]
    seen = set()
    for row in figures.rows:
        key = (row.section, row.case, row.variant, row.connections)
        if row.section not in {search.SECTION, export.SECTION, operation.SECTION, loading.SECTION}:
            continue
        if key in seen:
            continue
        seen.add(key)
        shown = []
        for name in row.values:
            spread = figures.spread(row.section, row.case, row.variant, name, row.connections)
            if spread is not None and name != "foreign_cores":
                shown.append(f"{name} {spread.median:,.4g}")
        table.append([row.section, row.case, row.variant, str(row.connections), ", ".join(shown)])
    return table


def one_line(figures: Figures, goals: Sequence[Goal], facts: dict[str, object]) -> str:
    """The figures of a run as one JSON object."""
    medians: dict[str, float] = {}
    for case in CASES:
        for variant in VARIANTS:
            for connections in (FEW, MANY):
                for name in ("rate", "p50", "p99", "memory_mib"):
                    spread = figures.spread(rates.SECTION, case, variant, name, connections)
                    if spread is not None:
                        medians[f"{case}, {variant}, {connections}, {name}"] = round(spread.median, 3)
    judged = {
        goal.name: {
            "goal": goal.wanted,
            "figure": None if goal.figure is None else round(goal.figure, 4),
            "met": goal.met,
        }
        for goal in goals
    }
    return json.dumps(
        {**facts, "goals": judged, "medians": medians, "skipped": figures.skipped}, ensure_ascii=False
    )
