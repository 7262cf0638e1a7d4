"""What the sections of the benchmark share: the data, the servers by name, and one measurement under load."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from tests.benchmarks import machine, servers
from tests.benchmarks.figures import Figures
from tests.benchmarks.read_api import wrk
from tests.benchmarks.read_api.dataset import Dataset
from tests.benchmarks.read_api.settings import BenchSettings
from tests.benchmarks.read_api.wrk import Load
from tests.benchmarks.servers import Server

FEW, MANY = 8, 64
"""Connections."""
HARD_LIMIT = "1000000000"
"""A rate limit that is counted and never reached."""


@dataclass(frozen=True)
class Bench:
    """A run."""

    settings: BenchSettings
    dataset: Dataset
    key: str
    figures: Figures

    @contextmanager
    def api(
        self, name: str = "api", *, cached: bool = False, bare: bool = False, url: str | None = None
    ) -> Iterator[Server]:
        """The API: every layer on and keys required, or bare; without its cache unless `cached`."""
        application = "tests.benchmarks.read_api.bare:create_app" if bare else "kasparro_api.app:create_app"
        environment = {
            "DATABASE_URL": url or self.dataset.url,
            "KASPARRO_API_READS": "open" if bare else "keys",
            "KASPARRO_API_RATE_LIMIT": "0" if bare else HARD_LIMIT,
            "KASPARRO_API_ACCESS_LOG": "errors",  # as under load; the metrics count every request
        }
        if not cached:
            environment["KASPARRO_API_CACHE_MB"] = "0"
        with servers.running(
            servers.uvicorn(application, factory=True),
            environment,
            home=self.settings.home,
            name=name,
            ready="/data?limit=1",
            headers={} if bare else {"X-API-Key": self.key},
        ) as server:
            yield server

    def measure(
        self,
        section: str,
        case: str,
        variant: str,
        load: Callable[[], Load],
        *,
        connections: int,
        number: int,
        server: Server | None = None,
    ) -> None:
        """Keep the figures of a load: rate and latency, and CPU time a request, which noise hardly moves."""
        processes = {"postgres": self.dataset.server.pid or 0}
        if server is not None:
            processes["server"] = server.pid
        with machine.watched(processes) as usage:
            done = load()
        if done.failures:  # the rate of errors is no figure
            what = f"{section}: {case}, {variant}, {connections} connections, round {number}"
            self.figures.skip(what, f"{done.failures:,} of {done.requests:,} answers failed")
            return
        values = {"rate": done.rate, "p50": done.p50, "p99": done.p99}
        values |= {f"{name}_cpu_ms": spent * 1000 / done.requests for name, spent in usage.cpu.items()}
        if server is not None:
            values["memory_mib"] = machine.memory(server.pid)
        values["foreign_cores"] = usage.foreign_cores
        self.figures.add(section, case, variant, values, connections=connections, number=number)

    def ask(self, server: Server, path: str, connections: int, script: str | None = None) -> Load:
        """A load of `path` on a server."""
        return wrk.load(server.address + path, connections, self.settings.seconds, server.headers, script)
