"""Rows of raw of which it is known that each record is a line: they are cut in a third of the time.

Of rows that are stored already it is not known.
"""

import sqlalchemy as sa
from alembic import op

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply the revision."""
    comment = "each record is known to be a line of its file, without a line break within; null: not known"
    op.add_column(
        "raw_batch", sa.Column("each_a_line", sa.Boolean(), nullable=True, comment=comment), schema="kasparro"
    )


def downgrade() -> None:
    """Take the revision back."""
    op.drop_column("raw_batch", "each_a_line", schema="kasparro")
