"""Arrays of validated batches that are stored as they are: to compress them costs much and saves little.

PostgreSQL's compression is slowest at ids that follow each other, and hashes have nothing to be compressed.
Batches that are stored already stay as they are.
"""

from alembic import op

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None

_ARRAYS = ("raw_id", "content_hash")


def upgrade() -> None:
    """Apply the revision."""
    _store("external")


def downgrade() -> None:
    """Take the revision back."""
    _store("extended")


def _store(how: str) -> None:
    for name in _ARRAYS:
        op.execute(f"alter table kasparro.validated_batch alter column {name} set storage {how}")
