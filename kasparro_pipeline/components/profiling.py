"""The profiles of what came: of batches to be stored, and of what is stored. The checks judge them."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from kasparro_pipeline.contract.profile import Profile
from kasparro_pipeline.extract import records
from kasparro_pipeline.extract.documents import Batch
from kasparro_pipeline.warehouse import profiles, raw_batches
from kasparro_pipeline.warehouse.ledger import Connection
from kasparro_pipeline.warehouse.raw_batches import Piece

ALL = 2**31 - 1
"""A position behind every record of a document."""


def of_batches(batches: Iterable[Batch]) -> Mapping[str, Any]:
    """The profile of whole JSON documents together, with places counted over all their records."""
    values = [record.value for batch in batches for record in batch.records]
    profile = Profile()
    profile.observe(values, range(len(values)))
    return profile.as_json()


def newest_profiles(
    connection: Connection, source: str, partition_key: str, asked_for: Callable[[str], str]
) -> Sequence[tuple[int, Mapping[str, Any]]]:
    """The profiles of the newest document of each location in a partition: see `profiles.newest`.

    Documents that lost the one they shared are read again; from then on each has its own.
    """
    found = profiles.newest(connection, source, partition_key, asked_for)
    if not found.alone:
        return found.profiles
    with connection.transaction():
        for document, layout in profiles.layouts(connection, found.alone):
            stored = raw_batches.read(connection, [Piece(document, 0, ALL)])
            values, unreadable = records.read_many(stored.payloads, layout)
            readable = [(place, value) for place, value in enumerate(values) if place not in unreadable]
            profile = Profile()
            profile.observe([value for _, value in readable], [place for place, _ in readable])
            profiles.keep(connection, document, profile.as_json())
    return profiles.newest(connection, source, partition_key, asked_for).profiles
