"""What lives follows from the documents and their order alone: snapshots against a plain model."""

from __future__ import annotations

import hashlib
import itertools
import json
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kasparro_pipeline.components.steps import merge_validated, validate_raw
from kasparro_pipeline.contract.spec import Contract
from kasparro_pipeline.extract.documents import Batch, Document
from kasparro_pipeline.extract.json_records import records
from kasparro_pipeline.warehouse import checkpoints, ledger, raw, unified
from kasparro_pipeline.warehouse.deletions import FLOOR, Rules
from kasparro_pipeline.warehouse.snapshots import Taking

if TYPE_CHECKING:
    from collections.abc import Callable

    from kasparro_pipeline.warehouse.ledger import Connection, Hold

SHARE = 0.25
numbers = itertools.count()


def contract_of(titles: str, **more: Any) -> Contract:
    fields = {"title": {"path": "name", "required": True, "pattern": titles}, "revision": {"type": "integer"}}
    return Contract.model_validate({"kind": "thing", "key": "id", "fields": fields, **more})


CONTRACTS = {
    (titles, versioned): contract_of(
        titles, **({"version": {"path": "revision", "type": "integer"}} if versioned else {})
    )
    for titles in ("^[ABC]$", "^[AB]$")
    for versioned in (False, True)
}
Item = tuple[int, str, int]
"""Key, title and revision of a record."""


@dataclass
class Arrived:
    """A document, or what was said of a complete extraction: what the model knows of the past."""

    scope: str
    location: str
    items: list[Item]
    number: int
    complete: bool


@dataclass
class Taken:
    """A complete extraction of a scope."""

    scope: str
    documents: list[Arrived]
    through: int
    doubt: str | None


@dataclass
class World:
    """A snapshot source in the warehouse, and beside it the model."""

    connection: Connection
    by_partition: bool
    rules: tuple[str, bool] = ("^[ABC]$", False)
    source: str = field(default_factory=lambda: f"source-{next(numbers)}")
    arrived: list[Arrived] = field(default_factory=list)
    taken: list[Taken] = field(default_factory=list)

    @property
    def deleting(self) -> Rules:
        return Rules(self.by_partition, SHARE, 0.5, ends_with_line_break=False)

    def hold(self, partition: str) -> Hold:
        return ledger.begin(self.connection, self.source, partition, f"run-{next(numbers)}")

    def extract(self, partition: str, pages: list[list[Item]], *, whole: bool, doubt: str | None) -> None:
        """An extraction of some pages; one that is not whole dies: behind a page, or in a file."""
        scope = partition if self.by_partition else ""
        pages = pages[:1] if self.by_partition else pages
        hold, taking = self.hold(partition), Taking(scope)
        found: list[Arrived] = []
        for number, items in enumerate(pages):
            location = partition if self.by_partition else f"page {number}"
            done = whole and number == len(pages) - 1
            rows = [{"id": key, "name": name or None, "revision": revision} for key, name, revision in items]
            complete = whole or not self.by_partition
            # each file that was cut is another one
            body = json.dumps(rows).encode() + (b"" if complete else b" " * next(numbers))
            layout, cut = records(body, "", location)
            document = Document(location, len(body), hashlib.sha256(body).digest(), datetime.now(UTC), layout)
            batch = Batch(document, cut, {}, done=done, complete=complete, doubt=doubt)
            raw.store(
                *(self.connection, hold, batch),
                profile=None,
                source_cursor=None,
                lookback_window=None,
                taking=taking,
            )
            found.append(self._arrive(scope, location, items, complete=batch.complete))
        if whole:
            same = [one for one in self.arrived if one.scope == scope]
            self.taken.append(Taken(scope, found, same[-1].number, doubt))

    def take(self, step: str, partition: str, detail: Any) -> None:
        if step in {"walk", "walk and run"}:
            self.extract(partition, detail[0], whole=True, doubt=detail[1])
        elif step == "walk that dies":
            self.extract(partition, detail, whole=False, doubt=None)
        elif step == "change contract":
            self.rules = detail
        elif step == "merge that dies":
            self.merge_and_die(partition)
        if step in {"validate", "walk and run"}:
            self.validate(partition, whole=detail is True)
        if step in {"merge", "walk and run"}:
            self.merge(partition, whole=detail is True)

    def _arrive(self, scope: str, location: str, items: list[Item], *, complete: bool) -> Arrived:
        before = [one for one in self.arrived if one.location == location and one.complete]
        if complete and before and before[-1].items == items:
            return before[-1]
        made = Arrived(scope, location, items, len(self.arrived) + 1, complete)
        self.arrived.append(made)
        return made

    def validate(self, partition: str, *, whole: bool = False) -> None:
        validate_raw(self.connection, self.hold(partition), CONTRACTS[self.rules], whole=whole)

    def merge(self, partition: str, *, whole: bool) -> None:
        merge_validated(self.connection, self.hold(partition), whole=whole, snapshots=self.deleting)

    def merge_and_die(self, partition: str) -> None:
        """A merge that is killed between its records and its deletions."""
        hold = self.hold(partition)
        after = checkpoints.progress(self.connection, hold).unified_through
        with self.connection.transaction(force_rollback=True):
            unified.merge_next(self.connection, hold, after=after, size=100, of_snapshots=True)

    def expected(self) -> dict[str, str]:
        titles, versioned = self.rules
        newest: dict[int, tuple[int, str]] = {}
        for document in self.arrived:
            for key, name, revision in document.items:
                rank = revision if versioned else 0
                if name and name in titles and (key not in newest or rank >= newest[key][0]):
                    newest[key] = (rank, name)
        living = set().union(*(self._living(scope) for scope in {one.scope for one in self.arrived}), set())
        return {str(key): name for key, (_, name) in newest.items() if key in living}

    def _living(self, scope: str) -> set[int]:
        """The keys that live by the snapshots of a scope, one after the other."""
        living: set[int] = set()
        rows: int | None = None
        after = 0
        for taken in (one for one in self.taken if one.scope == scope):
            own = {id(document) for document in taken.documents}
            came = [
                one
                for one in self.arrived
                if one.scope == scope and after < one.number <= taken.through and id(one) not in own
            ]
            living |= {key for document in came for key, *_ in document.items}
            after = taken.through
            held = {key for document in taken.documents for key, *_ in document.items}
            count = sum(len(document.items) for document in {id(d): d for d in taken.documents}.values())
            missing, before = len(living - held), len(living) if rows is None else rows
            cut = (not count and before) or (before - count > FLOOR and count < 0.5 * before)
            if taken.doubt or cut or missing > max(FLOOR, int(SHARE * len(living))):
                living |= held
            else:
                living, rows = held, count
        rest = [one for one in self.arrived if one.scope == scope and one.number > after]
        return living | {key for document in rest for key, *_ in document.items}

    def served(self) -> dict[str, str]:
        rows = self.connection.execute(
            "select source_id, title from kasparro.unified_record where source = %s and deleted_at is null",
            (self.source,),
        )
        return {row[0]: row[1] for row in rows}

    def rows(self) -> list[Any]:
        return self.connection.execute(
            "select ctid, xmin, u.* from kasparro.unified_record u order by id"
        ).fetchall()


@pytest.fixture
def world(warehouse: Connection) -> Callable[[bool], World]:
    return lambda by_partition: World(warehouse, by_partition)


PARTITIONS = ("one", "two", "three")
partitions = st.sampled_from(PARTITIONS)
keys = st.one_of(
    st.lists(st.integers(1, 12), unique=True, max_size=12),
    st.sampled_from([list(range(1, n)) for n in (1, 3, 9, 13, 17, 25)]),
)
pages = st.lists(
    st.tuples(keys, st.sampled_from("AAB"), st.sampled_from([1, 1, 2]), st.sampled_from(["", "C", "A"])).map(
        lambda made: [(key, made[1] if place else made[3], made[2]) for place, key in enumerate(made[0])]
    ),
    min_size=1,
    max_size=3,
)
doubts = st.sampled_from([None, None, None, "a doubt"])
steps = st.lists(
    st.one_of(
        st.tuples(st.just("walk"), partitions, st.tuples(pages, doubts)),
        st.tuples(st.just("walk and run"), partitions, st.tuples(pages, doubts)),
        st.tuples(st.just("walk that dies"), partitions, pages),
        st.tuples(st.just("validate"), partitions, st.booleans()),
        st.tuples(st.just("merge"), partitions, st.booleans()),
        st.tuples(st.just("merge that dies"), partitions, st.none()),
        st.tuples(st.just("change contract"), st.just(""), st.sampled_from(list(CONTRACTS))),
    ),
    max_size=14,
)


@settings(
    max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)  # fmt: skip
@given(plan=steps, last=st.permutations(PARTITIONS), by_partition=st.booleans())
def test_any_order_of_snapshots_crashes_merges_and_replays_ends_at_what_the_snapshots_say(
    world: Callable[[bool], World], plan: list[tuple[str, str, Any]], last: list[str], by_partition: bool
) -> None:
    it = world(by_partition)
    for step, partition, detail in plan:
        it.take(step, partition, detail)
    for partition in last:
        it.validate(partition)
    for partition in reversed(last):
        it.merge(partition, whole=False)
    assert it.served() == it.expected()

    before = it.rows()
    for partition in last:
        it.merge(partition, whole=True)
    assert it.rows() == before
