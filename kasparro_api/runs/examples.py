"""Examples of the room's answers, for OpenAPI alone. Tests hold them to the shapes."""

from typing import Any

COUNTS_EXAMPLE: dict[str, Any] = {
    "documents": 1,
    "documents_unchanged": 0,
    "bytes": 51234,
    "extracted": 300,
    "repeated": 0,
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

LAST_RUN: dict[str, Any] = {
    "run_id": "0f9d2b9c-6a8e-4f0e-9a53-0a3b8c1d2e4f",
    "partition_key": "coins-2026-11-01.csv",
    "status": "partial",
    "started_at": "2026-11-01T12:00:00Z",
    "finished_at": "2026-11-01T12:00:01.5Z",
    "duration_seconds": 1.5,
    "counts": COUNTS_EXAMPLE,
    "error": None,
}
RUN: dict[str, Any] = {
    "run_id": LAST_RUN["run_id"],
    "source": "coin_reference",
    "partition_key": LAST_RUN["partition_key"],
    "status": "partial",
    "started_at": LAST_RUN["started_at"],
    "finished_at": LAST_RUN["finished_at"],
    "duration_seconds": 1.5,
    "records_per_second": 200.0,
    "contract_version": 2,
    "counts": COUNTS_EXAMPLE,
    "rejected_share": 0.006667,
    "error": None,
    "dagster_url": "http://127.0.0.1:3000/runs/0f9d2b9c-6a8e-4f0e-9a53-0a3b8c1d2e4f",
}
DETAIL: dict[str, Any] = {
    **RUN,
    "rejected": [{"field": "amount", "rule": "minimum", "records": 2, "example_raw_id": 1042}],
    "schema": {"contract_version": 2, "fields": {"amount": "number", "rank": "integer", "title": "string"}},
    "drift": [
        {
            "change": "added",
            "field": "market",
            "mode": "evolve",
            "expected": None,
            "found": "string",
            "records": 300,
            "share": 1,
            "confidence": None,
            "examples": [{"value": "spot", "raw_id": 1040}],
            "detected_at": "2026-11-01T12:00:01.2Z",
        }
    ],
    "documents": [
        {
            "id": 42,
            "location": "coins-2026-11-01.csv",
            "bytes": 51234,
            "sha256": "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824",
            "records": 300,
            "fetched_at": "2026-11-01T12:00:00.1Z",
        }
    ],
    "anomalies": [
        {
            "kind": "records",
            "reason": "It read 300 records; the median of 30 runs before it is 120, and 60 to 180 is usual.",
            "value": 300,
            "expected": 120.0,
        }
    ],
}

_SAME = {name: {"a": value, "b": value, "difference": 0} for name, value in COUNTS_EXAMPLE.items()}
COMPARISON: dict[str, Any] = {
    "source": "coin_reference",
    "a": {
        **RUN,
        "run_id": "7c1d5a52-9d0c-4f3f-8c67-5f4f0e6f7a10",
        "partition_key": "coins-2026-10-31.csv",
        "started_at": "2026-10-31T12:00:00Z",
        "finished_at": "2026-10-31T12:00:01.2Z",
        "duration_seconds": 1.2,
        "records_per_second": 250.0,
        "dagster_url": "http://127.0.0.1:3000/runs/7c1d5a52-9d0c-4f3f-8c67-5f4f0e6f7a10",
        "anomalies": [],
    },
    "b": {**RUN, "anomalies": DETAIL["anomalies"]},
    "duration_seconds": {"a": 1.2, "b": 1.5, "difference": 0.3},
    "records_per_second": {"a": 250.0, "b": 200.0, "difference": -50.0},
    "rejected_share": {"a": 0.006667, "b": 0.006667, "difference": 0.0},
    "counts": _SAME,
    "rejected": [{"field": "amount", "rule": "minimum", "a": 2, "b": 2, "difference": 0}],
    "schema": {
        "contract_version": {"a": 1, "b": 2},
        "added": {"rank": "integer"},
        "removed": {},
        "retyped": {"amount": {"a": "string", "b": "number"}},
    },
    "records": {
        "only_in_a": 1,
        "only_in_b": 1,
        "in_both": 296,
        "changed": 2,
        "ids": {"only_in_a": ["luna"], "only_in_b": ["sol"], "changed": ["btc", "eth"]},
    },
}

_TOTALS: dict[str, Any] = {"unified_records": 312, "runs": RUNS_EXAMPLE, "counts": COUNTS_EXAMPLE}
STATS: dict[str, Any] = {
    "sources": [
        {
            "source": "coin_reference",
            "last_run": LAST_RUN,
            "last_success_at": LAST_RUN["finished_at"],
            "last_failure_at": None,
            "seconds_since_success": 61.5,
            "median_duration_seconds": 1.4,
            "newest_published_at": "2026-11-01T11:58:00Z",
            "totals": _TOTALS,
        }
    ],
    "totals": {"sources": 1, **_TOTALS},
}
