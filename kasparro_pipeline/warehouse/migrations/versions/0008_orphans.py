"""How many orphans a partition had when they were last looked for is a measurement too."""

from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

MEASURES = "comment on column kasparro.measurement.measure is '{}'"


def upgrade() -> None:
    """Apply the revision."""
    op.execute(MEASURES.format("volume, null_share, median or orphans"))


def downgrade() -> None:
    """Take the revision back."""
    op.execute("delete from kasparro.measurement where measure = 'orphans'")
    op.execute(MEASURES.format("volume, null_share or median"))
