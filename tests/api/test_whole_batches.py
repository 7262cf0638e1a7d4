"""Readers of the API see whole batches, never half of one (P6), while the pipeline writes."""

import threading
from typing import Any

import psycopg
import pytest

from kasparro_pipeline.components.steps import merge_validated, validate_raw
from kasparro_pipeline.warehouse import ledger, raw
from tests.api.conftest import Get
from tests.integration.test_merge_order import batch_of, contract_of

RECORDS = 200
BATCHES = 25
CONTRACT = contract_of(r"^batch \d+$")


def write_batches(warehouse: psycopg.Connection[Any], ended: threading.Event) -> None:
    """Deliver every record anew, again and again: each time all of them have another title."""
    try:
        for number in range(BATCHES):
            items = [{"id": key, "name": f"batch {number}", "revision": None} for key in range(RECORDS)]
            hold = ledger.begin(warehouse, "things", "2026-01-01", f"run-{number}")
            batch = batch_of(items, location=f"{number}")
            raw.store(warehouse, hold, batch, profile=None, source_cursor=None, lookback_window=None)
            validate_raw(warehouse, hold, CONTRACT, whole=False)
            merge_validated(warehouse, hold, whole=False)
    finally:
        ended.set()


@pytest.mark.parametrize("path", ["/data", "/data.ndjson", "/data.csv"])
def test_p6_a_page_and_an_export_hold_whole_batches(
    get: Get, warehouse: psycopg.Connection[Any], path: str
) -> None:
    ended = threading.Event()
    writer = threading.Thread(target=write_batches, args=(warehouse, ended))
    writer.start()
    seen = set()
    try:
        while not ended.is_set():
            text = get(path, limit=1000, fields="title").text
            found = {part.split('"')[0].strip() for part in text.split("batch ")[1:]}
            assert len(found) <= 1, f"half of one batch and half of another: {found}"
            assert text.count("batch ") in {0, RECORDS}
            seen |= found
    finally:
        writer.join()
    assert len(seen) > 1, "the reader met one batch only"
