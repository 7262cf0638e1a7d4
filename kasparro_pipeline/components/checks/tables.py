"""Rows as a table of Dagster's metadata."""

from collections.abc import Mapping, Sequence

import dagster as dg

Cell = str | int | float | None


def table(rows: Sequence[Mapping[str, Cell]]) -> dg.TableMetadataValue:
    """The rows with the columns of the first; a missing value is shown as empty."""
    records = [dg.TableRecord({k: "" if v is None else v for k, v in row.items()}) for row in rows]
    schema = dg.TableSchema(columns=[dg.TableColumn(name) for name in (rows[0] if rows else {"none": ""})])
    return dg.MetadataValue.table(records=records, schema=schema)
