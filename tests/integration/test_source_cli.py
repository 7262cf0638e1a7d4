"""`kasparro source`: a trial writes nothing and says what a run would do; the list says how sources are."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import psutil
import psycopg
import pytest
import yaml

from kasparro_pipeline.components import RestSource, trial
from kasparro_pipeline.stack import cli, state
from kasparro_pipeline.stack.state import Recorded, State
from tests.conftest import PROJECT

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from kasparro_pipeline.components.component import SourceComponent
    from tests.integration.conftest import Pipeline, Upstream

    Cli = Callable[..., subprocess.CompletedProcess[str]]

THINGS: dict[str, Any] = {
    "path": "/things",
    "kind": "thing",
    "key": "id",
    "http": {"allow_private_hosts": ["127.0.0.1"]},
    "fields": {"title": {"path": "name", "required": True}, "amount": {"path": "price"}},
}


pytestmark = pytest.mark.commands


@pytest.fixture
def project(tmp_path: Path, upstream: Upstream) -> Path:
    """A project whose only source is `things`."""
    copy = tmp_path / "project"
    ignored = shutil.ignore_patterns("__pycache__", "defs")
    shutil.copytree(PROJECT / "kasparro_pipeline", copy / "kasparro_pipeline", ignore=ignored)
    add(copy, "things", THINGS | {"base_url": upstream.address})
    return copy


def add(project: Path, name: str, attributes: dict[str, Any]) -> None:
    folder = project / "kasparro_pipeline" / "defs" / name
    folder.mkdir(parents=True)
    written = {"type": "kasparro_pipeline.components.RestSource", "attributes": attributes}
    (folder / "defs.yaml").write_text(yaml.safe_dump(written))


@pytest.fixture
def kasparro(project: Path) -> Cli:
    """Runs the command line in the project."""

    def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "kasparro_pipeline.stack.cli", *arguments],
            cwd=project,
            env={"PATH": os.environ["PATH"], "PYTHONPATH": str(project), **environment},
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    return run


def whole(database_url: str) -> dict[str, list[Any]]:
    """Every row of every table of the warehouse."""
    with psycopg.connect(database_url) as connection:
        names = connection.execute(
            "select table_name from information_schema.tables"
            " where table_schema = 'kasparro' and table_type = 'BASE TABLE'"
        ).fetchall()
        return {
            name: connection.execute(
                f"select t.xmin::text, t.* from kasparro.{name} t order by 1, 2"
            ).fetchall()
            for (name,) in names
        }


def component(attributes: dict[str, Any]) -> SourceComponent:
    return RestSource(RestSource.spec_class.model_validate(attributes))


def test_a_trial_shows_what_would_be_kept_and_rejected_without_any_database(
    kasparro: Cli, upstream: Upstream
) -> None:
    upstream.answers["/things"] = [
        {"id": 1, "name": "first", "price": 1.50},
        {"id": 2, "name": None, "price": 2},
        {"id": 1, "name": "first again", "price": 3},
    ]

    shown = kasparro("source", "try", "things")

    assert (shown.returncode, shown.stderr) == (0, "")
    lines = [" ".join(line.split()) for line in shown.stdout.splitlines()]
    assert "source_id title amount" in lines
    assert "1 first 1.5" in lines
    assert f"{upstream.address}/things 1 2 title required a value is required" in lines
    assert "things: documents 1, read 3, rejected 1, superseded 1, validated 1. Nothing was written." in lines


def test_a_trial_as_json_has_every_reason_and_its_place(kasparro: Cli, upstream: Upstream) -> None:
    upstream.answers["/things"] = [{"id": 1, "name": "a"}, {"name": "b", "price": "much"}]

    found = json.loads(kasparro("source", "try", "things", "--json").stdout)

    assert found["counts"] == {"documents": 1, "read": 2, "validated": 1, "rejected": 1, "superseded": 0}
    assert found["records"][0]["source_id"] == "1"
    [rejected] = found["rejected"]
    assert (rejected["position"], rejected["document"]) == (1, f"{upstream.address}/things")
    assert {(why["field"], why["rule"]) for why in rejected["reasons"]} == {
        ("id", "key_missing"),
        ("amount", "number_parsing"),
    }


def test_a_trial_is_bounded_and_asks_for_no_page_behind_the_bound(upstream: Upstream) -> None:
    upstream.answers["/things"] = lambda query, _headers: [
        {"id": int(query["page"]) * 100 + number, "name": "x"} for number in range(10)
    ]
    spec = THINGS | {"base_url": upstream.address, "paginator": {"type": "page_number"}}

    found = trial.run(component(spec), 15).as_json("things", component(spec))

    assert (found["counts"]["read"], found["has_more"]) == (15, True)
    assert upstream.requests == ["/things?page=1", "/things?page=2"]


def test_a_trial_writes_nothing_and_takes_no_document_for_known(
    built_in: Pipeline, database_url: str, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str], tmp_path: Path,
) -> None:  # fmt: skip
    built_in.run("crypto_news")
    before = whole(database_url)
    monkeypatch.setenv("DATABASE_URL", database_url)
    monkeypatch.setenv("KASPARRO_HOME", str(tmp_path / "home"))

    assert cli.main(["source", "try", "crypto_news", "--json"]) == 0

    assert json.loads(capsys.readouterr().out)["counts"]["validated"] > 0
    assert whole(database_url) == before


def test_beside_a_running_stack_a_trial_takes_its_settings(
    kasparro: Cli, project: Path, upstream: Upstream
) -> None:
    upstream.answers["/instead/things"] = [{"id": 1, "name": "of the stand-in"}]
    add(project, "stood_for", THINGS | {"base_url": "https://api.example.com", "sandbox": "/instead"})
    home = project / ".kasparro"
    home.mkdir()
    process = psutil.Process()
    record = State(
        command="up",
        supervisor=Recorded(process.pid, process.create_time()),
        environment={"KASPARRO_SANDBOX_URL": upstream.address},
    )
    state.write(home, record)

    shown = kasparro("source", "try", "stood_for")

    assert shown.returncode == 0, shown.stderr
    assert "of the stand-in" in shown.stdout


def test_a_trial_of_a_child_reads_its_parents_in_a_transaction_that_cannot_write(
    built_in: Pipeline, database_url: str, upstream: Upstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    built_in.run("coinpaprika_tickers")
    monkeypatch.setenv("DATABASE_URL", database_url)
    modes = []

    def parents(connection: Any, _source: str, names: Sequence[str]) -> list[dict[str, str]]:
        modes.append(connection.execute("show transaction_read_only").fetchone())
        return [dict.fromkeys(names, "7")]

    monkeypatch.setattr(trial, "parents", parents)
    upstream.answers["/of/7"] = [{"id": 1, "name": "a"}]
    spec = THINGS | {
        "base_url": upstream.address,
        "path": "/of/{parent.id}",
        "parent": {"source": "coinpaprika_tickers"},
    }

    assert len(trial.run(component(spec), 10).judged) == 1
    assert modes == [("on",)]


def test_what_cannot_be_tried_is_a_sentence(kasparro: Cli, upstream: Upstream, project: Path) -> None:
    unknown = kasparro("source", "try", "thing")
    assert unknown.returncode == 1
    assert unknown.stderr.strip() == "There is no source 'thing'. Did you mean things?"

    upstream.answers["/things"] = (403, {}, b"no")
    refused = kasparro("source", "try", "things")
    assert refused.returncode == 1
    assert refused.stderr.startswith("things: HTTP 403")

    add(project, "broken", THINGS)
    broken = kasparro("source", "try", "broken")
    assert broken.returncode == 1
    assert "base_url: Field required" in broken.stderr
    assert "dg check yaml" in broken.stderr

    add(project, "child", THINGS | {"base_url": upstream.address, "parent": {"source": "things"}})
    orphan = kasparro("source", "try", "child")
    assert "DATABASE_URL is not set" in orphan.stderr
    assert "Traceback" not in unknown.stderr + refused.stderr + broken.stderr + orphan.stderr

    assert kasparro("source", "try", "things", "--records", "0").returncode == 2


def test_the_list_says_what_each_source_is_and_how_it_is_doing(
    built_in: Pipeline, database_url: str, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str], tmp_path: Path,
) -> None:  # fmt: skip
    built_in.run("crypto_news")
    built_in.run("coinpaprika_ohlcv")
    built_in.run("coinpaprika_tickers", layers="raw")
    built_in.run("coingecko_markets", "2026-11-02")  # a past day, which fails
    monkeypatch.setenv("DATABASE_URL", database_url)
    monkeypatch.setenv("KASPARRO_HOME", str(tmp_path / "home"))

    assert cli.main(["source", "list", "--json"]) == 0
    found = {row["source"]: row for row in json.loads(capsys.readouterr().out)}

    assert len(found) == 5
    news = found["crypto_news"]
    assert (news["kind"], news["runs"]) == ("feed", "sensor, every 60 s")
    assert news["unified"] == len(built_in.unified("crypto_news")) > 0
    assert news["last_success_at"].startswith(f"{datetime.now(UTC):%Y-%m-%d}")
    assert found["coinpaprika_ohlcv"]["cursor"]
    assert len(found["coinpaprika_tickers"]["waiting"]) == 1
    assert "keeps no history" in found["coingecko_markets"]["last_error"]
    assert found["coin_reference"]["unified"] == 0

    assert cli.main(["source", "list"]) == 0
    shown = capsys.readouterr().out
    assert "schedule */15 * * * *" in shown
    assert "coingecko_markets last run: " in shown


def test_the_list_without_a_warehouse_says_what_is_known_and_what_is_not(
    kasparro: Cli, project: Path
) -> None:
    add(project, "broken", THINGS)

    shown = kasparro("source", "list")

    assert shown.returncode == 0
    assert "schedule 0 * * * *" in shown.stdout
    assert "broken cannot be loaded: " in shown.stdout
    assert "How they are doing is not known. There is no warehouse" in shown.stdout
