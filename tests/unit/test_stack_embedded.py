"""The embedded PostgreSQL starts in any folder, keeps what it was given, and is stopped in order."""

import os
import signal
import stat
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import psutil
import psycopg
import pytest

from kasparro_pipeline.stack.embedded import EmbeddedPostgres
from kasparro_pipeline.stack.errors import StackError

Make = Callable[[Path], EmbeddedPostgres]


@pytest.fixture
def tmp_path() -> Iterator[Path]:
    """Not pytest's own: as root, a second pytest shuts the account of PostgreSQL out of its folder."""
    with tempfile.TemporaryDirectory(prefix="kasparro-test-") as folder:
        yield Path(folder)


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Make]:
    """Makes servers that do not outlive the test."""
    made: list[EmbeddedPostgres] = []

    def _make(folder: Path) -> EmbeddedPostgres:
        assert folder.is_relative_to(tmp_path)  # it is removed after the servers are stopped
        made.append(EmbeddedPostgres(folder))
        return made[-1]

    yield _make
    for server in made:
        server.stop()


def _ask(server: EmbeddedPostgres, question: str) -> object:
    with psycopg.connect(server.url("postgres")) as connection:
        row = connection.execute(question).fetchone()
    assert row is not None
    return row[0]


@pytest.mark.parametrize(
    "name", ["plain", "with a space", "it's", 'a"b', "a,b", "per%cent", "é", "/".join(["deep"] * 40)]
)
def test_it_starts_in_a_folder_of_any_name(make: Make, tmp_path: Path, name: str) -> None:
    server = make(tmp_path / name)
    server.start()
    server.create_database("kasparro")
    with psycopg.connect(server.url("kasparro")) as connection:
        assert connection.execute("select current_database()").fetchone() == ("kasparro",)


def test_nothing_is_left_of_a_socket_outside_its_folder(make: Make, tmp_path: Path) -> None:
    server = make(tmp_path / "/".join(["deep"] * 40))
    server.start()
    assert server.socket_folder.exists()
    server.stop()
    assert not server.socket_folder.exists()


def test_it_keeps_its_data_from_one_start_to_the_next(make: Make, tmp_path: Path) -> None:
    server = make(tmp_path)
    server.start()
    server.create_database("kept")
    server.stop()
    assert server.pid is None
    server.start()
    assert _ask(server, "select count(*) from pg_database where datname = 'kept'") == 1


def test_it_never_trades_durability_for_speed(make: Make, tmp_path: Path) -> None:
    server = make(tmp_path)
    server.start()
    assert [_ask(server, f"show {name}") for name in ("fsync", "synchronous_commit", "full_page_writes")] == [
        "on"
    ] * 3


def test_only_its_owner_reaches_it_and_only_over_the_socket(make: Make, tmp_path: Path) -> None:
    server = make(tmp_path)
    server.start()
    assert _ask(server, "show listen_addresses") == ""
    assert stat.S_IMODE(server.data.stat().st_mode) == stat.S_IRWXU
    assert stat.S_IMODE((server.socket_folder / ".s.PGSQL.5432").stat().st_mode) == stat.S_IRWXU


def test_a_users_own_settings_win_and_survive(make: Make, tmp_path: Path) -> None:
    server = make(tmp_path)
    server.start()
    server.stop()
    with (server.data / "postgresql.conf").open("a") as configuration:
        configuration.write("max_connections = 123\n")
    server.start()
    assert _ask(server, "show max_connections") == "123"


def test_a_server_that_was_killed_recovers(make: Make, tmp_path: Path) -> None:
    server = make(tmp_path)
    server.start()
    server.create_database("kept")
    assert server.pid is not None
    parts = [psutil.Process(server.pid), *psutil.Process(server.pid).children(recursive=True)]
    for part in parts:
        with suppress(psutil.NoSuchProcess):  # one may see the first of them die, and end by itself
            part.kill()
    server.stop()
    server.start()
    assert _ask(server, "select count(*) from pg_database where datname = 'kept'") == 1


def test_a_recorded_id_that_is_another_process_now_is_not_taken_for_the_server(
    make: Make, tmp_path: Path
) -> None:
    server = make(tmp_path)
    server.start()
    record = (server.data / "postmaster.pid").read_text()
    server.stop()
    # As after a restart of the machine: the id is somebody else's
    (server.data / "postmaster.pid").write_text(record.replace(record.split()[0], str(os.getpid()), 1))
    assert server.pid is None
    server.start()
    assert server.pid not in {None, os.getpid()}


def test_a_part_of_a_killed_server_that_is_still_at_work_is_not_run_over(make: Make, tmp_path: Path) -> None:
    server = make(tmp_path)
    server.start()
    with psycopg.connect(server.url("postgres"), autocommit=True) as connection:
        backend = psutil.Process(connection.info.backend_pid)
        backend.suspend()
        try:
            assert server.pid is not None
            psutil.Process(server.pid).kill()
            server.stop()
            with pytest.raises(StackError, match=r"shared memory block .* is still in use"):
                server.start()
        finally:
            backend.resume()
    backend.wait(10)
    server.start()


def test_a_server_that_runs_already_is_taken_over(make: Make, tmp_path: Path) -> None:
    first, second = make(tmp_path), make(tmp_path)
    first.start()
    second.start()
    assert second.pid == first.pid
    second.stop()
    assert first.pid is None


def test_it_outlives_an_interrupt_of_the_terminal(make: Make, tmp_path: Path) -> None:
    program = (
        "import os, signal, sys; from pathlib import Path\n"
        "from kasparro_pipeline.stack.embedded import EmbeddedPostgres\n"
        "EmbeddedPostgres(Path(sys.argv[1])).start()\n"
        "os.killpg(os.getpgid(0), signal.SIGINT)\n"
    )
    command = [sys.executable, "-W", "ignore", "-c", program, str(tmp_path)]
    assert (
        subprocess.run(command, start_new_session=True, check=False, capture_output=True).returncode
        == -signal.SIGINT
    )
    assert make(tmp_path).pid is not None


def test_an_interrupted_first_start_leaves_nothing_half_made(make: Make, tmp_path: Path) -> None:
    (tmp_path / "data.unfinished").mkdir()
    (tmp_path / "data.unfinished" / "PG_VERSION").write_text("18\n")
    server = make(tmp_path)
    server.start()
    assert _ask(server, "select 1") == 1


def test_a_folder_of_another_version_is_refused_with_what_to_do(make: Make, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "PG_VERSION").write_text("15\n")
    with pytest.raises(StackError, match=r"written by PostgreSQL 15, this is 18\. Move it away"):
        make(tmp_path).start()


def test_a_server_that_does_not_start_says_why(make: Make, tmp_path: Path) -> None:
    server = make(tmp_path)
    server.start()
    server.stop()
    with (server.data / "postgresql.conf").open("a") as configuration:
        configuration.write("no_such_setting = 1\n")
    with pytest.raises(StackError, match="no_such_setting"):
        server.start()
