"""Which stored profiles describe what came in a partition. What they say is not known here.

A profile describes one document, or those that were stored together with its own: their ids follow each other
within the partition. Once one of these counts no more, since its location has a newer document, the others
need profiles of their own.
"""

from bisect import bisect_left
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from operator import attrgetter
from typing import Any

from psycopg.types.json import Jsonb

from kasparro_pipeline.warehouse.ledger import Connection
from kasparro_pipeline.warehouse.tables import SCHEMA


@dataclass(frozen=True, slots=True)
class _Profiled:
    id: int
    location: str
    profiled_from: int | None
    has_profile: bool


@dataclass(frozen=True, slots=True)
class Newest:
    """The profiles of the newest document of each location in a partition."""

    profiles: list[tuple[int, Mapping[str, Any]]]
    """Each with the id of the document that it is stored with."""
    alone: list[int]
    """Documents that lack one of their own, since others which they share one with do not count any more."""


def newest(
    connection: Connection, source: str, partition_key: str, asked_for: Callable[[str], str]
) -> Newest:
    """The profiles of each location's newest document in a partition.

    Only of locations that ask for the same as that of the newest document: `asked_for` tells what a location
    asks for, where that moves from run to run. A partition without documents of its own found the upstream
    unchanged: what came in the newest partition before it still holds.
    """
    rows = connection.execute(
        f"select id, location, profiled_from, profile is not null from {SCHEMA}.document"
        " where source = %(source)s"
        f" and partition_key = (select max(partition_key) from {SCHEMA}.document where source = %(source)s"
        " and partition_key <= %(partition_key)s and loaded_at is not null)"
        " and loaded_at is not null order by id",
        {"source": source, "partition_key": partition_key},
    ).fetchall()
    documents = [_Profiled(*row) for row in rows]
    last = {one.location: one.id for one in documents}
    asked = asked_for(documents[-1].location) if documents else ""
    count = {id_ for location, id_ in last.items() if asked_for(location) == asked}
    chosen: list[int] = []
    alone: list[int] = []
    for place, carrier in enumerate(documents):
        if not carrier.has_profile:
            continue
        described = [carrier.id]
        if carrier.profiled_from is not None:
            first = bisect_left(documents, carrier.profiled_from, key=attrgetter("id"))
            described = [one.id for one in documents[first : place + 1]]
        if count.issuperset(described):
            chosen.append(carrier.id)
        elif not count.isdisjoint(described):
            alone += described
    profiles = connection.execute(
        f"select id, profile from {SCHEMA}.document where id = any (%s) order by id", (chosen,)
    ).fetchall()
    return Newest(profiles, alone)


def layouts(connection: Connection, documents: Collection[int]) -> list[tuple[int, Mapping[str, Any]]]:
    """How the records of documents are read."""
    return connection.execute(
        f"select id, layout from {SCHEMA}.document where id = any (%s) order by id", (list(documents),)
    ).fetchall()


def keep(connection: Connection, document: int, profile: Mapping[str, Any]) -> None:
    """Let a document have a profile of its own, with places counted over its records."""
    connection.execute(
        f"update {SCHEMA}.document set profile = %s, profiled_from = id where id = %s",
        (Jsonb(profile), document),
    )
