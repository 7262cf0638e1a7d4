"""What the supervisor of the local stack does when something goes wrong: the stack itself is the real one."""

import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import psycopg
import pytest

from kasparro_pipeline.stack import groups, state
from kasparro_pipeline.stack.dagster_api import DagsterApi
from kasparro_pipeline.stack.embedded import EmbeddedPostgres
from kasparro_pipeline.stack.errors import StackError
from kasparro_pipeline.stack.ports import any_free

PROJECT = Path(__file__).parents[2]
READY = "stops everything."
SOURCES = 5

pytestmark = pytest.mark.stack


@pytest.fixture
def tmp_path() -> Iterator[Path]:
    """Not pytest's own: as root, a second pytest shuts the account of PostgreSQL out of its folder."""
    with tempfile.TemporaryDirectory(prefix="kasparro-test-") as folder:
        yield Path(folder)


class Stack:
    """A state folder, and the commands that work in it."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.ports = {name: str(any_free(None)) for name in ("API", "DAGSTER", "SANDBOX")}
        settings = {f"KASPARRO_{name}_PORT": port for name, port in self.ports.items()}
        self.environment = {"PATH": os.environ["PATH"], "KASPARRO_HOME": str(home), **settings}
        self.supervisor: subprocess.Popen[bytes] | None = None
        self.output = home.parent / "up.out"

    def run(self, *arguments: str) -> "subprocess.CompletedProcess[str]":
        """A command, to its end."""
        return subprocess.run(
            [sys.executable, "-m", "kasparro_pipeline.stack.cli", *arguments],
            cwd=PROJECT,
            env=self.environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=240,
        )

    def up(self) -> None:
        """Start it as a shell's `&` does, with SIGINT ignored, and wait until it is up."""
        with self.output.open("wb") as output:
            self.supervisor = subprocess.Popen(
                [
                    "sh",
                    "-c",
                    'trap "" INT; exec "$@"',
                    "sh",
                    sys.executable,
                    "-m",
                    "kasparro_pipeline.stack.cli",
                    "up",
                ],
                cwd=PROJECT,
                env=self.environment,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        deadline = time.monotonic() + 120
        while READY not in self.said():
            assert self.supervisor.poll() is None, self.said()
            assert time.monotonic() < deadline, self.said()
            time.sleep(0.1)

    def said(self) -> str:
        """What `up` wrote."""
        return self.output.read_text()

    def wait(self) -> int:
        """The exit status of `up`."""
        assert self.supervisor is not None
        return self.supervisor.wait(90)

    def left(self) -> list[str]:
        """What is still there."""
        server = EmbeddedPostgres(self.home / "postgres").pid
        return [
            *(process.name() for process in groups.marked(str(self.home))),
            *(["postgres"] if server else []),
        ]


@pytest.fixture
def stack(tmp_path: Path) -> Iterator[Stack]:
    """A stack that does not outlive the test."""
    made = Stack(tmp_path / "home")
    yield made
    made.run("down")
    if made.supervisor is not None:
        made.supervisor.wait(90)


def _runs(stack: Stack) -> list[tuple[str, str]]:
    with psycopg.connect(EmbeddedPostgres(stack.home / "postgres").url("kasparro")) as connection:
        return connection.execute(
            "select source, status from kasparro.etl_run order by started_at"
        ).fetchall()


def test_a_stack_beside_other_commands_and_a_child_that_ends(stack: Stack) -> None:
    stack.up()
    again = stack.run("up")
    assert (again.returncode, again.stdout.splitlines()[0]) == (0, "The stack runs already.")

    status = stack.run("status")
    assert (status.returncode, status.stderr) == (0, "")
    assert "does not answer" not in status.stdout

    exported = dict(re.findall(r"^export ([A-Z_]+)=(.+)$", stack.run("env").stdout, re.MULTILINE))
    assert {
        "DATABASE_URL",
        "DAGSTER_DATABASE_URL",
        "DAGSTER_HOME",
        "KASPARRO_SANDBOX_URL",
        "KASPARRO_DAGSTER_URL",
        "KASPARRO_API_URL",
    } <= set(exported)
    assert groups.MARK not in exported

    everything = stack.run("etl")
    assert (everything.returncode, everything.stderr) == (0, "")
    assert (
        len(set(re.findall(r"^(\w+) .*  (?:success|partial|no new file)", everything.stdout, re.MULTILINE)))
        == SOURCES
    )
    # One run at a time for a source, from the first one on
    with psycopg.connect(exported["DATABASE_URL"].strip("'")) as connection:
        overlapping = connection.execute(
            "select count(*) from kasparro.etl_run a join kasparro.etl_run b on a.source = b.source"
            " where a.run_id < b.run_id"
            " and (a.started_at, a.finished_at) overlaps (b.started_at, b.finished_at)"
        ).fetchone()
    assert overlapping == (0,)
    # The sensors asked for nothing that had been launched for them
    runs = _runs(stack)
    assert [source for source, _ in runs].count("coin_reference") == 2
    assert {status for _, status in runs} <= {"success", "partial"}

    api = state.read(stack.home).children["api"].process
    assert api is not None
    api.kill()
    assert stack.wait() == 1
    assert re.search(r"The api ended by signal 9\. .*api\.log ends with:", stack.said())
    assert stack.left() == []


def test_a_machine_that_died_in_the_middle_of_a_run_is_no_obstacle(stack: Stack) -> None:
    stack.up()
    dagster = DagsterApi(f"http://127.0.0.1:{stack.ports['DAGSTER']}")
    while not dagster.runs_under_way():
        time.sleep(0.05)
    server = EmbeddedPostgres(stack.home / "postgres").pid
    assert stack.supervisor is not None
    assert server is not None
    # All at once, as far as signals can
    for process in [
        psutil.Process(stack.supervisor.pid),
        *groups.marked(str(stack.home)),
        psutil.Process(server),
    ]:
        process.kill()
    assert stack.wait() == -signal.SIGKILL

    stack.up()
    assert re.search(r"Closed \d+ runs that a killed stack left open", stack.said())
    everything = stack.run("etl")
    assert (everything.returncode, everything.stderr) == (0, "")
    assert stack.run("down").returncode == 0
    assert stack.wait() == 0
    assert stack.left() == []


def test_what_a_killed_supervisor_left_is_ended_and_two_signals_hurry(stack: Stack) -> None:
    stack.up()
    assert stack.supervisor is not None
    stack.supervisor.kill()
    stack.wait()
    assert stack.left() != []
    stack.up()
    assert re.search(r"Ended \d+ processes of a stack that was killed", stack.said())
    begin = time.monotonic()
    stack.supervisor.send_signal(signal.SIGINT)
    while "Stopping" not in stack.said():
        time.sleep(0.01)
    stack.supervisor.send_signal(signal.SIGINT)
    assert stack.wait() == 0
    assert time.monotonic() - begin < 4
    assert stack.left() == []


def test_a_taken_port_is_found_before_anything_is_started(stack: Stack) -> None:
    with socket.create_server(("127.0.0.1", int(stack.ports["DAGSTER"]))):
        refused = stack.run("up")
    assert refused.returncode == 1
    expected = rf"Port {stack.ports['DAGSTER']}, for Dagster, is taken by .* \(process {os.getpid()}\)"
    assert re.search(expected, refused.stderr)
    assert "KASPARRO_DAGSTER_PORT=" in refused.stderr
    assert not (stack.home / "postgres").exists()


def test_a_run_that_fails_makes_etl_fail_and_say_why(stack: Stack) -> None:
    stack.environment["KASPARRO_DATA"] = str(stack.home / "nothing here")
    failed = stack.run("etl")
    assert failed.returncode == 1
    assert "The sandbox ended with status 1" in failed.stderr
    assert stack.left() == []


def test_dagster_that_is_gone_is_a_sentence() -> None:
    with pytest.raises(StackError, match=r"The Dagster webserver at .* does not answer"):
        DagsterApi(f"http://127.0.0.1:{any_free(None)}").sources()
