"""Any sequence of upstream versions, contract changes, replays and backfills ends where the model ends.

And so is every moment on the way, as `as_of` and `/changes` tell it afterwards.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any

from hypothesis import given, settings
from hypothesis import strategies as st

from kasparro_pipeline.components.steps import merge_validated, replay_rejected, validate_raw
from kasparro_pipeline.warehouse.errors import ReplayRefusedError
from tests.integration.test_merge_order import CONTRACTS, PARTITIONS, World, items, partitions

if TYPE_CHECKING:
    from datetime import datetime

    from tests.api.conftest import Service

steps = st.lists(
    st.one_of(
        st.tuples(st.just("arrive"), partitions, items),
        st.tuples(st.just("run"), partitions, st.none()),
        st.tuples(st.just("backfill"), partitions, st.none()),
        st.tuples(st.just("replay"), partitions, st.none()),
        st.tuples(st.just("change contract"), st.just(""), st.sampled_from(list(CONTRACTS))),
    ),
    max_size=12,
)


def take(it: World, step: str, partition: str, detail: Any) -> None:
    if step == "arrive":
        it.arrive(partition, detail)
    elif step == "change contract":
        it.rules = detail
    elif step == "replay":
        with suppress(ReplayRefusedError):  # another rule of versions: it says so, and changes nothing
            replay_rejected(it.connection, it.hold(partition), CONTRACTS[it.rules])
    else:
        hold = it.hold(partition)
        validate_raw(it.connection, hold, CONTRACTS[it.rules], whole=step == "backfill")
        merge_validated(it.connection, hold, whole=step == "backfill")


def clock(service: Service) -> datetime:
    row = service.warehouse.execute("select clock_timestamp()").fetchone()
    assert row is not None
    return row[0]  # type: ignore[no-any-return]


def asked(service: Service, source: str, moment: datetime) -> dict[str, str]:
    answer = service.get("/data", source=source, as_of=moment.isoformat(), limit=1000)
    assert answer.status_code == 200, answer.text
    return {record["source_id"]: record["title"] for record in answer.json()["data"]}


def followed(service: Service, source: str) -> dict[str, str]:
    """What a consumer of the feed has, who read it from its beginning."""
    held: dict[str, str] = {}
    since: dict[str, str] = {}
    while True:
        body = service.get("/changes", source=source, limit=3, **since).json()
        for event in body["data"]:
            if event["change"] == "delete":
                held.pop(event["source_id"])
            else:
                assert (event["source_id"] in held) == (event["change"] == "update")
                held[event["source_id"]] = event["record"]["title"]
        since = {"since": body["pagination"]["next_cursor"]}
        if not body["pagination"]["has_more"]:
            return held


@settings(max_examples=60, deadline=None)
@given(plan=steps, last=st.permutations(PARTITIONS))
def test_any_sequence_ends_where_the_model_ends_and_every_moment_of_it_can_be_asked_for(
    service: Service, plan: list[tuple[str, str, Any]], last: list[str]
) -> None:
    it = World(service.warehouse)
    moments = [(clock(service), it.served())]
    for step, partition, detail in plan:
        take(it, step, partition, detail)
        moments.append((clock(service), it.served()))
    for partition in last:
        take(it, "run", partition, None)
        moments.append((clock(service), it.served()))
    for partition in reversed(last):
        take(it, "run", partition, None)

    assert it.served() == it.expected()
    for moment, served in moments:
        assert asked(service, it.source, moment) == served
    assert followed(service, it.source) == it.expected()
