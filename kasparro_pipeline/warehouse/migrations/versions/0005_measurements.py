"""What partitions look like in numbers, so that a new one can be compared with them."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply the revision."""
    op.create_table(
        "measurement",
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("partition_key", sa.Text(), nullable=False),
        sa.Column("measure", sa.Text(), nullable=False, comment="volume, null_share or median"),
        sa.Column("field", sa.Text(), nullable=False, comment="empty for the volume"),
        sa.Column("value", sa.Float(precision=53), nullable=False),
        sa.Column(
            "belongs_at",
            sa.DateTime(timezone=True),
            nullable=False,
            comment="the day of a daily partition; when the first document of another one came",
        ),
        sa.PrimaryKeyConstraint("source", "measure", "field", "partition_key", name=op.f("measurement_pkey")),
        schema="kasparro",
    )
    # The range of an expression is estimated by a hundred slices, of which the last one is too coarse to tell
    # a rare amount from a common one
    op.execute("alter index kasparro.unified_record_amount_idx alter column 1 set statistics 1000")


def downgrade() -> None:
    """Take the revision back."""
    op.execute("alter index kasparro.unified_record_amount_idx alter column 1 set statistics -1")
    op.drop_table("measurement", schema="kasparro")
