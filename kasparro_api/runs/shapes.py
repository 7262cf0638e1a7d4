"""The shapes of runs, for OpenAPI alone: bodies come as JSON and pass no model."""

from datetime import datetime
from typing import Any

from pydantic import BaseModel, Field

from kasparro_api.shapes import META_EXAMPLE, Meta

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
