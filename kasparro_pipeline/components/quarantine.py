"""What a person sees in Dagster of a partition's rejected records: how many, which, and what to do."""

import dagster as dg

from kasparro_pipeline.components.replay import PREFIX
from kasparro_pipeline.warehouse import rejected
from kasparro_pipeline.warehouse.ledger import Connection

COLUMNS = ("raw_id", "source_id", "field", "rule", "value", "message")
HOW_TO_RECOVER = """\
Nothing is lost: each rejected record is in `raw_record` as it was received, and in `rejected_record` with
its reasons.

1. If the contract is wrong: change it in `kasparro_pipeline/defs/{source}/defs.yaml`, and reload the code
   location.
2. Launch the job `{job}`, or run `kasparro replay {source}`: it validates the rejected records again,
   merges what passes, and leaves the rest.

If the upstream is wrong, there is nothing to do here: the records that it sends right are taken."""


def of_partition(
    connection: Connection, source: str, partition_key: str
) -> dict[str, int | dg.TableMetadataValue | dg.MarkdownMetadataValue]:
    """Metadata on the rejected records of a partition; of one that has none, only the number."""
    number = rejected.count(connection, source, partition_key)
    if not number:
        return {"quarantined": 0}
    rows = rejected.examples(connection, source, partition_key)
    return {
        "quarantined": number,
        "quarantine": dg.MetadataValue.table(
            records=[
                dg.TableRecord({name: "" if row[name] is None else row[name] for name in COLUMNS})
                for row in rows
            ],
            schema=dg.TableSchema(columns=[dg.TableColumn(name) for name in COLUMNS]),
        ),
        "how_to_recover": dg.MetadataValue.md(HOW_TO_RECOVER.format(source=source, job=f"{PREFIX}{source}")),
    }
