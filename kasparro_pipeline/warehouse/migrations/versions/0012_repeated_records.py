"""Records that an earlier document brought already, byte for byte, are told of and not stored again."""

from importlib import import_module

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0010"
branch_labels = None
depends_on = None

_reading = import_module("kasparro_pipeline.warehouse.migrations.versions.0002_reading")
COUNTS = ("repeated", *_reading.COUNTS)

DOCUMENT_RECORD = """
create view kasparro.document_record as
select b.document_id, b.first_position + number as position, b.first_id + number as raw_id,
    false as repeated
from kasparro.raw_batch b cross join lateral generate_series(0, b.records - 1) number
union all
select r.document_id, s.position + number, s.raw_id + number, true
from kasparro.repeated_batch r
cross join lateral unnest(r.positions, r.lengths, r.raw_ids) s (position, length, raw_id)
cross join lateral generate_series(0, s.length - 1) number
"""
# Each repeated record becomes one of its own document, which waits for its outcome like any that came
UNFOLD = """
with told as (
    select r.document_id, s.position + number as position, s.raw_id + number as raw_id
    from kasparro.repeated_batch r
    cross join lateral unnest(r.positions, r.lengths, r.raw_ids) s (position, length, raw_id)
    cross join lateral generate_series(0, s.length - 1) number
),
stored as (
    insert into kasparro.raw_batch (first_id, document_id, first_position, records, ends, payloads)
    select nextval('kasparro.raw_id_seq'), document_id, position, 1, array[octet_length(payload)], payload
    from (select *, kasparro.raw_payload(raw_id) as payload from told order by document_id, position) t
    returning first_id, document_id
)
update kasparro.checkpoint c set raw_through = greatest(c.raw_through, s.last)
from (
    select d.source, d.partition_key, max(first_id) as last
    from stored join kasparro.document d on d.id = document_id group by d.source, d.partition_key
) s where (c.source, c.partition_key) = (s.source, s.partition_key)
"""


def upgrade() -> None:
    """Apply the revision."""
    op.create_table(
        "repeated_batch",
        sa.Column("document_id", sa.BigInteger(), nullable=False),
        sa.Column("first_position", sa.Integer(), nullable=False, comment="of the first of them, 0-based"),
        sa.Column(
            "records", sa.Integer(), nullable=False, comment="how many records of the document it tells of"
        ),
        sa.Column(
            "positions",
            sa.ARRAY(sa.Integer()),
            nullable=False,
            comment="where each stretch of them begins",
        ),
        sa.Column("lengths", sa.ARRAY(sa.Integer()), nullable=False, comment="records of each stretch"),
        sa.Column(
            "raw_ids",
            sa.ARRAY(sa.BigInteger()),
            nullable=False,
            comment="of each stretch's first; they rise by one",
        ),
        sa.Column(
            "lines",
            sa.ARRAY(sa.Integer()),
            nullable=False,
            comment="lines that each stretch takes in its file",
        ),
        sa.CheckConstraint("records > 0", name=op.f("repeated_batch_records_check")),
        sa.PrimaryKeyConstraint("document_id", "first_position", name=op.f("repeated_batch_pkey")),
        schema="kasparro",
    )
    for table in ("etl_run", "source_total"):
        op.add_column(
            table,
            sa.Column("repeated", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
            schema="kasparro",
        )
    op.execute(_reading.add_up_runs(COUNTS))
    op.execute(DOCUMENT_RECORD)


def downgrade() -> None:
    """Take the revision back: what was repeated is stored again, and waits for its outcome."""
    op.execute("drop view kasparro.document_record")
    op.execute(UNFOLD)
    op.drop_table("repeated_batch", schema="kasparro")
    op.execute(_reading.add_up_runs(_reading.COUNTS))
    for table in ("etl_run", "source_total"):
        op.drop_column(table, "repeated", schema="kasparro")
