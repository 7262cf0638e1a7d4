"""`make bench`: runs the sections, judges the figures, and writes them down."""

import argparse
import json
import os
import platform
import signal
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import psycopg
import requests

from tests.benchmarks import tables
from tests.benchmarks.figures import Figures
from tests.benchmarks.load import databases, goals, memory, publish, report, runs, w1, w2, w3
from tests.benchmarks.load.bench import Bench
from tests.benchmarks.load.settings import LoadSettings

RUNS = {
    w1.SECTION: w1.run,
    w2.SECTION: w2.run,
    w3.SECTION: w3.run,
    w2.FEED: w2.run_feed,
    runs.FIXED: runs.run_fixed,
    runs.BACKFILL: runs.run_backfill,
    memory.SECTION: memory.run,
}
FAILURES = (RuntimeError, OSError, psycopg.Error, requests.RequestException, subprocess.SubprocessError)


def main() -> None:
    """Run what the settings ask for."""
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
    parser.add_argument("--docs", action="store_true", help="write the results into docs/ too")
    asked = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the server is stopped
    settings = LoadSettings()
    figures = Figures()
    facts: dict[str, object] = {
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
        "rows": settings.rows,
        "rounds": settings.rounds,
        "cores": os.cpu_count(),
        "system": f"{platform.system()} {platform.machine()}, Python {platform.python_version()}",
    }
    with databases.opened(settings.home) as opened:
        bench = Bench(settings, opened, figures)
        if not bench.has_peers:
            figures.skip("dlt", "PEERS=no, or there is no .venv-peers: make bench makes it")
        for section in settings.sections:
            print(f"\n{section}", flush=True)
            try:
                RUNS[section](bench)
            except FAILURES as error:  # the others may still have figures
                figures.skip(section, f"{type(error).__name__}: {error}")
    judged = goals.judge(figures)
    (settings.home / "bench.json").write_text(json.dumps({**facts, **figures.as_json()}, indent=1) + "\n")
    (settings.home / "bench.svg").write_text(publish.picture(figures, facts))
    print()
    for table in (report.table(figures), tables.goals_table(judged)):
        print(tables.plain(table), end="\n\n")
    for part, reason in figures.skipped.items():
        print(f"skipped {part}: {reason}")
    print(tables.noise(figures), f"Every measurement is in {settings.home / 'bench.json'}.")
    if asked.docs:
        publish.publish(Path(__file__).parents[3], figures, judged, facts)
    print(report.one_line(figures, judged, facts))


if __name__ == "__main__":
    main()
