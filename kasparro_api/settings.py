"""The API's settings. Where the warehouse is comes from the warehouse's own settings."""

from typing import Literal

from pydantic import Field

from kasparro_pipeline.warehouse.settings import WarehouseSettings


class ApiSettings(WarehouseSettings):
    """The API's settings, from the environment and `.env`; `DATABASE_URL` is required."""

    pool_size: int = Field(
        default=4,
        ge=1,
        validation_alias="KASPARRO_API_POOL_SIZE",
        description="Connections to the warehouse at most. Twice the server's cores is a good figure.",
    )
    pool_timeout: float = Field(
        default=2,
        gt=0,
        validation_alias="KASPARRO_API_POOL_TIMEOUT",
        description="Seconds that a request waits for a connection before it is answered with 503.",
    )
    statement_timeout: float = Field(
        default=10,
        gt=0,
        validation_alias="KASPARRO_API_STATEMENT_TIMEOUT",
        description="Seconds that one statement of the API may take before it is answered with 503.",
    )
    log_format: Literal["text", "json"] = Field(
        default="text",
        validation_alias="KASPARRO_LOG_FORMAT",
        description="`json` writes one JSON object a line, `text` one readable line.",
    )
    access_log: Literal["all", "errors"] = Field(
        default="all",
        validation_alias="KASPARRO_API_ACCESS_LOG",
        description="Whether every request has a line in the log, or only those that failed in the service.",
    )
    reads: Literal["open", "keys"] = Field(
        default="open",
        validation_alias="KASPARRO_API_READS",
        description="Who may read: `open` lets everybody, `keys` needs a key of scope read. "
        "Triggering a run always needs a key of scope trigger.",
    )
    rate_limit: int = Field(
        default=6000,
        ge=0,
        le=10**12,
        validation_alias="KASPARRO_API_RATE_LIMIT",
        description="Requests that a key, or an address without one, may send within a window of "
        "KASPARRO_API_RATE_WINDOW; 0: no limit. Each worker process counts for itself.",
    )
    rate_window: int = Field(
        default=60,
        ge=1,
        le=24 * 60 * 60,
        validation_alias="KASPARRO_API_RATE_WINDOW",
        description="Seconds of a window of KASPARRO_API_RATE_LIMIT.",
    )
    key_attempts: int = Field(
        default=20,
        ge=0,
        validation_alias="KASPARRO_API_KEY_ATTEMPTS",
        description="Wrong keys that an address may send in a minute before its keys are not looked at for "
        "the rest of it; 0: no limit. Each worker process counts for itself.",
    )
    dagster_url: str = Field(
        default="http://127.0.0.1:3000",
        pattern=r"^https?://[^@\s]+$",
        validation_alias="KASPARRO_DAGSTER_URL",
        description="Where the API asks Dagster's webserver for runs. `kasparro up` sets it.",
    )
    dagster_ui_url: str | None = Field(
        default=None,
        pattern=r"^https?://[^@\s]+$",
        validation_alias="KASPARRO_DAGSTER_UI_URL",
        description="Dagster's address in links for people. Unset: KASPARRO_DAGSTER_URL.",
    )
    dagster_timeout: float = Field(
        default=10,
        gt=0,
        validation_alias="KASPARRO_DAGSTER_TIMEOUT",
        description="Seconds that Dagster may take for one question before it counts as away; sensors and "
        "launches have 75.",
    )
    upload_limit: int = Field(
        default=268_435_456,
        ge=1,
        validation_alias="KASPARRO_API_UPLOAD_LIMIT",
        description="Bytes that an uploaded file may have.",
    )
    export_pool_size: int = Field(
        default=2,
        ge=1,
        validation_alias="KASPARRO_API_EXPORT_POOL_SIZE",
        description="Exports (NDJSON, CSV) at the same time at most; the next one is answered with 503.",
    )
    export_timeout: float = Field(
        default=600,
        gt=0,
        validation_alias="KASPARRO_API_EXPORT_TIMEOUT",
        description="Seconds that an export may take before it is cut off.",
    )
    cache_mb: int = Field(
        default=64,
        ge=0,
        validation_alias="KASPARRO_API_CACHE_MB",
        description="Megabytes of answers that are kept and sent again while the data has not changed; "
        "0: none. Each worker process keeps its own.",
    )
    cors_origins: str = Field(
        default="",
        validation_alias="KASPARRO_API_CORS_ORIGINS",
        description="Origins whose pages may read the API in a browser, between commas, or `*`. Empty: none.",
    )
    start_timeout: float = Field(
        default=10,
        ge=0,
        validation_alias="KASPARRO_API_START_TIMEOUT",
        description="Seconds that the start waits for the database; then it answers 503 until there is one.",
    )
    max_replica_lag: float = Field(
        default=60,
        ge=0,
        validation_alias="KASPARRO_API_MAX_REPLICA_LAG",
        description="Seconds that a replica may be behind before `/health/ready` says 503.",
    )
