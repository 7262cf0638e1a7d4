"""What the API's statements are put together from. Names come from the warehouse's tables.

Rows leave PostgreSQL as JSON, so that a `numeric` keeps every digit. Nothing here runs a statement.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from psycopg import sql
from sqlalchemy import Column, DateTime, LargeBinary

from kasparro_pipeline.warehouse import compact
from kasparro_pipeline.warehouse.tables import SCHEMA


class Statement(NamedTuple):
    """A query and the values bound to it."""

    query: sql.SQL | sql.Composed
    parameters: Sequence[object] | Mapping[str, object] = ()


def table(name: str) -> sql.Identifier:
    """A table of the warehouse."""
    return sql.Identifier(SCHEMA, name)


def utc(expression: sql.Composable) -> sql.Composed:
    """A time as RFC 3339 text with `Z`; the session's time zone is UTC."""
    return sql.SQL("replace(to_json({}) #>> '{{}}', '+00:00', 'Z')").format(expression)


def served(column: Column[object]) -> sql.Composed:
    """A column of a record as its JSON shows it."""
    name = sql.Identifier(column.name)
    if isinstance(column.type, DateTime):
        return sql.SQL("{} as {}").format(utc(name), name)
    if isinstance(column.type, LargeBinary):
        return sql.SQL("encode({}, 'hex') as {}").format(name, name)
    if compact.is_stored(column.name):
        return sql.SQL("{}").format(name)
    return sql.SQL("{} as {}").format(sql.SQL(compact.read(column.name)), name)


def listed(template: str, names: Sequence[str]) -> sql.Composed:
    """`template` once for each name, with `{name}` as identifier and `{text}` as literal, between commas."""
    return sql.SQL(", ").join(
        sql.SQL(template).format(name=sql.Identifier(name), text=sql.Literal(name)) for name in names
    )


def rendered(template: str, **parts: sql.Composable) -> sql.SQL:
    """A statement composed once, when the module is loaded."""
    return sql.SQL(sql.SQL(template).format(**parts).as_string())
