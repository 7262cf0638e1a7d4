"""A changed contract is applied to what was kept: validated and unified again from raw, with no upstream."""

from __future__ import annotations

import shutil
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import dagster as dg

from kasparro_pipeline.components import CsvSource, RestSource

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.integration.conftest import Pipeline, Upstream

AGAIN = "validated unified"


def candles(address: str, **more: Any) -> dict[str, Any]:
    """A REST source that keeps history: `{id, day, price}` for a range of days."""
    return {
        "base_url": address,
        "path": "/candles",
        "kind": "candle",
        "key": ["id", "day"],
        "http": {"attempts": 2, "backoff": 0.01},
        "date_window": {"start_param": "start", "end_param": "end", "cursor": "day"},
        "fields": {"title": {"path": "id"}, "amount": {"path": "price"}},
    } | more


def days_back(*numbers: int) -> list[str]:
    now = datetime.now(UTC).date()
    return [(now - timedelta(days=number)).isoformat() for number in numbers]


def test_a_changed_contract_is_applied_to_a_range_of_partitions_with_the_upstream_gone(
    upstream: Upstream, pipeline_of: Callable[..., Pipeline]
) -> None:
    def of_day(query: dict[str, str], _headers: dict[str, str]) -> Any:
        return (
            200,
            {},
            f'[{{"id": "btc", "day": "{query["start"]}", "price": " 1.50", "note": "<b>x</b>"}},'
            f' {{"id": "eth", "day": "{query["start"]}", "price": "free"}}]'.encode(),
        )

    upstream.answers["/candles"] = of_day
    first = pipeline_of(RestSource, candles(upstream.address))
    changed_days, untouched = days_back(40, 2, 1), days_back(3)[0]
    for day in [*changed_days, untouched]:
        assert first.run("it", day).ledger["status"] == "partial"
    before = first.unified("it")
    assert len(before) == 4

    upstream.answers.clear()
    asked = len(upstream.requests)
    fields = {
        "title": {"path": "id", "transforms": ["upper"]},
        "amount": {"path": "price", "precision": 10, "scale": 2},
        "note": {"transforms": ["strip_html"], "default": "none"},
    }
    second = pipeline_of(
        RestSource, candles(upstream.address, fields=fields, schema_contract={"retyped": "evolve"})
    )
    runs = [second.run("it", day, layers=AGAIN) for day in changed_days]

    assert len(upstream.requests) == asked
    assert all(run.success for run in runs)
    assert {run.counts("read", "validated", "rejected", "inserted", "updated") for run in runs} == {
        (2, 2, 0, 1, 1)
    }
    after = second.unified("it")
    for day in changed_days:
        assert after[f"btc:{day}"]["title"] == "BTC"
        assert after[f"btc:{day}"]["attributes"] == {"note": "x"}
        assert after[f"btc:{day}"]["first_seen_at"] == before[f"btc:{day}"]["first_seen_at"]
        assert after[f"eth:{day}"]["amount"] is None
        assert after[f"eth:{day}"]["attributes"] == {"note": "none", "amount": "free"}
    assert after[f"btc:{untouched}"] == before[f"btc:{untouched}"]
    assert f"eth:{untouched}" not in after
    versions = second.rows(
        "select d.partition_key as day, v.contract_version as version from kasparro.validated_record v"
        " join kasparro.document d on d.id = v.document_id"
    )
    assert {row["day"] for row in versions if row["version"] == 2} == set(changed_days)
    assert {row["day"] for row in versions if row["version"] == 1} == {untouched}
    kept = second.rows("select version, contract->'fields'->'title' as title from kasparro.contract_version")
    assert {row["version"]: row["title"] for row in kept} == {
        1: {"path": "id"},
        2: {"path": "id", "transforms": ["upper"]},
    }


def test_a_stricter_contract_withdraws_what_it_does_not_allow_and_the_older_one_brings_it_back(
    folder: Path, pipeline_of: Callable[..., Pipeline]
) -> None:
    fields: dict[str, Any] = {"title": {"path": "name"}}
    spec = {"files": f"{folder}/*.csv", "kind": "thing", "key": "id", "fields": fields}
    files = {"2025.csv": "id,name,extra\n1,a,\n2,b,x\n", "2026.csv": "id,name\n3,c\n"}
    for name, text in files.items():
        (folder / name).write_text(text)
    loose = pipeline_of(CsvSource, spec)
    loose.add_files("it", *files)
    for name in files:
        assert loose.run("it", name).success
    assert loose.unified("it")["2"]["attributes"] == {"extra": "x"}
    before = {key: row["content_hash"] for key, row in loose.unified("it").items()}

    shutil.rmtree(folder)
    strict = pipeline_of(CsvSource, spec | {"schema_contract": {"added": "quarantine_row"}})
    for name in files:
        assert strict.run("it", name, layers=AGAIN).success
    living = [key for key, row in strict.unified("it").items() if row["deleted_at"] is None]
    assert living == ["3"]
    rejected = strict.rows("select reasons->0->>'field' as field from kasparro.rejected_record")
    assert rejected == [{"field": "extra"}, {"field": "extra"}]

    for name in files:
        assert pipeline_of(CsvSource, spec).run("it", name, layers=AGAIN).success
    assert {key: row["content_hash"] for key, row in loose.unified("it").items()} == before
    assert all(row["deleted_at"] is None for row in loose.unified("it").values())
    assert loose.value("select max(version) from kasparro.contract_version") == 3


def test_the_validated_asset_shows_the_columns_that_its_contract_makes(
    folder: Path, pipeline_of: Callable[..., Pipeline]
) -> None:
    fields = {
        "title": {"required": True, "description": "What it is called."},
        "amount": {"precision": 12, "scale": 2},
        "rank": {
            "type": "integer",
            "minimum": 1,
            "maximum": 1000,
            "default": 1000,
            "description": "By size.",
        },
    }
    spec = {"files": f"{folder}/*.csv", "kind": "thing", "key": "id", "fields": fields}
    pipeline = pipeline_of(CsvSource, spec)
    shown = {
        layer: {
            column.name: (column.type, column.description, column.constraints.nullable)
            for column in pipeline.definitions.get_assets_def(dg.AssetKey([layer, "it"]))
            .metadata_by_key[dg.AssetKey([layer, "it"])]["dagster/column_schema"]
            .columns
        }
        for layer in ("validated", "unified")
    }
    assert shown["validated"]["title"] == ("text", "What it is called.", False)
    assert shown["validated"]["amount"] == ("numeric(12,2)", None, True)
    assert shown["validated"]["attributes.rank"] == ("bigint", "By size.", False)
    assert shown["validated"]["author"] == shown["unified"]["author"] == ("text", None, True)
    assert shown["unified"]["amount"] == ("numeric", None, True)
    assert "attributes.rank" not in shown["unified"]
