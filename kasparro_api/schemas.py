"""The shapes of the answers, for OpenAPI alone: bodies come as JSON from PostgreSQL and pass no model."""

from datetime import datetime
from typing import Any

from pydantic import BaseModel, Field

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

META_EXAMPLE: dict[str, Any] = {"request_id": "4bf92f3577b34da6a3ce929d0e0e4736", "api_latency_ms": 3.21}

COUNTS_EXAMPLE: dict[str, Any] = {
    "documents": 1,
    "documents_unchanged": 0,
    "bytes": 51234,
    "extracted": 300,
    "read": 300,
    "validated": 297,
    "rejected": 2,
    "superseded": 1,
    "inserted": 12,
    "updated": 5,
    "unchanged": 280,
    "stale": 0,
    "deleted": 0,
}

RUNS_EXAMPLE: dict[str, Any] = {"running": 0, "success": 6, "partial": 1, "failed": 0, "cancelled": 0}

SUCCESS = "A success is a run with status `success` or `partial` (some records rejected)."


class Meta(BaseModel):
    """About the answer itself."""

    request_id: str = Field(description="The same as in the header `X-Request-ID`.")
    api_latency_ms: float = Field(description="Milliseconds from the request to the writing of this body.")


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


class DatabaseHealth(BaseModel):
    """Whether the warehouse answers."""

    reachable: bool
    latency_ms: float | None
    error: str | None


class MigrationsHealth(BaseModel):
    """Whether the warehouse is at the revision that the API was written for; null when it cannot be asked."""

    current: str | None
    head: str
    at_head: bool | None


class SourceHealth(BaseModel):
    """How fresh a source is."""

    source: str
    last_success_at: datetime | None = Field(description=SUCCESS)
    last_status: str = Field(description="Status of the run that started last.")
    seconds_since_success: float | None


class Health(BaseModel):
    """The service can answer."""

    status: str
    database: DatabaseHealth
    migrations: MigrationsHealth
    sources: list[SourceHealth]
    meta: Meta

    model_config = {
        "json_schema_extra": {
            "example": {
                "status": "ok",
                "database": {"reachable": True, "latency_ms": 0.84, "error": None},
                "migrations": {"current": "0001", "head": "0001", "at_head": True},
                "sources": [
                    {
                        "source": "coinpaprika_tickers",
                        "last_success_at": "2026-11-01T12:00:05.2Z",
                        "last_status": "success",
                        "seconds_since_success": 61.5,
                    }
                ],
                "meta": META_EXAMPLE,
            }
        }
    }


class LastRun(BaseModel):
    """The run of a source that started last."""

    run_id: str
    partition_key: str
    status: str = Field(description="`running`, `success`, `partial`, `failed` or `cancelled`.")
    started_at: datetime
    finished_at: datetime | None
    duration_seconds: float | None = Field(description="Until now while the run is under way.")
    counts: dict[str, int] = Field(description="Read, inserted, updated, unchanged, rejected and so on.")
    error: str | None


class Totals(BaseModel):
    """Sums over the runs of a source."""

    unified_records: int
    runs: dict[str, int] = Field(description="Number of runs by status.")
    counts: dict[str, int] = Field(description="The counts of all runs together.")


class AllTotals(Totals):
    """Sums over the runs of every source."""

    sources: int


class SourceStats(BaseModel):
    """One source."""

    source: str
    last_run: LastRun | None = Field(description="Null for a source whose runs are not in the ledger.")
    last_success_at: datetime | None = Field(description=SUCCESS)
    last_failure_at: datetime | None
    totals: Totals


class Stats(BaseModel):
    """What the runs did."""

    sources: list[SourceStats]
    totals: AllTotals
    meta: Meta

    model_config = {
        "json_schema_extra": {
            "example": {
                "sources": [
                    {
                        "source": "coin_reference",
                        "last_run": {
                            "run_id": "0f9d2b9c-6a8e-4f0e-9a53-0a3b8c1d2e4f",
                            "partition_key": "coins-2026-11-01.csv",
                            "status": "partial",
                            "started_at": "2026-11-01T12:00:00Z",
                            "finished_at": "2026-11-01T12:00:01.5Z",
                            "duration_seconds": 1.5,
                            "counts": COUNTS_EXAMPLE,
                            "error": None,
                        },
                        "last_success_at": "2026-11-01T12:00:01.5Z",
                        "last_failure_at": None,
                        "totals": {"unified_records": 312, "runs": RUNS_EXAMPLE, "counts": COUNTS_EXAMPLE},
                    }
                ],
                "totals": {
                    "sources": 1,
                    "unified_records": 312,
                    "runs": RUNS_EXAMPLE,
                    "counts": COUNTS_EXAMPLE,
                },
                "meta": META_EXAMPLE,
            }
        }
    }


class ParameterError(BaseModel):
    """One parameter that cannot be used."""

    parameter: str
    sent: Any
    message: str
    allowed: str
    closest: str | None = Field(
        default=None, description="The known parameter that an unknown one resembles."
    )


class Problem(BaseModel):
    """An error (RFC 9457)."""

    type: str
    title: str
    status: int
    detail: str
    instance: str
    request_id: str
    errors: list[ParameterError] = Field(default_factory=list)

    model_config = {
        "json_schema_extra": {
            "example": {
                "type": "urn:kasparro:problem:invalid-parameters",
                "title": "A parameter cannot be used",
                "status": 422,
                "detail": "Not usable: limit. Each entry of `errors` says what was sent and what is allowed.",
                "instance": "/data",
                "request_id": META_EXAMPLE["request_id"],
                "errors": [
                    {
                        "parameter": "limit",
                        "sent": "0",
                        "message": "Input should be greater than or equal to 1",
                        "allowed": "Records on the page: an integer from 1 to 1,000.",
                    }
                ],
            }
        }
    }
