"""Reads a stored record again, by its document's layout: each format has its module."""

from collections.abc import Mapping
from typing import Any

from kasparro_pipeline.extract import csv_files, feed, json_records
from kasparro_pipeline.extract.unreadable import UnreadableRecordError

_READERS = {"json": json_records.read, "csv": csv_files.read, "feed": feed.read}


def read(payload: bytes, layout: Mapping[str, Any]) -> object:
    """The value that a raw payload holds.

    Raises:
        UnreadableRecordError: with the rule that the payload breaks.
    """
    try:
        return _READERS[layout["format"]](payload, layout)
    except UnreadableRecordError:
        raise
    except (ValueError, RecursionError) as error:
        raise UnreadableRecordError("unreadable", f"the record cannot be read: {error}") from error
