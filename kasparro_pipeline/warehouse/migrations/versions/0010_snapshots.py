"""What a complete extraction consisted of, so that what it no longer holds can be told."""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply the revision."""
    op.create_table(
        "snapshot",
        sa.Column(
            "id", sa.BigInteger(), sa.Identity(always=True), nullable=False, comment="order of arrival"
        ),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column(
            "scope", sa.Text(), nullable=False, comment="the partition that it is all of; empty: the source"
        ),
        sa.Column("partition_key", sa.Text(), nullable=False),
        sa.Column("run_id", sa.Text(), nullable=False, comment="run that extracted it"),
        sa.Column(
            "documents",
            sa.ARRAY(sa.BigInteger()),
            nullable=False,
            comment="ids of those that it consists of",
        ),
        sa.Column(
            "through", sa.BigInteger(), nullable=False, comment="newest document of its scope when it came"
        ),
        sa.Column("records", sa.BigInteger(), nullable=False, comment="raw records of its documents"),
        sa.Column("doubt", sa.Text(), comment="why the extraction may not have seen all there is"),
        sa.Column(
            "completed_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False
        ),
        sa.Column("verdict", sa.Text(), comment="null until it is validated and judged"),
        sa.Column(
            "provisional",
            sa.Boolean(),
            server_default=sa.text("false"),
            nullable=False,
            comment="judged while records from before it had no outcome: it is judged again",
        ),
        sa.Column("reason", sa.Text(), comment="why it was refused, or accepted all the same"),
        sa.Column("living", sa.BigInteger(), comment="keys of its scope before it"),
        sa.Column("missing", sa.BigInteger(), comment="those of them that it does not hold"),
        sa.CheckConstraint("verdict in ('accepted', 'refused')", name=op.f("snapshot_verdict_check")),
        sa.PrimaryKeyConstraint("id", name=op.f("snapshot_pkey")),
        schema="kasparro",
    )
    op.create_index(
        op.f("snapshot_source_scope_id_idx"), "snapshot", ["source", "scope", "id"], schema="kasparro"
    )
    op.create_index(
        "snapshot_unjudged_idx",
        "snapshot",
        ["source", "partition_key"],
        schema="kasparro",
        postgresql_where=sa.text("verdict is null"),
    )


def downgrade() -> None:
    """Take the revision back; what was deleted stays deleted."""
    op.drop_table("snapshot", schema="kasparro")
