"""Says of rejected CSV rows in which line of their file they begin. Which are rejected is decided elsewhere.

Lines are counted in what is stored, so they are the same in a later validation or replay, whatever became of
the file.
"""

from collections.abc import Sequence
from dataclasses import replace

from kasparro_pipeline.extract import csv_lines, csv_rows
from kasparro_pipeline.warehouse import raw_reader
from kasparro_pipeline.warehouse.ledger import Connection
from kasparro_pipeline.warehouse.raw_reader import StoredBatch
from kasparro_pipeline.warehouse.validated import RejectedRecord


class RowLines:
    """Counts on from batch to batch, so that what is stored is read about once more."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._counted: dict[int, tuple[int, int]] = {}
        """Of each document the raw id before the row counted last, and the line in which that begins."""

    def told(self, batch: StoredBatch, refused: list[RejectedRecord]) -> list[RejectedRecord]:
        """The rejected records of a batch, with the line before each message if they are CSV rows."""
        if "first_line" not in batch.layout:
            return refused
        by_document: dict[int, list[int]] = {}
        for record in refused:
            by_document.setdefault(record.document_id, []).append(record.raw_id)
        lines: dict[int, int] = {}
        for document_id, raw_ids in by_document.items():
            lines |= self._lines(document_id, sorted(raw_ids), batch)
        return [
            replace(
                record,
                reasons=[
                    {**reason, "message": f"line {lines[record.raw_id]}: {reason['message']}"}
                    for reason in record.reasons
                ],
            )
            for record in refused
        ]

    def _lines(self, document_id: int, raw_ids: Sequence[int], batch: StoredBatch) -> dict[int, int]:
        """The line that each of some records of a document begins in, by raw id."""
        layout, encoding = batch.layout, batch.layout["encoding"]
        start = 0, layout["first_line"]
        after, line = self._counted.get(document_id, start)
        if after >= raw_ids[0]:
            after, line = start
        found: dict[int, int] = {}
        waiting = list(reversed(raw_ids))
        for row in raw_reader.packed(self._connection, document_id, after=after, through=raw_ids[-1]):
            # the next batch may begin within this row: it is counted again, and nothing before it
            self._counted[document_id] = row.first_id - 1, line
            place, behind = 0, row.first_id + len(row.ends)
            while waiting and waiting[-1] < behind:
                number = waiting[-1] - row.first_id
                begin = row.ends[number - 1] if number else 0
                line += csv_lines.count(row.payloads[place:begin], encoding)
                own = row.payloads[begin : row.ends[number]]
                found[waiting.pop()] = line + csv_rows.lines_before(own, layout)
                place = begin
            line += csv_lines.count(row.payloads[place:], encoding)
        return found
