"""Every version of a unified record is kept; every change has a time that rises in the order of commits."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

VERSION_COLUMNS = (
    "id",
    "source",
    "source_id",
    "kind",
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
    "epoch",
    "version",
    "content_hash",
    "raw_id",
    "run_id",
    "first_seen_at",
    "updated_at",
    "deleted_at",
)
COLUMNS = ", ".join(VERSION_COLUMNS)
LOCK = 0x63686E67

# The change of a transaction is named by a setting that ends with it. It has one as soon as a statement could
# change the table, and a row in unified_change once one has.
THIS_CHANGE = """
create function kasparro.this_change() returns bigint language sql stable as $$
    select nullif(current_setting('kasparro.change', true), '')::bigint
$$
"""
BEGIN_CHANGE = """
create function kasparro.begin_change() returns trigger language plpgsql as $$
begin
    if kasparro.this_change() is null then
        perform set_config('kasparro.change', nextval('kasparro.unified_change_id_seq')::text, true);
    end if;
    return null;
end $$
"""
MARK_CHANGE = """
create function kasparro.mark_change() returns trigger language plpgsql as $$
begin
    new.changed_in := kasparro.this_change();
    return new;
end $$
"""
# A version that the same transaction wrote was never seen, and is not kept
KEEP_HISTORY = f"""
create function kasparro.keep_history() returns trigger language plpgsql as $$
declare
    this constant bigint := kasparro.this_change();
    changed text[];
begin
    if tg_op = 'INSERT' then
        changed := array(select distinct source from arrived);
    elsif tg_op = 'TRUNCATE' then
        changed := array(select distinct source from kasparro.unified_record);
        insert into kasparro.unified_history ({COLUMNS}, changed_in, replaced_in, removed)
        select {COLUMNS}, changed_in, this, true from kasparro.unified_record where changed_in <> this;
        update kasparro.unified_history h set removed = true
        from kasparro.unified_record d where d.changed_in = this and h.replaced_in = this and h.id = d.id;
    else
        changed := array(select distinct source from departed);
        insert into kasparro.unified_history ({COLUMNS}, changed_in, replaced_in, removed)
        select {COLUMNS}, changed_in, this, tg_op = 'DELETE' from departed where changed_in <> this;
        if tg_op = 'DELETE' then
            update kasparro.unified_history h set removed = true
            from departed d where d.changed_in = this and h.replaced_in = this and h.id = d.id;
        end if;
    end if;
    if cardinality(changed) > 0 then
        insert into kasparro.unified_change as c (id, sources) values (this, changed)
        on conflict (id) do update
        set sources = array(select distinct unnest(c.sources || excluded.sources))
        where c.changed_at is null;
        -- one that has its time was committed by another transaction
        if not found then
            raise exception 'change % is known: the sequence of kasparro.unified_change is behind', this
                using hint = 'setval(''kasparro.unified_change_id_seq'', '
                    '(select max(id) from kasparro.unified_change))';
        end if;
    end if;
    return null;
end $$
"""
# The sequence goes on where it was, so that no clock that is set back, nor an old snapshot, repeats a time
DATE_CHANGE = f"""
create function kasparro.date_change() returns trigger language plpgsql as $$
declare
    microseconds bigint;
begin
    perform pg_advisory_xact_lock({LOCK});
    microseconds := setval('kasparro.unified_change_clock', greatest(
        nextval('kasparro.unified_change_clock'), (extract(epoch from clock_timestamp()) * 1000000)::bigint));
    update kasparro.unified_change
    set changed_at = 'epoch'::timestamptz + microseconds * interval '1 microsecond' where id = new.id;
    return null;
end $$
"""
FIRST_CHANGE = """
insert into kasparro.unified_change (id, changed_at, sources)
select 0, 'epoch'::timestamptz + now.microseconds * interval '1 microsecond',
    array(select distinct source from kasparro.unified_record)
from (
    select setval('kasparro.unified_change_clock', (extract(epoch from clock_timestamp()) * 1000000)::bigint)
) now (microseconds)
"""
TRANSITION_TABLES = {
    "insert": "referencing new table as arrived",
    "update": "referencing old table as departed",
    "delete": "referencing old table as departed",
}
FUNCTIONS = ("begin_change", "mark_change", "keep_history", "date_change", "this_change")


def upgrade() -> None:
    """Apply the revision."""
    op.create_table(
        "unified_change",
        sa.Column(
            "id",
            sa.BigInteger(),
            sa.Identity(always=False),
            nullable=False,
            comment="order of the beginnings",
        ),
        sa.Column(
            "changed_at",
            sa.DateTime(timezone=True),
            nullable=True,
            comment="order of the commits; null before its own",
        ),
        sa.Column(
            "sources",
            sa.ARRAY(sa.Text()),
            server_default=sa.text("'{}'"),
            nullable=False,
            comment="whose records",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("unified_change_pkey")),
        sa.UniqueConstraint("changed_at", name=op.f("unified_change_changed_at_key")),
        schema="kasparro",
    )
    op.create_table(
        "unified_history",
        sa.Column("id", sa.BigInteger(), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("source_id", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        *(sa.Column(name, sa.Text()) for name in ("title", "summary", "url", "category", "author")),
        sa.Column("tags", sa.ARRAY(sa.Text()), nullable=False),
        sa.Column("amount", sa.Numeric()),
        sa.Column("currency", sa.Text()),
        sa.Column("published_at", sa.DateTime(timezone=True)),
        sa.Column("attributes", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("epoch", sa.Integer(), nullable=False),
        sa.Column("version", sa.Numeric(), nullable=False),
        sa.Column("content_hash", sa.LargeBinary(), nullable=False),
        sa.Column("raw_id", sa.BigInteger(), nullable=False),
        sa.Column("run_id", sa.Text(), nullable=False),
        sa.Column("first_seen_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("deleted_at", sa.DateTime(timezone=True)),
        sa.Column(
            "changed_in", sa.BigInteger(), nullable=False, comment="the change that wrote this version"
        ),
        sa.Column("replaced_in", sa.BigInteger(), nullable=False, comment="the change that ended it"),
        sa.Column(
            "removed", sa.Boolean(), nullable=False, comment="by hand: no other version took its place"
        ),
        sa.PrimaryKeyConstraint("id", "changed_in", name=op.f("unified_history_pkey")),
        sa.UniqueConstraint("changed_in", "id", name=op.f("unified_history_changed_in_id_key")),
        sa.UniqueConstraint("replaced_in", "id", name=op.f("unified_history_replaced_in_id_key")),
        schema="kasparro",
    )
    op.create_index(
        "unified_history_removed_idx",
        "unified_history",
        ["replaced_in", "id"],
        schema="kasparro",
        postgresql_where=sa.text("removed"),
    )
    op.execute("create sequence kasparro.unified_change_clock as bigint")
    for function in (THIS_CHANGE, BEGIN_CHANGE, MARK_CHANGE, KEEP_HISTORY, DATE_CHANGE):
        op.execute(function)
    # A constant first: the rows that are there need not be written again
    op.execute("alter table kasparro.unified_record add column changed_in bigint not null default 0")
    op.execute(
        "alter table kasparro.unified_record alter column changed_in set default kasparro.this_change()"
    )
    op.create_index(
        op.f("unified_record_changed_in_id_idx"), "unified_record", ["changed_in", "id"], schema="kasparro"
    )
    op.execute(FIRST_CHANGE)
    for operation in (*TRANSITION_TABLES, "truncate"):
        op.execute(
            f"create trigger begin_{operation} before {operation} on kasparro.unified_record"
            " for each statement execute function kasparro.begin_change()"
        )
    op.execute(
        "create trigger mark_update before update on kasparro.unified_record"
        " for each row execute function kasparro.mark_change()"
    )
    for operation, tables in TRANSITION_TABLES.items():
        op.execute(
            f"create trigger keep_{operation} after {operation} on kasparro.unified_record"
            f" {tables} for each statement execute function kasparro.keep_history()"
        )
    # Before, as nothing is left after it
    op.execute(
        "create trigger keep_truncate before truncate on kasparro.unified_record"
        " for each statement execute function kasparro.keep_history()"
    )
    # Deferred: at the end of the transaction, however long it is
    op.execute(
        "create constraint trigger date_change after insert on kasparro.unified_change"
        " deferrable initially deferred for each row execute function kasparro.date_change()"
    )


def downgrade() -> None:
    """Take the revision back; what the records were before is lost."""
    op.execute("drop trigger mark_update on kasparro.unified_record")
    for operation in (*TRANSITION_TABLES, "truncate"):
        op.execute(f"drop trigger begin_{operation} on kasparro.unified_record")
        op.execute(f"drop trigger keep_{operation} on kasparro.unified_record")
    op.drop_column("unified_record", "changed_in", schema="kasparro")
    op.drop_table("unified_history", schema="kasparro")
    op.drop_table("unified_change", schema="kasparro")
    op.execute("drop sequence kasparro.unified_change_clock")
    for function in FUNCTIONS:
        op.execute(f"drop function kasparro.{function}")
