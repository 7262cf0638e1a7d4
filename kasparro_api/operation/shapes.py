"""The shapes of health, for OpenAPI alone: bodies come as JSON and pass no model."""

from datetime import datetime

from pydantic import BaseModel, Field

from kasparro_api.runs.shapes import SUCCESS
from kasparro_api.shapes import META_EXAMPLE, Meta


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


class ReplicaHealth(BaseModel):
    """Whether the database is a replica, and how far it is behind; null when it cannot be asked."""

    is_replica: bool | None
    lag_seconds: float | None = Field(description="Null for a primary.")


class Health(BaseModel):
    """The state of the service."""

    status: str = Field(description="`ok` or `degraded`.")
    database: DatabaseHealth
    migrations: MigrationsHealth
    replica: ReplicaHealth
    sources: list[SourceHealth]
    meta: Meta

    model_config = {
        "json_schema_extra": {
            "example": {
                "status": "ok",
                "database": {"reachable": True, "latency_ms": 0.84, "error": None},
                "migrations": {"current": "0002", "head": "0002", "at_head": True},
                "replica": {"is_replica": False, "lag_seconds": None},
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
