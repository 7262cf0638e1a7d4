"""Validated records lie many to a row, column by column, compressed; a view shows them one by one."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

BATCH = 5_000
# Column of the view → how the array is declared, and what an array that is null stands for
ARRAYS = {
    "document_id": ("bigint[] not null", None),
    "raw_id": ("bigint[] not null", None),
    "source_id": ("text[] not null", None),
    "title": ("text[]", None),
    "summary": ("text[]", None),
    "url": ("text[]", None),
    "category": ("text[]", None),
    "author": ("text[]", None),
    "tags": ("text[]", "'{}'"),
    "amount": ("numeric[]", None),
    "currency": ("text[]", None),
    "published_at": ("timestamptz[]", None),
    "attributes": ("jsonb[]", "'{}'"),
    "version": ("numeric[]", "'-Infinity'"),
    "content_hash": ("bytea[] not null", None),
    "superseded_by": ("bigint[]", None),
}
SHOWN = (
    *("document_id", "raw_id", "run_id", "contract_version", "source", "partition_key", "source_id", "kind"),
    *("title", "summary", "url", "category", "author", "tags", "amount", "currency", "published_at"),
    *("attributes", "epoch", "version", "content_hash", "superseded_by", "validated_at"),
)


def _shown(name: str) -> str:
    if name not in ARRAYS:
        return f"b.{name}"
    missing = ARRAYS[name][1]
    value = f"r.{name}::text[]" if name == "tags" else f"r.{name}"
    return f"coalesce({value}, {missing}) as {name}" if missing else f"{value} as {name}"


VIEW = f"""
create view kasparro.validated_record as
select {", ".join(map(_shown, SHOWN))}
from kasparro.validated_batch b
cross join lateral unnest({", ".join(f"b.{name}" for name in ARRAYS)}) as r ({", ".join(ARRAYS)})
"""
PACKED = {"tags": "tags::text", "version": "version", "attributes": "attributes"}
PACK = f"""
insert into kasparro.validated_batch (source, partition_key, first_raw_id, last_raw_id, records, superseded,
    run_id, contract_version, kind, epoch, max_version, digest, validated_at, {", ".join(ARRAYS)})
select source, partition_key, min(raw_id), max(raw_id), count(*), count(superseded_by),
    run_id, contract_version, kind, epoch, max(version), '', validated_at,
    {", ".join(f"array_agg({PACKED.get(name, name)} order by raw_id)" for name in ARRAYS)}
from (
    select v.*, d.partition_key, (row_number() over (
        partition by document_id, v.run_id, contract_version, kind, epoch, validated_at order by raw_id
    ) - 1) / {BATCH} as part
    from kasparro.validated_row v join kasparro.document d on d.id = v.document_id
) cut
group by source, partition_key, document_id, run_id, contract_version, kind, epoch, validated_at, part
"""
FIRST_COLUMNS = (
    *("document_id", "raw_id", "run_id", "contract_version", "source", "source_id", "kind", "title"),
    *("summary", "url", "category", "author", "tags", "amount", "currency", "published_at", "attributes"),
    *("epoch", "version", "content_hash", "superseded_by", "validated_at"),
)


def upgrade() -> None:
    """Apply the revision: every validated record keeps what it says."""
    op.rename_table("validated_record", "validated_row", schema="kasparro")
    arrays = ", ".join(f"{name} {declared}" for name, (declared, _) in ARRAYS.items())
    op.execute(f"""
        create table kasparro.validated_batch (
            source text not null, partition_key text not null, first_raw_id bigint not null,
            last_raw_id bigint not null, records integer not null, superseded integer not null,
            run_id text not null, contract_version integer not null, kind text not null,
            epoch integer not null, max_version numeric not null, digest bytea not null,
            validated_at timestamptz not null default now(), {arrays},
            constraint validated_batch_pkey primary key (source, partition_key, first_raw_id),
            constraint validated_batch_records_check check (records > 0 and records = cardinality(raw_id))
        )""")
    comments = {
        "records": "superseded ones included",
        "max_version": "of its records that are not superseded",
        "digest": "of all that it says: a batch that says the same is not written again",
        "tags": "each as a PostgreSQL array; null: none has any",
        "attributes": "null: all are empty",
        "version": "of the contract; null: without one",
        "superseded_by": "raw_id of the record of its document that replaced it; null: none was",
    }
    for column, comment in comments.items():
        op.execute(f"comment on column kasparro.validated_batch.{column} is '{comment}'")
    has_lz4 = "select 'lz4' = any(enumvals) from pg_settings where name = 'default_toast_compression'"
    if op.get_bind().execute(sa.text(has_lz4)).scalar():
        for column in ARRAYS:
            op.execute(f"alter table kasparro.validated_batch alter column {column} set compression lz4")
    op.create_index(
        "validated_batch_newest_idx",
        "validated_batch",
        ["source", "epoch", "max_version", "last_raw_id"],
        schema="kasparro",
    )
    op.execute(PACK)
    op.drop_table("validated_row", schema="kasparro")
    op.execute(VIEW)


def downgrade() -> None:
    """Take the revision back: every validated record is a row again."""
    op.execute("alter view kasparro.validated_record rename to validated_unpacked")
    text, number = sa.Text(), sa.BigInteger()
    op.create_table(
        "validated_record",
        sa.Column("document_id", number, nullable=False),
        sa.Column("raw_id", number, nullable=False),
        sa.Column("run_id", text, nullable=False),
        sa.Column("contract_version", sa.Integer(), nullable=False),
        sa.Column("source", text, nullable=False),
        sa.Column("source_id", text, nullable=False),
        sa.Column("kind", text, nullable=False),
        *(sa.Column(name, text) for name in ("title", "summary", "url", "category", "author")),
        sa.Column("tags", sa.ARRAY(text), server_default=sa.text("'{}'"), nullable=False),
        sa.Column("amount", sa.Numeric()),
        sa.Column("currency", text),
        sa.Column("published_at", sa.DateTime(timezone=True)),
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
        sa.Column("superseded_by", number, comment="raw_id of the record of its batch that replaced it"),
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
        schema="kasparro",
        postgresql_where=sa.text("superseded_by IS NULL"),
    )
    columns = ", ".join(FIRST_COLUMNS)
    op.execute(
        f"insert into kasparro.validated_record ({columns}) select {columns} from kasparro.validated_unpacked"
    )
    op.execute("drop view kasparro.validated_unpacked")
    op.drop_table("validated_batch", schema="kasparro")
