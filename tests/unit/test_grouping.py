"""Documents that are there at once are stored together, as long as they are few and small."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest

from kasparro_pipeline.components.grouping import MOST_BYTES, together
from kasparro_pipeline.extract.documents import Batch, Document, RawRecord
from kasparro_pipeline.warehouse.raw import Part

if TYPE_CHECKING:
    from collections.abc import Iterator

MOST = 10


def part(records: int, size: int, *, more: bool = True) -> Part:
    document = Document("x", size, b"s" * 32, datetime.now(UTC), {"format": "json"})
    found = [RawRecord(position, b"1", 1) for position in range(records)]
    return Part(Batch(document, found, {}, more_is_there=more, done=not more), None)


@pytest.mark.parametrize(
    ("parts", "groups"),
    [
        ([part(3, 9), part(3, 9), part(3, 9, more=False)], [3]),
        ([part(3, 9, more=False), part(3, 9, more=False)], [1, 1]),
        ([part(6, 9), part(6, 9), part(6, 9, more=False)], [2, 1]),
        ([part(1, MOST_BYTES // 2), part(1, MOST_BYTES // 2), part(1, 9, more=False)], [2, 1]),
        ([part(1, MOST_BYTES), part(1, MOST_BYTES), part(1, 9, more=False)], [1, 1, 1]),
    ],
    ids=["few", "not there yet", "many", "large", "larger"],
)
def test_documents_are_stored_together_up_to_so_many_records_and_bytes(
    parts: list[Part], groups: list[int]
) -> None:
    assert [len(group.parts) for group in together(parts, MOST)] == groups


def test_what_was_received_before_the_upstream_failed_is_stored_before_the_error() -> None:
    def failing() -> Iterator[Part]:
        yield part(1, 9)
        yield part(1, 9)
        raise ConnectionError("gone")

    groups = together(failing(), MOST)
    assert len(next(groups).parts) == 2
    with pytest.raises(ConnectionError, match="gone"):
        next(groups)
