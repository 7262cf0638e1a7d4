"""A large file: loaded, loaded again, as a new file with 1% of it changed, and a small delta after it."""

from collections.abc import Iterator

from tests.benchmarks.load import articles
from tests.benchmarks.load.bench import COPY, DICT, DUCKDB, OURS, TUNED, Bench

SECTION = "w1"
FIRST, SAME, CHANGED, DELTA = "first load", "same bytes", "1% changed", "1% delta"
STORAGE, ALL_LAYERS = "storage", "all layers"
LOADERS = {
    FIRST: (OURS, TUNED, DUCKDB, DICT, COPY),
    SAME: (OURS, TUNED, DUCKDB, DICT),
    CHANGED: (OURS, TUNED),
    DELTA: (OURS, TUNED, DUCKDB, DICT),
}


def run(bench: Bench) -> None:
    """Every case by every loader, in alternation, each loader in a database of its own."""
    rows = bench.settings.rows
    folder = bench.files(rows)
    base = articles.prepared(folder, "base.csv", lambda: articles.rows(rows))
    changed = articles.prepared(folder, "changed.csv", lambda: articles.changed(rows))
    size = rows // 100
    delta = articles.prepared(folder, "delta.csv", lambda: articles.delta(rows, size, 0))
    files = {FIRST: (base, rows), SAME: (base, rows), CHANGED: (changed, rows), DELTA: (delta, size)}
    for number in range(bench.settings.rounds):
        made = {variant: bench.make(variant, SECTION) for variant in _loaders(bench, FIRST)}
        for case, (path, count) in files.items():
            for variant in _loaders(bench, case):
                if case != FIRST:
                    bench.databases.analyze(made[variant])
                values = bench.load_file(variant, made[variant], path)
                # so that autovacuum does not do it while somebody else is measured
                bench.databases.analyze(made[variant])
                if case == CHANGED:
                    values["rows_changed"] = articles.changed_count(rows)
                bench.keep(SECTION, case, variant, number, values, count)
            if case == FIRST:
                _keep_storage(bench, made[OURS], base.stat().st_size, number)
        for name in made.values():
            bench.databases.drop(name)


def _loaders(bench: Bench, case: str) -> Iterator[str]:
    for variant in LOADERS[case]:
        if bench.measures(variant):
            yield variant


def _keep_storage(bench: Bench, database: str, csv_bytes: int, number: int) -> None:
    sizes = bench.databases.sizes(database)
    for layer, (table, indexes) in sorted(sizes.items()):
        values = {"table_mib": table / 2**20, "index_mib": indexes / 2**20}
        bench.figures.add(SECTION, STORAGE, layer, values, number=number)
    total = sum(table + indexes for table, indexes in sizes.values())
    values = {"mib": total / 2**20, "csv_mib": csv_bytes / 2**20, "of_csv": total / csv_bytes}
    bench.figures.add(SECTION, STORAGE, ALL_LAYERS, values, number=number)
