"""Which batches are stored in one transaction, and the profile that small documents among them share."""

from collections.abc import Generator, Iterable, Sequence
from dataclasses import dataclass

from kasparro_pipeline.components.profiling import of_batches
from kasparro_pipeline.extract.documents import Batch
from kasparro_pipeline.warehouse.raw import Part, Shared

MOST_BYTES = 8 * 1024 * 1024
"""Bytes of documents that are stored together, about; a larger one is stored by itself."""


@dataclass(frozen=True, slots=True)
class Group:
    """Parts that are stored together."""

    parts: Sequence[Part]
    shared: Shared | None
    """The profile of those that have none of their own."""


def is_shareable(batch: Batch) -> bool:
    """Whether a batch is a whole document that may share its profile: of JSON, which always comes whole."""
    document = batch.document
    return document is not None and batch.complete and document.layout["format"] == "json"


def together(parts: Iterable[Part], most: int) -> Generator[Group]:
    """The parts in groups: as many as are there at once, up to about `most` records or MOST_BYTES.

    What was received whole before the upstream fails is a group of its own, before the error is raised.
    """
    group: list[Part] = []
    try:
        for part in parts:
            group.append(part)
            waiting = sum(len(one.batch.records) for one in group)
            size = sum(one.batch.document.byte_count for one in group if one.batch.document)
            if not part.batch.more_is_there or waiting >= most or size >= MOST_BYTES:
                yield _grouped(group)
                group = []
    except Exception:
        if group:
            yield _grouped(group)
        raise


def _grouped(parts: Sequence[Part]) -> Group:
    batches = [part.batch for part in parts if is_shareable(part.batch)]
    return Group(parts, Shared(of_batches(batches), of_batches) if batches else None)
