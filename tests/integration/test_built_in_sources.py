"""The five sources of this deployment, each end to end on the sandbox upstream."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING

import dagster as dg
import pytest

from kasparro_pipeline.components import run_log
from kasparro_pipeline.warehouse import compact
from tests.integration.conftest import today

if TYPE_CHECKING:
    from tests.integration.conftest import Clock, Pipeline

SOURCES = {
    "coin_reference": "coins-2026-11-01.csv",
    "coinpaprika_tickers": None,
    "coingecko_markets": None,
    "coinpaprika_ohlcv": None,
    "crypto_news": None,
}
CHECKS = {
    "schema_drift",
    "volume_anomaly",
    "every_record_accounted",
    "rejected_share",
    "null_rate",
    "value_distribution",
    "unique_source_id",
    "orphans_between_layers",
    "freshness",
}


@pytest.fixture(autouse=True)
def _files(built_in: Pipeline) -> None:
    built_in.add_files("coin_reference", "coins-2026-11-01.csv", "coins-2026-11-08.csv")


@pytest.mark.parametrize("source", SOURCES)
def test_a_first_run_unifies_every_record_and_says_so(built_in: Pipeline, source: str) -> None:
    run = built_in.run(source, SOURCES[source])

    assert run.success
    assert run.ledger["status"] == "success"
    read, validated, inserted = run.counts("read", "validated", "inserted")
    assert read == validated == inserted == len(built_in.unified(source)) > 0
    assert run.checks == CHECKS
    assert all(run.check(name).passed for name in CHECKS - {"freshness"})


@pytest.mark.parametrize("source", SOURCES)
def test_p5_a_second_run_of_an_unchanged_upstream_writes_no_row(built_in: Pipeline, source: str) -> None:
    built_in.run(source, SOURCES[source])
    before = built_in.everything()

    run = built_in.run(source, SOURCES[source])

    assert run.success
    assert built_in.everything() == before
    assert run.counts("documents", "extracted", "read", "inserted", "updated") == (0, 0, 0, 0, 0)
    assert run.ledger["documents_unchanged"] > 0


@pytest.mark.parametrize("source", ["coinpaprika_tickers", "coingecko_markets", "crypto_news"])
def test_a_later_run_finds_new_changed_and_unchanged_records(
    built_in: Pipeline, clock: Clock, source: str
) -> None:
    built_in.run(source)
    before = built_in.unified(source)
    clock.forward(minutes=11)

    run = built_in.run(source)

    after = built_in.unified(source)
    changed = [key for key in before if after[key]["content_hash"] != before[key]["content_hash"]]
    untouched = [key for key in before if after[key] == before[key]]
    assert run.counts("inserted", "updated") == (len(after) - len(before), len(changed))
    assert run.ledger["unchanged"] == len([key for key in untouched if key in after]) - (
        len(before) - run.ledger["updated"] - run.ledger["unchanged"]
    )
    assert changed
    assert untouched
    assert all(after[key]["first_seen_at"] == before[key]["first_seen_at"] for key in before)
    assert all(after[key]["updated_at"] > before[key]["updated_at"] for key in changed)


def test_the_second_file_adds_changes_and_rejects_what_it_should(built_in: Pipeline) -> None:
    built_in.run("coin_reference", "coins-2026-11-01.csv")

    run = built_in.run("coin_reference", "coins-2026-11-08.csv")

    assert run.success
    assert run.ledger["status"] == "partial"
    assert run.counts("read", "validated", "rejected", "superseded") == (366, 362, 4, 0)
    assert run.counts("inserted", "updated", "unchanged") == (12, 15, 335)
    rules = built_in.rows("select reasons->0->>'rule' as rule from kasparro.rejected_record")
    assert {row["rule"] for row in rules} == {
        "key_missing",
        "integer_parsing",
        "timestamp_parsing",
        "ragged_row",
    }


def test_p3_files_that_run_in_the_wrong_order_end_in_the_same_state(built_in: Pipeline) -> None:
    built_in.run("coin_reference", "coins-2026-11-08.csv")
    newest = {key: row["content_hash"] for key, row in built_in.unified("coin_reference").items()}

    run = built_in.run("coin_reference", "coins-2026-11-01.csv")

    after = built_in.unified("coin_reference")
    assert {key: after[key]["content_hash"] for key in newest} == newest
    assert run.ledger["updated"] == 0
    assert run.ledger["stale"] == 15


def test_a_past_day_is_fetched_again_where_the_upstream_keeps_history(
    built_in: Pipeline, clock: Clock
) -> None:
    day = clock.now.date() - timedelta(days=30)

    run = built_in.run("coinpaprika_ohlcv", day.isoformat())

    assert run.success
    assert run.ledger["inserted"] == 5
    opened = {row["published_at"].date() for row in built_in.unified("coinpaprika_ohlcv").values()}
    assert opened == {day}
    assert built_in.rows("select * from kasparro.checkpoint where partition_key = ''") == []


def test_a_past_day_of_an_upstream_without_history_fails_for_good_and_says_why(built_in: Pipeline) -> None:
    yesterday = (datetime.now(UTC).date() - timedelta(days=1)).isoformat()

    run = built_in.run("coingecko_markets", yesterday)

    assert not run.success
    assert run.ledger["status"] == "failed"
    assert "keeps no history" in run.ledger["error"]
    assert "materialize validated/coingecko_markets and unified/coingecko_markets" in run.failure
    assert len([e for e in run.result.all_events if e.is_step_restarted]) == 0


def test_the_candles_cursor_moves_to_the_newest_day_and_looks_back(built_in: Pipeline, clock: Clock) -> None:
    built_in.run("coinpaprika_ohlcv")
    row = built_in.one("select cursor, lookback_window from kasparro.checkpoint where partition_key = ''")
    assert row == {"cursor": {"through": today()}, "lookback_window": timedelta(days=2)}

    clock.forward(minutes=10)
    run = built_in.run("coinpaprika_ohlcv")

    assert run.counts("inserted", "updated") == (0, 5)
    days = {record["published_at"].date() for record in built_in.unified("coinpaprika_ohlcv").values()}
    assert days == {date.fromisoformat(today()) - timedelta(days=back) for back in (0, 1, 2)}


def test_validated_and_unified_can_be_made_again_from_raw_alone(built_in: Pipeline) -> None:
    built_in.run("coingecko_markets")
    unified = built_in.unified("coingecko_markets")
    built_in.warehouse.execute("delete from kasparro.validated_batch")
    built_in.warehouse.execute("delete from kasparro.unified_record where source_id < 'm'")

    run = built_in.run("coingecko_markets", layers="validated unified")

    assert run.success
    assert run.counts("documents", "extracted") == (0, 0)
    assert run.ledger["read"] == run.ledger["validated"] == len(unified)
    again = built_in.unified("coingecko_markets")
    assert {k: r["content_hash"] for k, r in again.items()} == {
        k: r["content_hash"] for k, r in unified.items()
    }


def test_p8_every_unified_record_leads_back_to_its_payload_document_and_run(built_in: Pipeline) -> None:
    run = built_in.run("crypto_news")

    rows = built_in.rows(
        "select u.title, convert_from(r.payload, 'utf8') as payload, d.location, e.run_id"
        " from kasparro.unified_record u join kasparro.raw_record r on r.id = u.raw_id"
        " join kasparro.document d on d.id = r.document_id"
        f" join kasparro.etl_run e on e.run_id = {compact.read('run_id', 'u')}"
    )

    assert len(rows) == run.ledger["inserted"]
    assert all(row["payload"].startswith("<item>") and row["run_id"] == run.result.run_id for row in rows)
    assert all(row["location"].endswith("/news/rss.xml") for row in rows)


def test_materializations_carry_counts_schema_table_and_address(built_in: Pipeline) -> None:
    run = built_in.run("coinpaprika_tickers")

    for layer in ("raw", "validated", "unified"):
        key = dg.AssetKey([layer, "coinpaprika_tickers"])
        [event] = [e for e in run.result.get_asset_materialization_events() if e.asset_key == key]
        metadata = event.materialization.metadata
        for name in ("read", "inserted", "updated", "unchanged", "rejected", "superseded"):
            assert name in metadata
        assert "dagster/partition_row_count" in metadata or "dagster/row_count" in metadata
        definition = built_in.definitions.resolve_assets_def(key)
        declared = definition.metadata_by_key[key]
        assert {"dagster/table_name", "dagster/uri", "dagster/column_schema"} <= declared.keys()
        spec = definition.get_asset_spec(key)
        assert spec.group_name == "coinpaprika_tickers"
        assert spec.kinds == {layer, "rest", "postgres"}
        assert list(spec.owners) == ["team:data"]


def test_p9_a_bad_upstream_never_stops_another_source(built_in: Pipeline) -> None:
    built_in.add_files("coin_reference", "gone.csv")

    bad = built_in.run("coin_reference", "gone.csv")
    good = built_in.run("coinpaprika_tickers")

    assert (bad.success, good.success) == (False, True)
    assert "the file is gone" in bad.ledger["error"]
    assert good.ledger["status"] == "success"


def test_runs_execute_their_steps_in_one_process(built_in: Pipeline) -> None:
    for source in SOURCES:
        job = built_in.definitions.resolve_job_def(source)
        assert job.executor_def.name == "in_process"
        assert job.tags["kasparro/source"] == source


def test_log_lines_of_a_run_carry_source_partition_and_run_id(
    built_in: Pipeline, capfd: pytest.CaptureFixture[str]
) -> None:
    run_log.configure("json")
    run = built_in.run("crypto_news")

    lines = [json.loads(line) for line in capfd.readouterr().err.splitlines() if line.startswith("{")]

    assert lines
    for line in lines:
        assert line["source"] == "crypto_news"
        assert line["partition"] == today()
        assert line["run_id"] == run.result.run_id
        assert {"time", "level", "logger", "message"} <= line.keys()


def test_freshness_is_looked_at_also_while_no_source_runs(built_in: Pipeline) -> None:
    built_in.run("crypto_news")

    result = built_in.definitions.resolve_job_def("freshness").execute_in_process(instance=built_in.instance)

    verdicts = {check.asset_key.path[-1]: check.passed for check in result.get_asset_check_evaluations()}
    assert verdicts == {source: source == "crypto_news" for source in SOURCES}
