"""What the API shall reach, and whether it did. Measures nothing itself."""

from collections.abc import Iterable
from statistics import median

from tests.benchmarks.figures import Figures, Spread
from tests.benchmarks.judging import Goal, at_least, at_most, named, told
from tests.benchmarks.read_api import export, loading, matrix, operation, rates, search
from tests.benchmarks.read_api.bench import FEW, MANY

CONNECTIONS = (FEW, MANY)


def judge(figures: Figures) -> list[Goal]:
    """Every goal, in the order of the table."""
    return [
        *_lists(figures),
        *_records(figures),
        *_usual_way(figures),
        *_layers(figures),
        *_again(figures),
        *_combinations(figures),
        *_search(figures),
        *_exports(figures),
        *_loading(figures),
        *_operation(figures),
    ]


def _lists(figures: Figures) -> Iterable[Goal]:
    for case in (rates.NEWEST, rates.FILTERED):
        floor = _ratios(figures, (case, rates.API), (case, rates.PGBENCH))
        yield at_least(f"{case} / pgbench", 0.55, floor)
        yield at_least(f"{case} / pgbench, then", 0.70, floor)
        rival = _ratios(figures, (case, rates.API), (case, rates.POSTGREST))
        yield at_least(f"{case} / PostgREST, every round", 1.0, rival, of=lambda spread: spread.lowest)
        tails = {}
        for connections in CONNECTIONS:
            p50, p99 = (
                figures.by_round(rates.SECTION, case, rates.API, name, connections) for name in ("p50", "p99")
            )
            if p50:
                tails[f"{connections} conn"] = Spread.of(p99[number] / p50[number] for number in p50)
        yield at_most(f"{case}: p99 / p50", 2.5, tails)
    deep = _ratios(figures, (rates.DEEP, rates.API), (rates.NEWEST, rates.API))
    yield at_least(f"{rates.DEEP} / first page", 0.95, deep)


def _records(figures: Figures) -> Iterable[Goal]:
    rival = _ratios(figures, (rates.RECORD, rates.API), (rates.RECORD, rates.POSTGREST))
    yield at_least(f"{rates.RECORD} / PostgREST", 1.0, rival)
    yield at_least(f"{rates.RECORD} / PostgREST, then", 1.3, rival)


def _usual_way(figures: Figures) -> Iterable[Goal]:
    for case, wanted in ((rates.NEWEST, 5.0), (rates.FILTERED, 5.0), (rates.RECORD, 4.0)):
        yield at_least(
            f"{case} / the usual way", wanted, _ratios(figures, (case, rates.API), (case, rates.USUAL))
        )


def _layers(figures: Figures) -> Iterable[Goal]:
    for case in (rates.NEWEST, rates.RECORD):
        kept = _ratios(figures, (case, rates.API), (case, rates.BARE))
        cost = {
            where: Spread(1 - spread.median, 1 - spread.highest, 1 - spread.lowest)
            for where, spread in kept.items()
        }
        yield at_most(f"{case}: what the layers cost", 0.10, cost)


def _again(figures: Figures) -> Iterable[Goal]:
    for variant, wanted in ((rates.CACHED, 6.0), (rates.NOT_MODIFIED, 8.0)):
        floor = _ratios(figures, (rates.NEWEST, variant), (rates.NEWEST, rates.PGBENCH))
        yield at_least(f"{variant} / pgbench", wanted, floor)
    for variant, least in ((rates.CACHED, rates.FLOOR), (rates.NOT_MODIFIED, rates.FLOOR_304)):
        highest = _ratios(figures, (rates.NEWEST, least), (rates.NEWEST, rates.PGBENCH))
        yield told(f"{least} / pgbench: what {variant} could reach at most", highest)


def _combinations(figures: Figures) -> Iterable[Goal]:
    taken: dict[tuple[str, str], list[float]] = {}
    for row in figures.rows:
        if row.section == matrix.SECTION:
            taken.setdefault((row.case, row.variant), []).append(row.values["p50"])
    p50s = {key: median(values) for key, values in taken.items()}
    worst, stopped = {}, {}
    if p50s:
        key = max(p50s, key=p50s.__getitem__)
        worst[", ".join(key)] = Spread.of([p50s[key] / median(p50s.values())])
        stopped = {sort: Spread.of([p50]) for (name, sort), p50 in p50s.items() if name == matrix.STOPPED}
    yield at_most("worst filter and sort / median one", 1.5, worst)
    yield at_most("a source that stopped: p50, ms", 5.0, stopped, parts=1)


def _search(figures: Figures) -> Iterable[Goal]:
    spread = figures.spread(search.SECTION, search.MIXED, "api", "p99", FEW)
    yield at_most("q=: p99, ms", 50.0, named(f"{FEW} conn", spread))
    floor = figures.spread(search.SECTION, search.MIXED, search.PGBENCH, "p99", FEW)
    yield told("q=: p99 of pgbench with the same statements, ms", named(f"{FEW} conn", floor))


def _exports(figures: Figures) -> Iterable[Goal]:
    for name in export.FORMATS:
        ratio = figures.ratio(export.SECTION, (name, export.API), (name, export.PSQL))
        yield at_least(f"{name} export / psql", 0.9, named("1 conn", ratio))
        for figure, what, wanted in (
            ("above_idle_mib", "above idle, MiB", 16.0),
            ("first_byte", "first byte, s", 0.1),
        ):
            spread = figures.spread(export.SECTION, name, export.API, figure)
            yield at_most(
                f"{name} export: {what}", wanted, named("highest", spread), of=lambda spread: spread.highest
            )


def _loading(figures: Figures) -> Iterable[Goal]:
    idle, busy = (
        figures.spread(loading.SECTION, loading.CASE, variant, "p99", FEW)
        for variant in (loading.IDLE, loading.BUSY)
    )
    ratio = Spread.of([busy.median / idle.median]) if idle and busy else None
    yield at_most("p99 while loading / idle", 3.0, named(f"{FEW} conn", ratio))


def _operation(figures: Figures) -> Iterable[Goal]:
    for path in operation.PATHS:
        spread = figures.spread(operation.SECTION, path, "api", "p99", MANY)
        yield at_most(f"{path} under load: p99, ms", 50.0, named(f"{MANY} conn", spread))


def _ratios(figures: Figures, over: tuple[str, str], under: tuple[str, str]) -> dict[str, Spread]:
    found = {}
    for connections in CONNECTIONS:
        spread = figures.ratio(rates.SECTION, over, under, connections=connections)
        if spread is not None:
            found[f"{connections} conn"] = spread
    return found
