"""Says of rejected CSV rows in which line of their file they begin. Which are rejected is decided elsewhere.

Lines are counted in what is stored, so they are the same in a later validation or replay, whatever became of
the file. Batches that follow each other are counted as they come; only where a beginning is missing, or rows
in between, are rows read from the warehouse for that. Of rows that the file repeats from an earlier one, the
lines were counted when they came.
"""

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import replace
from itertools import groupby

from kasparro_pipeline.extract import csv_lines, csv_rows
from kasparro_pipeline.warehouse import raw_reader, repeated
from kasparro_pipeline.warehouse.ledger import Connection
from kasparro_pipeline.warehouse.raw_reader import StoredBatch
from kasparro_pipeline.warehouse.validated import RejectedRecord


class RowLines:
    """Counts on from batch to batch."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._reached: dict[int, tuple[int, int]] = {}
        """Of each document the raw id up to which lines are counted, and the line behind it."""
        self._read: dict[int, tuple[int, int]] = {}
        """Of each document the raw id before the row read last, and the line in which that begins."""
        self._repeated: dict[int, tuple[list[int], list[int]]] = {}
        """Of each document where its repeated rows begin, and how many lines they take up to there."""

    def told(self, batch: StoredBatch, refused: list[RejectedRecord]) -> list[RejectedRecord]:
        """The rejected records of a batch, with the line before each message if they are CSV rows."""
        if "first_line" not in batch.layout:
            return refused
        wanted = sorted(record.raw_id for record in refused)
        lines: dict[int, int] = {}
        place = 0
        for document_id, same in groupby(batch.records.document_ids):
            behind = place + len(list(same))
            raw_ids = batch.records.raw_ids[place:behind]
            own = [raw_id for raw_id in wanted if raw_ids[0] <= raw_id <= raw_ids[-1]]
            found = self._lines(document_id, raw_ids, batch.records.payloads[place:behind], own, batch)
            lines |= self._among_repeated(document_id, found)
            place = behind
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

    def _lines(
        self,
        document_id: int,
        raw_ids: Sequence[int],
        payloads: Sequence[bytes],
        wanted: Sequence[int],
        batch: StoredBatch,
    ) -> dict[int, int]:
        """The line that each wanted one of a document's records begins in, by raw id."""
        layout, encoding = batch.layout, batch.layout["encoding"]
        if raw_ids[-1] - raw_ids[0] >= len(raw_ids):  # others lie between them, as in a replay
            return self._stored(document_id, wanted, batch)
        reached, line = self._reached.get(document_id, (None, 0))
        if reached != raw_ids[0] - 1:
            if not wanted:
                return {}
            first = self._stored(document_id, raw_ids[:1], batch)[raw_ids[0]]
            line = first - csv_rows.lines_before(payloads[0], layout)
        found: dict[int, int] = {}
        place = 0
        for raw_id in wanted:
            number = raw_id - raw_ids[0]
            line += csv_lines.count(b"".join(payloads[place:number]), encoding)
            found[raw_id] = line + csv_rows.lines_before(payloads[number], layout)
            place = number
        line += csv_lines.count(b"".join(payloads[place:]), encoding)
        self._reached[document_id] = raw_ids[-1], line
        return found

    def _among_repeated(self, document_id: int, lines: dict[int, int]) -> dict[int, int]:
        """The lines, with those of the repeated rows before each of them."""
        if not lines:
            return lines
        if document_id not in self._repeated:
            self._repeated[document_id] = repeated.lines_before(self._connection, document_id)
        begins, taken = self._repeated[document_id]
        if not begins:
            return lines
        positions = raw_reader.positions(self._connection, list(lines))
        before = {raw_id: bisect_left(begins, position) for raw_id, position in positions.items()}
        return {
            raw_id: line + (taken[before[raw_id] - 1] if before[raw_id] else 0)
            for raw_id, line in lines.items()
        }

    def _stored(self, document_id: int, raw_ids: Sequence[int], batch: StoredBatch) -> dict[int, int]:
        """The same of records of a document, in rising order, from what is stored of it before them."""
        if not raw_ids:
            return {}
        layout, encoding = batch.layout, batch.layout["encoding"]
        start = 0, layout["first_line"]
        after, line = self._read.get(document_id, start)
        if after >= raw_ids[0]:
            after, line = start
        found: dict[int, int] = {}
        waiting = list(reversed(raw_ids))
        for row in raw_reader.packed(self._connection, document_id, after=after, through=raw_ids[-1]):
            # the next ones may begin within this row: it is counted again then, and nothing before it
            self._read[document_id] = row.first_id - 1, line
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
