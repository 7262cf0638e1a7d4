"""P3 and P4 against a plain model: whatever the order of steps, readers see the newest valid version."""

from __future__ import annotations

import hashlib
import itertools
import json
import re
import threading
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kasparro_pipeline.components.steps import merge_validated, validate_raw
from kasparro_pipeline.contract.spec import Contract
from kasparro_pipeline.extract.documents import Batch, Document
from kasparro_pipeline.extract.json_records import records
from kasparro_pipeline.warehouse import checkpoints, ledger, planning, raw, unified
from kasparro_pipeline.warehouse.errors import RepeatedRecordError

if TYPE_CHECKING:
    from collections.abc import Callable

    from kasparro_pipeline.warehouse.ledger import Connection, Hold

PARTITIONS = ("2026-01-01", "2026-01-02", "2026-01-03")


def contract_of(titles: str, **more: Any) -> Contract:
    """A contract that takes the titles of a pattern."""
    fields = {"title": {"path": "name", "required": True, "pattern": titles}, "revision": {"type": "integer"}}
    return Contract.model_validate({"kind": "thing", "key": "id", "fields": fields, **more})


LOOSE, STRICT = "^[ABC]$", "^[AB]$"
REVISION = {"version": {"path": "revision", "type": "integer"}}
CONTRACTS = {
    (titles, versioned): contract_of(titles, **(REVISION if versioned else {}))
    for titles in (LOOSE, STRICT)
    for versioned in (False, True)
}

numbers = itertools.count()


def batch_of(items: list[dict[str, Any]], location: str = "x", cursor: dict[str, Any] | None = None) -> Batch:
    body = json.dumps(items).encode()
    layout, found = records(body, "", location)
    document = Document(
        location, len(body), hashlib.sha256(body).digest(), datetime.now(UTC), layout
    )  # fmt: skip
    return Batch(document, found, cursor or {}, done=cursor is None)


@dataclass
class World:
    """A source in the warehouse, and beside it the model: everything that arrived, in order."""

    connection: Connection
    rules: tuple[str, bool] = (LOOSE, False)
    """Which titles are valid, and whether the revision says which version is newer."""
    source: str = field(default_factory=lambda: f"source-{next(numbers)}")
    arrived: list[tuple[str, str, int | None]] = field(default_factory=list)

    def hold(self, partition: str) -> Hold:
        return ledger.begin(self.connection, self.source, partition, f"run-{next(numbers)}")

    def arrive(self, partition: str, items: list[tuple[str, str, int | None]]) -> None:
        """A document comes: (id, name, revision) each."""
        rows = [{"id": key, "name": name or None, "revision": revision} for key, name, revision in items]
        batch = batch_of(rows, location=f"{len(self.arrived)}")
        hold = self.hold(partition)
        raw.store(self.connection, hold, batch, profile=None, source_cursor=None, lookback_window=None)
        self.arrived += items

    def validate(self, partition: str) -> None:
        validate_raw(self.connection, self.hold(partition), CONTRACTS[self.rules], whole=False)

    def merge(self, partition: str, *, whole: bool) -> None:
        merge_validated(self.connection, self.hold(partition), whole=whole)

    def merge_one(self, partition: str) -> None:
        """A merge that is killed after its first record."""
        hold = self.hold(partition)
        after = checkpoints.progress(self.connection, hold).unified_through
        unified.merge_next(self.connection, hold, after=after, size=1)

    def expected(self) -> dict[str, str]:
        """The newest version that is valid under the present contract, of each key."""
        titles, versioned = self.rules
        newest: dict[str, tuple[int, str]] = {}
        for key, name, revision in self.arrived:
            valid = name and re.match(titles, name) and (revision is not None or not versioned)
            rank = revision if versioned and revision is not None else 0
            if valid and (key not in newest or rank >= newest[key][0]):
                newest[key] = (rank, name)
        return {key: name for key, (_, name) in newest.items()}

    def served(self) -> dict[str, str]:
        rows = self.connection.execute(
            "select source_id, title from kasparro.unified_record where source = %s and deleted_at is null",
            (self.source,),
        )
        return {row[0]: row[1] for row in rows}


@pytest.fixture
def world(warehouse: Connection) -> Callable[[], World]:
    return lambda: World(warehouse)


partitions = st.sampled_from(PARTITIONS)
items = st.lists(
    st.tuples(st.sampled_from("abc"), st.sampled_from(["", "A", "B", "C"]), st.sampled_from([None, 1, 2, 3])),
    min_size=1,
    max_size=4,
)
steps = st.lists(
    st.one_of(
        st.tuples(st.just("arrive"), partitions, items),
        st.tuples(st.just("validate"), partitions, st.none()),
        st.tuples(st.just("merge"), partitions, st.booleans()),
        st.tuples(st.just("merge one"), partitions, st.none()),
        st.tuples(st.just("change contract"), st.just(""), st.sampled_from(list(CONTRACTS))),
    ),
    max_size=14,
)


@settings(
    max_examples=120, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)  # fmt: skip
@given(plan=steps, last=st.permutations(PARTITIONS))
def test_p3_any_order_of_arrivals_contract_changes_merges_and_replays_ends_at_the_newest_valid_version(
    world: Callable[[], World],
    plan: list[tuple[str, str, Any]],
    last: list[str],
) -> None:
    it = world()
    for step, partition, detail in plan:
        if step == "arrive":
            it.arrive(partition, detail)
        elif step == "validate":
            it.validate(partition)
        elif step == "change contract":
            it.rules = detail
        elif step == "merge one":
            it.merge_one(partition)
        else:
            it.merge(partition, whole=detail)
    for partition in last:
        it.validate(partition)
    for partition in reversed(last):
        it.merge(partition, whole=False)
    assert it.served() == it.expected()

    before = it.connection.execute(
        "select ctid, xmin, u.* from kasparro.unified_record u order by id"
    ).fetchall()
    for partition in last:
        it.merge(partition, whole=True)
    after = it.connection.execute(
        "select ctid, xmin, u.* from kasparro.unified_record u order by id"
    ).fetchall()
    assert after == before


def test_p3_a_change_that_is_merged_after_its_own_reversal_does_not_come_back(
    world: Callable[[], World],
) -> None:
    """A in one partition, B in a second, A in a third; the second is merged last."""
    it = world()
    for partition, name in zip(PARTITIONS, "ABA", strict=True):
        it.arrive(partition, [("1", name, None)])
        it.validate(partition)
    for partition in (PARTITIONS[0], PARTITIONS[2], PARTITIONS[1]):
        it.merge(partition, whole=False)

    assert it.served() == {"1": "A"}


def test_p4_a_batch_that_cannot_be_stored_moves_no_cursor_and_leaves_no_trace(
    world: Callable[[], World],
) -> None:
    it = world()
    hold = it.hold(PARTITIONS[0])
    good = batch_of([{"id": 1, "name": "x"}], cursor={"page": 2})
    broken = Batch(good.document, [*good.records, *good.records], {"page": 2})

    with pytest.raises(RepeatedRecordError):
        raw.store(it.connection, hold, broken, profile=None, source_cursor=None, lookback_window=None)

    assert checkpoints.read_cursor(it.connection, it.source, PARTITIONS[0]) is None
    row = it.connection.execute(
        "select (select count(*) from kasparro.document), (select count(*) from kasparro.raw_record),"
        " (select sum(extracted + documents) from kasparro.etl_run)"
    ).fetchone()
    assert row == (0, 0, 0)


@pytest.mark.parametrize("a_pass", [0, 20], ids=["few beside the table", "many beside the table"])
@pytest.mark.parametrize("is_new", [True, False], ids=["both insert it", "both replace one"])
def test_p3_of_two_merges_at_the_same_time_the_newer_version_stays(
    world: Callable[[], World],
    database_url: str,
    monkeypatch: pytest.MonkeyPatch,
    *,
    is_new: bool,
    a_pass: int,
) -> None:
    monkeypatch.setattr(planning, "A_PASS", a_pass)
    it = world()
    if not is_new:
        it.arrive(PARTITIONS[2], [("1", "C", None)])
        it.validate(PARTITIONS[2])
        it.merge(PARTITIONS[2], whole=False)
    it.connection.execute("analyze kasparro.unified_record")
    it.arrive(PARTITIONS[0], [("1", "A", None)])
    it.validate(PARTITIONS[0])
    older = it.hold(PARTITIONS[0])

    def merge_older() -> None:
        with psycopg.connect(database_url, autocommit=True) as other:
            other.execute("set application_name = 'older'")
            merge_validated(other, older, whole=False)

    thread = threading.Thread(target=merge_older)
    with it.connection.transaction():
        # none of it is committed yet: the other sees nothing of it when it begins
        it.arrive(PARTITIONS[1], [("1", "B", None)])
        it.validate(PARTITIONS[1])
        it.merge(PARTITIONS[1], whole=False)
        thread.start()
        _wait_until_blocked(database_url, "older")
    thread.join()

    assert it.served() == {"1": "B"}


def _wait_until_blocked(database_url: str, application: str) -> None:
    query = "select count(*) from pg_stat_activity where application_name = %s and wait_event_type = 'Lock'"
    with psycopg.connect(database_url, autocommit=True) as watcher:
        deadline = time.monotonic() + 30
        while watcher.execute(query, (application,)).fetchone() == (0,):
            assert time.monotonic() < deadline, "the second merge does not meet the first"
            time.sleep(0.01)
