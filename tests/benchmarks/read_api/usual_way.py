"""The usual way to serve a table: FastAPI, ORM objects, a session for each request, `response_model`.

`DATABASE_URL` says where. It has the filters, the order and the index of the API, and none of its layers.
"""

import os
from collections.abc import AsyncIterator
from datetime import datetime
from decimal import Decimal
from typing import Annotated, Any
from uuid import UUID

from fastapi import Depends, FastAPI, HTTPException, Query
from pydantic import BaseModel, ConfigDict, field_validator
from sqlalchemy import ARRAY, BigInteger, DateTime, Numeric, literal_column, select, tuple_
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker, create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column
from sqlalchemy.types import Text

from kasparro_pipeline.warehouse.tables import NEWEST_SORT, SCHEMA

POOL = 4


class _Base(DeclarativeBase):
    type_annotation_map = {  # noqa: RUF012 - as SQLAlchemy documents it
        str: Text,
        int: BigInteger,
        Decimal: Numeric,
        datetime: DateTime(timezone=True),
        list[str]: ARRAY(Text),
        dict[str, Any]: JSONB,
    }


class UnifiedRecord(_Base):
    """A row of the table, with the columns that the API serves."""

    __tablename__ = "unified_record"
    __table_args__ = {"schema": SCHEMA}  # noqa: RUF012 - as SQLAlchemy documents it

    id: Mapped[int] = mapped_column(primary_key=True)
    source: Mapped[str]
    source_id: Mapped[str]
    kind: Mapped[str]
    title: Mapped[str | None]
    summary: Mapped[str | None]
    url: Mapped[str | None]
    category: Mapped[str | None]
    author: Mapped[str | None]
    tags: Mapped[list[str] | None]
    amount: Mapped[Decimal | None]
    currency: Mapped[str | None]
    published_at: Mapped[datetime | None]
    attributes: Mapped[dict[str, Any] | None]
    content_hash: Mapped[bytes]
    raw_id: Mapped[int]
    run_id: Mapped[UUID] = mapped_column("run_uuid")
    first_seen_at: Mapped[datetime]
    updated_at: Mapped[datetime]
    deleted_at: Mapped[datetime | None] = mapped_column(deferred=True)


class Record(BaseModel):
    """A record as JSON."""

    model_config = ConfigDict(from_attributes=True)

    id: int
    source: str
    source_id: str
    kind: str
    title: str | None
    summary: str | None
    url: str | None
    category: str | None
    author: str | None
    tags: list[str]
    amount: Decimal | None
    currency: str | None
    published_at: datetime | None
    attributes: dict[str, Any]
    content_hash: str
    raw_id: int
    run_id: UUID
    first_seen_at: datetime
    updated_at: datetime

    @field_validator("content_hash", mode="before")
    @classmethod
    def _hexadecimal(cls, value: bytes) -> str:
        return value.hex()

    @field_validator("tags", mode="before")
    @classmethod
    def _no_tags(cls, value: list[str] | None) -> list[str]:
        return value or []

    @field_validator("attributes", mode="before")
    @classmethod
    def _no_attributes(cls, value: dict[str, Any] | None) -> dict[str, Any]:
        return value or {}


class Page(BaseModel):
    """A page of records."""

    data: list[Record]
    has_more: bool


_engine = create_async_engine(
    os.environ["DATABASE_URL"].replace("postgresql://", "postgresql+psycopg://", 1),
    pool_size=POOL,
    max_overflow=0,
    connect_args={"options": "-c timezone=UTC"},
)
_sessions = async_sessionmaker(_engine, expire_on_commit=False)
_SORT = literal_column(NEWEST_SORT, DateTime(timezone=True))  # to the letter, else no index serves it

app = FastAPI()


async def _session() -> AsyncIterator[AsyncSession]:
    async with _sessions() as session:
        yield session


Session = Annotated[AsyncSession, Depends(_session)]


@app.get("/data", response_model=Page)
async def read_data(
    session: Session,
    source: str | None = None,
    category: str | None = None,
    limit: Annotated[int, Query(ge=1, le=1000)] = 10,
    before: datetime | None = None,
    before_id: int | None = None,
) -> dict[str, Any]:
    """A page of records, newest first, behind the place (`before`, `before_id`)."""
    statement = select(UnifiedRecord).where(UnifiedRecord.deleted_at.is_(None))
    if source is not None:
        statement = statement.where(UnifiedRecord.source == source)
    if category is not None:
        statement = statement.where(UnifiedRecord.category == category)
    if before is not None and before_id is not None:
        statement = statement.where(tuple_(_SORT, UnifiedRecord.id) < tuple_(before, before_id))
    ordered = statement.order_by(_SORT.desc(), UnifiedRecord.id.desc()).limit(limit + 1)
    rows = (await session.scalars(ordered)).all()
    return {"data": rows[:limit], "has_more": len(rows) > limit}


@app.get("/data/{record_id}", response_model=Record)
async def read_record(session: Session, record_id: int) -> UnifiedRecord:
    """One record."""
    record = await session.get(UnifiedRecord, record_id)
    if record is None:
        raise HTTPException(404)
    return record
