"""The shapes of changes and lineage, for OpenAPI alone: bodies come as JSON and pass no model."""

import json
from datetime import datetime
from importlib.resources import files
from typing import Any, Literal

from pydantic import BaseModel, Field

from kasparro_api.data.shapes import Record
from kasparro_api.shapes import Meta, Pagination

EXAMPLES: dict[str, Any] = json.loads(
    (files("kasparro_api") / "history_examples.json").read_text(encoding="utf-8")
)
"""Answers as they were given, by route."""
Kind = Literal["insert", "update", "delete"]
CHANGED = (
    "Of an update each field whose value differs, by name: `from` and `to`. An attribute is "
    "`attributes.<name>`; one that is missing counts as null. Empty if only the origin is another one."
)


class ChangedField(BaseModel):
    """A value before and after."""

    from_: Any = Field(alias="from")
    to: Any


class Change(BaseModel):
    """What happened to a record."""

    change: Kind
    at: datetime = Field(description="When; `/data?as_of=` this time shows the record after it.")
    id: int = Field(description="Of the record.")
    source: str
    source_id: str
    run_id: str | None = Field(description="The run that did it; null if the record was removed by hand.")
    changed: dict[str, ChangedField] = Field(description=CHANGED)
    record: Record | None = Field(description="The record after it; null after a delete.")


class Changes(BaseModel):
    """A page of changes."""

    data: list[Change]
    pagination: Pagination
    meta: Meta

    model_config = {"json_schema_extra": {"example": EXAMPLES["changes"]}}


class RawRecord(BaseModel):
    """A record as it was received."""

    raw_id: int
    bytes: int
    encoding: Literal["utf-8", "base64"] = Field(description="`base64`: the bytes are not UTF-8.")
    payload: str = Field(description="The very bytes: a JSON value, a CSV row, a feed's entry.")


class RecordDocument(BaseModel):
    """The body that a raw record came in."""

    id: int
    location: str = Field(description="URL, or name of the file.")
    position: int = Field(description="Of the record in it, from 0 on.")
    sha256: str
    bytes: int
    records: int | None = Field(description="Null until every record of it is stored.")
    fetched_at: datetime
    headers: dict[str, Any] = Field(description="Those of the answer that matter; of a file its path.")
    context: dict[str, Any] = Field(description="Parameters of the request, or facts of the file.")
    partition_key: str
    run_id: str = Field(description="The run that stored it.")


class Rejection(BaseModel):
    """Why a raw record is not valid any more."""

    contract_version: int
    rejected_at: datetime
    run_id: str
    reasons: list[dict[str, Any]] = Field(description="`field`, `rule`, `value` and `message` of each.")


class OriginRun(BaseModel):
    """The run that wrote a record."""

    run_id: str
    status: str | None = Field(description="Null, as are its times, once the ledger does not hold the run.")
    started_at: datetime | None
    finished_at: datetime | None
    url: str = Field(description="Path of the run in this API.")
    dagster_url: str = Field(description="The run's page in Dagster.")


class Version(BaseModel):
    """What a record was for a time."""

    at: datetime = Field(description="Since when; `/data/{id}?as_of=` this time shows it.")
    change: Kind
    changed: dict[str, ChangedField] = Field(description=CHANGED)
    content_hash: str
    raw_id: int | None = Field(description="Null of a record that was withdrawn.")
    run_id: str


class Origin(BaseModel):
    """Where a record came from, and what it was before."""

    record: Record
    raw: RawRecord | None = Field(description="Null if it is not kept any more.")
    document: RecordDocument | None
    contract_version: int | None = Field(description="Of the contract that the raw record keeps.")
    rejected: Rejection | None = Field(description="If the contract rejects the raw record now.")
    run: OriginRun
    versions: list[Version] = Field(description="Newest first; the first one of all is the present one.")


class Lineage(BaseModel):
    """Where a record came from; the pages are those of its versions."""

    data: Origin
    pagination: Pagination
    meta: Meta

    model_config = {"json_schema_extra": {"example": EXAMPLES["lineage"]}}
