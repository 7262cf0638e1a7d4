"""Reads a stored record again, by its document's layout: each format has its module."""

from collections.abc import Mapping, Sequence
from typing import Any

from kasparro_pipeline.contract.table import Table
from kasparro_pipeline.extract import csv_rows, feed, json_records
from kasparro_pipeline.extract.unreadable import UnreadableRecordError

MAX_RECORD = 16 * 1024 * 1024
"""Bytes of a record that is read. PostgreSQL takes values of 256 MB in `jsonb`, and a run holds a record
several times. Cells of a CSV file have the same limit, each by itself."""
READ_TOGETHER = 1_000
"""Records that are read at once, where their format allows it."""
_READERS = {"json": json_records.read, "csv": csv_rows.read, "feed": feed.read}


def read(payload: bytes, layout: Mapping[str, Any]) -> object:
    """The value that a raw payload holds.

    Raises:
        UnreadableRecordError: with the rule that the payload breaks.
    """
    if len(payload) > MAX_RECORD and layout["format"] != "csv":
        message = f"the record has {len(payload):,} bytes, at most {MAX_RECORD:,} are read"
        raise UnreadableRecordError("record_too_large", message)
    try:
        return _READERS[layout["format"]](payload, layout)
    except UnreadableRecordError:
        raise
    except (ValueError, RecursionError) as error:
        raise UnreadableRecordError("unreadable", f"the record cannot be read: {error}") from error


def read_many(
    payloads: Sequence[bytes], layout: Mapping[str, Any]
) -> tuple[Table | list[object], dict[int, UnreadableRecordError]]:
    """The values that raw payloads of one document hold, and by index why some of them have none."""
    if layout["format"] == "csv" and (table := csv_rows.read_many(payloads, layout)) is not None:
        return table, {}
    values: list[object] = []
    unreadable: dict[int, UnreadableRecordError] = {}
    for start in range(0, len(payloads), READ_TOGETHER):
        some = payloads[start : start + READ_TOGETHER]
        if layout["format"] == "json" and max(map(len, some)) <= MAX_RECORD:
            found = json_records.read_many(some, layout)
            if found is not None:
                values += found
                continue
        for index, payload in enumerate(some, start):
            try:
                values.append(read(payload, layout))
            except UnreadableRecordError as error:
                values.append(None)
                unreadable[index] = error
    return values, unreadable
