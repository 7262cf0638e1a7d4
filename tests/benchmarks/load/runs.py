"""What a run costs beside its data, on the real local stack: one run of ten records, and a backfill."""

import time

from tests.benchmarks.load import local_stack, multiprocess_job
from tests.benchmarks.load.bench import OURS, Bench

FIXED, BACKFILL = "fixed", "backfill"
RUN, CHAIN = "launch to materialized", "first step to last step"
PARTITIONS = "small partitions"
STOCK = "multiprocess"


def run_fixed(bench: Bench) -> None:
    """One run after the other; the first is not counted, since it makes what later ones find."""
    with local_stack.running(bench.settings.home) as stack:
        for number in range(-1, bench.settings.rounds):
            name = f"fixed-{number}.csv"
            stack.add_file(name, _first(number + 1))
            launched = time.time()
            [run] = stack.launch(name)
            if number < 0:
                continue
            steps = run["stepStats"]
            chain = max(step["endTime"] for step in steps) - min(step["startTime"] for step in steps)
            bench.figures.add(FIXED, RUN, OURS, {"seconds": run["endTime"] - launched}, number=number)
            bench.figures.add(FIXED, CHAIN, OURS, {"seconds": chain, "steps": len(steps)}, number=number)


def run_backfill(bench: Bench) -> None:
    """One backfill each: the runs in it are many. Every partition is a new file of its own.

    Counted from when the first run was made, so that what the daemon waits before weighs on neither.
    """
    made = 0
    with local_stack.running(bench.settings.home) as stack:
        for variant, (job, count) in _executors(bench).items():
            names = [f"{job}-{number:03}.csv" for number in range(count)]
            for name in names:
                stack.add_file(name, _first(made))
                made += 1
            runs = stack.backfill(job, names)
            seconds = max(run["endTime"] for run in runs) - min(run["creationTime"] for run in runs)
            values = {"partitions": count, "seconds": seconds, "seconds_a_run": seconds / count}
            bench.figures.add(BACKFILL, PARTITIONS, variant, values)


def _executors(bench: Bench) -> dict[str, tuple[str, int]]:
    """Job and partitions. A run of the stock executor takes so long that fewer of them have to do."""
    count = bench.settings.partitions
    return {
        OURS: (local_stack.SOURCE, count),
        STOCK: (multiprocess_job.JOB, min(count, bench.settings.stock_partitions)),
    }


def _first(number: int) -> int:
    """The number of the first record of a file, so that no two files have one in common."""
    return 1 + number * local_stack.RECORDS
