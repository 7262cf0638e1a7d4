"""What a run of ours holds in memory while it loads a file of many rows."""

from tests.benchmarks.load import articles
from tests.benchmarks.load.bench import OURS, Bench

SECTION = "memory"
ROWS = 10_000_000
"""Unless MEMORY_ROWS says otherwise."""


def run(bench: Bench) -> None:
    """One load: its peak hardly moves, and it takes minutes."""
    rows = bench.settings.memory_rows or ROWS
    path = articles.prepared(bench.files(rows), "base.csv", lambda: articles.rows(rows))
    database = bench.make(OURS, SECTION)
    bench.keep(SECTION, f"{rows:,} rows", OURS, 0, bench.load_file(OURS, database, path), rows)
    bench.databases.drop(database)
