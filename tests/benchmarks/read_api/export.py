"""Everything as NDJSON and as CSV: the API beside psql copying the same statement's output away."""

import subprocess
import time

from kasparro_pipeline.stack.embedded import programs
from tests.benchmarks import machine
from tests.benchmarks.read_api import client, statements
from tests.benchmarks.read_api.bench import Bench

SECTION = "export"
FORMATS = {"ndjson": "/data.ndjson", "csv": "/data.csv"}
API, PSQL = "api", "psql copy"


def run(bench: Bench) -> None:
    """Export all records by either, in turn; memory above what the server held before its first one."""
    sent = statements.sent_for(bench, FORMATS)
    with bench.api("api-export") as server:
        idle = machine.memory(server.pid)
        for number in range(bench.settings.rounds):
            for name, path in FORMATS.items():
                if name not in sent:
                    bench.figures.skip(f"{SECTION} {name}", f"the API sends no statement for {path}")
                    continue
                seconds = _copy(bench.dataset.url, sent[name])
                rate = bench.dataset.rows / seconds
                bench.figures.add(SECTION, name, PSQL, {"rate": rate}, number=number)
                with machine.peak_memory(server.pid) as peak:
                    got = client.download(server, path)
                rows = got.lines - (name == "csv")  # the header
                if rows != bench.dataset.rows:
                    raise RuntimeError(f"{path} has {rows:,} records, not {bench.dataset.rows:,}")
                values = {
                    "rate": rows / got.seconds,
                    "first_byte": got.first_byte,
                    "idle_mib": idle,
                    "above_idle_mib": peak[0] - idle,
                    "size_mib": got.size / 2**20,
                }
                bench.figures.add(SECTION, name, API, values, number=number)


def _copy(url: str, statement: str) -> float:
    """Seconds that psql needs to copy the output of a statement away."""
    started = time.perf_counter()
    subprocess.run(
        [str(programs() / "psql"), url, "--quiet", "--no-psqlrc", "--command", statement],
        stdout=subprocess.DEVNULL,
        check=True,
    )
    return time.perf_counter() - started
