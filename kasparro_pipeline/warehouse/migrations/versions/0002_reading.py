"""What the API needs: data versions, full text, more sort orders, keys, signs of life of runs."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


COUNT_RECORDS = """
create function kasparro.count_records() returns trigger language plpgsql as $$
begin
    if tg_op = 'TRUNCATE' then
        update kasparro.data_version
        set version = version + 1, records = 0, deleted = 0, changed_at = clock_timestamp();
        return null;
    end if;
    create_changes
    return null;
end $$
"""
CHANGES = {
    "insert": "select source, kind, deleted_at, 1 as sign from arrived",
    "update": "select source, kind, deleted_at, 1 as sign from arrived"
    " union all select source, kind, deleted_at, -1 from departed",
    "delete": "select source, kind, deleted_at, -1 as sign from departed",
}
TRANSITION_TABLES = {
    "insert": "new table as arrived",
    "update": "old table as departed new table as arrived",
    "delete": "old table as departed",
}
# Ordered, so that two transactions lock the rows of several sources in the same order
COUNT_CHANGES = """
    if tg_op = '{operation}' then
        insert into kasparro.data_version as v (source, kind, version, records, deleted, changed_at)
        select source, kind, 1, coalesce(sum(sign) filter (where deleted_at is null), 0),
            coalesce(sum(sign) filter (where deleted_at is not null), 0), clock_timestamp()
        from ({changes}) change group by source, kind order by source, kind
        on conflict (source, kind) do update set version = v.version + 1,
            records = v.records + excluded.records, deleted = v.deleted + excluded.deleted,
            changed_at = excluded.changed_at;
    end if;
"""
COUNT_CONTRACT = """
create function kasparro.count_contract() returns trigger language plpgsql as $$
begin
    insert into kasparro.data_version as v (source, kind, version, records, deleted, changed_at)
    values (new.source, '', 1, 0, 0, clock_timestamp())
    on conflict (source, kind) do update set version = v.version + 1, changed_at = excluded.changed_at;
    return null;
end $$
"""


def upgrade() -> None:
    """Apply the revision."""
    op.create_table(
        "api_key",
        sa.Column("id", sa.Text(), nullable=False, comment="the public part of the key"),
        sa.Column("name", sa.Text(), nullable=False, comment="who uses it"),
        sa.Column("scopes", sa.ARRAY(sa.Text()), nullable=False),
        sa.Column("salt", sa.LargeBinary(), nullable=False),
        sa.Column(
            "hash", sa.LargeBinary(), nullable=False, comment="SHA-256 of the salt and the secret part"
        ),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column(
            "revoked_at",
            sa.DateTime(timezone=True),
            nullable=True,
            comment="not valid from then on; may lie in the future",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("api_key_pkey")),
        schema="kasparro",
    )
    op.create_table(
        "data_version",
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column(
            "kind", sa.Text(), nullable=False, comment="empty for what a change of the contract counts"
        ),
        sa.Column(
            "version", sa.BigInteger(), nullable=False, comment="how many statements have changed its records"
        ),
        sa.Column("records", sa.BigInteger(), nullable=False, comment="that are not deleted"),
        sa.Column("deleted", sa.BigInteger(), nullable=False),
        sa.Column("changed_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("source", "kind", name=op.f("data_version_pkey")),
        schema="kasparro",
    )
    op.add_column(
        "etl_run",
        sa.Column(
            "active_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("clock_timestamp()"),
            nullable=False,
            comment="last sign of life",
        ),
        schema="kasparro",
    )
    op.create_index(
        op.f("etl_run_started_at_idx"), "etl_run", ["started_at"], unique=False, schema="kasparro"
    )
    op.create_index(
        op.f("rejected_record_run_id_idx"), "rejected_record", ["run_id"], unique=False, schema="kasparro"
    )
    op.add_column(
        "unified_record",
        sa.Column(
            "search",
            postgresql.TSVECTOR(),
            sa.Computed(
                "(setweight(to_tsvector('english'::regconfig, \"left\"(COALESCE(title, ''::text), 10000)),"
                " 'A'::\"char\") || setweight(to_tsvector('english'::regconfig,"
                " \"left\"(COALESCE(summary, ''::text), 90000)), 'B'::\"char\"))",
                persisted=True,
            ),
            nullable=True,
            comment="words of title and summary",
        ),
        schema="kasparro",
    )
    op.drop_index("unified_record_newest_idx", table_name="unified_record", schema="kasparro")
    op.create_index(
        "unified_record_newest_idx",
        "unified_record",
        [
            sa.literal_column("greatest(published_at, '-infinity'::timestamptz) DESC"),
            sa.literal_column("id DESC"),
        ],
        unique=False,
        schema="kasparro",
    )
    op.create_index(
        "unified_record_amount_idx",
        "unified_record",
        [sa.literal_column("coalesce(amount, '-Infinity'::numeric)"), "id"],
        unique=False,
        schema="kasparro",
    )
    op.create_index(
        "unified_record_author_newest_idx",
        "unified_record",
        [
            "author",
            sa.literal_column("coalesce(published_at, '-infinity'::timestamptz) DESC"),
            sa.literal_column("id DESC"),
        ],
        unique=False,
        schema="kasparro",
        postgresql_where=sa.text("author IS NOT NULL"),
    )
    op.create_index(
        "unified_record_deleted_newest_idx",
        "unified_record",
        [
            sa.literal_column("coalesce(published_at, '-infinity'::timestamptz) DESC"),
            sa.literal_column("id DESC"),
        ],
        unique=False,
        schema="kasparro",
        postgresql_where=sa.text("deleted_at IS NOT NULL"),
    )
    op.create_index(
        "unified_record_search_idx",
        "unified_record",
        ["search"],
        unique=False,
        schema="kasparro",
        postgresql_using="gin",
    )
    op.create_index(
        "unified_record_tags_idx",
        "unified_record",
        ["tags"],
        unique=False,
        schema="kasparro",
        postgresql_using="gin",
        postgresql_where=sa.text("tags != '{}'::text[]"),
    )
    op.create_index(
        "unified_record_title_idx",
        "unified_record",
        [sa.literal_column("left(coalesce(title, '') collate \"C\", 200)"), "id"],
        unique=False,
        schema="kasparro",
    )

    op.execute(
        "insert into kasparro.data_version (source, kind, version, records, deleted, changed_at)"
        " select source, kind, 1, count(*) filter (where deleted_at is null), count(deleted_at), now()"
        " from kasparro.unified_record group by source, kind"
    )
    counting = "".join(
        COUNT_CHANGES.format(operation=operation.upper(), changes=changes)
        for operation, changes in CHANGES.items()
    )
    op.execute(COUNT_RECORDS.replace("create_changes", counting))
    for operation, tables in TRANSITION_TABLES.items():
        op.execute(
            f"create trigger count_{operation} after {operation} on kasparro.unified_record"
            f" referencing {tables} for each statement execute function kasparro.count_records()"
        )
    op.execute(
        "create trigger count_truncate after truncate on kasparro.unified_record"
        " for each statement execute function kasparro.count_records()"
    )
    op.execute(COUNT_CONTRACT)
    op.execute(
        "create trigger count_contract after insert on kasparro.contract_version"
        " for each row execute function kasparro.count_contract()"
    )


def downgrade() -> None:
    """Take the revision back."""
    op.execute("drop trigger count_contract on kasparro.contract_version")
    for operation in (*TRANSITION_TABLES, "truncate"):
        op.execute(f"drop trigger count_{operation} on kasparro.unified_record")
    op.execute("drop function kasparro.count_contract")
    op.execute("drop function kasparro.count_records")
    op.drop_index("unified_record_newest_idx", table_name="unified_record", schema="kasparro")
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
    op.drop_index("unified_record_title_idx", table_name="unified_record", schema="kasparro")
    op.drop_index(
        "unified_record_tags_idx",
        table_name="unified_record",
        schema="kasparro",
        postgresql_using="gin",
        postgresql_where=sa.text("tags != '{}'::text[]"),
    )
    op.drop_index(
        "unified_record_search_idx", table_name="unified_record", schema="kasparro", postgresql_using="gin"
    )
    op.drop_index(
        "unified_record_deleted_newest_idx",
        table_name="unified_record",
        schema="kasparro",
        postgresql_where=sa.text("deleted_at IS NOT NULL"),
    )
    op.drop_index(
        "unified_record_author_newest_idx",
        table_name="unified_record",
        schema="kasparro",
        postgresql_where=sa.text("author IS NOT NULL"),
    )
    op.drop_index("unified_record_amount_idx", table_name="unified_record", schema="kasparro")
    op.drop_column("unified_record", "search", schema="kasparro")
    op.drop_index(op.f("rejected_record_run_id_idx"), table_name="rejected_record", schema="kasparro")
    op.drop_index(op.f("etl_run_started_at_idx"), table_name="etl_run", schema="kasparro")
    op.drop_column("etl_run", "active_at", schema="kasparro")
    op.drop_table("data_version", schema="kasparro")
    op.drop_table("api_key", schema="kasparro")
