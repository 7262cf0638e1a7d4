"""The first tables: documents, the three layers, checkpoints, the run ledger, contracts and drift."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create every table of the schema."""
    op.create_table(
        "checkpoint",
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("partition_key", sa.Text(), nullable=False, comment="empty for the source's own cursor"),
        sa.Column(
            "cursor",
            postgresql.JSONB(astext_type=sa.Text()),
            nullable=True,
            comment="how far extraction has come",
        ),
        sa.Column(
            "lookback_window",
            sa.Interval(),
            nullable=True,
            comment="how far before the cursor the next extraction starts",
        ),
        sa.Column("fence", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("held_by", sa.Text(), nullable=True, comment="run that holds the source and partition"),
        sa.Column(
            "raw_through",
            sa.BigInteger(),
            server_default=sa.text("0"),
            nullable=False,
            comment="newest raw_id",
        ),
        sa.Column(
            "validated_through",
            sa.BigInteger(),
            server_default=sa.text("0"),
            nullable=False,
            comment="a raw_id",
        ),
        sa.Column(
            "unified_through",
            sa.BigInteger(),
            server_default=sa.text("0"),
            nullable=False,
            comment="a raw_id",
        ),
        sa.Column(
            "contract_version",
            sa.Integer(),
            nullable=True,
            comment="the version that validated_through was reached with",
        ),
        sa.Column(
            "unified_contract_version",
            sa.Integer(),
            nullable=True,
            comment="the version that unified agrees with",
        ),
        sa.Column("updated_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.PrimaryKeyConstraint("source", "partition_key", name=op.f("checkpoint_pkey")),
        schema="kasparro",
    )
    op.create_table(
        "contract_version",
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("digest", sa.LargeBinary(), nullable=False),
        sa.Column("contract", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column(
            "version_rule",
            postgresql.JSONB(astext_type=sa.Text()),
            nullable=False,
            comment="how it tells which version of a record is newer",
        ),
        sa.Column("epoch", sa.Integer(), nullable=False, comment="rises when the version rule changes"),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.PrimaryKeyConstraint("source", "version", name=op.f("contract_version_pkey")),
        schema="kasparro",
    )
    op.create_table(
        "document",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("partition_key", sa.Text(), nullable=False),
        sa.Column("run_id", sa.Text(), nullable=False),
        sa.Column("location", sa.Text(), nullable=False, comment="URL or path it came from"),
        sa.Column(
            "context",
            postgresql.JSONB(astext_type=sa.Text()),
            nullable=False,
            comment="request parameters or file facts a contract may map",
        ),
        sa.Column(
            "layout",
            postgresql.JSONB(astext_type=sa.Text()),
            nullable=False,
            comment="how its records are read: format, columns, enclosing XML",
        ),
        sa.Column(
            "headers",
            postgresql.JSONB(astext_type=sa.Text()),
            nullable=False,
            comment="the response headers that matter",
        ),
        sa.Column("byte_count", sa.BigInteger(), nullable=False),
        sa.Column("sha256", sa.LargeBinary(), nullable=False),
        sa.Column(
            "record_count", sa.Integer(), nullable=True, comment="null until every record of it is in raw"
        ),
        sa.Column(
            "profile",
            postgresql.JSONB(astext_type=sa.Text()),
            nullable=True,
            comment="per field: how often it came, and with which types",
        ),
        sa.Column("fetched_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column(
            "loaded_at",
            sa.DateTime(timezone=True),
            nullable=True,
            comment="null until every record of it is in raw",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("document_pkey")),
        schema="kasparro",
    )
    op.create_index(
        op.f("document_source_location_id_idx"),
        "document",
        ["source", "location", "id"],
        unique=False,
        schema="kasparro",
    )
    op.create_index(
        op.f("document_source_partition_key_id_idx"),
        "document",
        ["source", "partition_key", "id"],
        unique=False,
        schema="kasparro",
    )
    op.create_table(
        "drift_event",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("partition_key", sa.Text(), nullable=False),
        sa.Column("run_id", sa.Text(), nullable=False),
        sa.Column("change", sa.Text(), nullable=False, comment="added, removed or retyped"),
        sa.Column("field", sa.Text(), nullable=False),
        sa.Column("mode", sa.Text(), nullable=False, comment="evolve, freeze or quarantine_row"),
        sa.Column("expected", sa.Text(), nullable=True),
        sa.Column("found", sa.Text(), nullable=True),
        sa.Column("records", sa.BigInteger(), nullable=False),
        sa.Column(
            "share", sa.Numeric(), nullable=False, comment="of the records that were looked at, 0 to 1"
        ),
        sa.Column("detected_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("drift_event_pkey")),
        sa.UniqueConstraint(
            "run_id", "source", "change", "field", name=op.f("drift_event_run_id_source_change_field_key")
        ),
        schema="kasparro",
    )
    op.create_index(
        op.f("drift_event_source_detected_at_idx"),
        "drift_event",
        ["source", "detected_at"],
        unique=False,
        schema="kasparro",
    )
    op.create_table(
        "etl_run",
        sa.Column("run_id", sa.Text(), nullable=False, comment="Dagster's run id"),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("partition_key", sa.Text(), nullable=False),
        sa.Column("fence", sa.BigInteger(), nullable=False, comment="the hold it writes under"),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("contract_version", sa.Integer(), nullable=True),
        sa.Column(
            "started_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("clock_timestamp()"),
            nullable=False,
        ),
        sa.Column("finished_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("error", sa.Text(), nullable=True),
        sa.Column("documents", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("documents_unchanged", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("bytes", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("extracted", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("read", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("validated", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("rejected", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("superseded", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("inserted", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("updated", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("unchanged", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("stale", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("deleted", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.CheckConstraint(
            "status in ('running', 'success', 'partial', 'failed', 'cancelled')",
            name=op.f("etl_run_status_check"),
        ),
        sa.PrimaryKeyConstraint("run_id", "source", "partition_key", name=op.f("etl_run_pkey")),
        schema="kasparro",
    )
    op.create_index(
        op.f("etl_run_source_started_at_idx"),
        "etl_run",
        ["source", "started_at"],
        unique=False,
        schema="kasparro",
    )
    op.create_table(
        "raw_record",
        sa.Column(
            "id", sa.BigInteger(), sa.Identity(always=True), nullable=False, comment="order of arrival"
        ),
        sa.Column("document_id", sa.BigInteger(), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False, comment="0-based, within the document"),
        sa.Column(
            "payload", sa.LargeBinary(), nullable=False, comment="the record's bytes, exactly as received"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("raw_record_pkey")),
        sa.UniqueConstraint("document_id", "position", name=op.f("raw_record_document_id_position_key")),
        schema="kasparro",
    )
    op.create_table(
        "rejected_record",
        sa.Column("document_id", sa.BigInteger(), nullable=False),
        sa.Column("raw_id", sa.BigInteger(), nullable=False),
        sa.Column("run_id", sa.Text(), nullable=False),
        sa.Column("contract_version", sa.Integer(), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("source_id", sa.Text(), nullable=True, comment="as far as the record had a readable one"),
        sa.Column(
            "reasons",
            postgresql.JSONB(astext_type=sa.Text()),
            nullable=False,
            comment="[{field, rule, value, message}]",
        ),
        sa.Column("rejected_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.PrimaryKeyConstraint("document_id", "raw_id", name=op.f("rejected_record_pkey")),
        schema="kasparro",
    )
    op.create_table(
        "unified_record",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("source_id", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("title", sa.Text(), nullable=True),
        sa.Column("summary", sa.Text(), nullable=True),
        sa.Column("url", sa.Text(), nullable=True),
        sa.Column("category", sa.Text(), nullable=True),
        sa.Column("author", sa.Text(), nullable=True),
        sa.Column("tags", sa.ARRAY(sa.Text()), server_default=sa.text("'{}'"), nullable=False),
        sa.Column("amount", sa.Numeric(), nullable=True),
        sa.Column("currency", sa.Text(), nullable=True),
        sa.Column("published_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column(
            "attributes",
            postgresql.JSONB(astext_type=sa.Text()),
            server_default=sa.text("'{}'"),
            nullable=False,
        ),
        sa.Column("epoch", sa.Integer(), nullable=False),
        sa.Column("version", sa.Numeric(), nullable=False),
        sa.Column("content_hash", sa.LargeBinary(), nullable=False),
        sa.Column("raw_id", sa.BigInteger(), nullable=False),
        sa.Column("run_id", sa.Text(), nullable=False),
        sa.Column(
            "first_seen_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False
        ),
        sa.Column("updated_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("deleted_at", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("unified_record_pkey")),
        sa.UniqueConstraint("source", "source_id", name=op.f("unified_record_source_source_id_key")),
        schema="kasparro",
    )
    op.create_index(
        "unified_record_category_newest_idx",
        "unified_record",
        [
            "category",
            sa.literal_column("coalesce(published_at, '-infinity'::timestamptz) DESC"),
            sa.literal_column("id DESC"),
        ],
        unique=False,
        schema="kasparro",
    )
    op.create_index(
        "unified_record_newest_idx",
        "unified_record",
        [
            sa.literal_column("coalesce(published_at, '-infinity'::timestamptz) DESC"),
            sa.literal_column("id DESC"),
        ],
        unique=False,
        schema="kasparro",
    )
    op.create_index(
        "unified_record_source_category_newest_idx",
        "unified_record",
        [
            "source",
            "category",
            sa.literal_column("coalesce(published_at, '-infinity'::timestamptz) DESC"),
            sa.literal_column("id DESC"),
        ],
        unique=False,
        schema="kasparro",
    )
    op.create_index(
        "unified_record_source_newest_idx",
        "unified_record",
        [
            "source",
            sa.literal_column("coalesce(published_at, '-infinity'::timestamptz) DESC"),
            sa.literal_column("id DESC"),
        ],
        unique=False,
        schema="kasparro",
    )
    op.create_index(
        "unified_record_updated_at_id_idx",
        "unified_record",
        ["updated_at", "id"],
        unique=False,
        schema="kasparro",
    )
    op.create_table(
        "validated_record",
        sa.Column("document_id", sa.BigInteger(), nullable=False),
        sa.Column("raw_id", sa.BigInteger(), nullable=False),
        sa.Column("run_id", sa.Text(), nullable=False),
        sa.Column("contract_version", sa.Integer(), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("source_id", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("title", sa.Text(), nullable=True),
        sa.Column("summary", sa.Text(), nullable=True),
        sa.Column("url", sa.Text(), nullable=True),
        sa.Column("category", sa.Text(), nullable=True),
        sa.Column("author", sa.Text(), nullable=True),
        sa.Column("tags", sa.ARRAY(sa.Text()), server_default=sa.text("'{}'"), nullable=False),
        sa.Column("amount", sa.Numeric(), nullable=True),
        sa.Column("currency", sa.Text(), nullable=True),
        sa.Column("published_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column(
            "attributes",
            postgresql.JSONB(astext_type=sa.Text()),
            server_default=sa.text("'{}'"),
            nullable=False,
        ),
        sa.Column(
            "epoch",
            sa.Integer(),
            nullable=False,
            comment="of the contract: which versions compare with each other",
        ),
        sa.Column(
            "version", sa.Numeric(), nullable=False, comment="the contract's version; -Infinity without one"
        ),
        sa.Column("content_hash", sa.LargeBinary(), nullable=False),
        sa.Column(
            "superseded_by",
            sa.BigInteger(),
            nullable=True,
            comment="raw_id of the record of its batch that replaced it",
        ),
        sa.Column(
            "validated_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False
        ),
        sa.PrimaryKeyConstraint("document_id", "raw_id", name=op.f("validated_record_pkey")),
        schema="kasparro",
    )
    op.create_index(
        "validated_record_newest_idx",
        "validated_record",
        [
            "source",
            "source_id",
            sa.literal_column("epoch DESC"),
            sa.literal_column("version DESC"),
            sa.literal_column("raw_id DESC"),
        ],
        unique=False,
        schema="kasparro",
        postgresql_where=sa.text("superseded_by IS NULL"),
    )


def downgrade() -> None:
    """Drop every table of the schema."""
    for table in (
        "drift_event",
        "contract_version",
        "etl_run",
        "checkpoint",
        "unified_record",
        "rejected_record",
        "validated_record",
        "raw_record",
        "document",
    ):
        op.drop_table(table, schema="kasparro")
