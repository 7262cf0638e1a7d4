"""Finds and ends processes by their group, or by a mark in their environment; never by name."""

import os
import signal
import time
from collections.abc import Callable, Iterable
from contextlib import suppress

import psutil

MARK = "KASPARRO_STACK"
"""Environment variable of every process of a stack: the stack's state folder."""

STEPS = ((signal.SIGINT, 20.0), (signal.SIGTERM, 5.0), (signal.SIGKILL, 5.0))
"""What a group is told, and the seconds it gets: Dagster ends its runs and says so on SIGINT."""


def members(groups: Iterable[int]) -> list[psutil.Process]:
    """The living processes of process groups."""
    wanted = set(groups)
    found = []
    for process in psutil.process_iter():
        try:
            if os.getpgid(process.pid) in wanted and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
        except (ProcessLookupError, PermissionError, psutil.NoSuchProcess):
            continue
    return found


def marked(mark: str) -> list[psutil.Process]:
    """The living processes that a stack with this mark started, but for this process and those above it."""
    own = psutil.Process()
    spared = {own.pid, *(parent.pid for parent in own.parents())}
    found = []
    for process in psutil.process_iter():
        try:
            if process.pid not in spared and process.environ().get(MARK) == mark:
                found.append(process)
        except (psutil.NoSuchProcess, psutil.AccessDenied, OSError):
            continue  # gone, or of another account
    return found


def wait_until_gone(process: psutil.Process, seconds: float) -> bool:
    """Wait for a process to end; whether it did.

    psutil's own wait goes on until the parent has taken notice, which the first process of a container may
    never do.
    """
    deadline = time.monotonic() + seconds
    while is_alive(process):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


def is_alive(process: psutil.Process) -> bool:
    """Whether a process still does something."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def end(groups: Iterable[int], hurry: Callable[[], bool] = lambda: False) -> None:
    """End process groups with everything in them; `hurry` says that nobody wants to wait any longer."""
    wanted = set(groups)
    _end(lambda: members(wanted), hurry)


def end_marked(mark: str, hurry: Callable[[], bool] = lambda: False) -> int:
    """End what a stack left behind; returns how many processes there were."""
    count = len(marked(mark))
    _end(lambda: marked(mark), hurry)
    return count


def _end(living: Callable[[], list[psutil.Process]], hurry: Callable[[], bool]) -> None:
    for number, seconds in STEPS:
        last_step = number == signal.SIGKILL
        if hurry() and not last_step:
            continue
        told: set[psutil.Process] = set()
        deadline = time.monotonic() + seconds
        while left := set(living()):
            # Those that appeared since are told too
            for process in left - told:
                with suppress(psutil.NoSuchProcess):
                    process.send_signal(number)
            told |= left
            if time.monotonic() > deadline or (hurry() and not last_step):
                break
            time.sleep(0.1)
        else:
            return
