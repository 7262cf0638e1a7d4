"""What each command of the command line does; the return value is its exit status."""

import shlex
import time
from contextlib import suppress

import filelock
import psutil

from kasparro_pipeline.stack import groups, state
from kasparro_pipeline.stack.console import say
from kasparro_pipeline.stack.dagster_api import DagsterApi, DagsterRefusedError
from kasparro_pipeline.stack.databases import embedded_server, open_databases
from kasparro_pipeline.stack.errors import StackError
from kasparro_pipeline.stack.etl import follow_to_the_end
from kasparro_pipeline.stack.launches import launch_all, wait_for_sources
from kasparro_pipeline.stack.local import AlreadyRunningError, LocalStack, sole_use
from kasparro_pipeline.stack.programs import mark
from kasparro_pipeline.stack.report import show_addresses, show_status
from kasparro_pipeline.stack.settings import StackSettings
from kasparro_pipeline.stack.signals import StopRequested, StopSignals, stop_signals
from kasparro_pipeline.warehouse import migrate, revision

DOWN_TIMEOUT = 120
NOT_RUNNING = 3
"""Exit status of `status` for a stack that is stopped, as for services in the Linux Standard Base."""


def up(settings: StackSettings) -> int:
    """Start the stack, launch the first run of every source, and stay until a signal."""
    with stop_signals() as signals:
        try:
            with sole_use(settings, "up") as record:
                return _supervise(settings, record, signals)
        except AlreadyRunningError:
            running = state.read(settings.home)
            if running.command != "up":
                raise
            say("The stack runs already.")
            show_addresses(running)
            return 0
        except StopRequested:
            return 0


def down(settings: StackSettings) -> int:
    """Stop a stack that runs, and end what a killed one left."""
    holder = state.lock(settings.home)
    running = state.read(settings.home)
    try:
        holder.acquire()
    except filelock.Timeout:
        supervisor = running.supervisor.process if running.supervisor else None
        if supervisor is None:
            raise StackError(
                f"{settings.home}/stack.lock is held by a process that is not recorded."
            ) from None
        say(f"Stopping `kasparro {running.command}` (process {supervisor.pid}).")
        with suppress(psutil.NoSuchProcess):
            supervisor.terminate()
        if not groups.wait_until_gone(supervisor, DOWN_TIMEOUT):
            raise StackError(f"Process {supervisor.pid} did not stop within {DOWN_TIMEOUT} s.") from None
        holder.acquire(timeout=5)
    try:
        left = groups.end_marked(mark(settings))
        embedded = embedded_server(settings)
        if embedded is not None and embedded.pid is not None:
            embedded.stop()
            left += 1
        if left:
            say(f"Ended {left} processes of a stack that was killed.")
    finally:
        holder.release()
    say("The stack is stopped.")
    return 0


def status(settings: StackSettings) -> int:
    """Say what runs, where, and what each source did last."""
    if running_stack(settings) is None:
        say("The stack does not run. Start it with `make up`.")
        return NOT_RUNNING
    show_status(state.read(settings.home))
    return 0


def etl(settings: StackSettings) -> int:
    """Run every source now and wait; the stack is started for the time of it unless it runs."""
    running = running_stack(settings)
    if running is not None and running.command == "up":
        return _etl_on_running(settings)
    with stop_signals() as signals:
        try:
            with sole_use(settings, "etl") as record:
                stack = LocalStack(settings, record, signals)
                try:
                    stack.start()
                    stack.close_dead_runs()
                    launches = launch_all(stack.dagster, wait_for_sources(stack.dagster))
                    stack.start_daemon()
                    url = record.environment["DATABASE_URL"]
                    failed = follow_to_the_end(stack.dagster, launches, url, stack.check)
                finally:
                    signals.stopping()
                    stack.stop()
                return 1 if failed else 0
        except StopRequested:
            say("Interrupted; the runs were stopped.")
            return 130


def apply_migrations(settings: StackSettings) -> int:
    """Bring the warehouse's schema up to date, and make Dagster's database if it is missing."""
    running = running_stack(settings)
    if running is not None:
        migrate.upgrade(running.environment["DATABASE_URL"])
    elif settings.database_url is not None:
        migrate.upgrade(open_databases(settings, None).warehouse_url)
    else:
        with sole_use(settings, "migrate"):
            embedded = embedded_server(settings)
            assert embedded is not None  # noqa: S101 - no DATABASE_URL is set
            try:
                migrate.upgrade(open_databases(settings, embedded).warehouse_url)
            finally:
                embedded.stop()
    say(f"The warehouse is at revision {revision.head()}.")
    return 0


def environment(settings: StackSettings) -> int:
    """Print what another command needs to work beside the running stack, for a shell to evaluate."""
    running = running_stack(settings)
    if running is None or not running.environment:
        raise StackError("The stack does not run. Start it with `make up`.")
    for name, value in running.environment.items():
        say(f"export {name}={shlex.quote(value)}")
    return 0


def running_stack(settings: StackSettings) -> state.State | None:
    """The record of the stack that runs in the state folder."""
    record = state.read(settings.home)
    return record if record.supervisor and record.supervisor.process else None


def _supervise(settings: StackSettings, record: state.State, signals: StopSignals) -> int:
    stack = LocalStack(settings, record, signals)
    try:
        say(f"Upstream: {settings.upstream} (KASPARRO_UPSTREAM).")
        stack.start()
        closed = stack.close_dead_runs()
        if closed:
            say(f"Closed {closed} runs that a killed stack left open.")
        _first_runs(stack.dagster)
        stack.start_daemon()
        show_addresses(record)
        stack.watch()
    except StopRequested:
        say("\nStopping.")
    finally:
        signals.stopping()
        stack.stop()
    say("The stack is stopped.")
    return 0


def _first_runs(api: DagsterApi) -> None:
    try:
        launches = launch_all(api, wait_for_sources(api))
    except DagsterRefusedError as error:
        # The stack is of use without: the file can be put right, and loaded again in Dagster
        say(f"\n{error}\nPut it right, then choose Reload in Dagster under Deployment.")
        return
    say("\nFirst runs:")
    for launch in launches:
        say(f"  {launch.source:<22} {launch.partition or launch.note}")


def _etl_on_running(settings: StackSettings) -> int:
    def check() -> state.State:
        running = running_stack(settings)
        if running is None:
            raise StackError("The stack stopped meanwhile. Its runs were stopped with it.")
        return running

    try:
        # It may be starting yet; it gives up by itself if it cannot
        while not (running := check()).ready:
            time.sleep(0.5)
        api = DagsterApi(running.addresses["webserver"])
        launches = launch_all(api, wait_for_sources(api))
        return 1 if follow_to_the_end(api, launches, running.environment["DATABASE_URL"], check) else 0
    except KeyboardInterrupt:
        say("\nNo longer waiting; the runs go on.")
        return 130
