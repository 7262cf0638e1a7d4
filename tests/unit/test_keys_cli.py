"""`kasparro keys`: what it writes and where, what it stores, and how it refuses."""

import hashlib
import os
import re
import subprocess
import sys
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest

from kasparro_pipeline.stack import cli, state
from kasparro_pipeline.warehouse import api_keys
from kasparro_pipeline.warehouse.api_keys import ApiKeyError

Keys = Callable[..., tuple[int, str, str]]
Warehouse = psycopg.Connection[Any]

KEY = re.compile(r"kas_([0-9a-f]{12})_([A-Za-z0-9_-]{43})")


@pytest.fixture
def keys(
    database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Keys:
    """`keys(*arguments)` runs `kasparro keys` over a warehouse; gives status, standard output and error."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DATABASE_URL", database_url)

    def run(*arguments: str) -> tuple[int, str, str]:
        capsys.readouterr()
        status = cli.main(["keys", *arguments])
        return (status, *capsys.readouterr())

    return run


def id_of(key: str) -> str:
    found = KEY.fullmatch(key.strip())
    assert found, key
    return found[1]


def test_a_new_key_is_all_that_standard_output_gets(keys: Keys) -> None:
    status, output, explanation = keys("create", "--name", "dashboard", "--scope", "read")
    assert status == 0
    assert KEY.fullmatch(output.removesuffix("\n"))
    assert "only time" in explanation
    assert output.strip() not in explanation


def test_of_the_secret_only_a_salted_hash_is_stored(keys: Keys, warehouse: Warehouse) -> None:
    made = [
        keys("create", "--name", "a", "--scope", "trigger", "--scope", "read", "--scope", "read")[1].strip()
        for _ in range(2)
    ]
    rows = warehouse.execute(
        "select id, name, scopes, salt, hash, revoked_at from kasparro.api_key"
    ).fetchall()
    assert {row[0] for row in rows} == {id_of(key) for key in made}
    for key_id, name, scopes, salt, stored, revoked_at in rows:
        secret = next(key for key in made if id_of(key) == key_id).split("_", 2)[2]
        assert (name, scopes, revoked_at) == ("a", ["read", "trigger"], None)
        assert len(salt) == 16
        assert stored == hashlib.sha256(salt + secret.encode()).digest()
    assert len({row[3] for row in rows}) == 2
    [[everything]] = warehouse.execute("select string_agg(k::text, '') from kasparro.api_key k").fetchall()
    assert [key for key in made if key.split("_", 2)[2] in everything] == []


def test_the_list_shows_every_key_and_no_secret(keys: Keys, warehouse: Warehouse) -> None:
    first = keys("create", "--name", "first", "--scope", "read")[1].strip()
    second = keys("create", "--name", "second", "--scope", "trigger")[1].strip()
    third = keys("rotate", id_of(second), "--overlap", "5")[1].strip()
    keys("revoke", id_of(first))
    status, output, _ = keys("list")
    assert status == 0
    lines = [re.split(r" {2,}", line) for line in output.splitlines()]
    assert lines[0] == ["id", "name", "scopes", "created (UTC)", "revoked (UTC)", "state"]
    assert [(line[0], line[1], line[2], line[-1]) for line in lines[1:]] == [
        (id_of(first), "first", "read", "revoked"),
        (id_of(second), "second", "trigger", "valid until revoked"),
        (id_of(third), "second", "trigger", "valid"),
    ]
    [[salts]] = warehouse.execute("select array_agg(encode(salt, 'hex')) from kasparro.api_key").fetchall()
    shown = [key.split("_", 2)[2] for key in (first, second, third)] + salts
    assert [text for text in shown if text in output] == []


def test_an_empty_list_says_how_to_make_a_key(keys: Keys) -> None:
    status, output, explanation = keys("list")
    assert (status, output) == (0, "")
    assert "kasparro keys create" in explanation


def test_a_revoked_key_keeps_the_time_of_its_first_revocation(keys: Keys, warehouse: Warehouse) -> None:
    key_id = id_of(keys("create", "--name", "a", "--scope", "read")[1])
    assert keys("revoke", key_id)[0] == 0
    [[first]] = warehouse.execute("select revoked_at from kasparro.api_key").fetchall()
    assert keys("revoke", key_id)[0] == 0
    assert warehouse.execute("select revoked_at from kasparro.api_key").fetchall() == [(first,)]


@pytest.mark.parametrize("overlap", [0, 90])
def test_a_rotated_key_has_a_successor_and_an_end(keys: Keys, warehouse: Warehouse, overlap: int) -> None:
    old = id_of(keys("create", "--name", "loader", "--scope", "trigger")[1])
    status, output, explanation = keys("rotate", old, *(["--overlap", str(overlap)] if overlap else []))
    assert status == 0
    assert KEY.fullmatch(output.removesuffix("\n"))
    assert old in explanation
    [[name, scopes, end]] = warehouse.execute(
        "select name, scopes, revoked_at - clock_timestamp() from kasparro.api_key where id = %s", [old]
    ).fetchall()
    assert timedelta(minutes=overlap) - timedelta(minutes=1) < end <= timedelta(minutes=overlap)
    successor = warehouse.execute(
        "select name, scopes, revoked_at from kasparro.api_key where id = %s", [id_of(output)]
    ).fetchall()
    assert successor == [(name, scopes, None)] == [("loader", ["trigger"], None)]


def test_rotating_again_does_not_lengthen_the_end_of_the_first(keys: Keys, warehouse: Warehouse) -> None:
    old = id_of(keys("create", "--name", "a", "--scope", "read")[1])
    keys("rotate", old, "--overlap", "5")
    [[first]] = warehouse.execute("select revoked_at from kasparro.api_key where id = %s", [old]).fetchall()
    assert keys("rotate", old, "--overlap", "60")[0] == 0
    after = warehouse.execute("select revoked_at from kasparro.api_key where id = %s", [old]).fetchall()
    assert after == [(first,)]


def test_a_revoked_key_cannot_be_rotated(keys: Keys) -> None:
    key_id = id_of(keys("create", "--name", "a", "--scope", "read")[1])
    keys("revoke", key_id)
    status, output, error = keys("rotate", key_id)
    assert (status, output) == (1, "")
    assert "kasparro keys create" in error
    assert len(keys("list")[1].splitlines()) == 2


@pytest.mark.parametrize("action", ["revoke", "rotate"])
@pytest.mark.parametrize(
    "sent", ["000000000000", "", "kas_000000000000_this-must-not-be-shown-again", "'; --"]
)
def test_an_unknown_id_is_refused_and_a_whole_key_is_not_repeated(keys: Keys, action: str, sent: str) -> None:
    status, output, error = keys(action, sent)
    assert (status, output) == (1, "")
    assert "kasparro keys list" in error
    assert "not-be-shown" not in error


@pytest.mark.parametrize("name", ["", "  ", "a\nb", "a\tb", "\x1b[31m", "x" * 101])
def test_a_name_that_would_break_a_list_is_refused(keys: Keys, name: str) -> None:
    status, output, error = keys("create", "--name", name, "--scope", "read")
    assert (status, output) == (1, "")
    assert "1 to 100 printable characters" in error


def test_an_unknown_scope_is_refused_with_the_known_ones(keys: Keys) -> None:
    status, output, error = keys("create", "--name", "a", "--scope", "write", "--scope", "read")
    assert (status, output) == (1, "")
    assert "'write'" in error
    assert "read, trigger" in error


def test_a_key_without_a_scope_is_refused(warehouse: Warehouse) -> None:
    with pytest.raises(ApiKeyError, match="needs a scope"):
        api_keys.create(warehouse, "a", [])


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["create"],
        ["create", "--name", "a"],
        ["revoke"],
        ["rotate", "a", "--overlap", "-1"],
        ["rotate", "a", "--overlap", "1.5"],
        ["rotate", "a", "--overlap", "999999999"],
    ],
)
def test_wrong_arguments_are_said(keys: Keys, arguments: list[str]) -> None:
    with pytest.raises(SystemExit) as left:
        keys(*arguments)
    assert left.value.code == 2


def test_without_a_database_it_says_what_to_do(keys: Keys, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DATABASE_URL")
    status, output, error = keys("list")
    assert (status, output) == (1, "")
    assert "make up" in error
    assert "DATABASE_URL" in error


def test_it_uses_the_database_of_the_running_stack(
    keys: Keys, database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("DATABASE_URL")
    home = tmp_path / ".kasparro"
    home.mkdir()
    record = state.State(supervisor=state.own_process(), environment={"DATABASE_URL": database_url})
    state.write(home, record)
    assert keys("create", "--name", "a", "--scope", "read")[0] == 0
    assert len(keys("list")[1].splitlines()) == 2


def test_a_database_that_does_not_answer_is_a_sentence(keys: Keys, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", "postgresql://127.0.0.1:1/none")
    status, output, error = keys("list")
    assert (status, output) == (1, "")
    assert error.startswith("The database does not answer: ")


def test_a_database_of_another_revision_is_a_sentence(keys: Keys, warehouse: Warehouse) -> None:
    warehouse.execute("update kasparro.alembic_version set version_num = '0001'")
    status, _, error = keys("create", "--name", "a", "--scope", "read")
    assert status == 1
    assert "kasparro migrate" in error
    assert warehouse.execute("select count(*) from kasparro.api_key").fetchone() == (0,)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full on this system")
def test_a_key_that_could_not_be_written_is_not_kept(
    database_url: str, warehouse: Warehouse, tmp_path: Path
) -> None:
    command = [sys.executable, "-m", "kasparro_pipeline.stack.cli", "keys", "create"]
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [*command, "--name", "a", "--scope", "read"],
            cwd=tmp_path,
            env={**os.environ, "DATABASE_URL": database_url},
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    assert done.returncode != 0
    assert "none was made" in done.stderr
    assert warehouse.execute("select count(*) from kasparro.api_key").fetchone() == (0,)
