"""The command line says what it does, and refuses with a sentence."""

import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from kasparro_pipeline.stack import cli
from kasparro_pipeline.stack.console import table


@pytest.fixture
def tmp_path() -> Iterator[Path]:
    """Not pytest's own: as root, a second pytest shuts the account of PostgreSQL out of its folder."""
    with tempfile.TemporaryDirectory(prefix="kasparro-test-") as folder:
        yield Path(folder)


def _kasparro(*arguments: str, folder: Path, **environment: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "kasparro_pipeline.stack.cli", *arguments]
    return subprocess.run(
        command,
        cwd=folder,
        env={"PATH": "/usr/bin:/bin", **environment},
        capture_output=True,
        text=True,
        check=False,
    )


def test_help_names_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        cli.main(["--help"])
    assert left.value.code == 0
    text = capsys.readouterr().out
    assert [name for name in cli.COMMANDS if f"\n  {name}" not in text and f"\n    {name}" not in text] == []
    assert "exit status" in text


def test_the_makefile_has_a_target_for_each_command_that_people_use() -> None:
    project = Path(__file__).parents[2]
    text = subprocess.run(["make", "help"], cwd=project, capture_output=True, text=True, check=True).stdout
    names = {line.split()[0] for line in text.splitlines() if line.startswith("  ")}
    wanted = {
        "up",
        "down",
        "status",
        "logs",
        "etl",
        "test",
        "lint",
        "format",
        "clean",
        "lock",
        "help",
        "bench",
        "bench-api",
    }
    assert names == wanted


def test_a_python_that_is_too_old_is_a_sentence(tmp_path: Path) -> None:
    project = Path(__file__).parents[2]
    for name in ("Makefile", "pyproject.toml", "requirements"):
        (tmp_path / name).symlink_to(project / name)
    old = tmp_path / "python3"
    program = "import sys; sys.version_info = (3, 9, 2); exec(sys.argv[1])"
    old.write_text(f"#!/bin/sh\nshift\nexec {sys.executable} -c '{program}' \"$@\"\n")
    old.chmod(0o755)
    command = ["make", "up", f"PYTHON={old}"]
    result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert result.returncode != 0
    expected = (
        f"This needs Python 3.11 or later; {old} is 3.9. Name another one: make PYTHON=/path/to/python3 up"
    )
    assert expected in result.stderr
    assert not (tmp_path / ".venv").exists()


def test_status_of_a_stopped_stack_says_so_with_3(tmp_path: Path) -> None:
    result = _kasparro("status", folder=tmp_path)
    assert (result.returncode, result.stdout) == (3, "The stack does not run. Start it with `make up`.\n")


def test_down_of_a_stopped_stack_is_no_failure(tmp_path: Path) -> None:
    result = _kasparro("down", folder=tmp_path)
    assert (result.returncode, result.stdout) == (0, "The stack is stopped.\n")


def test_env_of_a_stopped_stack_prints_nothing_to_evaluate(tmp_path: Path) -> None:
    result = _kasparro("env", folder=tmp_path)
    assert (result.returncode, result.stdout) == (1, "")
    assert "Start it with `make up`" in result.stderr


def test_up_elsewhere_says_where_to_run_it(tmp_path: Path) -> None:
    result = _kasparro("up", folder=tmp_path)
    assert result.returncode == 1
    assert f"There is no workspace.yaml and no dagster.yaml in {tmp_path}" in result.stderr


@pytest.mark.parametrize("name", [None, "api"])
def test_logs_before_the_first_start_say_what_to_do(tmp_path: Path, name: str | None) -> None:
    result = _kasparro("logs", *([name] if name else []), folder=tmp_path)
    assert result.returncode == 1
    assert "start the stack with `make up`" in result.stderr


def test_logs_show_the_end_of_each(tmp_path: Path) -> None:
    logs = tmp_path / ".kasparro" / "logs"
    logs.mkdir(parents=True)
    (logs / "api.log").write_text("1\n2\n3\n")
    (logs / "daemon.log").write_text("4\n")
    (logs / "api.previous.log").write_text("0\n")
    assert _kasparro("logs", "-n", "2", folder=tmp_path).stdout == "==> api <==\n2\n3\n==> daemon <==\n4\n"
    assert _kasparro("logs", "api.previous", folder=tmp_path).stdout == "0\n"


def test_a_setting_that_is_not_usable_is_named(tmp_path: Path) -> None:
    result = _kasparro("status", folder=tmp_path, KASPARRO_API_PORT="eighty")
    assert result.returncode == 1
    assert result.stderr.startswith("KASPARRO_API_PORT: ")
    assert "eighty" in result.stderr
    assert "Traceback" not in result.stderr


def test_settings_come_from_env_too(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("KASPARRO_DAGSTER_PORT=0\n")
    assert _kasparro("status", folder=tmp_path).stderr.startswith("KASPARRO_DAGSTER_PORT: ")


def test_migrate_brings_a_given_database_to_the_newest_revision(tmp_path: Path, database_url: str) -> None:
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute("drop schema kasparro cascade")
        result = _kasparro("migrate", folder=tmp_path, DATABASE_URL=database_url)
        assert (result.returncode, result.stderr) == (0, "")
        assert connection.execute("select count(*) from kasparro.etl_run").fetchone() == (0,)
    assert not (tmp_path / ".kasparro" / "postgres").exists()


def test_migrate_without_a_database_uses_the_embedded_one_and_stops_it(tmp_path: Path) -> None:
    result = _kasparro("migrate", folder=tmp_path)
    assert (result.returncode, result.stderr) == (0, "")
    assert (tmp_path / ".kasparro" / "postgres" / "data").exists()
    assert not (tmp_path / ".kasparro" / "postgres" / "data" / "postmaster.pid").exists()


def test_a_table_is_as_wide_as_it_needs_to_be() -> None:
    rows = [("a", 1, None), ("bbb", 1000, "x")]
    assert table(rows, ("name", "n", "note"), right=("n",)) == ("name     n  note\na        1\nbbb   1000  x")
