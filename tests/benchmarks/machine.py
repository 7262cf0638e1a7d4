"""What the machine did during a measurement: whose CPU time it was, and how much memory a process holds."""

import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

import psutil

_SAMPLE_EVERY = 0.02


@dataclass
class Usage:
    """CPU time spent since `watched` began; complete when it has ended."""

    seconds: float = 0.0
    """On the wall."""
    foreign_cores: float = 0.0
    """Cores that processes other than the benchmark's were using, on the average."""
    cpu: dict[str, float] = field(default_factory=dict)
    """CPU seconds by name of a watched process, with its children."""


@contextmanager
def watched(processes: Mapping[str, int]) -> Iterator[Usage]:
    """Count CPU time by process id while the block runs; this process and its children are no strangers."""
    usage = Usage()
    started, busy, own, each = time.monotonic(), _busy(), _own(processes), _each(processes)
    yield usage
    usage.seconds = time.monotonic() - started
    strangers = (_busy() - busy) - (_own(processes) - own)
    usage.foreign_cores = max(0.0, strangers / usage.seconds)
    usage.cpu = {name: spent - each[name] for name, spent in _each(processes).items()}


def memory(pid: int) -> float:
    """Resident memory of a process and its children, in MiB."""
    total = 0
    for process in _tree(pid):
        with suppress(psutil.NoSuchProcess):
            total += process.memory_info().rss
    return total / 2**20


@contextmanager
def peak_memory(pid: int) -> Iterator[list[float]]:
    """The highest resident memory while the block runs, in MiB, as the list's only item."""
    peak, over = [memory(pid)], threading.Event()

    def sample() -> None:
        while not over.wait(_SAMPLE_EVERY):
            peak[0] = max(peak[0], memory(pid))

    thread = threading.Thread(target=sample)
    thread.start()
    try:
        yield peak
    finally:
        over.set()
        thread.join()


def _tree(pid: int) -> list[psutil.Process]:
    try:
        process = psutil.Process(pid)
        return [process, *process.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def _spent(processes: set[psutil.Process]) -> float:
    total = 0.0
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            times = process.cpu_times()
            total += times.user + times.system + times.children_user + times.children_system
    return total


def _own(processes: Mapping[str, int]) -> float:
    pids = {psutil.Process().pid, *processes.values()}
    return _spent({process for pid in pids for process in _tree(pid)})


def _each(processes: Mapping[str, int]) -> dict[str, float]:
    return {name: _spent(set(_tree(pid))) for name, pid in processes.items()}


def _busy() -> float:
    times = psutil.cpu_times()
    idle = times.idle + getattr(times, "iowait", 0.0)
    # a guest's time is in `user` already
    counted = sum(times) - getattr(times, "guest", 0.0) - getattr(times, "guest_nice", 0.0)
    return float(counted - idle)
