"""Stored rows of a CSV file are cut into the same records again, however its lines end."""

from __future__ import annotations

import io
from datetime import UTC, datetime
from itertools import count
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from kasparro_pipeline.extract import csv_lines, csv_rows
from kasparro_pipeline.extract.csv_lines import Lines
from kasparro_pipeline.extract.documents import Batch, Document, payloads_of
from kasparro_pipeline.warehouse import document_reader, ledger, raw

if TYPE_CHECKING:
    from kasparro_pipeline.warehouse.ledger import Connection

LAYOUT: dict[str, Any] = {"format": "csv", "delimiter": ",", "quote": '"', "encoding": "utf-8"} | {
    "columns": ["a", "b"],
    "comment": "#",
}
numbers = count()
parts = st.sampled_from(
    ["1,2\n", "1,2\r\n", "1,2\r", '1,"two\nlines"\n', '1,"two\rlines"\n', "\n", "\r\n", "#,x\n", "1,2,3\n"]
)


def stored(warehouse: Connection, body: bytes) -> tuple[int, list[bytes]]:
    """A file comes and is stored: the document's id, and its records."""
    hold = ledger.begin(warehouse, f"source-{next(numbers)}", "a.csv", "run")
    document = Document("a.csv", len(body), b"s" * 32, datetime.now(UTC), LAYOUT)
    records: list[bytes] = []
    for found, complete in csv_rows.batches(Lines(io.BytesIO(body), b"", "utf-8", "#"), LAYOUT, 0):
        batch = Batch(document, found, {}, complete=complete, done=complete)
        raw.store(warehouse, hold, batch, profile={}, source_cursor=None, lookback_window=None)
        records += payloads_of(found)
    row = warehouse.execute("select id from kasparro.document where source = %s", (hold.source,)).fetchone()
    assert row is not None
    return row[0], records


def read(warehouse: Connection, document_id: int) -> list[bytes]:
    found = document_reader.read(warehouse, document_id, record_bytes=8, of_lines=True)
    return [payload for some in found for payload in some.payloads]


@settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(found=st.lists(parts, min_size=1, max_size=12), size=st.integers(1, 12))
@example(found=["1,2\n", "1,2\n", "\n", "1,2\n", "1,2\r", "1,2\n", "1,2\n"], size=12)
def test_p7_the_records_of_a_file_are_cut_where_they_end_whatever_ends_a_line(
    warehouse: Connection, found: list[str], size: int
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(csv_lines, "READ_AT_ONCE", size)
        patch.setattr(csv_lines, "BATCH_BYTES", size)
        document_id, records = stored(warehouse, "".join(found).encode())
    assert read(warehouse, document_id) == records


@pytest.mark.parametrize("line_break", ["\n", "\r\n"], ids=["LF", "CR LF"])
def test_rows_of_lines_are_known_to_be_that(warehouse: Connection, line_break: str) -> None:
    document_id, records = stored(warehouse, f"1,2{line_break}".encode() * 2000 + b"3,4")
    assert read(warehouse, document_id) == records
    kept = warehouse.execute(
        "select each_a_line from kasparro.raw_batch where document_id = %s", (document_id,)
    ).fetchall()
    assert kept == [(True,)] * 3
