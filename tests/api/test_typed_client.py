"""A client that openapi-python-client generates from the document has types, and works."""

from __future__ import annotations

import importlib
import json
import re
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psycopg
import pytest

from kasparro_pipeline.warehouse import api_keys
from tests.api import sample
from tests.api.conftest import Service, service_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.conftest import Server

CONFIG = """\
content_type_overrides:
  application/x-ndjson: application/octet-stream
  text/csv: application/octet-stream
post_hooks: []
"""
"""As docs/api.md has it: files are bytes. The hooks would only format the code."""

USE = """\
import datetime
from kasparro_client import AuthenticatedClient
from kasparro_client.api.data import read_data, read_record
from kasparro_client.models import DataPage, Problem, ReadDataSort
from kasparro_client.types import Unset

client = AuthenticatedClient("http://127.0.0.1", token="kas_")
page = read_data.sync(client=client, source=["a"], amount_min=0.5, sort=ReadDataSort.AMOUNT, category_ne="x")
assert isinstance(page, DataPage)
reveal_type(page.data[0].amount)
reveal_type(page.data[0].published_at)
reveal_type(page.pagination.next_cursor)
answer = read_record.sync(1, client=client)
assert isinstance(answer, Problem)
reveal_type(answer.detail)
read_data.sync(client=client, limit="many")
"""


@pytest.fixture(scope="module")
def filled(postgres: Server) -> Iterator[Service]:
    with service_of(postgres, KASPARRO_DAGSTER_URL="http://127.0.0.1:1") as running:
        sample.fill(running.warehouse)
        running.warehouse.commit()
        yield running


@pytest.fixture(scope="module")
def folder(filled: Service, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the package `kasparro_client` was generated, without the network and without a warning."""
    made = tmp_path_factory.mktemp("client")
    (made / "openapi.json").write_text(json.dumps(filled.get("/openapi.json").json()))
    (made / "config.yaml").write_text(CONFIG)
    done = subprocess.run(
        [
            *(
                str(Path(sys.executable).parent / "openapi-python-client"),
                "generate",
                "--path",
                "openapi.json",
            ),
            *("--config", "config.yaml", "--meta", "none", "--output-path", "kasparro_client"),
            "--fail-on-warning",
        ],
        cwd=made,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "arning" not in done.stdout + done.stderr
    return made


@pytest.fixture
def load(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Imports a module of the generated package."""
    monkeypatch.syspath_prepend(str(folder))
    return lambda name: importlib.import_module(f"kasparro_client.{name}")


@pytest.fixture
def client(filled: Service, load: Any) -> Iterator[Any]:
    with load("client").Client(filled.url) as opened:
        yield opened


def test_records_are_listed_page_by_page_and_one_is_fetched(client: Any, load: Any) -> None:
    read_data, read_record = load("api.data.read_data"), load("api.data.read_record")
    sort = load("models").ReadDataSort("-amount")
    first = read_data.sync(client=client, source=["coinpaprika_tickers"], sort=sort, limit=40, amount_min=1)
    assert first.data[0].title == "Bitcoin"
    assert first.data[0].amount == 70_000
    assert first.data[0].published_at.utcoffset().total_seconds() == 0
    second = read_data.sync(
        client=client,
        source=["coinpaprika_tickers"],
        sort=sort,
        limit=40,
        amount_min=1,
        cursor=first.pagination.next_cursor,
    )
    ids = [record.id for page in (first, second) for record in page.data]
    assert len(ids) == len(set(ids)) == 60
    assert not second.pagination.has_more
    one = read_record.sync(ids[0], client=client)
    assert one.data == first.data[0]
    assert one.data.attributes["rank"] == 1


def test_the_filters_with_a_suffix_are_parameters(client: Any, load: Any) -> None:
    read_data = load("api.data.read_data")
    page = read_data.sync(
        client=client, category_ne="coin", amount_is_null=False, source_id=["coinpaprika_tickers-0"]
    )
    assert [record.source_id for record in page.data] == ["coinpaprika_tickers-0"]
    assert all(
        record.amount is None for record in read_data.sync(client=client, amount_is_null=True, limit=100).data
    )


def test_members_that_were_not_asked_for_are_unset(client: Any, load: Any) -> None:
    [record] = load("api.data.read_data").sync(client=client, fields="id,title", limit=1).data
    assert isinstance(record.amount, load("types").Unset)
    assert isinstance(record.id, int)


def test_an_error_is_a_problem(client: Any, load: Any) -> None:
    answer = load("api.data.read_record").sync_detailed(10**15, client=client)
    assert answer.status_code == 404
    assert answer.parsed.type_ == "urn:kasparro:problem:no-record"
    assert answer.parsed.request_id == answer.headers["X-Request-ID"]


def test_files_are_bytes_and_the_other_reads_are_typed(client: Any, load: Any, folder: Path) -> None:
    raw = load("api.data.read_data_ndjson").sync_detailed(client=client, source=["crypto_news"]).content
    assert len(raw.splitlines()) == 25
    [module] = folder.glob("kasparro_client/api/*/read_stats.py")
    stats = load(f"api.{module.parent.name}.read_stats").sync(client=client)
    assert stats.totals.unified_records == 104
    assert {source.source for source in load("api.data.read_sources").sync(client=client).data} == {
        "coin_reference",
        "coinpaprika_tickers",
        "crypto_news",
    }
    assert load("api.operation.read_health").sync(client=client).status == "ok"


def test_a_trigger_takes_a_key(filled: Service, load: Any) -> None:
    with closing(psycopg.connect(filled.database_url)) as connection, connection:
        key = api_keys.create(connection, "typed", ["trigger"])
    trigger = load("api.trigger.trigger_runs")
    with load("client").AuthenticatedClient(filled.url, token=key) as client:
        assert trigger.sync_detailed(client=client).status_code == 503  # there is no Dagster
    with load("client").Client(filled.url) as client:
        assert trigger.sync_detailed(client=client).status_code == 401


def test_a_type_checker_knows_the_answers(folder: Path) -> None:
    (folder / "use.py").write_text(USE)
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "mypy",
            "--strict",
            "--follow-imports",
            "silent",
            "--cache-dir",
            "cache",
            "use.py",
        ],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    revealed = re.findall(r'Revealed type is "(.*)"', done.stdout)
    types = [{name.rpartition(".")[2] for name in text.split(" | ")} for text in revealed]
    assert types == [{"float", "None", "Unset"}, {"datetime", "None", "Unset"}, {"str", "None"}, {"str"}], (
        done
    )
    [error] = [line for line in done.stdout.splitlines() if ": error:" in line]
    assert 'Argument "limit"' in error
