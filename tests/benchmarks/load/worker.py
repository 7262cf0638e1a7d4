"""What every measured process does: take its order, time the work alone, tell its figures.

Standard library only, for the peers' environment runs it too.
"""

import json
import resource
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any


def order() -> dict[str, Any]:
    """What the process was asked to do: JSON, as its argument."""
    asked: dict[str, Any] = json.loads(sys.argv[1])
    return asked


@contextmanager
def timed() -> Iterator[dict[str, Any]]:
    """Figures of the block: seconds on the wall and of processor time, without what was imported before."""
    figures: dict[str, Any] = {}
    started, spent = time.perf_counter(), _cpu()
    yield figures
    figures["seconds"] = time.perf_counter() - started
    figures["client_cpu"] = _cpu() - spent


def tell(figures: dict[str, Any]) -> None:
    """Print the figures, with the highest resident memory of this process in MiB, as the last line."""
    print(json.dumps({**figures, "client_mib": _peak_memory()}), flush=True)


def _cpu() -> float:
    own, children = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return own.ru_utime + own.ru_stime + children.ru_utime + children.ru_stime


def _peak_memory() -> float:
    """Of this process; what the processes hold that it starts is sampled by `measured`."""
    status = Path("/proc/self/status")
    if status.exists():
        # Linux counts into ru_maxrss what the process that started this one held
        [line] = [line for line in status.read_text().splitlines() if line.startswith("VmHWM")]
        return int(line.split()[1]) / 2**10
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
