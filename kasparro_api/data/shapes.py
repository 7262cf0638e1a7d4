"""The shapes of records, for OpenAPI alone: bodies come as JSON and pass no model."""

from datetime import datetime
from typing import Any, Literal

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
    "deleted_at": None,
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
    deleted_at: datetime | None = Field(description="When it went away; such a record is shown on request.")


class Pagination(BaseModel):
    """Where the page stands."""

    limit: int | None
    next_cursor: str | None = Field(description="`cursor` of the next page; null on the last one.")
    has_more: bool
    total: int | None = Field(default=None, description="With `count`: how many records there are.")
    total_is: Literal["exact", "estimated"] | None = Field(default=None, description="With `count`.")


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


class OneRecord(BaseModel):
    """One record."""

    data: Record
    meta: Meta

    model_config = {"json_schema_extra": {"example": {"data": RECORD_EXAMPLE, "meta": META_EXAMPLE}}}


class Source(BaseModel):
    """A source, and how fresh it is."""

    source: str
    kinds: list[str] = Field(description="What its records are.")
    records: int
    deleted: int
    newest_published_at: datetime | None
    changed_at: datetime | None = Field(description="When a record of it last changed.")
    last_success_at: datetime | None
    seconds_since_success: float | None


class Sources(BaseModel):
    """Every source."""

    data: list[Source]
    pagination: Pagination
    meta: Meta

    model_config = {
        "json_schema_extra": {
            "example": {
                "data": [
                    {
                        "source": "coinpaprika_tickers",
                        "kinds": ["price"],
                        "records": 8,
                        "deleted": 0,
                        "newest_published_at": "2026-11-01T12:00:00Z",
                        "changed_at": "2026-11-01T12:00:05.123456Z",
                        "last_success_at": "2026-11-01T12:00:05.2Z",
                        "seconds_since_success": 61.5,
                    }
                ],
                "pagination": {"limit": None, "next_cursor": None, "has_more": False},
                "meta": META_EXAMPLE,
            }
        }
    }


class Category(BaseModel):
    """A category, and how many records it has."""

    category: str
    records: int


class Categories(BaseModel):
    """A page of categories."""

    data: list[Category]
    pagination: Pagination
    meta: Meta

    model_config = {
        "json_schema_extra": {
            "example": {
                "data": [{"category": "coin", "records": 7}],
                "pagination": {"limit": 100, "next_cursor": None, "has_more": False},
                "meta": META_EXAMPLE,
            }
        }
    }
