"""What an update of many records, and the look for statistics after a load, need not do.

A record whose change is set already is not handed to the function that sets it: the merge sets it itself.
Nobody asks for a part of an array or a payload, so PostgreSQL need not know what is frequent in them: after
each load of many rows of raw it spent half a second of a processor on counting where their records end.
"""

from alembic import op

revision = "0016"
down_revision = "0015"
branch_labels = None
depends_on = None

MARK_UPDATE = """
create or replace trigger mark_update before update on kasparro.unified_record for each row
{when} execute function kasparro.mark_change()"""
UNASKED = {
    "raw_batch": ("ends", "payloads"),
    "repeated_batch": ("positions", "lengths", "raw_ids", "lines"),
    "validated_batch": (
        "document_id",
        "raw_id",
        "source_id",
        "title",
        "summary",
        "url",
        "category",
        "author",
        "tags",
        "amount",
        "currency",
        "published_at",
        "attributes",
        "version",
        "content_hash",
        "superseded_by",
    ),
}


def upgrade() -> None:
    """Apply the revision."""
    op.execute(MARK_UPDATE.format(when="when (new.changed_in is distinct from kasparro.this_change())"))
    _set_statistics(0)


def downgrade() -> None:
    """Take the revision back."""
    op.execute(MARK_UPDATE.format(when=""))
    _set_statistics(-1)


def _set_statistics(target: int) -> None:
    for table, columns in UNASKED.items():
        of_columns = ", ".join(f"alter column {column} set statistics {target}" for column in columns)
        op.execute(f"alter table kasparro.{table} {of_columns}")
