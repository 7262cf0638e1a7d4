"""The unified records of a source, for another source whose requests are repeated for each of them."""

from collections.abc import Sequence

from kasparro_pipeline.contract.spec import COLUMN_TYPES
from kasparro_pipeline.warehouse import compact
from kasparro_pipeline.warehouse.ledger import Connection
from kasparro_pipeline.warehouse.tables import SCHEMA


def parents(connection: Connection, source: str, names: Sequence[str]) -> list[dict[str, str]]:
    """Some fields of each record of a source, as text: `id`, its source_id; shared columns; attributes.

    Records that lack one of them, and deleted ones, are left out.
    """
    columns = ["source_id" if name == "id" else _column(name) for name in names]
    attributes = [name for name in names if name != "id" and name not in COLUMN_TYPES]
    rows = connection.execute(
        f"select {', '.join(columns)} from {SCHEMA}.unified_record where source = %s and deleted_at is null"
        ' order by source_id collate "C"',
        (*attributes, source),
    ).fetchall()
    return [dict(zip(names, row, strict=True)) for row in rows if None not in row]


def _column(name: str) -> str:
    return f"{compact.read(name)}::text" if name in COLUMN_TYPES else "attributes ->> %s"
