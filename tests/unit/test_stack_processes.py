"""Children are watched, told why they failed, and ended with everything that they started."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from kasparro_pipeline.stack import groups, processes
from kasparro_pipeline.stack.errors import StackError
from kasparro_pipeline.stack.processes import Children, Program, last_lines

SLEEP = "import time; time.sleep(600)"
PARENT = f"""
import subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", {SLEEP!r}])
print(child.pid, flush=True)
time.sleep(600)
"""
STUBBORN = f"""
import signal
signal.signal(signal.SIGINT, signal.SIG_IGN)
signal.signal(signal.SIGTERM, signal.SIG_IGN)
print("ready", flush=True)
{SLEEP}
"""


@pytest.fixture
def children(tmp_path: Path) -> Iterator[Children]:
    """Children that do not outlive the test."""
    started = Children(tmp_path / "logs", tmp_path)
    started.environment = {**os.environ, groups.MARK: str(tmp_path)}
    yield started
    started.stop(*(child.program.name for child in list(started)), hurry=lambda: True)


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Shorter waits between the signals."""
    steps = tuple((number, 0.3 if number != signal.SIGKILL else 5.0) for number, _ in groups.STEPS)
    monkeypatch.setattr(groups, "STEPS", steps)


def _python(name: str, program: str, ready: Callable[[], bool] | None = None) -> Program:
    return Program(name, (sys.executable, "-c", program), ready)


def _log(tmp_path: Path, name: str) -> str:
    log = tmp_path / "logs" / f"{name}.log"
    deadline = time.monotonic() + 10
    while not log.read_text() and time.monotonic() < deadline:
        time.sleep(0.02)
    return log.read_text()


def test_a_child_that_fails_is_named_with_its_log_and_the_end_of_it(children: Children) -> None:
    children.start(_python("broken", "import sys; print('first'); sys.exit('no such table')", lambda: False))
    with pytest.raises(
        StackError, match=r"(?s)The broken ended with status 1\. .*broken\.log ends with:.*no such table"
    ):
        children.wait_until_ready("broken")


def test_a_child_that_ends_later_is_noticed(children: Children) -> None:
    children.start(_python("sleeper", SLEEP))
    children.check()
    (child,) = children
    child.process.kill()
    child.process.wait()
    with pytest.raises(StackError, match="The sleeper ended by signal 9"):
        children.check()


def test_a_failure_of_one_ends_the_wait_for_another(children: Children) -> None:
    children.start(_python("slow", SLEEP, lambda: False))
    children.start(_python("broken", "raise SystemExit(3)"))
    with pytest.raises(StackError, match="The broken ended with status 3"):
        children.wait_until_ready("slow")


def test_a_child_that_never_answers_is_given_up(children: Children, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "READY_TIMEOUT", 0.2)
    children.start(_python("silent", SLEEP, lambda: False))
    with pytest.raises(StackError, match=r"The silent does not answer after 0\.2 s"):
        children.wait_until_ready("silent")


def test_the_log_of_the_last_time_is_kept(children: Children, tmp_path: Path) -> None:
    for text in ("first", "second"):
        children.start(_python("writer", f"print({text!r})"))
        assert _log(tmp_path, "writer") == f"{text}\n"
        children.stop("writer")
    assert (tmp_path / "logs" / "writer.previous.log").read_text() == "first\n"


def test_what_a_child_started_ends_with_it(children: Children, tmp_path: Path) -> None:
    children.start(_python("parent", PARENT))
    grandchild = psutil.Process(int(_log(tmp_path, "parent")))
    children.stop("parent")
    assert not grandchild.is_running() or grandchild.status() == psutil.STATUS_ZOMBIE
    assert list(children) == []


def test_what_a_dead_child_left_ends_with_its_group(children: Children, tmp_path: Path) -> None:
    children.start(_python("parent", PARENT))
    grandchild = psutil.Process(int(_log(tmp_path, "parent")))
    (child,) = children
    child.process.kill()
    child.process.wait()
    children.stop("parent")
    assert not grandchild.is_running() or grandchild.status() == psutil.STATUS_ZOMBIE


@pytest.mark.usefixtures("impatient")
def test_a_child_that_does_not_listen_is_killed(children: Children, tmp_path: Path) -> None:
    children.start(_python("stubborn", STUBBORN))
    assert _log(tmp_path, "stubborn") == "ready\n"
    (child,) = children
    children.stop("stubborn")
    assert child.process.returncode == -signal.SIGKILL


def test_who_is_in_a_hurry_does_not_wait(children: Children, tmp_path: Path) -> None:
    children.start(_python("stubborn", STUBBORN))
    assert _log(tmp_path, "stubborn") == "ready\n"
    begin = time.monotonic()
    children.stop("stubborn", hurry=lambda: True)
    assert time.monotonic() - begin < 5


def test_a_child_has_its_own_session_and_hears_sigint_even_if_its_parent_ignores_it(tmp_path: Path) -> None:
    program = (
        "import signal, sys; from pathlib import Path\n"
        "from kasparro_pipeline.stack.processes import Children, Program\n"
        "from kasparro_pipeline.stack.signals import stop_signals\n"
        "with stop_signals():\n"
        "    children = Children(Path(sys.argv[1]), Path(sys.argv[1]))\n"
        f"    children.start(Program('sleeper', (sys.executable, '-c', {SLEEP!r})))\n"
        "    (child,) = children\n"
        "    children.stop('sleeper')\n"
        "    print(child.process.returncode)\n"
    )
    ignoring = "trap '' INT; exec \"$@\""
    command = ["sh", "-c", ignoring, "sh", sys.executable, "-c", program, str(tmp_path)]
    finished = subprocess.run(command, check=True, capture_output=True, text=True, timeout=60)
    assert finished.stdout == f"{-signal.SIGINT}\n"


def test_left_processes_are_found_by_their_mark_alone(children: Children, tmp_path: Path) -> None:
    children.start(_python("parent", PARENT))
    grandchild = psutil.Process(int(_log(tmp_path, "parent")))
    with subprocess.Popen([sys.executable, "-c", SLEEP], start_new_session=True) as stranger:
        try:
            assert {process.pid for process in groups.marked(str(tmp_path))} >= {grandchild.pid}
            assert groups.end_marked(str(tmp_path)) == 2
            assert groups.marked(str(tmp_path)) == []
            assert stranger.poll() is None
        finally:
            stranger.kill()


def test_the_end_of_a_log_is_read_whatever_is_in_it(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_bytes(b"\xff\n" + b"x" * 100_000 + b"\nlast\n")
    assert last_lines(log, 1) == ["last"]
    log.write_bytes(b"")
    assert last_lines(log, 5) == []
