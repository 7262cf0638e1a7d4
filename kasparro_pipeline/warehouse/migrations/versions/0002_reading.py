"""What the API needs: data versions, full text, more sort orders, keys, signs of life of runs, totals."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


COUNT_RECORDS = """
create function kasparro.count_records() returns trigger language plpgsql as $$
begin
    if tg_op = 'TRUNCATE' then
        update kasparro.data_version
        set version = version + 1, records = 0, deleted = 0, changed_at = clock_timestamp();
        return null;
    end if;
    create_changes
    return null;
end $$
"""
CHANGES = {
    "insert": "select source, kind, deleted_at, 1 as sign from arrived",
    "update": "select source, kind, deleted_at, 1 as sign from arrived"
    " union all select source, kind, deleted_at, -1 from departed",
    "delete": "select source, kind, deleted_at, -1 as sign from departed",
}
TRANSITION_TABLES = {
    "insert": "new table as arrived",
    "update": "old table as departed new table as arrived",
    "delete": "old table as departed",
}
# Ordered, so that two transactions lock the rows of several sources in the same order
COUNT_CHANGES = """
    if tg_op = '{operation}' then
        insert into kasparro.data_version as v (source, kind, version, records, deleted, changed_at)
        select source, kind, 1, coalesce(sum(sign) filter (where deleted_at is null), 0),
            coalesce(sum(sign) filter (where deleted_at is not null), 0), clock_timestamp()
        from ({changes}) change group by source, kind order by source, kind
        on conflict (source, kind) do update set version = v.version + 1,
            records = v.records + excluded.records, deleted = v.deleted + excluded.deleted,
            changed_at = excluded.changed_at;
    end if;
"""
COUNT_CONTRACT = """
create function kasparro.count_contract() returns trigger language plpgsql as $$
begin
    insert into kasparro.data_version as v (source, kind, version, records, deleted, changed_at)
    values (new.source, '', 1, 0, 0, clock_timestamp())
    on conflict (source, kind) do update set version = v.version + 1, changed_at = excluded.changed_at;
    return null;
end $$
"""

ENDINGS = ("success", "partial", "failed", "cancelled")
COUNTS = (
    "documents",
    "documents_unchanged",
    "bytes",
    "extracted",
    "read",
    "validated",
    "rejected",
    "superseded",
    "inserted",
    "updated",
    "unchanged",
    "stale",
    "deleted",
)
SUCCESS = "('success', 'partial')"
# A success that a check took back, or a failure whose step succeeded when tried again, was not the last one
TAKE_BACK = """
    update kasparro.source_total t set {column} = (
        select max(r.finished_at) from kasparro.etl_run r
        where r.source = t.source and r.status in {statuses}
    )
    from departed d join arrived a using (run_id, source, partition_key)
    where t.source = d.source and t.{column} = d.finished_at
        and d.status in {statuses} and (a.status not in {statuses} or a.finished_at < d.finished_at);
"""


def run_changes(counts: Sequence[str]) -> dict[str, str]:
    """A change of a run: what it is now, the status it had (a new one: none of what counts), what was added.

    Counts that are set back, as their work begins anew, take nothing away.
    """
    return {
        "insert": "select source, status, 'running' as was, started_at, finished_at, "
        + ", ".join(counts)
        + " from arrived",
        "update": "select a.source, a.status, d.status as was, a.started_at, a.finished_at, "
        + ", ".join(f"greatest(a.{name} - d.{name}, 0) as {name}" for name in counts)
        + " from arrived a join departed d using (run_id, source, partition_key)"
        + f" where (a.status, a.finished_at, {', '.join(f'a.{name}' for name in counts)}) is distinct from"
        + f" (d.status, d.finished_at, {', '.join(f'd.{name}' for name in counts)})",
    }


def add_up(counts: Sequence[str]) -> str:
    """Add `changes` to the totals; ordered, so that two transactions lock sources in the same order."""
    totals = (*ENDINGS, *(f"ended_{status}" for status in ENDINGS), "run_seconds", *counts)
    having = [
        f"count(*) filter (where status = '{status}') - count(*) filter (where was = '{status}')"
        for status in ENDINGS
    ]
    ended = [f"count(*) filter (where status = '{status}' and was <> status)" for status in ENDINGS]
    return f"""
    insert into kasparro.source_total as t
        (source, {", ".join(totals)}, last_success_at, last_failure_at)
    select source,
        {", ".join(having)},
        {", ".join(ended)},
        coalesce(sum(extract(epoch from finished_at - started_at))
            filter (where status <> 'running' and was <> status), 0),
        {", ".join(f"sum({name})" for name in counts)},
        max(finished_at) filter (where status in {SUCCESS}),
        max(finished_at) filter (where status = 'failed')
    from ({{changes}}) change group by source order by source
    on conflict (source) do update set
        {", ".join(f"{name} = t.{name} + excluded.{name}" for name in totals)},
        last_success_at = greatest(t.last_success_at, excluded.last_success_at),
        last_failure_at = greatest(t.last_failure_at, excluded.last_failure_at);
"""


def add_up_runs(counts: Sequence[str]) -> str:
    """The function of the trigger on runs; a later revision has more counts."""
    changes = run_changes(counts)
    return f"""
create or replace function kasparro.add_up_runs() returns trigger language plpgsql as $$
begin
    if tg_op = 'INSERT' then
    {add_up(counts).format(changes=changes["insert"])}
    else
    {add_up(counts).format(changes=changes["update"])}
    {TAKE_BACK.format(column="last_success_at", statuses=SUCCESS)}
    {TAKE_BACK.format(column="last_failure_at", statuses="('failed')")}
    end if;
    return null;
end $$
"""


def upgrade() -> None:
    """Apply the revision."""
    op.create_table(
        "api_key",
        sa.Column("id", sa.Text(), nullable=False, comment="the public part of the key"),
        sa.Column("name", sa.Text(), nullable=False, comment="who uses it"),
        sa.Column("scopes", sa.ARRAY(sa.Text()), nullable=False),
        sa.Column("salt", sa.LargeBinary(), nullable=False),
        sa.Column(
            "hash", sa.LargeBinary(), nullable=False, comment="SHA-256 of the salt and the secret part"
        ),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column(
            "revoked_at",
            sa.DateTime(timezone=True),
            nullable=True,
            comment="not valid from then on; may lie in the future",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("api_key_pkey")),
        schema="kasparro",
    )
    op.create_table(
        "data_version",
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column(
            "kind", sa.Text(), nullable=False, comment="empty for what a change of the contract counts"
        ),
        sa.Column(
            "version", sa.BigInteger(), nullable=False, comment="how many statements have changed its records"
        ),
        sa.Column("records", sa.BigInteger(), nullable=False, comment="that are not deleted"),
        sa.Column("deleted", sa.BigInteger(), nullable=False),
        sa.Column("changed_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("source", "kind", name=op.f("data_version_pkey")),
        schema="kasparro",
    )
    op.add_column(
        "etl_run",
        sa.Column(
            "active_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("clock_timestamp()"),
            nullable=False,
            comment="last sign of life",
        ),
        schema="kasparro",
    )
    op.create_index(
        op.f("etl_run_started_at_idx"), "etl_run", ["started_at"], unique=False, schema="kasparro"
    )
    op.create_index(
        "etl_run_running_idx",
        "etl_run",
        ["source", "partition_key"],
        unique=False,
        schema="kasparro",
        postgresql_where=sa.text("status = 'running'"),
    )
    op.create_table(
        "source_total",
        sa.Column("source", sa.Text(), nullable=False),
        *(
            sa.Column(name, sa.BigInteger(), server_default=sa.text("0"), nullable=False)
            for name in (*ENDINGS, *(f"ended_{status}" for status in ENDINGS))
        ),
        sa.Column(
            "run_seconds",
            sa.Numeric(),
            server_default=sa.text("0"),
            nullable=False,
            comment="over all endings of runs",
        ),
        *(sa.Column(name, sa.BigInteger(), server_default=sa.text("0"), nullable=False) for name in COUNTS),
        sa.Column(
            "last_success_at",
            sa.DateTime(timezone=True),
            nullable=True,
            comment="end of a run, partial ones included",
        ),
        sa.Column("last_failure_at", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("source", name=op.f("source_total_pkey")),
        schema="kasparro",
    )
    op.create_index(
        op.f("rejected_record_run_id_idx"), "rejected_record", ["run_id"], unique=False, schema="kasparro"
    )
    op.add_column(
        "unified_record",
        sa.Column(
            "search",
            postgresql.TSVECTOR(),
            sa.Computed(
                "(setweight(to_tsvector('english'::regconfig, \"left\"(COALESCE(title, ''::text), 10000)),"
                " 'A'::\"char\") || setweight(to_tsvector('english'::regconfig,"
                " \"left\"(COALESCE(summary, ''::text), 90000)), 'B'::\"char\"))",
                persisted=True,
            ),
            nullable=True,
            comment="words of title and summary",
        ),
        schema="kasparro",
    )
    op.drop_index("unified_record_newest_idx", table_name="unified_record", schema="kasparro")
    op.create_index(
        "unified_record_newest_idx",
        "unified_record",
        [
            sa.literal_column("greatest(published_at, '-infinity'::timestamptz) DESC"),
            sa.literal_column("id DESC"),
        ],
        unique=False,
        schema="kasparro",
    )
    op.create_index(
        "unified_record_amount_idx",
        "unified_record",
        [sa.literal_column("coalesce(amount, '-Infinity'::numeric)"), "id"],
        unique=False,
        schema="kasparro",
    )
    op.create_index(
        "unified_record_author_newest_idx",
        "unified_record",
        [
            "author",
            sa.literal_column("coalesce(published_at, '-infinity'::timestamptz) DESC"),
            sa.literal_column("id DESC"),
        ],
        unique=False,
        schema="kasparro",
        postgresql_where=sa.text("author IS NOT NULL"),
    )
    op.create_index(
        "unified_record_deleted_newest_idx",
        "unified_record",
        [
            sa.literal_column("coalesce(published_at, '-infinity'::timestamptz) DESC"),
            sa.literal_column("id DESC"),
        ],
        unique=False,
        schema="kasparro",
        postgresql_where=sa.text("deleted_at IS NOT NULL"),
    )
    op.create_index(
        "unified_record_search_idx",
        "unified_record",
        ["search"],
        unique=False,
        schema="kasparro",
        postgresql_using="gin",
    )
    op.create_index(
        "unified_record_tags_idx",
        "unified_record",
        ["tags"],
        unique=False,
        schema="kasparro",
        postgresql_using="gin",
        postgresql_where=sa.text("tags != '{}'::text[]"),
    )
    op.create_index(
        "unified_record_title_idx",
        "unified_record",
        [sa.literal_column("left(coalesce(title, '') collate \"C\", 200)"), "id"],
        unique=False,
        schema="kasparro",
    )

    op.execute(
        "insert into kasparro.data_version (source, kind, version, records, deleted, changed_at)"
        " select source, kind, 1, count(*) filter (where deleted_at is null), count(deleted_at), now()"
        " from kasparro.unified_record group by source, kind"
    )
    counting = "".join(
        COUNT_CHANGES.format(operation=operation.upper(), changes=changes)
        for operation, changes in CHANGES.items()
    )
    op.execute(COUNT_RECORDS.replace("create_changes", counting))
    for operation, tables in TRANSITION_TABLES.items():
        op.execute(
            f"create trigger count_{operation} after {operation} on kasparro.unified_record"
            f" referencing {tables} for each statement execute function kasparro.count_records()"
        )
    op.execute(
        "create trigger count_truncate after truncate on kasparro.unified_record"
        " for each statement execute function kasparro.count_records()"
    )
    op.execute(
        add_up(COUNTS).format(changes=run_changes(COUNTS)["insert"].replace("arrived", "kasparro.etl_run"))
    )
    op.execute(add_up_runs(COUNTS))
    for operation in ("insert", "update"):
        op.execute(
            f"create trigger add_up_{operation} after {operation} on kasparro.etl_run"
            f" referencing {TRANSITION_TABLES[operation]} for each statement"
            " execute function kasparro.add_up_runs()"
        )
    op.execute(COUNT_CONTRACT)
    op.execute(
        "create trigger count_contract after insert on kasparro.contract_version"
        " for each row execute function kasparro.count_contract()"
    )


def downgrade() -> None:
    """Take the revision back."""
    for operation in ("insert", "update"):
        op.execute(f"drop trigger add_up_{operation} on kasparro.etl_run")
    op.execute("drop function kasparro.add_up_runs")
    op.drop_table("source_total", schema="kasparro")
    op.drop_index(
        "etl_run_running_idx",
        table_name="etl_run",
        schema="kasparro",
        postgresql_where=sa.text("status = 'running'"),
    )
    op.execute("drop trigger count_contract on kasparro.contract_version")
    for operation in (*TRANSITION_TABLES, "truncate"):
        op.execute(f"drop trigger count_{operation} on kasparro.unified_record")
    op.execute("drop function kasparro.count_contract")
    op.execute("drop function kasparro.count_records")
    op.drop_index("unified_record_newest_idx", table_name="unified_record", schema="kasparro")
    op.create_index(
        "unified_record_newest_idx",
        "unified_record",
        [
            sa.literal_column("coalesce(published_at, '-infinity'::timestamptz) DESC"),
            sa.literal_column("id DESC"),
        ],
        unique=False,
        schema="kasparro",
    )
    op.drop_index("unified_record_title_idx", table_name="unified_record", schema="kasparro")
    op.drop_index(
        "unified_record_tags_idx",
        table_name="unified_record",
        schema="kasparro",
        postgresql_using="gin",
        postgresql_where=sa.text("tags != '{}'::text[]"),
    )
    op.drop_index(
        "unified_record_search_idx", table_name="unified_record", schema="kasparro", postgresql_using="gin"
    )
    op.drop_index(
        "unified_record_deleted_newest_idx",
        table_name="unified_record",
        schema="kasparro",
        postgresql_where=sa.text("deleted_at IS NOT NULL"),
    )
    op.drop_index(
        "unified_record_author_newest_idx",
        table_name="unified_record",
        schema="kasparro",
        postgresql_where=sa.text("author IS NOT NULL"),
    )
    op.drop_index("unified_record_amount_idx", table_name="unified_record", schema="kasparro")
    op.drop_column("unified_record", "search", schema="kasparro")
    op.drop_index(op.f("rejected_record_run_id_idx"), table_name="rejected_record", schema="kasparro")
    op.drop_index(op.f("etl_run_started_at_idx"), table_name="etl_run", schema="kasparro")
    op.drop_column("etl_run", "active_at", schema="kasparro")
    op.drop_table("data_version", schema="kasparro")
    op.drop_table("api_key", schema="kasparro")
