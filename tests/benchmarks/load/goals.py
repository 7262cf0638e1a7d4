"""What loading shall reach, and whether it did. Measures nothing itself."""

from collections.abc import Iterable, Sequence

from tests.benchmarks.figures import Figures, Spread
from tests.benchmarks.judging import Goal, at_least, at_most, named, told
from tests.benchmarks.load import memory, runs, w1, w2, w3
from tests.benchmarks.load.bench import COPY, DICT, DUCKDB, FETCH, OURS, REST, TUNED


def judge(figures: Figures) -> list[Goal]:
    """Every goal, in the order of the table."""
    return [
        *_files(figures),
        *_pages(figures),
        *_growing(figures),
        *_feed(figures),
        *_runs(figures),
        *_memory(figures),
    ]


def _files(figures: Figures) -> Iterable[Goal]:
    for case, peer, wanted in (
        (w1.FIRST, DICT, 5.0),
        (w1.FIRST, DUCKDB, 1.0),
        (w1.CHANGED, TUNED, 2.0),
        (w1.DELTA, TUNED, 4.0),
    ):
        yield at_least(f"{case}: times {peer}", wanted, _faster(figures, w1.SECTION, case, peer))
    yield told(f"{w1.FIRST}: share of {COPY}", _faster(figures, w1.SECTION, w1.FIRST, COPY))
    same = figures.spread(w1.SECTION, w1.SAME, OURS, "seconds")
    yield at_most(f"{w1.SAME}: seconds", 1.0, named("ours", same))
    yield _exactly(f"{w1.CHANGED}: records written that had not changed", _needless(figures))
    storage = figures.spread(w1.SECTION, w1.STORAGE, w1.ALL_LAYERS, "of_csv")
    yield at_most("storage: times the bytes of the file", 6.0, named(w1.ALL_LAYERS, storage))


def _needless(figures: Figures) -> list[float]:
    """By round: how many more records were written than had changed, or fewer."""
    return [
        row.values["inserted"] + row.values["updated"] - row.values["rows_changed"]
        for row in figures.rows
        if (row.section, row.case, row.variant) == (w1.SECTION, w1.CHANGED, OURS)
    ]


def _pages(figures: Figures) -> Iterable[Goal]:
    for page_size, wanted in ((100, 8.0), (1000, 5.0)):
        case = w2.first(page_size)
        yield at_least(f"{case}: times {REST}", wanted, _faster(figures, w2.SECTION, case, REST))
        yield told(f"{case}: share of {FETCH}", _faster(figures, w2.SECTION, case, FETCH))
        case = w2.again(page_size)
        requests = figures.by_round(w2.SECTION, case, OURS, "requests", 1)
        yield _exactly(f"{case}: requests", list(requests.values()), 1)
        written = figures.by_round(w2.SECTION, case, OURS, "written", 1)
        yield _exactly(f"{case}: records written", list(written.values()))


def _growing(figures: Figures) -> Iterable[Goal]:
    sizes = sorted(
        {row.values["held"] for row in figures.rows if row.section == w3.SECTION and "held" in row.values}
    )
    cases = {size: w3.case(int(size)) for size in sizes}
    if not cases:
        return
    peers = {
        size: ratio
        for size, case in cases.items()
        for ratio in _faster(figures, w3.SECTION, case, TUNED).values()
    }
    found = {f"{size:,.0f} rows": ratio for size, ratio in peers.items()}
    yield at_least(f"delta to a filled table: times {TUNED}", 4.0, found)
    # of the largest to the one with as many rows as the file of w1, where the peer is
    usual = next(iter(peers), sizes[0])
    ratio = figures.ratio(w3.SECTION, (cases[sizes[-1]], OURS), (cases[usual], OURS), "seconds")
    names = f"{sizes[-1]:,.0f} rows / {usual:,.0f}"
    yield at_most("delta to the largest table: times its seconds", 1.5, named(names, ratio))


def _feed(figures: Figures) -> Iterable[Goal]:
    for name, wanted in (("requests", 1), ("runs_requested", 0)):
        found = figures.by_round(w2.FEED, w2.UNCHANGED, OURS, name, 1)
        yield _exactly(f"unchanged feed: {name.replace('_', ' ')}", list(found.values()), wanted)


def _runs(figures: Figures) -> Iterable[Goal]:
    for case, wanted in ((runs.RUN, 6.0), (runs.CHAIN, 0.5)):
        spread = figures.spread(runs.FIXED, case, OURS, "seconds")
        yield at_most(f"ten records: {case}, s", wanted, named("ours", spread))
    ratio = figures.ratio(
        runs.BACKFILL, (runs.PARTITIONS, runs.STOCK), (runs.PARTITIONS, OURS), "seconds_a_run"
    )
    yield at_least(f"backfill: times {runs.STOCK} executor", 3.0, named("a run", ratio))


def _memory(figures: Figures) -> Iterable[Goal]:
    peaks = {}
    for section in (w1.SECTION, w2.SECTION, w3.SECTION, memory.SECTION):
        values = [
            row.values["client_mib"]
            for row in figures.rows
            if (row.section, row.variant) == (section, OURS) and "client_mib" in row.values
        ]
        if values:
            peaks[section] = Spread.of(values)
    yield at_most("peak of the client, MiB", 300.0, peaks, lambda spread: spread.highest)


def _exactly(name: str, values: Sequence[float], wanted: float = 0) -> Goal:
    """A count that has to be right in every round."""
    met = all(value == wanted for value in values) if values else None
    shown = ", ".join(f"{value:,.0f}" for value in sorted(set(values))) or "not measured"
    return Goal(name, f"= {wanted:g}", max(values, default=None), met, shown)


def _faster(figures: Figures, section: str, case: str, peer: str) -> dict[str, Spread]:
    """How many times as many rows a second as a peer."""
    return named(case, figures.ratio(section, (case, OURS), (case, peer)))
