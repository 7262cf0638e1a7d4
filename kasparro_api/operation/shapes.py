"""The shapes of health, for OpenAPI alone: bodies come as JSON and pass no model."""

from datetime import datetime
from typing import Literal

from pydantic import BaseModel, Field

from kasparro_api.runs.shapes import SUCCESS
from kasparro_api.shapes import META_EXAMPLE, Meta


class DatabaseHealth(BaseModel):
    """Whether the warehouse answers."""

    reachable: bool
    latency_ms: float | None = Field(description="Milliseconds that it took to answer.")
    error: str | None = Field(description="What failed, by the driver's name and SQLSTATE.")


class MigrationsHealth(BaseModel):
    """Whether the warehouse is at the revision that the API was written for; null when it cannot be asked."""

    current: str | None = Field(description="The database's revision.")
    head: str = Field(description="The API's.")
    at_head: bool | None


class SourceHealth(BaseModel):
    """How fresh a source is."""

    source: str
    last_success_at: datetime | None = Field(description=SUCCESS)
    last_status: str = Field(description="Status of the run that started last.")
    seconds_since_success: float | None = Field(description="Null if it never had one.")


class ReplicaHealth(BaseModel):
    """Whether the database is a replica, and how far it is behind; null when it cannot be asked."""

    is_replica: bool | None
    lag_seconds: float | None = Field(description="Null for a primary.")


class Health(BaseModel):
    """The state of the service."""

    status: Literal["ok", "degraded"]
    database: DatabaseHealth
    migrations: MigrationsHealth
    replica: ReplicaHealth
    sources: list[SourceHealth]
    meta: Meta

    model_config = {
        "json_schema_extra": {
            "example": {
                "status": "ok",
                "database": {"reachable": True, "latency_ms": 3.096, "error": None},
                "migrations": {"current": "0002", "head": "0002", "at_head": True},
                "replica": {"is_replica": False, "lag_seconds": None},
                "sources": [
                    {
                        "source": "coin_reference",
                        "last_status": "partial",
                        "last_success_at": "2026-11-21T12:35:58.641613Z",
                        "seconds_since_success": 61.745,
                    },
                    {
                        "source": "coingecko_markets",
                        "last_status": "success",
                        "last_success_at": "2026-11-21T12:35:54.822883Z",
                        "seconds_since_success": 65.563,
                    },
                ],
                "meta": META_EXAMPLE,
            }
        }
    }
