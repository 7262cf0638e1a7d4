"""The shapes of records, for OpenAPI alone: bodies come as JSON and pass no model."""

from datetime import datetime
from typing import Any

from pydantic import BaseModel, Field

from kasparro_api.shapes import META_EXAMPLE, Meta

RECORD_EXAMPLE: dict[str, Any] = {
    "id": 42,
    "source": "coinpaprika_tickers",
    "source_id": "btc-bitcoin",
    "kind": "price",
    "title": "Bitcoin",
    "summary": None,
    "url": None,
    "category": "coin",
    "author": None,
    "tags": ["btc"],
    "amount": 67891.123456789,
    "currency": "USD",
    "published_at": "2026-11-01T12:00:00Z",
    "attributes": {"rank": 1},
    "content_hash": "2cf24dba5fb0a30e26e83b2ac5b9e29e",
    "raw_id": 1042,
    "run_id": "0f9d2b9c-6a8e-4f0e-9a53-0a3b8c1d2e4f",
    "first_seen_at": "2026-11-01T12:00:05.123456Z",
    "updated_at": "2026-11-01T12:00:05.123456Z",
}


class Record(BaseModel):
    """The current version of one record of a source."""

    id: int
    source: str
    source_id: str = Field(description="The upstream's own key.")
    kind: str
    title: str | None
    summary: str | None
    url: str | None
    category: str | None
    author: str | None
    tags: list[str]
    amount: float | None = Field(description="A JSON number with every digit that the database holds.")
    currency: str | None
    published_at: datetime | None = Field(description="RFC 3339, UTC.")
    attributes: dict[str, Any] = Field(description="The rest of the contract's fields.")
    content_hash: str = Field(description="Hexadecimal; changes when the content changes.")
    raw_id: int = Field(description="The raw record that this version came from.")
    run_id: str = Field(description="The run that wrote this version.")
    first_seen_at: datetime
    updated_at: datetime = Field(description="When this version was written.")


class Pagination(BaseModel):
    """Where the page stands."""

    limit: int
    next_cursor: str | None = Field(description="`cursor` of the next page; null on the last one.")
    has_more: bool


class DataPage(BaseModel):
    """A page of records."""

    data: list[Record]
    pagination: Pagination
    meta: Meta

    model_config = {
        "json_schema_extra": {
            "example": {
                "data": [RECORD_EXAMPLE],
                "pagination": {"limit": 1, "next_cursor": "AY3kU0xq…", "has_more": True},
                "meta": META_EXAMPLE,
            }
        }
    }
