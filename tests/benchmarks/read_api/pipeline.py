"""Loads documents as the pipeline does: raw → validated → merged by its own steps, each document a run.

`python -m tests.benchmarks.read_api.pipeline URL ROWS` loads the latecomer, beside readers.
"""

import sys
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from uuid import uuid4

import orjson

from kasparro_pipeline.components import steps
from kasparro_pipeline.components.source import Extraction
from kasparro_pipeline.contract.spec import Contract
from kasparro_pipeline.extract import json_records
from kasparro_pipeline.extract.documents import Batch, Document, sha256
from kasparro_pipeline.warehouse import connection, ledger
from kasparro_pipeline.warehouse.settings import WarehouseSettings
from tests.benchmarks.read_api import records
from tests.benchmarks.read_api.records import Page, Publisher

SAY_EVERY = 15
"""Seconds between two lines of progress."""

KINDS = {publisher.name: publisher.kind for publisher in (*records.PUBLISHERS, records.LATECOMER)}


def contract(source: str) -> Contract:
    """The contract of a source of the benchmark."""
    return Contract.model_validate(
        {
            "kind": KINDS[source],
            "key": "id",
            "version": "published_at",
            "fields": {
                "title": {"required": True},
                "summary": {},
                "url": {},
                "category": {"required": True},
                "author": {},
                "tags": {},
                "amount": {"minimum": 0},
                "currency": {},
                "published_at": {"required": True},
                "lang": {"type": "enum", "values": sorted(set(records.LANGUAGES))},
                "score": {"type": "number"},
                "rank": {"type": "integer", "minimum": 0},
                "symbol": {},
                "verified": {"type": "boolean"},
            },
        }
    )


def connect(url: str) -> ledger.Connection:
    """A connection as the pipeline opens it."""
    return connection.connect(WarehouseSettings.model_validate({"DATABASE_URL": url}))


def load(url: str, publishers: Sequence[Publisher], rows: int) -> None:
    """Load the documents of some sources, for a table of `rows` records in all, and say how it goes."""
    started, done, said = time.monotonic(), 0, 0.0
    names = ", ".join(publisher.name for publisher in publishers)
    with connect(url) as warehouse:
        for page in records.by_time(publishers, rows):
            _run(warehouse, page)
            done += len(page.records)
            elapsed = time.monotonic() - started
            if elapsed - said > SAY_EVERY:
                said = elapsed
                print(f"  {names}: {done:,} records, {done / elapsed:,.0f} a second", flush=True)


def _run(warehouse: ledger.Connection, page: Page) -> None:
    hold = ledger.begin(warehouse, page.source, page.partition_key, str(uuid4()))
    steps.extract_to_raw(warehouse, hold, Extraction([_batch(page)], incremental=False))
    steps.validate_raw(warehouse, hold, contract(page.source), whole=False)
    steps.merge_validated(warehouse, hold, whole=False)
    ledger.close(warehouse, hold)


def _batch(page: Page) -> Batch:
    """A document of JSON, cut into records as the body of an API is."""
    body = orjson.dumps(page.records)
    location = f"https://example.org/{page.source}?day={page.partition_key}"
    layout, found = json_records.records(body, "", location)
    document = Document(location, len(body), sha256(body), datetime.now(UTC), {**layout, "records": ""})
    return Batch(document, found, cursor={}, complete=True, done=True)


if __name__ == "__main__":
    load(sys.argv[1], [records.LATECOMER], int(sys.argv[2]))
