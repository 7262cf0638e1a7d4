"""The tables of what the unified table was before, and of its changes. No statement belongs here.

`unified_record` stays the present. `unified_history` has every version that was replaced, `unified_change`
one row for each transaction that changed the table; triggers on it keep both, whoever writes.

`changed_in` and `replaced_in` name changes. A change is dated as the last thing before its transaction
commits, under a lock that is held until it has: so `changed_at` rises strictly in the order in which changes
become visible, and whoever has read up to a change misses nothing that comes to light later. Until then
transactions do not wait for each other.
"""

from sqlalchemy import (
    ARRAY,
    BigInteger,
    Boolean,
    Column,
    DateTime,
    Identity,
    Index,
    PrimaryKeyConstraint,
    Table,
    Text,
    UniqueConstraint,
    text,
)

from kasparro_pipeline.warehouse.tables import GROWS_AT_ITS_END, metadata, unified_record

CHANGE_LOCK = 0x63686E67
"""The advisory lock under which a change is dated; who has held it shared sees every change dated before."""

VERSION_COLUMNS = tuple(
    column.name for column in unified_record.columns if column.name not in {"search", "changed_in"}
)
"""What a version of a record consists of."""

unified_change = Table(
    "unified_change",
    metadata,
    Column("id", BigInteger, Identity(always=False), primary_key=True, comment="order of the beginnings"),
    Column(
        "changed_at",
        DateTime(timezone=True),
        unique=True,
        comment="order of the commits; null before its own",
    ),
    Column("sources", ARRAY(Text), nullable=False, server_default=text("'{}'"), comment="whose records"),
)
"""Change 0 stands for all records that were there when history began."""

unified_history = Table(
    "unified_history",
    metadata,
    *(
        Column(name, unified_record.c[name].type, nullable=unified_record.c[name].nullable)
        for name in VERSION_COLUMNS
    ),
    Column("changed_in", BigInteger, nullable=False, comment="the change that wrote this version"),
    Column("replaced_in", BigInteger, nullable=False, comment="the change that ended it"),
    Column("removed", Boolean, nullable=False, comment="by hand: no other version took its place"),
    PrimaryKeyConstraint("id", "changed_in"),
    UniqueConstraint("changed_in", "id"),
    UniqueConstraint("replaced_in", "id"),
    Index("unified_history_removed_idx", "replaced_in", "id", postgresql_where=text("removed")),
)

Index(None, unified_record.c.changed_in, unified_record.c.id, postgresql_with=GROWS_AT_ITS_END)
