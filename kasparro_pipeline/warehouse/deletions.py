"""Decides what a snapshot says about the records that it no longer holds, and carries that out.

Each snapshot of a scope is judged in its order of arrival, against what lived before it: what the last
accepted one held, and all that came since. An accepted one says what lives; of a refused one the records are
taken, and nothing is deleted. So what lives follows from the documents and their order, whatever the order in
which partitions are validated and merged: what is validated late has the snapshots behind it judged again.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from kasparro_pipeline.warehouse import filling, ledger, planning, presence, snapshots
from kasparro_pipeline.warehouse.ledger import Connection, Hold
from kasparro_pipeline.warehouse.snapshots import Snapshot
from kasparro_pipeline.warehouse.tables import SCHEMA

FLOOR = 5
"""Records that may always go at once, whatever their share: in a small table one of them is a large part."""


@dataclass(frozen=True, slots=True)
class Rules:
    """When a snapshot may delete."""

    by_partition: bool
    """Whether each partition, a file, is a snapshot of its own; else the whole source is one."""
    max_deleted_share: float
    """Part of the living records that may be missing."""
    min_rows_share: float
    """Rows that it must have, as a part of those of the last accepted one."""
    ends_with_line_break: bool
    """Whether a file whose last line does not end is cut off."""
    accept: bool = False
    """A person says that the newest snapshot is right."""

    def scope(self, partition_key: str) -> str:
        """The scope that a partition belongs to."""
        return partition_key if self.by_partition else ""


def lock(connection: Connection, source: str) -> None:
    """Let nobody else merge or judge a snapshot source until the transaction ends."""
    connection.execute(f"set local lock_timeout = '{filling.LONGEST_FILLING}'")
    connection.execute("select pg_advisory_xact_lock(hashtextextended(%s, 0))", (f"snapshots:{source}",))
    connection.execute("set local lock_timeout to default")


def settle(connection: Connection, hold: Hold, rules: Rules, merged: Iterable[int]) -> None:
    """Judge what waits to be judged, and let the unified records agree, in the transaction of the merge.

    `merged` are the documents whose records that merge took up. What it wrote of records that a later
    snapshot dropped is marked deleted.
    """
    scope = rules.scope(hold.partition_key)
    chain = snapshots.open_chain(connection, hold.source, scope)
    first = _first_to_judge(connection, chain)
    candidates = set(merged)
    if not candidates and first is None:
        return
    planning.compare_by_number(connection, sum(one.records for one in chain))
    accepted = next((one for one in reversed(chain[:first]) if one.verdict == "accepted"), None)
    if first is not None:
        candidates |= _since(connection, hold.source, scope, accepted, chain)
        accepted = _judge_all(connection, hold, rules, chain, first, accepted)
    later = [one for one in chain if accepted is None or one.id > accepted.id]
    living = _since(connection, hold.source, scope, accepted, later)
    deleted, restored = presence.apply(
        connection,
        hold,
        living=living,
        candidates=candidates - living,
        elsewhere=_elsewhere(connection, hold.source, scope) if rules.by_partition else (),
    )
    ledger.add_counts(connection, hold, {"deleted": deleted, "updated": restored})


def _first_to_judge(connection: Connection, chain: Sequence[Snapshot]) -> int | None:
    """Where judging begins: at the first that is not decided for good. A refused newest one never is."""
    for index, one in enumerate(chain):
        undecided = one.verdict is None or one.provisional
        undecided = undecided or (one.verdict == "refused" and one is chain[-1])
        if undecided and not snapshots.without_outcome(connection, one.documents):
            return index
    return None


def _judge_all(
    connection: Connection,
    hold: Hold,
    rules: Rules,
    chain: Sequence[Snapshot],
    first: int,
    accepted: Snapshot | None,
) -> Snapshot | None:
    """Judge the snapshots from `first` on; the last one that is accepted.

    One that a person accepted stays so. One that is not validated yet is judged when it is.
    """
    for index, one in enumerate(chain[first:], start=first):
        by_hand = one.reason if one.verdict == "accepted" else None
        if rules.accept and one is chain[-1]:
            by_hand = f"accepted by run {hold.run_id}"
        if snapshots.without_outcome(connection, one.documents):
            continue
        between = [other for other in chain[:index] if accepted is None or other.id > accepted.id]
        decision = _judge(connection, hold.source, rules, one, accepted, between, by_hand)
        snapshots.decide(connection, one, decision)
        if decision["verdict"] == "accepted":
            accepted = one
    return accepted


def _judge(
    connection: Connection,
    source: str,
    rules: Rules,
    one: Snapshot,
    accepted: Snapshot | None,
    between: Sequence[Snapshot],
    by_hand: str | None,
) -> dict[str, Any]:
    """What is decided about a snapshot, given the last accepted one before it and those in between."""
    before = {document for other in between for document in other.documents}
    scope = rules.scope(one.partition_key)
    stored = _stored(connection, source, scope, accepted.through if accepted else 0, one.through)
    before |= set(accepted.documents if accepted else ()) | (stored - set(one.documents))
    living, missing = 0, 0
    if before:
        living, missing = presence.missing(connection, source, documents=one.documents, before=before)
    reason = None
    if unreadable := presence.unreadable(connection, one.documents):
        # whatever a person says: one of them may be any of those that are missing
        reason = f"the keys of {unreadable:,} rejected records of it cannot be read"
    elif by_hand is None:
        reason = _doubt(connection, rules, one, accepted.records if accepted else living)
        allowed = max(FLOOR, int(rules.max_deleted_share * living))
        if reason is None and missing > allowed:
            reason = (
                f"{missing:,} of {living:,} records are missing in it, and max_deleted_share,"
                f" {rules.max_deleted_share:g}, allows {allowed:,}"
            )
    verdict = "accepted" if reason is None else "refused"
    return {
        "verdict": verdict,
        "provisional": bool(snapshots.without_outcome(connection, before)),
        "reason": reason or by_hand,
        "living": living,
        "missing": missing,
    }


def _doubt(connection: Connection, rules: Rules, one: Snapshot, rows_before: int) -> str | None:
    """Why the snapshot may be no whole one; None if nothing speaks against it."""
    if one.doubt is not None:
        return one.doubt
    if rules.ends_with_line_break and not _ends_with_line_break(connection, one):
        return "the file's last line has no line break at its end, so the file may be cut off"
    if one.records == 0 and rows_before:
        return f"it holds no record, after {rows_before:,} before"
    if rows_before - one.records > FLOOR and one.records < rules.min_rows_share * rows_before:
        return (
            f"it has {one.records:,} rows after {rows_before:,} before, less than min_rows_share,"
            f" {rules.min_rows_share:g}, of them"
        )
    return None


def _ends_with_line_break(connection: Connection, one: Snapshot) -> bool:
    row = connection.execute(
        f"select substr(b.payloads, greatest(octet_length(b.payloads) - 7, 1)), d.layout->>'encoding'"
        f" from {SCHEMA}.document d join {SCHEMA}.raw_batch b on b.document_id = d.id"
        " where d.id = any (%s) order by d.id desc, b.first_position desc limit 1",
        (one.documents,),
    ).fetchone()
    # the end of a text: no character of an encoding that takes whole units of 1, 2 or 4 bytes is cut
    return row is None or bytes(row[0]).decode(row[1], "replace").endswith(("\n", "\r"))


def _stored(connection: Connection, source: str, scope: str, after: int, through: int | None) -> set[int]:
    """Documents of a scope that were stored behind document `after`, up to `through`."""
    rows = connection.execute(
        f"select id from {SCHEMA}.document where source = %(source)s and id > %(after)s"
        " and (partition_key = %(scope)s or %(scope)s = '') and id <= coalesce(%(through)s, id)",
        {"source": source, "scope": scope, "after": after, "through": through},
    ).fetchall()
    return {row[0] for row in rows}


def _since(
    connection: Connection, source: str, scope: str, accepted: Snapshot | None, later: Sequence[Snapshot]
) -> set[int]:
    """Documents whose records live if that snapshot was the last one accepted: its own, and all since."""
    found = _stored(connection, source, scope, accepted.through if accepted else 0, None)
    found |= set(accepted.documents if accepted else ())
    return found | {document for one in later for document in one.documents}


def _elsewhere(connection: Connection, source: str, scope: str) -> set[int]:
    """Documents whose records live by the snapshots of other partitions."""
    rows = connection.execute(
        f"with accepted as (select distinct on (scope) scope, documents, through from {SCHEMA}.snapshot"
        " where source = %(source)s and scope <> %(scope)s and verdict = 'accepted' order by scope, id desc)"
        f" select d.id from {SCHEMA}.document d left join accepted a on a.scope = d.partition_key"
        " where d.source = %(source)s and d.partition_key <> %(scope)s"
        " and (a.scope is null or d.id > a.through or d.id = any (a.documents))",
        {"source": source, "scope": scope},
    ).fetchall()
    return {row[0] for row in rows}
