"""The tables of drift: each difference that was found, how often, and the contract that would fit.

Beside `tables`, which holds the rest. No statement belongs here.
"""

from sqlalchemy import (
    BigInteger,
    Column,
    DateTime,
    Identity,
    Index,
    Integer,
    LargeBinary,
    Numeric,
    PrimaryKeyConstraint,
    Table,
    Text,
    UniqueConstraint,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB

from kasparro_pipeline.warehouse.tables import metadata

drift_event = Table(
    "drift_event",
    metadata,
    Column("id", BigInteger, Identity(always=True), primary_key=True),
    Column("source", Text, nullable=False),
    Column("partition_key", Text, nullable=False),
    Column("run_id", Text, nullable=False),
    Column(
        "change",
        Text,
        nullable=False,
        comment="added, removed, renamed, retyped, nullability, enum, format, explosion",
    ),
    Column("field", Text, nullable=False),
    Column("mode", Text, nullable=False, comment="evolve, freeze or quarantine_row"),
    Column("expected", Text),
    Column("found", Text),
    Column("records", BigInteger, nullable=False),
    Column("share", Numeric, nullable=False, comment="of the records that were looked at, 0 to 1"),
    Column("confidence", Numeric, comment="of a suspected rename, 0 to 1"),
    Column(
        "examples",
        JSONB,
        nullable=False,
        server_default=text("'[]'"),
        comment="[{value, raw_id}], the first ones",
    ),
    Column("detected_at", DateTime(timezone=True), nullable=False, server_default=text("now()")),
    UniqueConstraint("run_id", "source", "change", "field"),
    Index(None, "source", "detected_at"),
)

# Kept by a trigger on drift_event in the transaction of the change; it stays when events are pruned.
drift_total = Table(
    "drift_total",
    metadata,
    Column("source", Text, nullable=False),
    Column("change", Text, nullable=False),
    Column("events", BigInteger, nullable=False, comment="rows that drift_event ever had"),
    PrimaryKeyConstraint("source", "change"),
)

drift_verdict = Table(
    "drift_verdict",
    metadata,
    Column("source", Text, nullable=False),
    Column("partition_key", Text, nullable=False),
    Column("run_id", Text, nullable=False, comment="whose drift check looked at the partition last"),
    Column("changes", Integer, nullable=False, comment="differences that it found; 0 without drift"),
    Column(
        "compatibility", Text, nullable=False, comment="full, backward, forward or none, and what it means"
    ),
    Column("base_sha256", LargeBinary, comment="of the file that the proposal changes"),
    Column("proposed", Text, comment="the whole file with the changes; null if there is nothing to propose"),
    Column("left_over", Text, nullable=False, comment="what no change of the contract puts right"),
    Column("made_at", DateTime(timezone=True), nullable=False, server_default=text("now()")),
    PrimaryKeyConstraint("source", "partition_key"),
)
