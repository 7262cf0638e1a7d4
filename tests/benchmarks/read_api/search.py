"""Full text: common, medium and rare words, and two at once, from several clients; newest first."""

from statistics import median
from urllib.parse import urlencode

from tests.benchmarks.read_api import client, pgbench, statements, wrk
from tests.benchmarks.read_api.bench import FEW, Bench
from tests.benchmarks.read_api.records import WORDS

SECTION = "search"
MIXED = "a mix of terms"
PGBENCH = "pgbench"
TERMS = {
    "common": (WORDS[0], WORDS[1], WORDS[9]),
    "medium": (WORDS[100], WORDS[300], WORDS[1000]),
    "rare": (WORDS[8000], WORDS[20_000], WORDS[-1]),
    "two words": (f"{WORDS[2]} {WORDS[12]}", f"{WORDS[40]} {WORDS[200]}", f"{WORDS[0]} {WORDS[-2]}"),
}


def run(bench: Bench) -> None:
    """Time each term by itself, then all of them under load."""
    paths = {
        kind: [f"/data?{urlencode({'q': term, 'limit': 100})}" for term in terms]
        for kind, terms in TERMS.items()
    }
    sent = statements.sent_for(bench, {path: path for asked in paths.values() for path in asked})
    with bench.api() as server:
        try:
            for kind, asked in paths.items():
                times = [
                    time for path in asked for time in client.latencies(server, path, most=15, seconds=2)
                ]
                figures = {"p50": median(times) * 1000, "highest": max(times) * 1000}
                bench.figures.add(SECTION, kind, "api", figures)
        except client.RefusedError as error:
            bench.figures.skip(SECTION, str(error))
            return
        every = ", ".join(f'"{path}"' for asked in paths.values() for path in asked)
        script = wrk.RANDOM_PATH.format(paths=every)
        for number in range(bench.settings.rounds):
            bench.measure(
                SECTION,
                MIXED,
                PGBENCH,
                lambda: pgbench.load(bench.dataset.url, list(sent.values()), FEW, bench.settings.seconds),
                connections=FEW,
                number=number,
            )
            bench.measure(
                SECTION,
                MIXED,
                "api",
                lambda: bench.ask(server, "", FEW, script),
                connections=FEW,
                number=number,
                server=server,
            )
