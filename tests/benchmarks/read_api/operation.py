"""What monitoring asks, while the API answers as many clients as it can."""

import time
from concurrent.futures import Future, ThreadPoolExecutor
from statistics import median, quantiles

from tests.benchmarks.read_api import client
from tests.benchmarks.read_api.bench import MANY, Bench
from tests.benchmarks.read_api.wrk import Load
from tests.benchmarks.servers import Server

SECTION = "operation"
PATHS = ("/metrics", "/health", "/health/ready")
_PAUSE = 0.005
"""Seconds between two questions."""


def run(bench: Bench) -> None:
    """Ask in turn over one connection, under full load."""
    with bench.api() as server:
        asked = []
        for path in PATHS:
            try:
                client.latencies(server, path, most=3, seconds=5)
            except client.RefusedError as error:
                bench.figures.skip(path, str(error))
            else:
                asked.append(path)
        for number in range(bench.settings.rounds):
            with ThreadPoolExecutor(1) as thread:
                load = thread.submit(bench.ask, server, "/data?limit=100", MANY)
                taken = _asked_until_over(server, asked, load)
            done = load.result()
            values = {"rate": done.rate, "p99": done.p99, "failures": float(done.failures)}
            bench.figures.add(SECTION, "the load", "api", values, connections=MANY, number=number)
            for path, times in taken.items():
                values = {
                    "p50": median(times) * 1000,
                    "p99": quantiles(times, n=100, method="inclusive")[98] * 1000,
                    "highest": max(times) * 1000,
                    "answers": float(len(times)),
                }
                bench.figures.add(SECTION, path, "api", values, connections=MANY, number=number)


def _asked_until_over(server: Server, paths: list[str], load: Future[Load]) -> dict[str, list[float]]:
    taken: dict[str, list[float]] = {path: [] for path in paths}
    time.sleep(0.3)  # until every client of the load is at work
    with client.connected(server) as connection:
        while not load.done():
            for path in paths:
                taken[path].append(client.ask(connection, server, path))
                time.sleep(_PAUSE)
    return taken
