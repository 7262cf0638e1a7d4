"""Starts child processes, each in its own session and with its own log, and watches them."""

import os
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil

from kasparro_pipeline.stack import groups
from kasparro_pipeline.stack.errors import StackError

READY_TIMEOUT = 120
LAST_LINES = 15


@dataclass(frozen=True)
class Program:
    """A command of the stack. Its name is its log's name too."""

    name: str
    command: tuple[str, ...]
    ready: Callable[[], bool] | None = None
    """Whether it answers; without it the program counts as ready once started."""


@dataclass(frozen=True)
class Child:
    """A started program."""

    program: Program
    process: "subprocess.Popen[bytes]"
    created: float
    started: float


class Children:
    """The processes of one stack."""

    def __init__(self, logs: Path, folder: Path) -> None:
        self._logs = logs
        self._folder = folder
        self.environment: dict[str, str] = {}
        self._children: dict[str, Child] = {}

    def __iter__(self) -> Iterator[Child]:
        return iter(self._children.values())

    def start(self, program: Program) -> None:
        """Start a program; the log of its last time is kept as `<name>.previous.log`."""
        log_file = self._logs / f"{program.name}.log"
        self._logs.mkdir(parents=True, exist_ok=True)
        if log_file.exists():
            log_file.replace(log_file.with_suffix(".previous.log"))
        with log_file.open("ab") as log:
            # The stack's own commands, with arguments from its settings
            process = subprocess.Popen(  # noqa: S603
                program.command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self._folder,
                env=self.environment,
                start_new_session=True,
            )
        # While it has not been waited for, its id is its own
        created = psutil.Process(process.pid).create_time()
        self._children[program.name] = Child(program, process, created, time.monotonic())

    def check(self) -> None:
        """Notice a child that ended by itself.

        Raises:
            StackError: with its name, its log and the end of it.
        """
        for child in self:
            status = child.process.poll()
            if status is not None:
                how = f"with status {status}" if status >= 0 else f"by signal {-status}"
                raise StackError(self._account(child, f"ended {how}"))

    def wait_until_ready(self, name: str) -> float:
        """Wait until a program answers; returns the seconds since it was started.

        Raises:
            StackError: it, or another child, ended instead; or it takes longer than `READY_TIMEOUT`.
        """
        child = self._children[name]
        ready = child.program.ready
        while ready is not None and not ready():
            self.check()
            if time.monotonic() - child.started > READY_TIMEOUT:
                raise StackError(self._account(child, f"does not answer after {READY_TIMEOUT} s"))
            time.sleep(0.1)
        return time.monotonic() - child.started

    def stop(self, *names: str, hurry: Callable[[], bool] = lambda: False) -> None:
        """End programs and everything that they started; those that are not there are passed over."""
        children = [self._children[name] for name in names if name in self._children]
        groups.end((child.process.pid for child in children), hurry)
        for child in children:
            child.process.wait()
            del self._children[child.program.name]

    def _account(self, child: Child, what: str) -> str:
        log_file = self._logs / f"{child.program.name}.log"
        lines = "\n".join(f"  {line}" for line in last_lines(log_file, LAST_LINES))
        return f"The {child.program.name} {what}. {os.path.relpath(log_file)} ends with:\n{lines}"


def last_lines(log_file: Path, count: int) -> list[str]:
    """The end of a log."""
    with log_file.open("rb") as log:
        log.seek(0, os.SEEK_END)
        log.seek(max(0, log.tell() - 64 * 1024))
        lines = log.read().decode(errors="replace").splitlines()
    return lines[-count:]
