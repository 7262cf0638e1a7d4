"""Makes of the batches of an extraction what raw stores: each with the profile of its document so far.

Where a document is compared with the one before it, also which of its records are stored at all.
"""

from collections.abc import Generator, Sequence
from contextlib import ExitStack
from typing import TYPE_CHECKING

from kasparro_pipeline.components.comparison import Comparison
from kasparro_pipeline.components.grouping import is_shareable
from kasparro_pipeline.components.source import Extraction
from kasparro_pipeline.contract.profile import Profile
from kasparro_pipeline.extract import csv_lines, records
from kasparro_pipeline.extract.documents import Document, PartialDocument, RawRecord, Rows
from kasparro_pipeline.warehouse import document_reader, raw
from kasparro_pipeline.warehouse.ledger import Connection, Hold
from kasparro_pipeline.warehouse.raw import Part

if TYPE_CHECKING:
    from kasparro_pipeline.components.repeats import Repeats


def parts_of(
    connection: Connection, hold: Hold, extraction: Extraction, comparison: Comparison | None
) -> Generator[Part]:
    """The batches of an extraction, to be stored. Documents that share their profile have none here."""
    location, profile = None, Profile()
    repeats: Repeats | None = None
    with ExitStack() as stack:
        for batch in extraction.batches:
            if batch.document is None or is_shareable(batch):
                yield Part(batch, None)
                continue
            if batch.document.location != location:
                location = batch.document.location
                begins = bool(batch.records) and batch.records[0].position == 0
                partial = None if begins else raw.partial_document(connection, hold.source, location)
                if begins and comparison is not None:
                    repeats = stack.enter_context(comparison.begun(connection, hold, batch))
                    if repeats is not None and extraction.tell is not None:
                        extraction.tell(repeats.unknown)
                if partial is not None and partial.sha256 == batch.document.sha256:
                    profile = _profile_of(connection, partial, batch.document)
                else:
                    profile = Profile()
                profile.text_only = batch.document.layout["format"] != "json"
            if repeats is None:
                _observe(profile, batch.records)
                yield Part(batch, profile.as_json())
                continue
            repeats.look(batch.records)
            if batch.complete or repeats.is_full:
                repetition = repeats.settle(whole=batch.complete)
                told = repeats.profile().as_json() if batch.complete else None
                yield Part(batch, told, repetition)


def _profile_of(connection: Connection, partial: PartialDocument, document: Document) -> Profile:
    """The profile of what is stored of a document."""
    if partial.profile is not None:
        return Profile.of([(0, partial.profile)])
    # it repeats another one, and has a profile only when it is whole
    profile, position = Profile(text_only=document.layout["format"] != "json"), 0
    of_lines = csv_lines.is_bytewise(document.layout["encoding"])
    # at most: the bytes are those of the whole document, also of what is not stored yet
    record_bytes = max(document.byte_count // partial.records, 1)
    for found in document_reader.read(connection, partial.id, record_bytes=record_bytes, of_lines=of_lines):
        values, _ = records.read_many(found.payloads, document.layout)
        profile.observe(list(values), range(position, position + len(values)))
        position += len(values)
    return profile


def _observe(profile: Profile, found: Sequence[RawRecord]) -> None:
    if isinstance(found, Rows):
        profile.observe_table(found.table, range(found.start, found.start + len(found)))
    else:
        profile.observe([record.value for record in found], [record.position for record in found])
