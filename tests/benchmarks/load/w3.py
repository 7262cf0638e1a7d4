"""The same small delta to tables of several sizes: it should cost what the delta costs, not the table.

Each loader fills its table by its own load. Then the table is vacuumed and analyzed, as autovacuum would do
within minutes. Each round brings another delta to it.
"""

from functools import partial

from tests.benchmarks.load import articles
from tests.benchmarks.load.bench import OURS, TUNED, Bench

SECTION = "w3"
FILL = "filling"


def case(rows: int) -> str:
    """Name of the case: a table of so many rows."""
    return f"delta to {rows:,}"


def run(bench: Bench) -> None:
    """Each size after the other, so that only one large table takes room at a time."""
    size = max(bench.settings.rows // 100, 5)
    for rows in bench.settings.table_sizes:
        folder = bench.files(rows)
        base = articles.prepared(folder, "base.csv", partial(articles.rows, rows))
        loaders = [OURS, TUNED] if bench.measures(TUNED) and rows == bench.settings.rows else [OURS]
        made = {variant: bench.make(variant, SECTION) for variant in loaders}
        for variant, database in made.items():
            values = bench.load_file(variant, database, base)
            bench.keep(SECTION, f"{FILL} {rows:,}", variant, 0, values, rows)
            bench.databases.analyze(database)
        for number in range(bench.settings.rounds):
            made_by = partial(articles.delta, rows, size, number)
            path = articles.prepared(folder, f"delta-{size}-{number}.csv", made_by)
            for variant, database in made.items():
                values = bench.load_file(variant, database, path)
                values["held"] = rows
                bench.keep(SECTION, case(rows), variant, number, values, size)
        for database in made.values():
            bench.databases.drop(database)
