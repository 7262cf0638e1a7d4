"""Snapshots: which documents a complete extraction consisted of, and what was decided about it.

Only kept and found again here. What one no longer holds is in `presence`, what follows from that in
`deletions`.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

from psycopg.rows import class_row

from kasparro_pipeline.warehouse.ledger import Connection, Hold
from kasparro_pipeline.warehouse.tables import SCHEMA

Verdict = Literal["accepted", "refused"]

UNJUDGED = (
    f"exists (select from {SCHEMA}.snapshot s where s.source = c.source"
    " and s.partition_key = c.partition_key and s.verdict is null)"
)
"""SQL over a row `c` of `checkpoint`: a snapshot of the partition waits to be judged."""


@dataclass(slots=True)
class Taking:
    """A snapshot under way: the documents that its extraction has met so far."""

    scope: str
    """The partition that it will be all of; empty: the whole source."""
    documents: set[int] = field(default_factory=set)
    """Ids of the stored ones, those that had not changed among them."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A complete extraction of a scope, as it is kept."""

    id: int
    partition_key: str
    documents: Sequence[int]
    through: int
    """The newest document of its scope when it came: what is newer came after it."""
    records: int
    """Raw records of its documents."""
    doubt: str | None
    completed_at: datetime
    verdict: Verdict | None
    provisional: bool
    """Whether records from before it had no outcome when it was judged."""
    reason: str | None
    """Why it was refused; of an accepted one, that a person has accepted it."""
    living: int | None
    missing: int | None


_COLUMNS = (
    "id, partition_key, documents, through, records, doubt, completed_at, verdict, provisional, reason,"
    " living, missing"
)


def record(connection: Connection, hold: Hold, taking: Taking, doubt: str | None) -> None:
    """Keep a snapshot, in the transaction that stores the last of its documents.

    One that says the same as the newest of its scope, with nothing between them, is not kept again (P5).
    """
    if not taking.documents:
        return
    connection.execute(
        f"with newest as (select * from {SCHEMA}.snapshot where source = %(source)s and scope = %(scope)s"
        " order by id desc limit 1),"
        f" made as (select max(id) as through from {SCHEMA}.document where source = %(source)s"
        " and (partition_key = %(scope)s or %(scope)s = ''))"
        f" insert into {SCHEMA}.snapshot (source, scope, partition_key, run_id, documents, through, records,"
        " doubt) select %(source)s, %(scope)s, %(partition_key)s, %(run_id)s, %(documents)s, made.through,"
        f" (select coalesce(sum(record_count), 0) from {SCHEMA}.document where id = any (%(documents)s)),"
        " %(doubt)s from made where not exists (select from newest n"
        " where n.documents = %(documents)s::bigint[] and n.doubt is not distinct from %(doubt)s"
        " and n.through = made.through)",
        {
            "source": hold.source,
            "scope": taking.scope,
            "partition_key": hold.partition_key,
            "run_id": hold.run_id,
            "documents": sorted(taking.documents),
            "doubt": doubt,
        },
    )


def open_chain(connection: Connection, source: str, scope: str) -> list[Snapshot]:
    """The snapshots of a scope, in order of arrival, that still matter for what is to be decided.

    From the last accepted one on that came before any that is undecided, and before the newest.
    """
    query = (
        f"with own as (select * from {SCHEMA}.snapshot where source = %(source)s and scope = %(scope)s),"
        " open as (select least(min(id) filter (where verdict is null or provisional), max(id)) as first"
        " from own)"
        f" select {_COLUMNS} from own where id >= coalesce((select max(own.id) from own, open"
        " where verdict = 'accepted' and own.id < open.first), 0) order by id"
    )
    with connection.cursor(row_factory=class_row(Snapshot)) as cursor:
        return cursor.execute(query, {"source": source, "scope": scope}).fetchall()


def of_partition(connection: Connection, hold: Hold) -> tuple[Snapshot, bool] | None:
    """The newest snapshot that was taken in a partition; and whether a later one was accepted instead."""
    query = (
        f"select {_COLUMNS} from {SCHEMA}.snapshot where source = %s and partition_key = %s"
        " order by id desc limit 1"
    )
    with connection.cursor(row_factory=class_row(Snapshot)) as cursor:
        found = cursor.execute(query, (hold.source, hold.partition_key)).fetchone()
    if found is None:
        return None
    row = connection.execute(
        f"select exists (select from {SCHEMA}.snapshot later"
        f" join {SCHEMA}.snapshot this using (source, scope)"
        " where this.id = %s and later.id > this.id and later.verdict = 'accepted')",
        (found.id,),
    ).fetchone()
    return found, bool(row and row[0])


def decide(connection: Connection, snapshot: Snapshot, decision: Mapping[str, Any]) -> None:
    """Keep what was decided: verdict, whether that is provisional, reason, living and missing keys."""
    connection.execute(
        f"update {SCHEMA}.snapshot set verdict = %(verdict)s, provisional = %(provisional)s,"
        " reason = %(reason)s, living = %(living)s, missing = %(missing)s"
        " where id = %(id)s and (verdict, provisional, reason, living, missing)"
        " is distinct from (%(verdict)s, %(provisional)s, %(reason)s, %(living)s, %(missing)s)",
        {**decision, "id": snapshot.id},
    )


def without_outcome(connection: Connection, documents: Iterable[int]) -> list[str]:
    """Partitions in which records of some documents have no outcome yet."""
    rows = connection.execute(
        f"select distinct d.partition_key from {SCHEMA}.document d"
        f" join {SCHEMA}.checkpoint c using (source, partition_key)"
        f" cross join lateral (select max(first_id + records - 1) as last from {SCHEMA}.raw_batch"
        " where document_id = d.id) stored"
        " where d.id = any (%s) and stored.last > c.validated_through order by 1",
        (list(documents),),
    ).fetchall()
    return [row[0] for row in rows]
