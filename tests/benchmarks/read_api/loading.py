"""Reads while the pipeline loads a further source into the same table: in a copy of the database."""

import subprocess
import sys
from functools import partial

from tests.benchmarks.read_api.bench import FEW, Bench

SECTION = "loading"
CASE = "newest 100"
IDLE, BUSY = "idle", "while loading"
_PATH = "/data?limit=100"


def run(bench: Bench) -> None:
    """The same load before and while the pipeline is at work."""
    with bench.dataset.copy() as url, bench.api(url=url) as server:
        load = partial(bench.ask, server, _PATH, FEW)
        load()
        for number in range(bench.settings.rounds):
            bench.measure(SECTION, CASE, IDLE, load, connections=FEW, number=number, server=server)
        pipeline = subprocess.Popen(
            [sys.executable, "-m", "tests.benchmarks.read_api.pipeline", url, str(bench.dataset.rows)],
            stdout=subprocess.DEVNULL,
        )
        try:
            number = 0
            while pipeline.poll() is None:
                bench.measure(SECTION, CASE, BUSY, load, connections=FEW, number=number, server=server)
                number += 1
        finally:
            pipeline.terminate()
            status = pipeline.wait()
        if status != 0:
            raise RuntimeError(f"the pipeline ended with status {status}")
