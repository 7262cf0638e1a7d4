"""A replay gives the rejected records of a source another chance: exactly those, and by the same rules."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import dagster as dg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kasparro_pipeline.components import CsvSource, RestSource
from kasparro_pipeline.components.steps import merge_validated, replay_rejected, validate_raw
from kasparro_pipeline.contract.spec import Contract
from kasparro_pipeline.warehouse import ledger, raw, rejected
from tests.integration.test_merge_order import LOOSE, STRICT, World, batch_of, contract_of
from tests.integration.test_promises import things

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import psycopg

    from tests.integration.conftest import Pipeline, Upstream


def replay(pipeline: Pipeline, *partitions: str) -> dg.ExecuteInProcessResult:
    job = pipeline.definitions.resolve_job_def("replay_rejected_it")
    config = {"ops": {"replay_rejected_it_op": {"config": {"partitions": list(partitions)}}}}
    return job.execute_in_process(
        instance=pipeline.instance, run_config=config if partitions else None, raise_on_error=False
    )


def ledger_of(pipeline: Pipeline, result: dg.ExecuteInProcessResult) -> dict[str, dict[str, Any]]:
    rows = pipeline.rows("select * from kasparro.etl_run where run_id = %s", result.run_id)
    return {row["partition_key"]: row for row in rows}


def rejected_ids(pipeline: Pipeline) -> set[str]:
    return {row["source_id"] for row in pipeline.rows("select source_id from kasparro.rejected_record")}


@pytest.fixture
def csv(folder: Path, pipeline_of: Callable[..., Pipeline]) -> Callable[..., Pipeline]:
    """`csv(**fields)` runs the source of the folder's files under a contract with these fields."""

    def build(**fields: Any) -> Pipeline:
        return pipeline_of(
            CsvSource,
            {
                "files": str(folder / "*.csv"),
                "kind": "thing",
                "key": "id",
                "fields": {"title": {"path": "name", "required": True}, **fields},
            },
        )

    return build


LOW = {"amount": {"path": "price", "maximum": 10}}
HIGH = {"amount": {"path": "price", "maximum": 100}}


def test_a_replay_after_a_contract_fix_moves_exactly_the_records_that_now_pass(
    csv: Callable[..., Pipeline], folder: Path
) -> None:
    (folder / "a.csv").write_text("id,name,price\n1,one,5\n2,two,50\n3,three,500\n4,,5\n")
    (folder / "b.csv").write_text("id,name,price\n5,five,60\n6,six,6\n")
    strict = csv(**LOW)
    strict.add_files("it", "a.csv", "b.csv")
    for name in ("a.csv", "b.csv"):
        assert strict.run("it", name).success
    assert rejected_ids(strict) == {"2", "3", "4", "5"}
    before = {row["source_id"]: row for row in strict.rows("select * from kasparro.validated_record")}

    fixed = csv(**HIGH)
    result = replay(fixed)

    assert result.success
    assert rejected_ids(fixed) == {"3", "4"}
    assert fixed.unified("it").keys() == {"1", "2", "5", "6"}
    after = {row["source_id"]: row for row in fixed.rows("select * from kasparro.validated_record")}
    assert {key: after[key] for key in before} == before
    found = ledger_of(fixed, result)
    counts = {key: (row["read"], row["validated"], row["rejected"]) for key, row in found.items()}
    assert counts == {"a.csv": (3, 1, 2), "b.csv": (1, 1, 0)}
    assert {key: (row["inserted"], row["status"]) for key, row in found.items()} == {
        "a.csv": (1, "partial"),
        "b.csv": (1, "success"),
    }
    assert {row["contract_version"] for row in fixed.rows("select * from kasparro.rejected_record")} == {2}


def test_a_replay_tells_dagster_what_passed_and_what_did_not(
    csv: Callable[..., Pipeline], folder: Path
) -> None:
    (folder / "a.csv").write_text("id,name,price\n1,one,50\n2,two,500\n")
    strict = csv(**LOW)
    strict.add_files("it", "a.csv")
    strict.run("it", "a.csv")

    result = replay(csv(**HIGH))

    told = [event for event in result.all_events if event.is_step_materialization]
    assert {(event.asset_key, event.partition) for event in told} == {
        (dg.AssetKey([layer, "it"]), "a.csv") for layer in ("validated", "unified")
    }
    [output] = [event.step_output_data for event in result.all_events if event.is_successful_output]
    assert (output.metadata["passed"].value, output.metadata["still_rejected"].value) == (1, 1)


def test_p5_a_replay_that_changes_nothing_writes_no_record(
    csv: Callable[..., Pipeline], folder: Path
) -> None:
    (folder / "a.csv").write_text("id,name,price\n1,one,5\n2,two,50\n")
    pipeline = csv(**LOW)
    pipeline.add_files("it", "a.csv")
    pipeline.run("it", "a.csv")
    before = pipeline.everything()

    result = replay(pipeline)

    assert result.success
    assert pipeline.everything() == before
    assert ledger_of(pipeline, result)["a.csv"]["rejected"] == 1


def test_a_replay_takes_only_the_partitions_that_are_named(
    csv: Callable[..., Pipeline], folder: Path
) -> None:
    for name in ("a", "b"):
        (folder / f"{name}.csv").write_text(f"id,name,price\n{name},one,50\n")
    strict = csv(**LOW)
    strict.add_files("it", "a.csv", "b.csv")
    for name in ("a.csv", "b.csv"):
        strict.run("it", name)

    fixed = csv(**HIGH)
    assert replay(fixed, "b.csv", "never.csv").success

    assert fixed.unified("it").keys() == {"b"}
    assert rejected_ids(fixed) == {"a"}


def test_p3_a_replayed_record_does_not_replace_a_newer_one(
    upstream: Upstream, pipeline_of: Callable[..., Pipeline]
) -> None:
    def source(**fields: Any) -> Pipeline:
        fields = {"title": {"path": "name"}, **fields}
        return pipeline_of(RestSource, things(upstream.address, fields=fields))

    strict = source(**LOW)
    upstream.answers["/things"] = [{"id": 1, "name": "old", "price": 50}]
    strict.run("it")
    upstream.answers["/things"] = [{"id": 1, "name": "new", "price": 5}]
    strict.run("it")

    result = replay(source(**HIGH))

    [row] = ledger_of(strict, result).values()
    assert (row["validated"], row["stale"], row["updated"]) == (1, 1, 0)
    assert strict.unified("it")["1"]["title"] == "new"


def test_a_replay_is_refused_while_any_partition_has_versions_of_another_rule(
    folder: Path, pipeline_of: Callable[..., Pipeline]
) -> None:
    for name in ("a", "b"):
        (folder / f"{name}.csv").write_text(f"id,name,price,rank\n{name},one,50,1\n")

    def source(fields: dict[str, Any], **more: Any) -> Pipeline:
        fields = {"title": {"path": "name"}, "rank": {"type": "integer"}, **fields}
        attributes = {"files": str(folder / "*.csv"), "kind": "thing", "key": "id", "fields": fields}
        return pipeline_of(CsvSource, attributes | more)

    first = source(LOW)
    first.add_files("it", "a.csv", "b.csv")
    first.run("it", "a.csv")
    source(LOW, version="rank").run("it", "b.csv")

    fixed = source(HIGH, version="rank")
    result = replay(fixed)

    assert not result.success
    assert rejected_ids(fixed) == {"a", "b"}
    for row in ledger_of(fixed, result).values():
        assert "version rule has changed since a.csv were validated" in row["error"]
    # as the message says
    for name in ("a.csv", "b.csv"):
        assert fixed.run("it", name, layers="validated unified").success
    assert fixed.unified("it").keys() == {"a", "b"}


def test_a_partition_that_refuses_does_not_keep_the_others_from_their_replay(
    csv: Callable[..., Pipeline], folder: Path
) -> None:
    for name in ("a", "b"):
        (folder / f"{name}.csv").write_text(f"id,name,price\n{name},one,50\n")
    strict = csv(**LOW)
    strict.add_files("it", "a.csv", "b.csv")
    for name in ("a.csv", "b.csv"):
        strict.run("it", name)
    (folder / "a.csv").write_text("id,name,price\na,two,60\n")
    strict.run("it", "a.csv", layers="raw")

    fixed = csv(**HIGH)
    result = replay(fixed)

    assert not result.success
    assert rejected_ids(fixed) == {"a"}
    found = ledger_of(fixed, result)
    assert {key: row["status"] for key, row in found.items()} == {"a.csv": "failed", "b.csv": "success"}
    assert "a.csv: not all of it is validated yet" in found["a.csv"]["error"]
    [failure] = [event.step_failure_data for event in result.all_events if event.is_step_failure]
    assert failure.user_failure_data is not None
    assert failure.user_failure_data.metadata["passed"].value == 1


def test_a_replay_that_is_tried_again_counts_each_record_once(
    warehouse: psycopg.Connection[Any],
) -> None:
    items = [{"id": number, "name": "C" if number < 4 else "D", "revision": None} for number in range(10)]
    hold = ledger.begin(warehouse, "it", "p", "run-1")
    raw.store(warehouse, hold, batch_of(items), profile=None, source_cursor=None, lookback_window=None)
    validate_raw(warehouse, hold, contract_of(STRICT), whole=False)

    for _ in range(2):
        replay_rejected(warehouse, ledger.begin(warehouse, "it", "p", "run-2"), contract_of(LOOSE))

    [counts] = ledger.of_run(warehouse, "it", "run-2")
    assert (counts["read"], counts["validated"], counts["rejected"]) == (10, 4, 6)


def test_a_killed_replay_leaves_whole_batches_and_the_next_one_goes_on(
    warehouse: psycopg.Connection[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kasparro_pipeline.components.steps.BATCH_SIZE", 2)
    items = [{"id": number, "name": "C", "revision": None} for number in range(5)]
    hold = ledger.begin(warehouse, "it", "p", "run-1")
    raw.store(warehouse, hold, batch_of(items), profile=None, source_cursor=None, lookback_window=None)
    validate_raw(warehouse, hold, contract_of(STRICT), whole=False)
    merge_validated(warehouse, hold, whole=False)
    merged = "select count(*) from kasparro.unified_record"
    validated_now = "select count(*) from kasparro.validated_record"

    class KilledError(Exception):
        pass

    def killed(*_: object, **__: object) -> None:
        raise KilledError

    hold = ledger.begin(warehouse, "it", "p", "run-2")
    with monkeypatch.context() as patch:
        patch.setattr("kasparro_pipeline.components.steps.unified.merge_given", killed)
        with pytest.raises(KilledError):
            replay_rejected(warehouse, hold, contract_of(LOOSE))
    # validation and merge of a batch are one transaction: nothing is validated and never merged
    assert warehouse.execute(validated_now).fetchone() == warehouse.execute(merged).fetchone() == (0,)

    replay_rejected(warehouse, ledger.begin(warehouse, "it", "p", "run-3"), contract_of(LOOSE))
    assert warehouse.execute(merged).fetchone() == (5,)
    assert rejected.count(warehouse, "it", "p") == 0


names = st.sampled_from(["A", "B", "C", ""])
deliveries = st.lists(
    st.tuples(
        st.sampled_from(["2026-01-01", "2026-01-02"]), st.lists(st.tuples(st.sampled_from("abc"), names))
    ),
    min_size=1,
    max_size=5,
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(deliveries=deliveries, order=st.permutations(["2026-01-01", "2026-01-02"]))
def test_p3_replaying_after_a_fix_ends_where_validating_everything_again_ends(
    warehouse: psycopg.Connection[Any],
    deliveries: list[tuple[str, list[tuple[str, str]]]],
    order: list[str],
) -> None:
    it = World(warehouse, rules=(STRICT, False))
    for partition, items in deliveries:
        it.arrive(partition, [(key, name, None) for key, name in items])
        it.validate(partition)
        it.merge(partition, whole=False)
    it.rules = (LOOSE, False)
    for partition in order:
        replay_rejected(warehouse, it.hold(partition), contract_of(LOOSE))
    assert it.served() == it.expected()


def test_the_quarantine_shows_itself_in_dagster(csv: Callable[..., Pipeline], folder: Path) -> None:
    rows = "".join(f"{number},,50\n" for number in range(30))
    (folder / "a.csv").write_text("id,name,price\n" + rows)
    pipeline = csv(**LOW)
    pipeline.add_files("it", "a.csv")

    run = pipeline.run("it", "a.csv")

    [event] = [
        event
        for event in run.result.get_asset_materialization_events()
        if event.asset_key == dg.AssetKey(["validated", "it"])
    ]
    metadata = event.materialization.metadata
    assert metadata["quarantined"].value == 30
    table = metadata["quarantine"]
    assert isinstance(table, dg.TableMetadataValue)
    shown = {record.data["raw_id"] for record in table.records}
    assert len(shown) == rejected.EXAMPLES
    assert {record.data["rule"] for record in table.records} == {"required", "less_than_equal"}
    assert "kasparro replay it" in str(metadata["how_to_recover"].value)
    assert "replay_rejected_it" in str(metadata["how_to_recover"].value)


def test_the_contract_of_a_replay_is_registered(warehouse: psycopg.Connection[Any]) -> None:
    hold = ledger.begin(warehouse, "it", "p", "run-1")
    contract = Contract.model_validate({"kind": "thing", "key": "id", "fields": {"title": {}}})
    replay_rejected(warehouse, hold, contract)
    [[version]] = warehouse.execute("select contract_version from kasparro.etl_run").fetchall()
    assert version == 1
