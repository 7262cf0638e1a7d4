"""What loading shall reach, and whether it did. Measures nothing itself."""

from collections.abc import Iterable

from tests.benchmarks.figures import Figures, Spread
from tests.benchmarks.judging import Goal, at_least, at_most, named
from tests.benchmarks.load import w1
from tests.benchmarks.load.bench import DICT, DUCKDB, OURS, TUNED


def judge(figures: Figures) -> list[Goal]:
    """Every goal, in the order of the table."""
    return [*_files(figures)]


def _files(figures: Figures) -> Iterable[Goal]:
    for case, peer, wanted in (
        (w1.FIRST, DICT, 5.0),
        (w1.FIRST, DUCKDB, 1.0),
        (w1.CHANGED, TUNED, 2.0),
        (w1.DELTA, TUNED, 4.0),
    ):
        yield at_least(f"{case} / {peer}", wanted, _faster(figures, w1.SECTION, case, peer))
    same = figures.spread(w1.SECTION, w1.SAME, OURS, "seconds")
    yield at_most(f"{w1.SAME}: seconds", 1.0, named("ours", same))
    yield _written(figures)
    storage = figures.spread(w1.SECTION, w1.STORAGE, "all layers", "of_csv")
    yield at_most("storage / bytes of the file", 6.0, named("all layers", storage))
    peak = figures.spread(w1.SECTION, w1.FIRST, OURS, "client_mib")
    yield at_most(
        f"{w1.FIRST}: peak of the client, MiB", 300.0, named("ours", peak), lambda spread: spread.highest
    )


def _written(figures: Figures) -> Goal:
    """Records written over records changed: exactly 1."""
    rows = [
        row for row in figures.rows if (row.section, row.case, row.variant) == (w1.SECTION, w1.CHANGED, OURS)
    ]
    shares = [(row.values["inserted"] + row.values["updated"]) / row.values["rows_changed"] for row in rows]
    found = named("ours", Spread.of(shares) if shares else None)
    return at_most(f"{w1.CHANGED}: records written / changed", 1.0, found, lambda spread: spread.highest)


def _faster(figures: Figures, section: str, case: str, peer: str) -> dict[str, Spread]:
    """How many times as many rows a second as a peer."""
    return named(case, figures.ratio(section, (case, OURS), (case, peer)))
