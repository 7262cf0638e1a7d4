"""What is known of each feed of a source, and the lists of feeds as they were read last."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply the revision."""
    op.create_table(
        "feed_state",
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column(
            "feed", sa.Text(), nullable=False, comment="address in the spec, also after the feed has moved"
        ),
        sa.Column("title", sa.Text()),
        sa.Column("category", sa.Text()),
        sa.Column("checked_at", sa.DateTime(timezone=True), comment="when it was asked last"),
        sa.Column("next_check_at", sa.DateTime(timezone=True), comment="not asked by the sensor before"),
        sa.Column("failures", sa.Integer(), server_default=sa.text("0"), nullable=False, comment="in a row"),
        sa.Column("reason", sa.Text(), comment="why it failed last"),
        sa.Column(
            "problem",
            sa.Text(),
            comment="what is wrong with its newest document, which was read all the same",
        ),
        sa.Column("moved_to", sa.Text(), comment="asked there, since permanent redirects led there"),
        sa.Column("gone_at", sa.DateTime(timezone=True), comment="it answered 410: it is not asked any more"),
        sa.Column(
            "changed",
            sa.Boolean(),
            server_default=sa.text("false"),
            nullable=False,
            comment="for the next run",
        ),
        sa.Column("entries", sa.Integer(), comment="of its newest document"),
        sa.Column(
            "wishes",
            postgresql.JSONB(),
            server_default=sa.text("'{}'"),
            nullable=False,
            comment="when it wants to be asked",
        ),
        sa.PrimaryKeyConstraint("source", "feed", name=op.f("feed_state_pkey")),
        schema="kasparro",
    )
    op.create_table(
        "feed_list",
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("address", sa.Text(), nullable=False, comment="of an OPML file"),
        sa.Column("body", sa.Text(), nullable=False, comment="as it was read last"),
        sa.Column("headers", postgresql.JSONB(), nullable=False),
        sa.Column("next_check_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("failures", sa.Integer(), server_default=sa.text("0"), nullable=False, comment="in a row"),
        sa.Column("reason", sa.Text()),
        sa.PrimaryKeyConstraint("source", "address", name=op.f("feed_list_pkey")),
        schema="kasparro",
    )


def downgrade() -> None:
    """Take the revision back."""
    op.drop_table("feed_list", schema="kasparro")
    op.drop_table("feed_state", schema="kasparro")
