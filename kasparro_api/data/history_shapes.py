"""The shapes of changes and lineage, for OpenAPI alone: bodies come as JSON and pass no model."""

from datetime import datetime
from typing import Any, Literal

from pydantic import BaseModel, Field

from kasparro_api.data.shapes import RECORD_EXAMPLE, Record
from kasparro_api.shapes import META_EXAMPLE, Meta, Pagination

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

    model_config = {
        "json_schema_extra": {
            "example": {
                "data": [
                    {
                        "change": "update",
                        "at": "2026-11-21T12:37:14.316902Z",
                        "id": 888,
                        "source": "coinpaprika_tickers",
                        "source_id": "ygg-yield-guild-games",
                        "run_id": "c07a9648-0a2c-41f2-8ee8-d06ea51589f3",
                        "changed": {
                            "amount": {"from": 3.3262150104102, "to": 3.3265154725224},
                            "attributes.rank": {"from": 145, "to": 144},
                        },
                        "record": RECORD_EXAMPLE,
                    }
                ],
                "pagination": {
                    "limit": 1,
                    "next_cursor": "Adc1pY7Eo3Q5ODg4IDIwMjYtMTEtMjEgMTI6Mzc6MTQuMzE2OTAyKzAwEkVw1F3b7qA",
                    "has_more": True,
                },
                "meta": META_EXAMPLE,
            }
        }
    }


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

    model_config = {
        "json_schema_extra": {
            "example": {
                "data": {
                    "record": RECORD_EXAMPLE,
                    "raw": {
                        "raw_id": 1415,
                        "bytes": 83,
                        "encoding": "utf-8",
                        "payload": '{"id":"ygg-yield-guild-games","name":"Yield Guild Games","symbol":"YGG",'
                        '"rank":144}',
                    },
                    "document": {
                        "id": 31,
                        "location": "http://127.0.0.1:8900/coinpaprika/v1/tickers",
                        "position": 143,
                        "sha256": "5f1d7c3f9a0f6cf3d2a5e02f0b3a35f7b8a2c5f1a45b3fd1c0f4b5de8d3a7c21",
                        "bytes": 141022,
                        "records": 250,
                        "fetched_at": "2026-11-21T12:37:13.902211Z",
                        "headers": {"etag": '"6d82cb"'},
                        "context": {},
                        "partition_key": "2026-11-21",
                        "run_id": "c07a9648-0a2c-41f2-8ee8-d06ea51589f3",
                    },
                    "contract_version": 1,
                    "rejected": None,
                    "run": {
                        "run_id": "c07a9648-0a2c-41f2-8ee8-d06ea51589f3",
                        "status": "success",
                        "started_at": "2026-11-21T12:37:12.551201Z",
                        "finished_at": "2026-11-21T12:37:14.402132Z",
                        "url": "/runs/c07a9648-0a2c-41f2-8ee8-d06ea51589f3",
                        "dagster_url": "http://127.0.0.1:3000/runs/c07a9648-0a2c-41f2-8ee8-d06ea51589f3",
                    },
                    "versions": [
                        {
                            "at": "2026-11-21T12:37:14.316902Z",
                            "change": "update",
                            "changed": {"amount": {"from": 3.3262150104102, "to": 3.3265154725224}},
                            "content_hash": "f28741821801eb9de59fc9ebeb5a200e",
                            "raw_id": 1415,
                            "run_id": "c07a9648-0a2c-41f2-8ee8-d06ea51589f3",
                        }
                    ],
                },
                "pagination": {
                    "limit": 1,
                    "next_cursor": "AbwYJ1Wq2Vv4ODg4IDIwMjYtMTEtMjEgMTI6Mzc6MTQuMzE2OTAyKzAwh0J1Yw9rXm0",
                    "has_more": True,
                },
                "meta": META_EXAMPLE,
            }
        }
    }
