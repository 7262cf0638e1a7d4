"""What monitoring asks, while the API answers as many clients as it can."""

import threading
import time
from statistics import median, quantiles

from tests.benchmarks.read_api import client
from tests.benchmarks.read_api.bench import MANY, Bench
from tests.benchmarks.read_api.servers import Server

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
            load = threading.Thread(target=bench.ask, args=(server, "/data?limit=100", MANY))
            load.start()
            taken = _asked_until_over(server, asked, load)
            load.join()
            for path, times in taken.items():
                values = {
                    "p50": median(times) * 1000,
                    "p99": quantiles(times, n=100, method="inclusive")[98] * 1000,
                    "highest": max(times) * 1000,
                    "answers": float(len(times)),
                }
                bench.figures.add(SECTION, path, "api", values, connections=MANY, number=number)


def _asked_until_over(server: Server, paths: list[str], load: threading.Thread) -> dict[str, list[float]]:
    taken: dict[str, list[float]] = {path: [] for path in paths}
    time.sleep(0.3)  # until every client of the load is at work
    with client.connected(server) as connection:
        while load.is_alive():
            for path in paths:
                taken[path].append(client.ask(connection, server, path))
                time.sleep(_PAUSE)
    return taken
