"""Raw records lie many to a row, compressed together; a view shows them one by one."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

LOCK = 0x72617769
MOST_RECORDS = 1_000
MOST_BYTES = 2**20

# A run is where ids and positions rise together by one. It is cut where its running totals pass a multiple of
# MOST_RECORDS and of MOST_BYTES, and on both sides of a record that is larger by itself.
PACK = f"""
insert into kasparro.raw_batch (first_id, document_id, first_position, records, ends, payloads)
select min(id), document_id, min(position), count(*), array_agg(stop order by id),
    string_agg(payload, ''::bytea order by id)
from (
    select *, sum(octet_length(payload)) over (
        partition by document_id, id_run, position_run, larger, is_larger, by_number, by_bytes order by id
    )::int as stop
    from (
        select *, (row_number() over run - 1) / {MOST_RECORDS} as by_number,
            (sum(octet_length(payload)) over run - 1) / {MOST_BYTES} as by_bytes,
            count(*) filter (where is_larger) over run as larger
        from (
            select *, octet_length(payload) > {MOST_BYTES} as is_larger,
                id - row_number() over document as id_run,
                position - row_number() over document as position_run
            from kasparro.raw_row window document as (partition by document_id order by id)
        ) numbered window run as (partition by document_id, id_run, position_run order by id)
    ) measured
) cut
group by document_id, id_run, position_run, larger, is_larger, by_number, by_bytes
"""
# The numbers of a call follow each other, whoever else calls. Not until the end of the transaction, which
# would let one document wait for another; and the lock is given back whatever happens in between
TAKE_RAW_IDS = f"""
create function kasparro.take_raw_ids(n integer) returns bigint language plpgsql as $$
declare
    first_id bigint;
begin
    if n is null or n < 1 then
        raise exception 'take_raw_ids takes 1 or more, not %', n using errcode = 'invalid_parameter_value';
    end if;
    begin
        perform pg_advisory_lock({LOCK});
        first_id := nextval('kasparro.raw_id_seq');
        perform setval('kasparro.raw_id_seq', first_id + n - 1);
    exception when others or query_canceled then
        perform pg_advisory_unlock({LOCK});
        raise;
    end;
    perform pg_advisory_unlock({LOCK});
    return first_id;
end $$
"""
# The payloads of a row are unpacked before they are cut, once: `offset 0` keeps the planner from putting the
# cut in their place, and the empty addition makes a value of what would be a reference to the packed one
RAW_RECORD = """
create view kasparro.raw_record as
select b.first_id + number - 1 as id, b.document_id, b.first_position + number - 1 as position,
    substring(whole.payloads from coalesce(whole.ends[number - 1], 0) + 1
        for whole.ends[number] - coalesce(whole.ends[number - 1], 0)) as payload
from kasparro.raw_batch b
cross join lateral (
    select b.records, b.ends || '{}'::integer[] as ends, b.payloads || ''::bytea as payloads offset 0
) whole
cross join lateral generate_series(1, whole.records) number
"""
# The view would unpack the whole table to find one record by its id
RAW_PAYLOAD = """
create function kasparro.raw_payload(raw_id bigint) returns bytea language sql stable as $$
    select substring(b.payloads from coalesce(b.ends[number - 1], 0) + 1
        for b.ends[number] - coalesce(b.ends[number - 1], 0))
    from (select * from kasparro.raw_batch where first_id <= raw_id order by first_id desc limit 1) b
    cross join lateral (select (raw_id - b.first_id)::integer + 1 as number) place
    where raw_id < b.first_id + b.records
$$
"""


def upgrade() -> None:
    """Apply the revision: every raw record keeps its id, document, position and bytes."""
    op.rename_table("raw_record", "raw_row", schema="kasparro")
    op.create_table(
        "raw_batch",
        sa.Column(
            "first_id",
            sa.BigInteger(),
            autoincrement=False,
            nullable=False,
            comment="raw_id of its first record",
        ),
        sa.Column("document_id", sa.BigInteger(), nullable=False),
        sa.Column("first_position", sa.Integer(), nullable=False, comment="0-based, within the document"),
        sa.Column(
            "records",
            sa.Integer(),
            nullable=False,
            comment="how many follow each other, in raw_id and position",
        ),
        sa.Column(
            "ends",
            sa.ARRAY(sa.Integer()),
            nullable=False,
            comment="where each record ends in payloads, in bytes",
        ),
        sa.Column(
            "payloads", sa.LargeBinary(), nullable=False, comment="the records' bytes, exactly as received"
        ),
        sa.CheckConstraint("records > 0", name=op.f("raw_batch_records_check")),
        sa.PrimaryKeyConstraint("first_id", name=op.f("raw_batch_pkey")),
        sa.UniqueConstraint(
            "document_id", "first_position", name=op.f("raw_batch_document_id_first_position_key")
        ),
        schema="kasparro",
    )
    # It packs several times as fast as pglz; a server may have been built without it, as the embedded one is
    has_lz4 = "select 'lz4' = any(enumvals) from pg_settings where name = 'default_toast_compression'"
    if op.get_bind().execute(sa.text(has_lz4)).scalar():
        for column in ("ends", "payloads"):
            op.execute(f"alter table kasparro.raw_batch alter column {column} set compression lz4")
    op.execute(PACK)
    op.execute("create sequence kasparro.raw_id_seq as bigint owned by kasparro.raw_batch.first_id")
    op.execute("select setval('kasparro.raw_id_seq', last_value, is_called) from kasparro.raw_record_id_seq")
    op.drop_table("raw_row", schema="kasparro")
    op.execute(TAKE_RAW_IDS)
    op.execute(RAW_RECORD)
    op.execute(RAW_PAYLOAD)


def downgrade() -> None:
    """Take the revision back: every raw record is a row again."""
    op.execute("alter view kasparro.raw_record rename to raw_unpacked")
    op.create_table(
        "raw_record",
        sa.Column(
            "id", sa.BigInteger(), sa.Identity(always=True), nullable=False, comment="order of arrival"
        ),
        sa.Column("document_id", sa.BigInteger(), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False, comment="0-based, within the document"),
        sa.Column(
            "payload",
            sa.LargeBinary(),
            nullable=False,
            comment="the record's bytes, exactly as received",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("raw_record_pkey")),
        sa.UniqueConstraint("document_id", "position", name=op.f("raw_record_document_id_position_key")),
        schema="kasparro",
    )
    op.execute(
        "insert into kasparro.raw_record (id, document_id, position, payload) overriding system value"
        " select id, document_id, position, payload from kasparro.raw_unpacked"
    )
    op.execute("select setval('kasparro.raw_record_id_seq', last_value, is_called) from kasparro.raw_id_seq")
    op.execute("drop view kasparro.raw_unpacked")
    op.execute("drop function kasparro.raw_payload")
    op.execute("drop function kasparro.take_raw_ids")
    op.drop_table("raw_batch", schema="kasparro")
