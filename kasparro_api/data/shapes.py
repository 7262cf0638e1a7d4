"""The shapes of records, for OpenAPI alone: bodies come as JSON and pass no model."""

from datetime import datetime
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from kasparro_api.shapes import META_EXAMPLE, Meta, Pagination

RECORD_EXAMPLE: dict[str, Any] = {
    "id": 888,
    "source": "coinpaprika_tickers",
    "source_id": "ygg-yield-guild-games",
    "kind": "price",
    "title": "Yield Guild Games",
    "summary": None,
    "url": None,
    "category": "YGG",
    "author": None,
    "tags": [],
    "amount": 3.3265154725224,
    "currency": "USD",
    "published_at": "2026-11-21T12:37:00Z",
    "attributes": {
        "rank": 144,
        "market_cap": 292733362,
        "max_supply": 1000000000,
        "volume_24h": 20562894.0799,
        "total_supply": 88000000,
        "first_data_at": "2021-01-01T00:00:00Z",
        "circulating_supply": 88000000,
        "percent_change_24h": 1.41,
    },
    "content_hash": "f28741821801eb9de59fc9ebeb5a200e",
    "raw_id": 1415,
    "run_id": "c07a9648-0a2c-41f2-8ee8-d06ea51589f3",
    "first_seen_at": "2026-11-21T12:36:07.093918Z",
    "updated_at": "2026-11-21T12:37:14.308323Z",
    "deleted_at": None,
}


def _all_optional(schema: dict[str, Any]) -> None:
    del schema["required"]


class Record(BaseModel):
    """The current version of one record of a source. `fields=` leaves members out, else all are there."""

    model_config = ConfigDict(json_schema_extra=_all_optional)

    id: int = Field(description="Stays when the record changes.")
    source: str = Field(description="Where it comes from: see `/sources`.")
    source_id: str = Field(description="The upstream's own key.")
    kind: str = Field(description="What it is: asset, price, candle, article.")
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
    first_seen_at: datetime = Field(description="When the first version was written.")
    updated_at: datetime = Field(description="When this version was written.")
    deleted_at: datetime | None = Field(description="When it went away; such a record is shown on request.")


class DataPage(BaseModel):
    """A page of records."""

    data: list[Record]
    pagination: Pagination
    meta: Meta

    model_config = {
        "json_schema_extra": {
            "example": {
                "data": [RECORD_EXAMPLE],
                "pagination": {
                    "limit": 1,
                    "next_cursor": "ActaNYAiteaRODg4IDIwMjYtMTEtMjEgMTI6Mzc6MDArMDDNgNsABkDMgw",
                    "has_more": True,
                    "total": 250,
                    "total_is": "exact",
                },
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

    source: str = Field(description="Its name, as in a record's `source`.")
    kinds: list[str] = Field(description="What its records are.")
    records: int = Field(description="Those that were deleted are not among them.")
    deleted: int = Field(description="Records that went away and are kept.")
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
                        "records": 250,
                        "deleted": 0,
                        "newest_published_at": "2026-11-21T12:36:00Z",
                        "changed_at": "2026-11-21T12:36:07.115438Z",
                        "last_success_at": "2026-11-21T12:36:07.13383Z",
                        "seconds_since_success": 53.073,
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
                "data": [
                    {"category": "token", "records": 217},
                    {"category": "coin", "records": 145},
                    {"category": "ohlcv", "records": 15},
                ],
                "pagination": {
                    "limit": 3,
                    "next_cursor": "AcKKNBe3u8swMTUgb2hsY3ZWR3VVOqRl2w",
                    "has_more": True,
                },
                "meta": META_EXAMPLE,
            }
        }
    }
