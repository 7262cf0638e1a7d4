"""The floor: pgbench running a statement without any HTTP, and the reading of what it prints and logs."""

import re
import subprocess
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path

from kasparro_pipeline.stack.embedded import programs
from tests.benchmarks.read_api.wrk import Load

_THREADS = 2


def load(
    url: str, statements: str | Sequence[str], connections: int, seconds: int, setting: str = ""
) -> Load:
    """Run a statement, or one of several at random, over some connections, as fast as answers come.

    `setting` is a line of pgbench before it: `\\set id random(1, 1000)` makes `:id` a random value.

    Raises:
        RuntimeError: the statement failed.
    """
    with tempfile.TemporaryDirectory() as folder:
        scripts = []
        for number, statement in enumerate([statements] if isinstance(statements, str) else statements):
            script = Path(folder) / f"statement-{number}.sql"
            script.write_text(f"{setting}\n{statement};\n")
            scripts += ["--file", str(script)]
        command = [str(programs() / "pgbench"), "--no-vacuum", "--protocol", "prepared"]
        command += ["--client", str(connections), "--jobs", str(min(_THREADS, connections))]
        command += ["--time", str(seconds), "--log", *scripts, url]
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise RuntimeError(f"pgbench: {done.stderr[-1000:]}\n{statements}")
        lines = [line for log in Path(folder).glob("pgbench_log.*") for line in log.read_text().splitlines()]
    return parsed(done.stdout, lines)


def parsed(output: str, lines: Iterable[str]) -> Load:
    """What pgbench printed, and logged line by line, as figures.

    Raises:
        RuntimeError: it holds no figures.
    """
    # Of several scripts the first figure is that of all
    rate = re.search(r"tps = ([\d.]+) \(without initial connection time\)", output)
    # client, transaction, microseconds, script, and when: epoch and microseconds
    latencies = sorted(int(line.split()[2]) for line in lines)
    if rate is None or not latencies:
        raise RuntimeError(f"pgbench measured nothing: {output[-500:]}")
    p50, p99 = (latencies[len(latencies) * percent // 100] / 1000 for percent in (50, 99))
    return Load(len(latencies), float(rate[1]), p50, p99, failures=0)
