"""Small documents that are stored together have one profile, kept with the last of them."""

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply the revision."""
    op.add_column(
        "document",
        sa.Column(
            "profiled_from",
            sa.BigInteger(),
            comment="first of the partition's documents that its profile describes, up to itself, with places"
            " counted over them all; null: it describes this one alone",
        ),
        schema="kasparro",
    )


def downgrade() -> None:
    """Take the revision back. Profiles of several documents are forgotten: they would be taken for one's."""
    op.execute("update kasparro.document set profile = null where profiled_from is not null")
    op.drop_column("document", "profiled_from", schema="kasparro")
