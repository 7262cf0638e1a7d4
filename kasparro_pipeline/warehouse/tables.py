"""The tables of schema `kasparro`, as SQLAlchemy Core metadata.

The one description of the columns: migrations are checked against it, writers and the API's queries take
their column names from it. No statement and no connection belongs here.
"""

from sqlalchemy import (
    ARRAY,
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    Computed,
    DateTime,
    Identity,
    Index,
    Integer,
    Interval,
    LargeBinary,
    MetaData,
    Numeric,
    PrimaryKeyConstraint,
    Table,
    Text,
    UniqueConstraint,
    Uuid,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB, TSVECTOR

SCHEMA = "kasparro"

metadata = MetaData(
    schema=SCHEMA,
    naming_convention={
        "pk": "%(table_name)s_pkey",
        "uq": "%(table_name)s_%(column_0_N_name)s_key",
        "ix": "%(table_name)s_%(column_0_N_name)s_idx",
        "fk": "%(table_name)s_%(column_0_N_name)s_fkey",
        "ck": "%(table_name)s_%(constraint_name)s_check",
    },
)


def _now(name: str) -> Column[object]:
    return Column(name, DateTime(timezone=True), nullable=False, server_default=text("now()"))


def _count(name: str) -> Column[int]:
    return Column(name, BigInteger, nullable=False, server_default=text("0"))


def content() -> list[Column[object]]:
    """The typed columns that every source shares, and the rest of its contract as `attributes`."""
    return [
        Column("kind", Text, nullable=False),
        Column("title", Text),
        Column("summary", Text),
        Column("url", Text),
        Column("category", Text),
        Column("author", Text),
        Column("tags", ARRAY(Text), comment="null: none"),
        Column("amount", Numeric),
        Column("currency", Text),
        Column("published_at", DateTime(timezone=True)),
        Column("attributes", JSONB, comment="null: none"),
    ]


CONTENT_COLUMNS = tuple(column.name for column in content())
"""The content columns, in table order: what a contract fills and the content hash covers."""

document = Table(
    "document",
    metadata,
    Column("id", BigInteger, Identity(always=True), primary_key=True),
    Column("source", Text, nullable=False),
    Column("partition_key", Text, nullable=False),
    Column("run_id", Text, nullable=False),
    Column("location", Text, nullable=False, comment="URL or path it came from"),
    Column("context", JSONB, nullable=False, comment="request parameters or file facts a contract may map"),
    Column(
        "layout", JSONB, nullable=False, comment="how its records are read: format, columns, enclosing XML"
    ),
    Column("headers", JSONB, nullable=False, comment="the response headers that matter"),
    Column("byte_count", BigInteger, nullable=False),
    Column("sha256", LargeBinary, nullable=False),
    Column("record_count", Integer, comment="null until every record of it is in raw"),
    Column("profile", JSONB, comment="per field: how often it came, and with which types"),
    Column("fetched_at", DateTime(timezone=True), nullable=False),
    Column("loaded_at", DateTime(timezone=True), comment="null until every record of it is in raw"),
    Column(
        "profiled_from",
        BigInteger,
        comment="first of the partition's documents that its profile describes, up to itself, with places"
        " counted over them all; null: it describes this one alone",
    ),
    Index(None, "source", "location", "id"),
    Index(None, "source", "partition_key", "id"),
)

# Ids rise in the order of arrival. The view raw_record shows the records one by one, for people.
raw_batch = Table(
    "raw_batch",
    metadata,
    Column(
        "first_id", BigInteger, primary_key=True, autoincrement=False, comment="raw_id of its first record"
    ),
    Column("document_id", BigInteger, nullable=False),
    Column("first_position", Integer, nullable=False, comment="0-based, within the document"),
    Column("records", Integer, nullable=False, comment="how many follow each other, in raw_id and position"),
    Column("ends", ARRAY(Integer), nullable=False, comment="where each record ends in payloads, in bytes"),
    Column("payloads", LargeBinary, nullable=False, comment="the records' bytes, exactly as received"),
    Column(
        "each_a_line",
        Boolean,
        comment="each record is known to be a line of its file, without a line break within; null: not known",
    ),
    CheckConstraint("records > 0", name="records"),
    UniqueConstraint("document_id", "first_position"),
)

rejected_record = Table(
    "rejected_record",
    metadata,
    Column("document_id", BigInteger, nullable=False),
    Column("raw_id", BigInteger, nullable=False),
    Column("run_id", Text, nullable=False),
    Column("contract_version", Integer, nullable=False),
    Column("source", Text, nullable=False),
    Column("source_id", Text, comment="as far as the record had a readable one"),
    Column("reasons", JSONB, nullable=False, comment="[{field, rule, value, message}]"),
    _now("rejected_at"),
    PrimaryKeyConstraint("document_id", "raw_id"),
    Index(None, "run_id"),
)

# Cut, because a text search vector takes a megabyte at most and a long text must not stop a merge. It is a
# column, a third of the rows' bytes: with an index of the expression alone, searches for words that are
# neither common nor rare took ten times as long
SEARCH_VECTOR = (
    "(setweight(to_tsvector('english'::regconfig, \"left\"(COALESCE(title, ''::text), 10000)), 'A'::\"char\")"
    " || setweight(to_tsvector('english'::regconfig, \"left\"(COALESCE(summary, ''::text), 90000)),"
    " 'B'::\"char\"))"
)

unified_record = Table(
    "unified_record",
    metadata,
    Column("id", BigInteger, Identity(always=True), primary_key=True),
    Column("source", Text, nullable=False),
    Column("source_id", Text, nullable=False),
    *content(),
    Column("epoch", Integer, nullable=False),
    Column("version", Numeric, nullable=False),
    Column("content_hash", LargeBinary, nullable=False),
    Column("raw_id", BigInteger, nullable=False),
    Column("run_id", Text, comment="null: run_uuid has it"),
    Column("run_uuid", Uuid, comment="the run's id if it is a UUID"),
    _now("first_seen_at"),
    _now("updated_at"),
    Column("deleted_at", DateTime(timezone=True)),
    Column("changed_in", BigInteger, nullable=False, server_default=text("kasparro.this_change()")),
    Column("search", TSVECTOR, Computed(SEARCH_VECTOR, persisted=True), comment="words of title and summary"),
    CheckConstraint("run_id is not null or run_uuid is not null", name="run"),
    UniqueConstraint("source", "source_id"),
)

# What readers sort by. A missing value sorts last (newest first, largest first) through one expression, so
# that a keyset comparison stays a single row comparison that an index can serve. A title is cut: an index
# entry takes 2,704 bytes at most; and it sorts by code point, which no upgrade of the system changes.
# The newest of all are found by an equal expression of another form: so the planner, which cannot know that a
# source has stopped publishing, does not walk the index of all records to look for those of a few sources.
PUBLISHED_SORT = "coalesce(published_at, '-infinity'::timestamptz)"
NEWEST_SORT = "greatest(published_at, '-infinity'::timestamptz)"
AMOUNT_SORT = "coalesce(amount, '-Infinity'::numeric)"
TITLE_SORT = "left(coalesce(title, '') collate \"C\", 200)"
for name, leading in {
    "source_newest": ("source",),
    "category_newest": ("category",),
    "source_category_newest": ("source", "category"),
}.items():
    Index(
        f"unified_record_{name}_idx",
        *(unified_record.c[column] for column in leading),
        text(f"{PUBLISHED_SORT} DESC"),
        unified_record.c.id.desc(),
    )
Index("unified_record_newest_idx", text(f"{NEWEST_SORT} DESC"), unified_record.c.id.desc())
# Full pages: what is new is sorted behind all that is there
GROWS_AT_ITS_END = {"fillfactor": 100}
Index(
    "unified_record_updated_at_id_idx",
    unified_record.c.updated_at,
    unified_record.c.id,
    postgresql_with=GROWS_AT_ITS_END,
)
Index("unified_record_amount_idx", text(AMOUNT_SORT), unified_record.c.id)
Index("unified_record_title_idx", text(TITLE_SORT), unified_record.c.id)
Index(
    "unified_record_author_newest_idx",
    unified_record.c.author,
    text(f"{PUBLISHED_SORT} DESC"),
    unified_record.c.id.desc(),
    postgresql_where=unified_record.c.author.is_not(None),
)
Index(
    "unified_record_deleted_newest_idx",
    text(f"{PUBLISHED_SORT} DESC"),
    unified_record.c.id.desc(),
    postgresql_where=unified_record.c.deleted_at.is_not(None),
)
Index(
    "unified_record_tags_idx",
    unified_record.c.tags,
    postgresql_using="gin",
    postgresql_where=unified_record.c.tags != text("'{}'::text[]"),
)

Index("unified_record_search_idx", unified_record.c.search, postgresql_using="gin")

# One row a source and kind, kept by a trigger on unified_record in the transaction of the change. Readers
# learn from it whether anything has changed, and how many records there are, without counting them.
data_version = Table(
    "data_version",
    metadata,
    Column("source", Text, nullable=False),
    Column("kind", Text, nullable=False, comment="empty for what a change of the contract counts"),
    Column("version", BigInteger, nullable=False, comment="how many statements have changed its records"),
    Column("records", BigInteger, nullable=False, comment="that are not deleted"),
    Column("deleted", BigInteger, nullable=False),
    Column("changed_at", DateTime(timezone=True), nullable=False),
    PrimaryKeyConstraint("source", "kind"),
)

KEY_SCOPES = ("read", "trigger")

api_key = Table(
    "api_key",
    metadata,
    Column("id", Text, primary_key=True, comment="the public part of the key"),
    Column("name", Text, nullable=False, comment="who uses it"),
    Column("scopes", ARRAY(Text), nullable=False),
    Column("salt", LargeBinary, nullable=False),
    Column("hash", LargeBinary, nullable=False, comment="SHA-256 of the salt and the secret part"),
    _now("created_at"),
    Column("revoked_at", DateTime(timezone=True), comment="not valid from then on; may lie in the future"),
)

checkpoint = Table(
    "checkpoint",
    metadata,
    Column("source", Text, nullable=False),
    Column("partition_key", Text, nullable=False, comment="empty for the source's own cursor"),
    Column("cursor", JSONB, comment="how far extraction has come"),
    Column("lookback_window", Interval, comment="how far before the cursor the next extraction starts"),
    Column("fence", BigInteger, nullable=False, server_default=text("0")),
    Column("held_by", Text, comment="run that holds the source and partition"),
    Column("raw_through", BigInteger, nullable=False, server_default=text("0"), comment="newest raw_id"),
    Column("validated_through", BigInteger, nullable=False, server_default=text("0"), comment="a raw_id"),
    Column("unified_through", BigInteger, nullable=False, server_default=text("0"), comment="a raw_id"),
    Column("contract_version", Integer, comment="the version that validated_through was reached with"),
    Column("unified_contract_version", Integer, comment="the version that unified agrees with"),
    _now("updated_at"),
    PrimaryKeyConstraint("source", "partition_key"),
)

RUN_STATUSES = ("running", "success", "partial", "failed", "cancelled")

COUNT_COLUMNS = (
    "documents",
    "documents_unchanged",
    "bytes",
    "extracted",
    "repeated",
    "read",
    "validated",
    "rejected",
    "superseded",
    "inserted",
    "updated",
    "unchanged",
    "stale",
    "deleted",
)
"""The counts of `etl_run`; all but the first three count records.

`extracted` were stored in raw by the run, `repeated` were there already, byte for byte and with an outcome
that still holds: nothing further becomes of them. `read` were taken up by its validation, and
`read = validated + rejected + superseded`. They differ when a run takes up what an interrupted one left.
`inserted`, `updated`, `unchanged` and `stale` (an older version that came late) are what the merge did with
them; `deleted` were left without a valid version by a changed contract, or are gone from a snapshot. What a
snapshot brings back counts as updated.
"""

etl_run = Table(
    "etl_run",
    metadata,
    Column("run_id", Text, nullable=False, comment="Dagster's run id"),
    Column("source", Text, nullable=False),
    Column("partition_key", Text, nullable=False),
    Column("fence", BigInteger, nullable=False, comment="the hold it writes under"),
    Column("status", Text, nullable=False),
    Column("contract_version", Integer),
    Column("started_at", DateTime(timezone=True), nullable=False, server_default=text("clock_timestamp()")),
    Column("finished_at", DateTime(timezone=True)),
    Column(
        "active_at",
        DateTime(timezone=True),
        nullable=False,
        server_default=text("clock_timestamp()"),
        comment="last sign of life",
    ),
    Column("error", Text),
    *map(_count, COUNT_COLUMNS),
    CheckConstraint("status in ('running', 'success', 'partial', 'failed', 'cancelled')", name="status"),
    PrimaryKeyConstraint("run_id", "source", "partition_key"),
    Index(None, "source", "started_at"),
    Index(None, "started_at"),
    Index("etl_run_running_idx", "source", "partition_key", postgresql_where=text("status = 'running'")),
)

contract_version = Table(
    "contract_version",
    metadata,
    Column("source", Text, nullable=False),
    Column("version", Integer, nullable=False),
    Column("digest", LargeBinary, nullable=False),
    Column("contract", JSONB, nullable=False),
    Column("version_rule", JSONB, nullable=False, comment="how it tells which version of a record is newer"),
    Column("epoch", Integer, nullable=False, comment="rises when the version rule changes"),
    _now("created_at"),
    PrimaryKeyConstraint("source", "version"),
)
