"""What the drift check asks of the tables and writes into them. What is a difference, others decide."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from psycopg.rows import class_row
from psycopg.types.json import Jsonb

from kasparro_pipeline.warehouse.ledger import Connection
from kasparro_pipeline.warehouse.tables import SCHEMA

EARLIER_DOCUMENTS = 20
"""Documents whose profiles tell what came before a field went."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the drift check said of a partition last, and the contract that would fit."""

    partition_key: str
    run_id: str
    changes: int
    compatibility: str
    base_sha256: bytes | None
    """Of the file that the proposal changes."""
    proposed: str | None
    """The whole file with the changes."""
    left_over: str
    """What no change of the contract puts right, a line each."""
    made_at: datetime


@dataclass(frozen=True, slots=True)
class ContractVersion:
    """A version of a source's contract."""

    version: int
    contract: dict[str, Any]
    created_at: datetime


def earlier_profiles(
    connection: Connection, source: str, fields: Sequence[str], without: Collection[int]
) -> list[tuple[int, Mapping[str, Any]]]:
    """Documents of the source from before each field was found gone, with their profiles, newest first.

    Of each field up to EARLIER_DOCUMENTS. The documents `without` are left out: those that are looked at.
    """
    return connection.execute(
        # fields that were found gone at one time share their documents
        "with found_gone as (select distinct coalesce(("
        f" select min(detected_at) from {SCHEMA}.drift_event where source = %(source)s"
        " and change in ('removed', 'renamed') and field = gone.field"
        " ), 'infinity') as at from unnest(%(fields)s::text[]) as gone (field))"
        f" select id, profile from {SCHEMA}.document where id in ("
        " select earlier.id from found_gone cross join lateral ("
        f" select id from {SCHEMA}.document where source = %(source)s and loaded_at < found_gone.at"
        " and profile is not null and id <> all(%(without)s) order by id desc limit %(limit)s"
        " ) as earlier) order by id desc",
        {
            "source": source,
            "without": list(without),
            "fields": list(fields),
            "limit": EARLIER_DOCUMENTS,
        },
    ).fetchall()


def raw_ids(connection: Connection, places: Collection[tuple[int, int]]) -> dict[tuple[int, int], int]:
    """The raw records at some places of profiles: the document that one is stored with, and a position.

    A position within one document, or a number over all records of those that the profile describes, whose
    raw ids follow each other.
    """
    rows = connection.execute(
        "with place as ("
        " select * from unnest(%s::bigint[], %s::int[]) as p (document_id, position)"
        ") select p.document_id, p.position,"
        " case when d.profiled_from is null then b.first_id + p.position - b.first_position"
        " else ("
        f"  select min(r.first_id) from {SCHEMA}.document m join {SCHEMA}.raw_batch r on r.document_id = m.id"
        "  where m.source = d.source and m.partition_key = d.partition_key"
        "  and m.id between d.profiled_from and d.id"
        " ) + p.position end"
        f" from place p join {SCHEMA}.document d on d.id = p.document_id left join lateral ("
        f" select first_id, first_position, records from {SCHEMA}.raw_batch r"
        " where r.document_id = p.document_id and r.first_position <= p.position"
        " order by r.first_position desc limit 1"
        " ) b on true where d.profiled_from is not null or p.position < b.first_position + b.records"
        " union all select p.document_id, p.position, s.raw_id + p.position - s.position"
        " from place p cross join lateral ("
        f" select positions, raw_ids, lengths from {SCHEMA}.repeated_batch r"
        " where r.document_id = p.document_id and r.first_position <= p.position"
        " order by r.first_position desc limit 1"
        " ) b cross join lateral unnest(b.positions, b.raw_ids, b.lengths) s (position, raw_id, length)"
        " where p.position >= s.position and p.position < s.position + s.length",
        ([document for document, _ in places], [position for _, position in places]),
    ).fetchall()
    return {(document, position): raw_id for document, position, raw_id in rows}


def record(
    connection: Connection, source: str, partition_key: str, run_id: str, drifts: Iterable[Mapping[str, Any]]
) -> None:
    """Keep each difference that a run's drift check found; a repeated check of the run adds nothing."""
    connection.execute(
        f"insert into {SCHEMA}.drift_event (source, partition_key, run_id, change, field, mode, expected,"
        " found, records, share, confidence, examples)"
        " select %s, %s, %s, d.* from jsonb_to_recordset(%s) as d (change text, field text, mode text,"
        " expected text, found text, records bigint, share numeric, confidence numeric, examples jsonb)"
        " on conflict do nothing",
        (source, partition_key, run_id, Jsonb([dict(drift) for drift in drifts])),
    )


def keep_verdict(connection: Connection, source: str, verdict: Verdict) -> None:
    """Keep what the check says of a partition, in the place of what it said before."""
    connection.execute(
        f"insert into {SCHEMA}.drift_verdict (source, partition_key, run_id, changes, compatibility,"
        " base_sha256, proposed, left_over, made_at) values (%s, %s, %s, %s, %s, %s, %s, %s, %s)"
        " on conflict (source, partition_key) do update set run_id = excluded.run_id,"
        " changes = excluded.changes, compatibility = excluded.compatibility,"
        " base_sha256 = excluded.base_sha256, proposed = excluded.proposed,"
        " left_over = excluded.left_over, made_at = excluded.made_at",
        (
            source,
            verdict.partition_key,
            verdict.run_id,
            verdict.changes,
            verdict.compatibility,
            verdict.base_sha256,
            verdict.proposed,
            verdict.left_over,
            verdict.made_at,
        ),
    )


def verdicts(connection: Connection, source: str) -> list[Verdict]:
    """What the check said last of each of the source's partitions, the newest partition first."""
    with connection.cursor(row_factory=class_row(Verdict)) as cursor:
        return cursor.execute(
            "select partition_key, run_id, changes, compatibility, base_sha256, proposed, left_over, made_at"
            f" from {SCHEMA}.drift_verdict where source = %s order by partition_key desc",
            (source,),
        ).fetchall()


def contract_versions(connection: Connection, source: str) -> list[ContractVersion]:
    """Every version of the source's contract, the oldest first."""
    with connection.cursor(row_factory=class_row(ContractVersion)) as cursor:
        return cursor.execute(
            f"select version, contract, created_at from {SCHEMA}.contract_version where source = %s"
            " order by version",
            (source,),
        ).fetchall()
