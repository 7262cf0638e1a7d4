"""The table of snapshots. What they mean is in `snapshots`; no statement belongs here."""

from sqlalchemy import (
    ARRAY,
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    DateTime,
    Identity,
    Index,
    Table,
    Text,
    text,
)

from kasparro_pipeline.warehouse.tables import metadata

snapshot = Table(
    "snapshot",
    metadata,
    Column("id", BigInteger, Identity(always=True), primary_key=True, comment="order of arrival"),
    Column("source", Text, nullable=False),
    Column("scope", Text, nullable=False, comment="the partition that it is all of; empty: the source"),
    Column("partition_key", Text, nullable=False),
    Column("run_id", Text, nullable=False, comment="run that extracted it"),
    Column("documents", ARRAY(BigInteger), nullable=False, comment="ids of those that it consists of"),
    Column("through", BigInteger, nullable=False, comment="newest document of its scope when it came"),
    Column("records", BigInteger, nullable=False, comment="raw records of its documents"),
    Column("doubt", Text, comment="why the extraction may not have seen all there is"),
    Column("completed_at", DateTime(timezone=True), nullable=False, server_default=text("now()")),
    Column("verdict", Text, comment="null until it is validated and judged"),
    Column(
        "provisional",
        Boolean,
        nullable=False,
        server_default=text("false"),
        comment="judged while records from before it had no outcome: it is judged again",
    ),
    Column("reason", Text, comment="why it was refused, or accepted all the same"),
    Column("living", BigInteger, comment="keys of its scope before it"),
    Column("missing", BigInteger, comment="those of them that it does not hold"),
    CheckConstraint("verdict in ('accepted', 'refused')", name="verdict"),
    Index(None, "source", "scope", "id"),
    Index("snapshot_unjudged_idx", "source", "partition_key", postgresql_where=text("verdict is null")),
)
