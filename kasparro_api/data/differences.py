"""What differs between two versions of a record, as SQL. Nothing here runs it."""

from psycopg import sql
from sqlalchemy import DateTime

from kasparro_api.data.columns import SERVED
from kasparro_api.sql import utc
from kasparro_pipeline.warehouse import compact
from kasparro_pipeline.warehouse.tables import CONTENT_COLUMNS, unified_record

_PLAIN = tuple(name for name in CONTENT_COLUMNS if name != "attributes")


def record(row: str) -> str:
    """A row of versions as the JSON that a list shows of it."""
    members = ", ".join(SERVED.values())
    return f"(select row_to_json(record) from (select {members} from (select {row}.*) version) record)"


def changed(before: str, after: str) -> str:
    """A JSON object: each field of the content whose value differs, with `from` and `to`.

    Of the attributes each one counts by itself, as `attributes.<name>`; one that is missing is null.
    """
    columns = ", ".join(
        f"('{name}', {_json(before, name)}, {_json(after, name)},"
        f" {compact.read(name, before)} is distinct from {compact.read(name, after)})"
        for name in _PLAIN
    )
    return f"""(
    select coalesce(json_object_agg(name, json_build_object('from', was, 'to', is_now)), '{{}}')
    from (
        select name, was, is_now from (values {columns}) plain (name, was, is_now, differs) where differs
        union all
        select 'attributes.' || key, was.value::json, is_now.value::json
        from jsonb_each({before}.attributes) was full join jsonb_each({after}.attributes) is_now using (key)
        where nullif(was.value, 'null') is distinct from nullif(is_now.value, 'null')
    ) field
)"""


def _json(row: str, name: str) -> str:
    if isinstance(unified_record.c[name].type, DateTime):
        return f"to_json({utc(sql.Identifier(row, name)).as_string()})"
    return f"to_json({compact.read(name, row)})"
