"""The validated layer as it lies in the database: batches, column by column; and as a view, record by record.

A batch holds records of one partition with one contract, in the order of their raw ids. Where it ends means
nothing. Beside `tables`, which has the rest; no statement belongs here.
"""

from sqlalchemy import (
    ARRAY,
    BigInteger,
    CheckConstraint,
    Column,
    DateTime,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Numeric,
    PrimaryKeyConstraint,
    Table,
    Text,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB

from kasparro_pipeline.warehouse.tables import SCHEMA, content, metadata

ARRAYS: dict[str, object] = {
    "document_id": BigInteger,
    "raw_id": BigInteger,
    "source_id": Text,
    "title": Text,
    "summary": Text,
    "url": Text,
    "category": Text,
    "author": Text,
    "tags": Text,
    "amount": Numeric,
    "currency": Text,
    "published_at": DateTime(timezone=True),
    "attributes": JSONB,
    "version": Numeric,
    "content_hash": LargeBinary,
    "superseded_by": BigInteger,
}
"""What a batch says of each of its records: one array a column, all of one length.

An array that would say the same of all records as the default does is null.
"""
ALWAYS = frozenset({"document_id", "raw_id", "source_id", "content_hash"})
"""The arrays that are never null."""
DEFAULTS = {"tags": "'{}'", "attributes": "'{}'", "version": "'-Infinity'"}
"""What a record has where an array or an element of it is null, other than null."""
_COMMENTS = {
    "tags": "each as a PostgreSQL array; null: none has any",
    "attributes": "null: all are empty",
    "version": "of the contract; null: without one",
    "superseded_by": "raw_id of the record of its document that replaced it; null: none was",
}

validated_batch = Table(
    "validated_batch",
    metadata,
    Column("source", Text, nullable=False),
    Column("partition_key", Text, nullable=False),
    Column("first_raw_id", BigInteger, nullable=False),
    Column("last_raw_id", BigInteger, nullable=False),
    Column("records", Integer, nullable=False, comment="superseded ones included"),
    Column("superseded", Integer, nullable=False),
    Column("run_id", Text, nullable=False),
    Column("contract_version", Integer, nullable=False),
    Column("kind", Text, nullable=False),
    Column("epoch", Integer, nullable=False),
    Column("max_version", Numeric, nullable=False, comment="of its records that are not superseded"),
    Column(
        "digest",
        LargeBinary,
        nullable=False,
        comment="of all that it says: a batch that says the same is not written again",
    ),
    Column("validated_at", DateTime(timezone=True), nullable=False, server_default=text("now()")),
    *(
        Column(name, ARRAY(type_), nullable=name not in ALWAYS, comment=_COMMENTS.get(name))  # type: ignore[arg-type]
        for name, type_ in ARRAYS.items()
    ),
    CheckConstraint("records > 0 and records = cardinality(raw_id)", name="records"),
    PrimaryKeyConstraint("source", "partition_key", "first_raw_id"),
    Index("validated_batch_newest_idx", "source", "epoch", "max_version", "last_raw_id"),
)

validated_record = Table(
    "validated_record",
    MetaData(schema=SCHEMA),  # a view, which no migration compares
    Column("document_id", BigInteger, nullable=False),
    Column("raw_id", BigInteger, nullable=False),
    Column("run_id", Text, nullable=False),
    Column("contract_version", Integer, nullable=False),
    Column("source", Text, nullable=False),
    Column("partition_key", Text, nullable=False),
    Column("source_id", Text, nullable=False),
    *content(),
    Column(
        "epoch", Integer, nullable=False, comment="of the contract: which versions compare with each other"
    ),
    Column("version", Numeric, nullable=False, comment="the contract's version; -Infinity without one"),
    Column("content_hash", LargeBinary, nullable=False),
    Column("superseded_by", BigInteger, comment="raw_id of the record of its document that replaced it"),
    Column("validated_at", DateTime(timezone=True), nullable=False),
)


def unpacked(batch: str, *names: str) -> str:
    """SQL of the function that makes rows of some arrays of a batch, to be named `r` with these columns."""
    return f"unnest({', '.join(f'{batch}.{name}' for name in names)}) as r ({', '.join(names)})"
