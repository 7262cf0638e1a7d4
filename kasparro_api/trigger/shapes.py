"""The shapes of the trigger: what is ordered, and for OpenAPI alone what is answered."""

from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from kasparro_api.shapes import META_EXAMPLE, Meta

_RUN_ID = "0f9d2b9c-6a8e-4f0e-9a53-0a3b8c1d2e4f"
_RUN_EXAMPLE: dict[str, Any] = {
    "source": "coinpaprika_ohlcv",
    "partition": "2026-11-03",
    "run_id": _RUN_ID,
    "status_url": f"/runs/{_RUN_ID}",
    "dagster_url": f"http://127.0.0.1:3000/runs/{_RUN_ID}",
    "note": None,
    "error": None,
}
_FILE_EXAMPLE: dict[str, Any] = {
    "name": "coins-2026-11-15.csv",
    "bytes": 18340,
    "sha256": "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
}


class RunOrder(BaseModel):
    """Which runs to launch."""

    model_config = ConfigDict(
        extra="forbid",
        strict=True,
        json_schema_extra={"examples": [{}, {"source": "coinpaprika_ohlcv", "partition": "2026-11-03"}]},
    )

    source: str | None = Field(default=None, description="One source; without it, every source.")
    partition: str | None = Field(
        default=None,
        description="One partition of the source: a day (`2026-11-03`) or, of a CSV source, a file. Without "
        "it, what brings the source up to date now.",
    )


class RequestedRun(BaseModel):
    """A run that was requested, or why there is none for a source."""

    source: str
    partition: str | None
    run_id: str | None = Field(description="Null where no run was launched; `note` or `error` says why.")
    status_url: str | None = Field(description="Path of the run in this API, once it has started.")
    dagster_url: str | None = Field(description="The run's page in Dagster, from the first moment on.")
    note: str | None
    error: str | None = Field(description="Why Dagster did not take it.")


class RequestedRuns(BaseModel):
    """The runs that were requested."""

    model_config = ConfigDict(json_schema_extra={"example": {"runs": [_RUN_EXAMPLE], "meta": META_EXAMPLE}})

    runs: list[RequestedRun]
    meta: Meta


class UploadedFile(BaseModel):
    """The file as it is stored."""

    name: str
    bytes: int
    sha256: str


class Upload(RequestedRuns):
    """A stored file, and the run that loads it."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "runs": [{**_RUN_EXAMPLE, "source": "coin_reference", "partition": _FILE_EXAMPLE["name"]}],
                "file": _FILE_EXAMPLE,
                "meta": META_EXAMPLE,
            }
        }
    )

    file: UploadedFile
