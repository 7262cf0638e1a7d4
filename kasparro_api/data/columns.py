"""The columns of a served record. Their types come from the warehouse's table."""

from kasparro_api.sql import served
from kasparro_pipeline.warehouse.tables import unified_record

RECORD_COLUMNS = (
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
    "content_hash",
    "raw_id",
    "run_id",
    "first_seen_at",
    "updated_at",
    "deleted_at",
)
"""The columns of a served record, in the order of its JSON."""

SERVED = {name: served(unified_record.c[name]).as_string() for name in RECORD_COLUMNS}
"""Each column as its JSON shows it: an SQL expression with the column's name."""
