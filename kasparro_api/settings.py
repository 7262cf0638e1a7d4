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
