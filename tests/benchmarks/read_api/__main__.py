"""`make bench-api`: runs the sections, judges the figures, and writes them down."""

import argparse
import json
import os
import platform
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import psycopg
import requests

from kasparro_pipeline.warehouse import api_keys
from tests.benchmarks import tables
from tests.benchmarks.figures import Figures
from tests.benchmarks.read_api import (
    export,
    goals,
    loading,
    matrix,
    operation,
    pipeline,
    publish,
    rates,
    report,
    search,
    wrk,
)
from tests.benchmarks.read_api.bench import Bench
from tests.benchmarks.read_api.dataset import Dataset, prepared
from tests.benchmarks.read_api.settings import BenchSettings

RUNS = {
    rates.SECTION: rates.run,
    matrix.SECTION: matrix.run,
    search.SECTION: search.run,
    export.SECTION: export.run,
    operation.SECTION: operation.run,
    loading.SECTION: loading.run,
}
NEEDS_NO_LOAD = (matrix.SECTION, export.SECTION)
FAILURES = (RuntimeError, OSError, psycopg.Error, requests.RequestException, subprocess.SubprocessError)
_KEY_NAME = "bench-api"


def main() -> None:
    """Run what the settings ask for."""
    parser = argparse.ArgumentParser(prog="make bench-api", description=__doc__)
    parser.add_argument("--docs", action="store_true", help="write the results into docs/ too")
    parser.add_argument("--data", action="store_true", help="only make the data")
    asked = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the servers are stopped
    settings = BenchSettings()
    figures = Figures()
    started = datetime.now(UTC)
    with prepared(settings) as dataset, _key(dataset) as key:
        if asked.data:
            return
        bench = Bench(settings, dataset, key, figures)
        for section in settings.sections:
            reason = None if section in NEEDS_NO_LOAD else wrk.missing()
            if reason is not None:
                figures.skip(section, reason)
                continue
            print(f"\n{section}", flush=True)
            try:
                RUNS[section](bench)
            except FAILURES as error:  # the others may still have figures
                figures.skip(section, f"{type(error).__name__}: {error}")
    facts: dict[str, object] = {
        "started": started.isoformat(timespec="seconds"),
        "rows": settings.rows,
        "rounds": settings.rounds,
        "seconds": settings.seconds,
        "cores": os.cpu_count(),
        "system": f"{platform.system()} {platform.machine()}, Python {platform.python_version()}",
    }
    judged = goals.judge(figures)
    result = settings.home / "bench-api.json"
    result.write_text(json.dumps({**facts, **figures.as_json()}, indent=1) + "\n")
    print()
    for table in (report.rates_table(figures), report.others_table(figures), tables.goals_table(judged)):
        if len(table) > 1:
            print(tables.plain(table), end="\n\n")
    for part, reason in figures.skipped.items():
        print(f"skipped {part}: {reason}")
    print(tables.noise(figures), f"Every measurement is in {result}.")
    if asked.docs:
        publish.publish(Path(__file__).parents[3], figures, judged, facts)
    print(report.one_line(figures, judged, facts))


@contextmanager
def _key(dataset: Dataset) -> Iterator[str]:
    """A key that may read, for as long as the run lasts."""
    with pipeline.connect(dataset.url) as connection:
        connection.execute("delete from kasparro.api_key where name = %s", (_KEY_NAME,))
        text = api_keys.create(connection, _KEY_NAME, ["read"])
    yield text
    with pipeline.connect(dataset.url) as connection:
        connection.execute("delete from kasparro.api_key where name = %s", (_KEY_NAME,))


if __name__ == "__main__":
    main()
