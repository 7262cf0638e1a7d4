"""The stack's record and its lock."""

import json
import os
import signal
import stat
import subprocess
import sys
from pathlib import Path

import filelock
import pytest

from kasparro_pipeline.stack import state
from kasparro_pipeline.stack.local import AlreadyRunningError, sole_use
from kasparro_pipeline.stack.settings import StackSettings
from kasparro_pipeline.stack.signals import StopRequested, stop_signals


def _settings(home: Path) -> StackSettings:
    return StackSettings.model_validate({"KASPARRO_HOME": home})


def test_a_record_is_read_as_it_was_written(tmp_path: Path) -> None:
    record = state.State(command="up", supervisor=state.own_process(), children={"api": state.own_process()})
    state.write(tmp_path, record)
    assert state.read(tmp_path) == record


def test_only_its_owner_reads_the_record_for_it_holds_passwords(tmp_path: Path) -> None:
    state.write(tmp_path, state.State())
    assert stat.S_IMODE((tmp_path / "stack.json").stat().st_mode) == stat.S_IRUSR | stat.S_IWUSR


@pytest.mark.parametrize(
    "content", ["", "{", "[]", "{}", json.dumps({"supervisor": None, "children": {}, "new": 1})]
)
def test_a_record_that_cannot_be_read_counts_as_none(tmp_path: Path, content: str) -> None:
    (tmp_path / "stack.json").write_text(content)
    assert state.read(tmp_path) == state.State()


def test_a_recycled_process_id_is_not_taken_for_the_recorded_process() -> None:
    own = state.own_process()
    assert own.process is not None
    assert state.Recorded(own.pid, own.created - 100).process is None


def test_one_command_at_a_time_uses_a_folder(tmp_path: Path) -> None:
    settings = _settings(tmp_path)
    with sole_use(settings, "etl"), pytest.raises(AlreadyRunningError, match="`kasparro etl` is at work in"):  # noqa: SIM117
        with sole_use(settings, "up"):
            pass


def test_two_folders_are_used_side_by_side(tmp_path: Path) -> None:
    with sole_use(_settings(tmp_path / "a"), "up") as one, sole_use(_settings(tmp_path / "b"), "up") as other:
        assert one is not other


def test_the_lock_of_a_killed_process_is_not_in_the_way(tmp_path: Path) -> None:
    program = (
        "import sys, time; from pathlib import Path\n"
        "from kasparro_pipeline.stack import state\n"
        "lock = state.lock(Path(sys.argv[1])); lock.acquire(); print('held', flush=True); time.sleep(600)\n"
    )
    command = [sys.executable, "-c", program, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(filelock.Timeout):
            state.lock(tmp_path).acquire()
        holder.kill()
    with state.lock(tmp_path) as taken:
        assert taken.is_locked


def test_the_code_servers_port_and_the_sandboxs_time_outlive_a_stop(tmp_path: Path) -> None:
    settings = _settings(tmp_path)
    with sole_use(settings, "up") as record:
        record.code_server_port = 12_345
        opened = record.sandbox_opened
    with sole_use(settings, "up") as record:
        assert (record.code_server_port, record.sandbox_opened) == (12_345, opened)
        assert record.children == {}


def test_the_first_signal_ends_what_is_under_way_and_the_next_one_hurries() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with stop_signals() as signals:
        with pytest.raises(StopRequested):
            os.kill(os.getpid(), signal.SIGTERM)
        assert not signals.hurry()
        os.kill(os.getpid(), signal.SIGINT)
        assert signals.hurry()
    assert signal.getsignal(signal.SIGTERM) is before
