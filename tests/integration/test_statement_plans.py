"""Statements over batches cost what the records cost: none compares each record with each other one."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
from psycopg.sql import Composable

from kasparro_pipeline.components import CsvSource
from kasparro_pipeline.warehouse import base_keys, document_reader, planning
from kasparro_pipeline.warehouse.connection import connect
from kasparro_pipeline.warehouse.repeated import Base
from kasparro_pipeline.warehouse.settings import WarehouseSettings
from tests.integration.test_csv_sources import put, run
from tests.integration.test_replay import replay

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    from tests.integration.conftest import Pipeline

RECORDS = 2000
FEW = 400
BATCH = 200
"""Too many for PostgreSQL to look at them: it leaves out arrays of more than a kilobyte."""
FIELDS: dict[str, Any] = {"title": {"path": "name", "required": True}, "amount": {"path": "price"}}
JOINS = re.compile(r"\s*(with|select|insert|update|delete)\b.*\bjoin\b", re.DOTALL)


class Comparisons:
    """Of each statement that was run: how many pairs of rows a join had to look at and throw away."""

    def __init__(self) -> None:
        self.thrown_away: dict[str, float] = {}

    def note(self, statement: str, plan: dict[str, Any]) -> None:
        thrown = plan.get("Rows Removed by Join Filter", 0) * plan["Actual Loops"]
        self.thrown_away[statement] = max(thrown, self.thrown_away.get(statement, 0))
        for part in plan.get("Plans", ()):
            self.note(statement, part)


@pytest.fixture
def comparisons(monkeypatch: pytest.MonkeyPatch) -> Comparisons:
    """What the statements that join compare: each is explained, taken back and then run."""
    found = Comparisons()
    execute = psycopg.Connection.execute

    def explained(self: Any, query: Any, params: Any = None, **more: Any) -> Any:
        text = query.as_string(self) if isinstance(query, Composable) else query
        if isinstance(text, str) and JOINS.match(text):
            with self.transaction(force_rollback=True):
                [[[made]]] = execute(self, f"explain (analyze, format json) {text}", params).fetchall()
            found.note(text, made["Plan"])
        return execute(self, query, params, **more)

    monkeypatch.setattr(psycopg.Connection, "execute", explained)
    return found


@pytest.fixture(params=[1, 20], ids=["few beside the table", "many beside the table"])
def csv(
    request: pytest.FixtureRequest,
    folder: Path,
    pipeline_of: Callable[..., Pipeline],
    monkeypatch: pytest.MonkeyPatch,
) -> Callable[..., Pipeline]:
    """A source of CSV files in small batches, whose records are few or many beside the table."""
    monkeypatch.setattr(planning, "A_PASS", request.param)
    monkeypatch.setattr("kasparro_pipeline.components.steps.BATCH_SIZE", BATCH)

    def build(**attributes: Any) -> Pipeline:
        spec = {"files": f"{folder}/*.csv", "kind": "thing", "key": "id", "fields": FIELDS}
        made = pipeline_of(CsvSource, spec | attributes)
        made.add_files("it", "a.csv", "few.csv", "b.csv", "c.csv")
        return made

    return build


def table(ids: Iterable[int], name: str, price: str = "1") -> str:
    return "id,name,price\n" + "".join(f"{number},{name} {number},{price}\n" for number in ids)


def test_a_merge_of_changed_records_compares_each_with_its_own(
    csv: Callable[..., Pipeline], folder: Path, comparisons: Comparisons
) -> None:
    pipeline = csv()
    files = ("a.csv", range(RECORDS)), ("few.csv", range(3)), ("b.csv", range(FEW)), ("c.csv", range(FEW))
    for file, ids in files:
        put(folder, table(ids, file), file)
        assert run(pipeline, file).success
        pipeline.warehouse.execute("vacuum (analyze)")
    assert pipeline.unified("it")["0"]["title"] == "c.csv 0"
    assert max(comparisons.thrown_away.values()) < 10 * RECORDS


def test_another_contract_and_a_replay_compare_each_record_with_its_own(
    csv: Callable[..., Pipeline], folder: Path, comparisons: Comparisons
) -> None:
    pipeline = csv()
    for file, ids in (("a.csv", range(RECORDS)), ("few.csv", range(3)), ("b.csv", range(FEW))):
        put(folder, table(ids, file, "12345"), file)
        assert run(pipeline, file).success
        pipeline.warehouse.execute("vacuum (analyze)")
    stricter = csv(fields=FIELDS | {"title": {"path": "name", "required": True, "pattern": "a.*"}})
    for file in ("a.csv", "b.csv"):
        assert stricter.run("it", file, layers="validated unified").success
    assert stricter.unified("it")["3"]["title"] == "a.csv 3"  # what is left of it that is valid
    again = csv()
    assert again.run("it", "a.csv", layers="validated unified").success
    assert replay(again, "b.csv").success
    assert again.unified("it")["3"]["title"] == "b.csv 3"
    assert max(comparisons.thrown_away.values()) < 10 * RECORDS


def test_a_snapshot_is_compared_with_the_one_before_it_by_hashes(
    csv: Callable[..., Pipeline], folder: Path, comparisons: Comparisons
) -> None:
    pipeline = csv(mode="snapshot", max_deleted_share=1, min_rows_share=0)
    for file, ids in (("a.csv", range(RECORDS)), ("b.csv", range(FEW)), ("b.csv", range(FEW // 2, FEW + 9))):
        put(folder, table([RECORDS + number if file == "b.csv" else number for number in ids], file), file)
        assert run(pipeline, file).success
        pipeline.warehouse.execute("vacuum (analyze)")
    deleted = [key for key, row in pipeline.unified("it").items() if row["deleted_at"] is not None]
    assert len(deleted) == FEW // 2
    assert max(comparisons.thrown_away.values()) < 10 * RECORDS


def test_keys_are_looked_for_in_the_base_by_hashes_however_often_a_connection_was_asked(
    pipeline_of: Callable[..., Pipeline], folder: Path, database_url: str
) -> None:
    pipeline = pipeline_of(
        CsvSource, {"files": f"{folder}/*.csv", "kind": "thing", "key": "id", "fields": FIELDS}
    )
    put(folder, table(range(RECORDS), "a"))
    assert run(pipeline).success
    [document] = pipeline.rows(
        "select source, partition_key, id as document_id, run_id, loaded_at, layout, profile"
        " from kasparro.document"
    )
    base = Base(**document, record_bytes=9)
    keys = [str(number) for number in range(0, RECORDS, 2)]
    with connect(WarehouseSettings.model_validate({"DATABASE_URL": database_url})) as connection:
        for _ in range(12):  # the driver prepares after 5, and PostgreSQL plans for any array after 5 more
            assert len(base_keys.with_keys(connection, base, keys)) == len(keys)
        [planned] = connection.execute(
            "select generic_plans, custom_plans from pg_prepared_statements where statement like '%any%'"
        ).fetchall()
        assert connection.execute("show jit").fetchone() == ("off",)
    assert planned[0] == 0
    assert planned[1] > 5


def test_the_rows_of_a_base_are_fetched_by_their_ids_however_many_others_there_are(
    warehouse: psycopg.Connection[Any],
) -> None:
    warehouse.execute(
        "with document as ("
        " insert into kasparro.document (source, partition_key, run_id, location, context, layout, headers,"
        " byte_count, sha256, fetched_at)"
        " values ('it', 'a.csv', 'r', 'a.csv', '{}', '{}', '{}', 1, '', now()) returning id)"
        " insert into kasparro.raw_batch (first_id, document_id, first_position, records, ends, payloads)"
        " select n, id, n, 1, '{1}', 'x' from document, generate_series(1, 20000) n"
    )
    warehouse.execute("analyze kasparro.raw_batch")
    asked = {"raw_ids": list(range(1, 20000, 200)), "lengths": [1] * 100, "kept": "{}"}
    plan = warehouse.execute(f"explain {document_reader.ROWS}", asked).fetchall()
    assert not [line for (line,) in plan if "Seq Scan" in line]
