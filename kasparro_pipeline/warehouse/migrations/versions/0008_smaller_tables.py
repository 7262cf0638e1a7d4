"""The words that a search finds are in its index alone; how many orphans a partition had is remembered."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

VECTOR = (
    "(setweight(to_tsvector('english'::regconfig, \"left\"(COALESCE(title, ''::text), 10000)),"
    " 'A'::\"char\") || setweight(to_tsvector('english'::regconfig,"
    " \"left\"(COALESCE(summary, ''::text), 90000)), 'B'::\"char\"))"
)

MEASURES = "comment on column kasparro.measurement.measure is '{}'"


def upgrade() -> None:
    """Apply the revision."""
    op.drop_column("unified_record", "search", schema="kasparro")
    op.create_index(
        "unified_record_search_idx",
        "unified_record",
        [sa.literal_column(VECTOR)],
        schema="kasparro",
        postgresql_using="gin",
    )
    op.execute(MEASURES.format("volume, null_share, median or orphans"))


def downgrade() -> None:
    """Take the revision back."""
    op.execute(MEASURES.format("volume, null_share or median"))
    op.execute("delete from kasparro.measurement where measure = 'orphans'")
    op.drop_index("unified_record_search_idx", table_name="unified_record", schema="kasparro")
    op.add_column(
        "unified_record",
        sa.Column(
            "search",
            postgresql.TSVECTOR(),
            sa.Computed(VECTOR, persisted=True),
            nullable=True,
            comment="words of title and summary",
        ),
        schema="kasparro",
    )
    op.create_index(
        "unified_record_search_idx",
        "unified_record",
        ["search"],
        schema="kasparro",
        postgresql_using="gin",
    )
