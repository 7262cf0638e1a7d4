"""REST sources end to end: the documented example, parents, and what must not be reached or told."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import dagster as dg
import pytest
import yaml

from kasparro_pipeline.components import RestSource, holding
from kasparro_pipeline.components.resources import Warehouse
from kasparro_pipeline.components.settings import secrets
from tests.integration.conftest import Pipeline, today

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.integration.conftest import Upstream

    Built = Callable[..., Pipeline]

PAGE = Path(__file__).parents[2] / "docs" / "sources-rest.md"
THING: dict[str, Any] = {
    "path": "/things",
    "kind": "thing",
    "key": "id",
    "fields": {"title": {"path": "name", "required": True}},
}
TOKEN = "s3cret-token"  # noqa: S105 - of nobody


def documented() -> dict[str, dict[str, Any]]:
    """The sources of the page by name."""
    text = PAGE.read_text("utf-8")
    found = re.findall(r"`kasparro_pipeline/defs/(\w+)/defs.yaml`:\n\n```yaml\n(.*?)```", text, re.DOTALL)
    return {name: yaml.safe_load(written) for name, written in found}


class Exchange:
    """The API of the documented example: trades in pages, and the fills of each."""

    def __init__(self, upstream: Upstream) -> None:
        self.upstream = upstream
        self.trades: list[dict[str, Any]] = []
        self.broken = 1
        upstream.answers["/v1/trades"] = self._trades

    def add(self, *minutes_ago: int) -> None:
        for minutes in minutes_ago:
            moment = datetime.now(UTC) - timedelta(minutes=minutes)
            number = len(self.trades)
            stamp = moment.strftime("%Y-%m-%dT%H:%M:%SZ")
            self.trades.append(
                {"id": number, "price": 1.50, "market": {"name": f"M{number}"}, "updated_at": stamp}
            )
            fills = [{"number": n, "quantity": n + 0.5} for n in range(2)]
            self.upstream.answers[f"/v1/trades/{number}/fills"] = [{"venue": "V", "fills": fills}]

    def _trades(self, query: dict[str, str], headers: dict[str, str]) -> Any:
        assert headers["Authorization"] == f"Bearer {TOKEN}"
        assert query["market"] == "spot"
        if self.broken:
            self.broken -= 1
            return {"status": "error", "message": "overloaded"}
        found = sorted(self.trades, key=lambda trade: trade["updated_at"])
        found = [trade for trade in found if trade["updated_at"] >= query["updated_since"]]
        start, size = (int(query["page"]) - 1) * int(query["per_page"]), int(query["per_page"])
        return {"status": "ok", "data": found[start:][:size], "meta": {"total": len(found)}}


@pytest.fixture
def exchange(upstream: Upstream, monkeypatch: pytest.MonkeyPatch) -> Exchange:
    monkeypatch.setenv("EXAMPLE_TOKEN", TOKEN)
    return Exchange(upstream)


@pytest.fixture
def example(exchange: Exchange, database_url: str, instance: dg.DagsterInstance, warehouse: Any) -> Pipeline:
    """The documented sources, at the upstream of this test."""
    definitions = []
    for name, written in documented().items():
        assert written["type"] == "kasparro_pipeline.components.RestSource"
        attributes = written["attributes"] | {"base_url": exchange.upstream.address}
        more = {"allow_private_hosts": ["127.0.0.1"], "backoff": 0.01, "requests_per_second": None}
        attributes["http"] = attributes.get("http", {}) | more
        spec = RestSource.spec_class.model_validate(attributes)
        definitions.append(RestSource(spec).definitions(name))
    resources = {"warehouse": Warehouse(database_url=database_url)}
    merged = dg.Definitions.merge(
        *definitions, dg.Definitions(resources=resources, executor=dg.in_process_executor)
    )
    return Pipeline(merged, instance, warehouse)


def test_the_documented_example_runs(example: Pipeline, exchange: Exchange) -> None:
    exchange.add(*range(600, 300, -1))

    run = example.run("example_trades")

    assert run.success, run.failure
    assert run.counts("read", "validated", "inserted") == (300, 300, 300)
    pages = [target for target in exchange.upstream.requests if "page=" in target]
    assert len(pages) == 1 + 3  # one of them twice: the first answer was an error

    children = example.run("example_fills")

    assert children.success, children.failure
    assert len(example.unified("example_fills")) == 600
    assert example.unified("example_fills")["7:1"]["title"] == "V"


def test_p5_nothing_new_is_one_request_and_no_write(example: Pipeline, exchange: Exchange) -> None:
    exchange.add(*range(600, 300, -1))
    assert example.run("example_trades").success
    before, asked = example.everything(), len(exchange.upstream.requests)

    run = example.run("example_trades")

    assert run.success
    assert len(exchange.upstream.requests) == asked + 1
    assert example.everything() == before
    assert run.counts("documents", "extracted", "read", "inserted") == (0, 0, 0, 0)


def test_a_late_record_is_taken_by_the_lookback_window_and_counted(
    example: Pipeline, exchange: Exchange
) -> None:
    exchange.add(*range(90, 30, -1))
    example.run("example_trades")
    exchange.add(45)  # older than the checkpoint, within its lookback of an hour

    run = example.run("example_trades")

    assert run.counts("inserted", "updated") == (1, 0)
    assert "60" in example.unified("example_trades")


def test_a_secret_that_is_not_set_fails_the_run_by_name_before_any_request(
    example: Pipeline, exchange: Exchange, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("EXAMPLE_TOKEN")

    run = example.run("example_trades")

    assert not run.success
    assert "EXAMPLE_TOKEN" in run.ledger["error"]
    assert exchange.upstream.requests == []
    assert len([event for event in run.result.all_events if event.is_step_restarted]) == 0


def test_secrets_may_be_in_the_env_file_and_the_environment_counts_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / ".env").write_text("OF_THE_FILE=a\nOF_BOTH=b\nEMPTY=\n")
    monkeypatch.setenv("OF_BOTH", "c")

    found = secrets()

    assert (found["OF_THE_FILE"], found["OF_BOTH"], "EMPTY" in found) == ("a", "c", False)


def test_a_parent_that_is_not_there_yet_fails_the_run_and_says_so(example: Pipeline) -> None:
    run = example.run("example_fills")

    assert not run.success
    assert "the parent source `example_trades` has no unified records" in run.ledger["error"]


def test_a_secret_is_nowhere_in_the_database_or_in_dagster(
    upstream: Upstream, pipeline_of: Built, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("THE_KEY", TOKEN)
    auth = {"type": "api_key", "name": "key", "location": "query", "value_env": "THE_KEY"}
    attributes = THING | {"base_url": upstream.address, "auth": auth}
    attributes["paginator"] = {"type": "link_header"}
    upstream.answers["/things"] = lambda query, _headers: (
        (403, {}, json.dumps(query).encode())
        if "page" in query
        else (200, {"Link": f"</things?page=2&key={query['key']}>; rel=next"}, b'[{"id":1,"name":"a"}]')
    )
    pipeline = pipeline_of(RestSource, attributes)

    run = pipeline.run("it")

    assert not run.success
    assert "HTTP 403" in run.ledger["error"]
    assert all(f"key={TOKEN}" in target for target in upstream.requests)
    tables = ("document", "checkpoint", "etl_run", "raw_record", "drift_event", "contract_version")
    told = repr([pipeline.rows(f"select * from kasparro.{table}") for table in tables])
    told += repr([dg.serialize_value(event) for event in run.result.all_events]) + run.failure
    assert pipeline.value("select count(*) from kasparro.document") == 1
    assert TOKEN not in told
    assert TOKEN not in "".join(capfd.readouterr())


def test_a_private_address_is_refused_where_the_file_does_not_name_it(
    upstream: Upstream, pipeline_of: Built
) -> None:
    upstream.answers["/things"] = []
    attributes = THING | {"base_url": upstream.address, "http": {"allow_private_hosts": []}}

    run = pipeline_of(RestSource, attributes).run("it")

    assert not run.success
    assert "which is no public address" in run.ledger["error"]
    assert upstream.requests == []


def test_p3_a_page_that_comes_twice_and_a_record_that_moves_between_pages_are_one_record(
    upstream: Upstream, pipeline_of: Built
) -> None:
    pages = [
        [{"id": 1, "name": "a"}, {"id": 2, "name": "b"}],
        [{"id": 2, "name": "b2"}, {"id": 3, "name": "c"}],
        [{"id": 3, "name": "c"}, {"id": 1, "name": "a3"}],
        [],
    ]
    upstream.answers["/things"] = lambda query, _headers: pages[min(int(query["page"]), 4) - 1]
    attributes = THING | {"base_url": upstream.address, "paginator": {"type": "page_number"}}

    run = pipeline_of(RestSource, attributes).run("it")

    assert run.success
    titles = {key: row["title"] for key, row in pipeline_of(RestSource, attributes).unified("it").items()}
    assert titles == {"1": "a3", "2": "b2", "3": "c"}
    assert run.ledger["read"] == 6


def test_a_total_that_promises_more_than_comes_is_never_green(
    upstream: Upstream, pipeline_of: Built, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(holding, "RETRY_WAIT", 0)
    upstream.answers["/things"] = {"data": [], "total": 5}
    attributes = THING | {
        "base_url": upstream.address,
        "records": "data",
        "http": {"attempts": 1},
        "paginator": {"type": "page_number", "total_path": "total"},
    }

    run = pipeline_of(RestSource, attributes).run("it", today())

    assert not run.success
    assert "the first page is empty" in run.ledger["error"]


def test_nested_objects_become_fields_by_path_attributes_by_their_path_or_stay_whole(
    upstream: Upstream, pipeline_of: Built
) -> None:
    """The rows of the table in docs/sources-rest.md."""
    upstream.answers["/things"] = [
        {
            "id": 1,
            "name": "a",
            "quotes": {"USD": {"price": 1.5}, "EUR": {"price": 2}},
            "labels": ["a", "b"],
            "lines": [{"sku": 1}, {"sku": 2}],
        }
    ]
    fields = {"title": {"path": "name"}, "tags": {"path": "labels"}, "lines": {"type": "json"}}
    by_path = fields | {"amount": {"path": "quotes.USD.price"}}
    whole = fields | {"quotes": {"type": "json"}}
    lines = [{"sku": 1}, {"sku": 2}]
    base = THING | {"base_url": upstream.address}

    pipeline = pipeline_of(RestSource, base | {"fields": by_path})
    assert pipeline.run("it").success
    row = pipeline.unified("it")["1"]
    assert (row["amount"], row["tags"]) == (Decimal("1.5"), ["a", "b"])
    assert row["attributes"] == {"lines": lines, "quotes.EUR.price": 2}

    pipeline = pipeline_of(RestSource, base | {"fields": whole})
    assert pipeline.run("it").success
    quotes = {"USD": {"price": 1.5}, "EUR": {"price": 2}}
    assert pipeline.unified("it")["1"]["attributes"] == {"lines": lines, "quotes": quotes}
