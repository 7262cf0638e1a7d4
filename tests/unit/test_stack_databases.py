"""The databases are found, made if they are missing, and refused if they cannot serve."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from kasparro_pipeline.stack import databases
from kasparro_pipeline.stack.databases import dagster_url, embedded_server, open_databases, sibling_url
from kasparro_pipeline.stack.embedded import EmbeddedPostgres
from kasparro_pipeline.stack.errors import StackError
from kasparro_pipeline.stack.settings import StackSettings

PSYCOPG2 = "postgresql+psycopg2://"


@pytest.fixture
def tmp_path() -> Iterator[Path]:
    """Not pytest's own: as root, a second pytest shuts the account of PostgreSQL out of its folder."""
    with tempfile.TemporaryDirectory(prefix="kasparro-test-") as folder:
        yield Path(folder)


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://u:p@h:5432/dagster",
        "postgres://u:p@h:5432/dagster",
        "postgresql+psycopg://u:p@h:5432/dagster",
        "postgresql+psycopg2://u:p@h:5432/dagster",
    ],
)
def test_dagster_is_given_psycopg2_whatever_the_spelling(url: str) -> None:
    assert dagster_url(url) == "postgresql+psycopg2://u:p@h:5432/dagster"


def test_dagster_keeps_a_socket_as_it_is() -> None:
    assert dagster_url("postgresql:///d?host=/a%20b") == "postgresql+psycopg2:///d?host=/a%20b"


@pytest.mark.parametrize("url", ["mysql://h/d", "h/d", "sqlite:///d"])
def test_another_database_is_refused_for_dagster(url: str) -> None:
    with pytest.raises(StackError, match="DAGSTER_DATABASE_URL must be a PostgreSQL URL"):
        dagster_url(url)


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("postgresql://u:p@h:5432/kasparro", "postgresql://u:p@h:5432/dagster"),
        ("postgresql://h/kasparro?sslmode=require", "postgresql://h/dagster?sslmode=require"),
        ("postgresql://postgres@/kasparro?host=/a/b", "postgresql://postgres@/dagster?host=/a/b"),
        ("postgresql:///kasparro?host=/a/b", "postgresql:///dagster?host=/a/b"),
        ("postgresql://h", "postgresql://h/dagster"),
    ],
)
def test_the_other_database_is_on_the_same_server(url: str, expected: str) -> None:
    assert sibling_url(url, "dagster") == expected


def _settings(**values: object) -> StackSettings:
    return StackSettings.model_validate(values)


def test_without_settings_both_are_embedded(tmp_path: Path) -> None:
    settings = _settings(KASPARRO_HOME=tmp_path)
    server = embedded_server(settings)
    assert server is not None
    try:
        found = open_databases(settings, server)
        for url in (found.warehouse_url, found.dagster_url.replace(PSYCOPG2, "postgresql://")):
            psycopg.connect(url).close()
        assert found.dagster_is_embedded
    finally:
        server.stop()


def test_with_a_server_of_ones_own_nothing_is_embedded(database_url: str) -> None:
    settings = _settings(DATABASE_URL=database_url.replace("postgresql:", "postgres:"))
    assert embedded_server(settings) is None
    found = open_databases(settings, None)
    assert found.warehouse_url == database_url
    assert found.dagster_url == sibling_url(database_url, "dagster").replace("postgresql://", PSYCOPG2)
    assert not found.dagster_is_embedded
    psycopg.connect(sibling_url(database_url, "dagster")).close()


def test_dagsters_database_is_made_under_the_name_it_is_given(database_url: str) -> None:
    url = sibling_url(database_url, "another name".replace(" ", "_"))
    found = open_databases(_settings(DATABASE_URL=database_url, DAGSTER_DATABASE_URL=url), None)
    assert found.dagster_url == url.replace("postgresql://", PSYCOPG2)
    psycopg.connect(url).close()


def test_a_user_who_may_not_make_dagsters_database_is_told_what_to_set(
    postgres: EmbeddedPostgres, database_url: str
) -> None:
    with psycopg.connect(postgres.url("postgres"), autocommit=True) as admin:
        admin.execute("drop database if exists dagster")
        admin.execute("create role reader login")
        try:
            with pytest.raises(
                StackError, match=r"may not create the database 'dagster'.*DAGSTER_DATABASE_URL"
            ):
                open_databases(_settings(DATABASE_URL=database_url.replace("postgres@", "reader@")), None)
        finally:
            admin.execute("drop role reader")


def test_a_server_that_is_too_old_is_refused(database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(databases, "OLDEST_SERVER", 99)
    with pytest.raises(
        StackError, match=r"The server of DATABASE_URL is PostgreSQL 18; 99 or later is needed"
    ):
        open_databases(_settings(DATABASE_URL=database_url), None)


def test_a_server_that_does_not_answer_is_named_without_its_password() -> None:
    with pytest.raises(StackError, match="The database of DATABASE_URL does not answer") as refused:
        open_databases(_settings(DATABASE_URL="postgresql://u:secret@127.0.0.1:1/kasparro"), None)
    assert "secret" not in str(refused.value)
