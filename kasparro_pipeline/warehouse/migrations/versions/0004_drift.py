"""Drift: confidence and examples of each event, how many there were, and the contract that would fit."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

OLD_COMMENT = "added, removed or retyped"
NEW_COMMENT = "added, removed, renamed, retyped, nullability, enum, format, explosion"
# Ordered, so that two transactions lock the rows in the same order
ADD_UP = """
    insert into kasparro.drift_total as t (source, change, events)
    select source, change, count(*) from {table} group by source, change order by source, change
    on conflict (source, change) do update set events = t.events + excluded.events
"""
ADD_UP_DRIFT = f"""
create function kasparro.add_up_drift() returns trigger language plpgsql as $$
begin
    {ADD_UP.format(table="arrived")};
    return null;
end $$
"""


def upgrade() -> None:
    """Apply the revision."""
    op.add_column(
        "drift_event",
        sa.Column("confidence", sa.Numeric(), nullable=True, comment="of a suspected rename, 0 to 1"),
        schema="kasparro",
    )
    op.add_column(
        "drift_event",
        sa.Column(
            "examples",
            postgresql.JSONB(),
            server_default=sa.text("'[]'"),
            nullable=False,
            comment="[{value, raw_id}], the first ones",
        ),
        schema="kasparro",
    )
    op.alter_column("drift_event", "change", comment=NEW_COMMENT, schema="kasparro")
    op.create_table(
        "drift_total",
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("change", sa.Text(), nullable=False),
        sa.Column("events", sa.BigInteger(), nullable=False, comment="rows that drift_event ever had"),
        sa.PrimaryKeyConstraint("source", "change", name=op.f("drift_total_pkey")),
        schema="kasparro",
    )
    op.create_table(
        "drift_verdict",
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("partition_key", sa.Text(), nullable=False),
        sa.Column(
            "run_id", sa.Text(), nullable=False, comment="whose drift check looked at the partition last"
        ),
        sa.Column(
            "changes", sa.Integer(), nullable=False, comment="differences that it found; 0 without drift"
        ),
        sa.Column(
            "compatibility",
            sa.Text(),
            nullable=False,
            comment="full, backward, forward or none, and what it means",
        ),
        sa.Column("base_sha256", sa.LargeBinary(), comment="of the file that the proposal changes"),
        sa.Column(
            "proposed",
            sa.Text(),
            comment="the whole file with the changes; null if there is nothing to propose",
        ),
        sa.Column(
            "left_over", sa.Text(), nullable=False, comment="what no change of the contract puts right"
        ),
        sa.Column("made_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.PrimaryKeyConstraint("source", "partition_key", name=op.f("drift_verdict_pkey")),
        schema="kasparro",
    )
    op.execute(ADD_UP.format(table="kasparro.drift_event"))
    op.execute(ADD_UP_DRIFT)
    op.execute(
        "create trigger add_up_insert after insert on kasparro.drift_event"
        " referencing new table as arrived for each statement execute function kasparro.add_up_drift()"
    )


def downgrade() -> None:
    """Take the revision back."""
    op.execute("drop trigger add_up_insert on kasparro.drift_event")
    op.execute("drop function kasparro.add_up_drift")
    op.drop_table("drift_verdict", schema="kasparro")
    op.drop_table("drift_total", schema="kasparro")
    op.alter_column("drift_event", "change", comment=OLD_COMMENT, schema="kasparro")
    op.drop_column("drift_event", "examples", schema="kasparro")
    op.drop_column("drift_event", "confidence", schema="kasparro")
