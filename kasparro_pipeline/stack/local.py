"""The local stack as a whole: brings it up in order, watches it, takes it down. Commands are elsewhere."""

import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import filelock

from kasparro_pipeline.stack import groups, ports, state
from kasparro_pipeline.stack.console import say
from kasparro_pipeline.stack.dagster_api import DagsterApi
from kasparro_pipeline.stack.databases import embedded_server, open_databases
from kasparro_pipeline.stack.errors import StackError
from kasparro_pipeline.stack.processes import Children
from kasparro_pipeline.stack.programs import (
    children_environment,
    dagster_home,
    mark,
    programs,
    shared_environment,
)
from kasparro_pipeline.stack.settings import StackSettings
from kasparro_pipeline.stack.signals import StopSignals
from kasparro_pipeline.warehouse import migrate

WATCH_INTERVAL = 0.5


class AlreadyRunningError(StackError):
    """The state folder is in use by another process."""


@contextmanager
def sole_use(settings: StackSettings, command: str) -> Iterator[state.State]:
    """Hold the state folder for one command, and end what a killed one left behind in it.

    Raises:
        AlreadyRunningError: another process holds it.
    """
    lock = state.lock(settings.home)
    try:
        lock.acquire()
    except filelock.Timeout:
        holder = state.read(settings.home)
        number = f" (process {holder.supervisor.pid})" if holder.supervisor else ""
        raise AlreadyRunningError(
            f"`kasparro {holder.command}` is at work in {settings.home}{number}. Wait for it, stop it with "
            "`make down`, or set KASPARRO_HOME and the ports to run a second stack."
        ) from None
    try:
        left = groups.end_marked(mark(settings))
        if left:
            say(f"Ended {left} processes of a stack that was killed.")
        last = state.read(settings.home)
        record = state.State(
            command=command,
            supervisor=state.own_process(),
            code_server_port=last.code_server_port,
            sandbox_opened=last.sandbox_opened or datetime.now(UTC).isoformat(timespec="seconds"),
        )
        state.write(settings.home, record)
        try:
            yield record
        finally:
            kept = state.State(code_server_port=record.code_server_port, sandbox_opened=record.sandbox_opened)
            state.write(settings.home, kept)
    finally:
        lock.release()


class LocalStack:
    """The processes and databases of one state folder. The caller holds the folder with `sole_use`."""

    def __init__(self, settings: StackSettings, record: state.State, signals: StopSignals) -> None:
        self._settings = settings
        self._record = record
        self._signals = signals
        self._embedded = embedded_server(settings)
        self._dagster_is_embedded = False
        # The same port again: Dagster notes it with each run that it may have to cancel
        self._code_port = record.code_server_port = ports.any_free(record.code_server_port)
        self._programs = programs(settings, self._code_port)
        self._children = Children(settings.home / "logs", Path.cwd())
        self.dagster = DagsterApi(settings.address(settings.dagster_port))

    def start(self) -> None:
        """Bring everything up to the webserver. The daemon comes with `start_daemon`.

        Raises:
            StackError: what is wrong and what to do.
        """
        settings, children, program = self._settings, self._children, self._programs
        _require_project()
        ports.require_free(settings.host, list(self._ports()))
        self._make_folders()
        self._open_databases()
        if program.sandbox:
            children.start(program.sandbox)
        children.start(program.api)
        children.start(program.code)
        if program.sandbox:
            self._announce("sandbox", settings.address(settings.sandbox_port))
        self._announce("api", settings.address(settings.api_port))
        children.wait_until_ready("code-server")
        # After the code server, so that it finds the sources; before the daemon, for one of the two makes
        # Dagster's tables
        children.start(program.webserver)
        self._announce("webserver", settings.address(settings.dagster_port))

    def start_daemon(self) -> None:
        """Start what launches queued runs, schedules and sensors.

        Runs that were requested before are queued then, so that the sensors do not request them again.
        """
        self._children.start(self._programs.daemon)
        self._record.ready = True
        self._write_record()

    def close_dead_runs(self) -> int:
        """Close the runs whose worker died with an earlier stack: they would hold their source for an hour.

        Only in a Dagster database of this stack's own: in another one they may be at work elsewhere.
        """
        dead = [run.run_id for run in self.dagster.runs_under_way()] if self._dagster_is_embedded else []
        if dead:
            self.dagster.mark_cancelled(dead)
        return len(dead)

    def watch(self) -> None:
        """Until a signal: notice what ends by itself.

        Raises:
            StackError: a process of the stack ended, with the end of its log.
        """
        while True:
            self.check()
            time.sleep(WATCH_INTERVAL)

    def check(self) -> None:
        """Notice what ended by itself.

        Raises:
            StackError: which process, with the end of its log.
        """
        self._children.check()
        if self._embedded is not None and self._embedded.pid is None:
            raise StackError(f"PostgreSQL ended. {os.path.relpath(self._embedded.log)} says why.")

    def stop(self) -> None:
        """Take everything down: first what launches runs, then the runs, then what they use."""
        hurry = self._signals.hurry
        self._children.stop("daemon", "webserver", hurry=hurry)
        self._children.stop("code-server", hurry=hurry)
        self._children.stop("api", "sandbox", hurry=hurry)
        # What was started in the moment of the signal, before it was noted
        groups.end_marked(mark(self._settings), hurry)
        if self._embedded is not None:
            self._embedded.stop()
        shutil.rmtree(self._settings.home / "tmp", ignore_errors=True)

    def _ports(self) -> Iterator[ports.Port]:
        yield ports.Port(self._settings.api_port, "the API", "KASPARRO_API_PORT")
        yield ports.Port(self._settings.dagster_port, "Dagster", "KASPARRO_DAGSTER_PORT")
        if self._programs.sandbox:
            yield ports.Port(self._settings.sandbox_port, "the sandbox", "KASPARRO_SANDBOX_PORT")

    def _make_folders(self) -> None:
        home = self._settings.home
        for folder in (home / "tmp", home / "logs", dagster_home(self._settings)):
            folder.mkdir(parents=True, exist_ok=True)
        shutil.copyfile("dagster.yaml", dagster_home(self._settings) / "dagster.yaml")

    def _open_databases(self) -> None:
        databases = open_databases(self._settings, self._embedded)
        migrate.upgrade(databases.warehouse_url)
        self._dagster_is_embedded = databases.dagster_is_embedded
        self._record.environment = shared_environment(self._settings, databases)
        self._children.environment = children_environment(
            self._settings, self._record.environment, self._code_port, self._record.sandbox_opened
        )
        place = os.path.relpath(self._embedded.folder) if self._embedded else "at DATABASE_URL"
        say(f"{'postgresql':<12} {place}")

    def _announce(self, name: str, address: str) -> None:
        seconds = self._children.wait_until_ready(name)
        self._record.addresses[name] = address
        self._write_record()
        say(f"{name:<12} {address}  after {seconds:.1f} s")

    def _write_record(self) -> None:
        self._record.children = {
            child.program.name: state.Recorded(child.process.pid, child.created) for child in self._children
        }
        state.write(self._settings.home, self._record)


def _require_project() -> None:
    missing = [name for name in ("workspace.yaml", "dagster.yaml") if not Path(name).exists()]
    if missing:
        raise StackError(
            f"There is no {' and no '.join(missing)} in {Path.cwd()}. Run this in the project's folder."
        )
