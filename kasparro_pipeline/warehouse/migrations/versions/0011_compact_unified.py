"""A unified record takes fewer bytes: columns of a fixed width first, a run's id as a UUID, nothing for none.

The table is written anew, since PostgreSQL keeps columns where they were made. Each column of eight bytes
begins at a multiple of eight: behind texts up to seven bytes lie fallow before it.
"""

from collections.abc import Iterator

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None

SEARCH = (
    "(setweight(to_tsvector('english'::regconfig, \"left\"(COALESCE(title, ''::text), 10000)), 'A'::\"char\")"
    " || setweight(to_tsvector('english'::regconfig, \"left\"(COALESCE(summary, ''::text), 90000)),"
    " 'B'::\"char\"))"
)
COLUMNS = {
    "id": "bigint not null generated always as identity",
    "raw_id": "bigint not null",
    "changed_in": "bigint not null default kasparro.this_change()",
    "first_seen_at": "timestamptz not null default now()",
    "updated_at": "timestamptz not null default now()",
    "published_at": "timestamptz",
    "deleted_at": "timestamptz",
    "epoch": "integer not null",
    "run_uuid": "uuid",
    "search": f"tsvector generated always as {SEARCH} stored",
    "version": "numeric not null",
    "content_hash": "bytea not null",
    "source": "text not null",
    "source_id": "text not null",
    "kind": "text not null",
    **dict.fromkeys(("title", "summary", "url", "category", "author"), "text"),
    "tags": "text[]",
    "amount": "numeric",
    "currency": "text",
    "attributes": "jsonb",
    "run_id": "text",
}
"""The columns as they lie."""
FIRST_COLUMNS = {
    name: COLUMNS[name]
    for name in (
        *("id", "source", "source_id", "kind", "title", "summary", "url", "category", "author", "tags"),
        *("amount", "currency", "published_at", "attributes", "epoch", "version", "content_hash", "raw_id"),
        *("run_id", "first_seen_at", "updated_at", "deleted_at", "search", "changed_in"),
    )
} | {
    "tags": "text[] not null default '{}'",
    "attributes": "jsonb not null default '{}'",
    "run_id": "text not null",
}
"""The columns as they lay before."""
UUID = "'^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$'"
PACKED = {
    "tags": "nullif(tags, '{}')",
    "attributes": "nullif(attributes, '{}')",
    "run_id": f"case when run_id !~ {UUID} then run_id end",
    "run_uuid": f"case when run_id ~ {UUID} then run_id::uuid end",
}
UNPACKED = {
    "tags": "coalesce(tags, '{}')",
    "attributes": "coalesce(attributes, '{}')",
    "run_id": "coalesce(run_id, run_uuid::text)",
}
TYPES = {"tags": "text[]", "attributes": "jsonb", "run_id": "text", "run_uuid": "uuid"}
COMMENTS = {
    "tags": "null: none",
    "attributes": "null: none",
    "run_id": "null: run_uuid has it",
    "run_uuid": "the run's id if it is a UUID",
    "search": "words of title and summary",
}
GROWS_AT_ITS_END = ("updated_at", "changed_in")
TABLE = "kasparro.unified_record"
VERSION_COLUMNS = (
    *("id", "source", "source_id", "kind", "title", "summary", "url", "category", "author", "tags"),
    *("amount", "currency", "published_at", "attributes", "epoch", "version", "content_hash", "raw_id"),
    *("run_id", "first_seen_at", "updated_at", "deleted_at"),
)


def _texts(statement: str) -> list[str]:
    return [row[0] for row in op.get_bind().execute(sa.text(statement))]


def _definitions() -> Iterator[str]:
    """What belongs to the table, as statements that make it again; the keys first."""
    of_table = f"'{TABLE}'::regclass"
    yield from _texts(
        f"select format('alter table {TABLE} add constraint %I %s', conname, pg_get_constraintdef(oid))"
        f" from pg_constraint where conrelid = {of_table} and contype <> 'n' order by contype <> 'p', conname"
    )
    yield from _texts(
        f"select pg_get_indexdef(indexrelid) from pg_index i where indrelid = {of_table}"
        " and not exists (select from pg_constraint where conindid = i.indexrelid)"
    )
    yield from _texts(
        f"select pg_get_triggerdef(oid) from pg_trigger where tgrelid = {of_table} and not tgisinternal"
    )
    yield from _texts(
        f"select format('grant %s on {TABLE} to %s', privilege_type,"
        " case when grantee = 0 then 'public' else quote_ident(pg_get_userbyid(grantee)) end)"
        f" from pg_class, aclexplode(relacl) where oid = {of_table} and grantee <> relowner"
    )


def _rebuild(columns: dict[str, str], values: dict[str, str]) -> None:
    """Write the table anew with these columns; `values` are what comes into them if not what was there."""
    definitions = list(_definitions())
    op.execute(f"alter table {TABLE} rename to unified_record_before")
    op.execute("alter sequence kasparro.unified_record_id_seq rename to unified_record_before_id_seq")
    made = ", ".join(f"{name} {declared}" for name, declared in columns.items())
    op.execute(f"create table {TABLE} ({made})")
    written = [name for name in columns if name != "search"]
    read = ", ".join(values.get(name, name) for name in written)
    op.execute(
        f"insert into {TABLE} ({', '.join(written)}) overriding system value"
        f" select {read} from kasparro.unified_record_before order by id"
    )
    op.execute(
        "select setval('kasparro.unified_record_id_seq', last_value, is_called)"
        " from kasparro.unified_record_before_id_seq"
    )
    op.execute("drop table kasparro.unified_record_before")
    for definition in definitions:
        op.get_bind().exec_driver_sql(definition.replace("%", "%%"))
    op.execute("alter index if exists kasparro.unified_record_amount_idx alter column 1 set statistics 1000")
    op.execute(f"analyze {TABLE}")


def _make_index(column: str, more: str = "") -> None:
    op.execute(f"drop index if exists kasparro.unified_record_{column}_id_idx")
    op.execute(f"create index unified_record_{column}_id_idx on {TABLE} ({column}, id){more}")


def _keep_history(before: tuple[str, ...], after: tuple[str, ...]) -> None:
    """Let the trigger that copies versions copy these columns."""
    [source] = _texts("select pg_get_functiondef('kasparro.keep_history'::regproc)")
    changed = source.replace(", ".join(before), ", ".join(after))
    op.get_bind().exec_driver_sql(changed.replace("%", "%%"))


def upgrade() -> None:
    """Apply the revision: every record, and every version of it, says what it said."""
    _rebuild(COLUMNS, PACKED)
    op.execute(
        f"alter table {TABLE} add constraint unified_record_run_check"
        " check (run_id is not null or run_uuid is not null)"
    )
    for column, comment in COMMENTS.items():
        op.execute(f"comment on column {TABLE}.{column} is '{comment.replace(chr(39), chr(39) * 2)}'")
    for column in GROWS_AT_ITS_END:
        _make_index(column, " with (fillfactor = 100)")
    nullable = ", ".join(f"alter column {name} drop not null" for name in ("tags", "attributes", "run_id"))
    op.execute(f"alter table kasparro.unified_history add column run_uuid uuid, {nullable}")
    packed = ", ".join(f"alter column {name} type {TYPES[name]} using {PACKED[name]}" for name in TYPES)
    op.execute(f"alter table kasparro.unified_history {packed}")
    _keep_history(VERSION_COLUMNS, (*VERSION_COLUMNS, "run_uuid"))


def downgrade() -> None:
    """Take the revision back; nothing is lost."""
    _keep_history((*VERSION_COLUMNS, "run_uuid"), VERSION_COLUMNS)
    op.execute(f"alter table {TABLE} drop constraint unified_record_run_check")
    _rebuild(FIRST_COLUMNS, UNPACKED)
    op.execute(f"comment on column {TABLE}.search is 'words of title and summary'")
    for column in GROWS_AT_ITS_END:
        _make_index(column)
    required = ", ".join(
        f"alter column {name} type {TYPES[name]} using {UNPACKED[name]}, alter column {name} set not null"
        for name in UNPACKED
    )
    op.execute(f"alter table kasparro.unified_history {required}")
    op.execute("alter table kasparro.unified_history drop column run_uuid")
