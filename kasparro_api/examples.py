"""Errors as they were answered, by name, for the OpenAPI document. A test asks for them again."""

from typing import Any

ANYWHERE = frozenset(
    {
        "missing-key",
        "invalid-key",
        "missing-scope",
        "unknown-parameter",
        "too-many-requests",
        "database-unavailable",
    }
)
"""Those that any path can answer with; another one is of the path in its `instance`."""

PROBLEM_EXAMPLES: dict[str, dict[str, Any]] = {
    "invalid-cursor": {
        "type": "urn:kasparro:problem:invalid-cursor",
        "title": "The cursor cannot be used",
        "status": 400,
        "detail": "It is damaged or was not made by this API; use the cursor that a page gave, unchanged.",
        "instance": "/data",
        "request_id": "5199f83efa634d8f8d5c7e6a96b2a7e0",
        "errors": [
            {
                "parameter": "cursor",
                "sent": "nonsense",
                "message": "It is damaged or was not made by this API; use the cursor that a page gave, unchanged.",
                "allowed": "`pagination.next_cursor` of a page with the same filters. Not together with `offset`.",
            }
        ],
    },
    "invalid-json": {
        "type": "urn:kasparro:problem:invalid-json",
        "title": "The body is not JSON",
        "status": 400,
        "detail": "Invalid JSON: EOF while parsing an object at line 1 column 1",
        "instance": "/etl/run",
        "request_id": "5199f83efa634d8f8d5c7e6a96b2a7e0",
    },
    "missing-key": {
        "type": "urn:kasparro:problem:missing-key",
        "title": "A key is needed",
        "status": 401,
        "detail": "This request needs a key of scope trigger. Send one as the header X-API-Key, or as Authorization: Bearer; `kasparro keys create` makes one.",
        "instance": "/etl/run",
        "request_id": "5199f83efa634d8f8d5c7e6a96b2a7e0",
    },
    "invalid-key": {
        "type": "urn:kasparro:problem:invalid-key",
        "title": "The key is not valid",
        "status": 401,
        "detail": "The key that was sent is mistyped, unknown or revoked. Send one as the header X-API-Key, or as Authorization: Bearer; `kasparro keys create` makes one.",
        "instance": "/data",
        "request_id": "5199f83efa634d8f8d5c7e6a96b2a7e0",
    },
    "missing-scope": {
        "type": "urn:kasparro:problem:missing-scope",
        "title": "The key does not allow this",
        "status": 403,
        "detail": "This request needs a key of scope trigger; the key 3f9c0a1b2c3d has read. `kasparro keys create` makes one.",
        "instance": "/etl/run",
        "request_id": "5199f83efa634d8f8d5c7e6a96b2a7e0",
    },
    "no-record": {
        "type": "urn:kasparro:problem:no-record",
        "title": "There is no such record",
        "status": 404,
        "detail": "No record has the id 999999999.",
        "instance": "/data/999999999",
        "request_id": "5199f83efa634d8f8d5c7e6a96b2a7e0",
    },
    "unknown-source": {
        "type": "urn:kasparro:problem:unknown-source",
        "title": "Unknown source",
        "status": 404,
        "detail": "There is no such source. Known sources: coin_reference, coingecko_markets, coinpaprika_ohlcv, coinpaprika_tickers, crypto_news.",
        "instance": "/etl/run",
        "request_id": "5199f83efa634d8f8d5c7e6a96b2a7e0",
        "errors": [
            {
                "parameter": "source",
                "sent": "coinpaprika_ticker",
                "message": "Unknown source.",
                "allowed": "One of: coin_reference, coingecko_markets, coinpaprika_ohlcv, coinpaprika_tickers, crypto_news.",
            }
        ],
    },
    "not-acceptable": {
        "type": "urn:kasparro:problem:not-acceptable",
        "title": "Not acceptable",
        "status": 406,
        "detail": "This path answers with application/json, application/x-ndjson or text/csv.",
        "instance": "/data",
        "request_id": "5199f83efa634d8f8d5c7e6a96b2a7e0",
    },
    "upload-stalled": {
        "type": "urn:kasparro:problem:upload-stalled",
        "title": "The upload stalled",
        "status": 408,
        "detail": "Nothing came for 30 s; nothing is kept. Send the file again.",
        "instance": "/sources/coin_reference/files",
        "request_id": "5199f83efa634d8f8d5c7e6a96b2a7e0",
    },
    "idempotency-key-in-use": {
        "type": "urn:kasparro:problem:idempotency-key-in-use",
        "title": "The Idempotency-Key is in use",
        "status": 409,
        "detail": "An earlier request with this key is still being worked on. Ask again later.",
        "instance": "/etl/run",
        "request_id": "5199f83efa634d8f8d5c7e6a96b2a7e0",
    },
    "file-exists": {
        "type": "urn:kasparro:problem:file-exists",
        "title": "The file exists",
        "status": 409,
        "detail": "coins-2026-11-01.csv exists already, and stays as it is. Choose another name, or send `replace=true`.",
        "instance": "/sources/coin_reference/files",
        "request_id": "5199f83efa634d8f8d5c7e6a96b2a7e0",
    },
    "too-large": {
        "type": "urn:kasparro:problem:too-large",
        "title": "The body is too large",
        "status": 413,
        "detail": "This body may have 4,096 bytes.",
        "instance": "/etl/run",
        "request_id": "5199f83efa634d8f8d5c7e6a96b2a7e0",
    },
    "file-too-large": {
        "type": "urn:kasparro:problem:too-large",
        "title": "The file is too large",
        "status": 413,
        "detail": "A file may have 268,435,456 bytes. Split it, or have KASPARRO_API_UPLOAD_LIMIT raised.",
        "instance": "/sources/coin_reference/files",
        "request_id": "5199f83efa634d8f8d5c7e6a96b2a7e0",
    },
    "unsupported-media-type": {
        "type": "urn:kasparro:problem:unsupported-media-type",
        "title": "The body is not a plain file",
        "status": 415,
        "detail": "Send the file's own bytes with Content-Type: text/csv, and not compressed: curl --header 'Content-Type: text/csv' --data-binary @FILE.",
        "instance": "/sources/coin_reference/files",
        "request_id": "5199f83efa634d8f8d5c7e6a96b2a7e0",
    },
    "unknown-parameter": {
        "type": "urn:kasparro:problem:invalid-parameters",
        "title": "A parameter cannot be used",
        "status": 422,
        "detail": "Not usable: colour. Each entry of `errors` says what was sent and what is allowed.",
        "instance": "/stats",
        "request_id": "5199f83efa634d8f8d5c7e6a96b2a7e0",
        "errors": [
            {
                "parameter": "colour",
                "sent": "red",
                "message": "Unknown parameter.",
                "allowed": "This path takes no parameters.",
                "closest": None,
            }
        ],
    },
    "invalid-parameters": {
        "type": "urn:kasparro:problem:invalid-parameters",
        "title": "A parameter cannot be used",
        "status": 422,
        "detail": "Not usable: limit. Each entry of `errors` says what was sent and what is allowed.",
        "instance": "/data",
        "request_id": "5199f83efa634d8f8d5c7e6a96b2a7e0",
        "errors": [
            {
                "parameter": "limit",
                "sent": "0",
                "message": "Input should be greater than or equal to 1",
                "allowed": "Records on the page: an integer from 1 to 1,000.",
            }
        ],
    },
    "invalid-order": {
        "type": "urn:kasparro:problem:invalid-parameters",
        "title": "A parameter cannot be used",
        "status": 422,
        "detail": "Not usable: partition. Each entry of `errors` says what was sent and what is allowed.",
        "instance": "/etl/run",
        "request_id": "5199f83efa634d8f8d5c7e6a96b2a7e0",
        "errors": [
            {
                "parameter": "partition",
                "sent": "2026-11-03",
                "message": "Only together with `source`: every source has partitions of its own.",
                "allowed": "One partition of the source: a day (`2026-11-03`) or, of a CSV source, a file. Without it, what brings the source up to date now.",
            }
        ],
    },
    "too-many-requests": {
        "type": "urn:kasparro:problem:too-many-requests",
        "title": "Too many requests",
        "status": 429,
        "detail": "The quota of this caller is used up. Ask again in 42 s; RateLimit-Policy says what it is.",
        "instance": "/data",
        "request_id": "5199f83efa634d8f8d5c7e6a96b2a7e0",
    },
    "dagster-refused": {
        "type": "urn:kasparro:problem:dagster-refused",
        "title": "Dagster refuses",
        "status": 502,
        "detail": "No run was launched. coinpaprika_tickers: Dagster's reason, in one line.",
        "instance": "/etl/run",
        "request_id": "5199f83efa634d8f8d5c7e6a96b2a7e0",
        "errors": [
            {
                "parameter": "source",
                "sent": "coinpaprika_tickers",
                "message": "Dagster's reason, in one line.",
                "allowed": "Dagster's own pages say more.",
            }
        ],
    },
    "database-unavailable": {
        "type": "urn:kasparro:problem:database-unavailable",
        "title": "The database cannot answer",
        "status": 503,
        "detail": "The database is away or has no free connection. Ask again later.",
        "instance": "/data",
        "request_id": "5199f83efa634d8f8d5c7e6a96b2a7e0",
    },
    "dagster-unavailable": {
        "type": "urn:kasparro:problem:dagster-unavailable",
        "title": "Dagster cannot answer",
        "status": 503,
        "detail": "No run was launched. Dagster cannot be reached.",
        "instance": "/etl/run",
        "request_id": "5199f83efa634d8f8d5c7e6a96b2a7e0",
    },
    "not-ready": {
        "type": "urn:kasparro:problem:database-unavailable",
        "title": "The database cannot answer",
        "status": 503,
        "detail": "The database is away or has no free connection. Ask again later.",
        "instance": "/health/ready",
        "request_id": "5199f83efa634d8f8d5c7e6a96b2a7e0",
        "database": {"reachable": False, "latency_ms": None, "error": "PoolTimeout"},
        "migrations": {"current": None, "head": "0002", "at_head": None},
        "replica": {"is_replica": None, "lag_seconds": None},
        "sources": [],
    },
}
