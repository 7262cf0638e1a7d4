"""The table of what the runs of each source did in total, beside the other tables. No statement belongs here.

One row a source, kept by a trigger on `etl_run` in the transaction of the change. Statistics and metrics read
it instead of the ledger; it stays when ledger rows are pruned.
"""

from sqlalchemy import BigInteger, Column, DateTime, Numeric, Table, Text, text

from kasparro_pipeline.warehouse.tables import COUNT_COLUMNS, RUN_STATUSES, metadata

ENDINGS = RUN_STATUSES[1:]
"""The statuses of a run that has ended."""


def _count(name: str) -> Column[int]:
    return Column(name, BigInteger, nullable=False, server_default=text("0"))


source_total = Table(
    "source_total",
    metadata,
    Column("source", Text, primary_key=True),
    *map(_count, ENDINGS),
    *(_count(f"ended_{status}") for status in ENDINGS),
    Column(
        "run_seconds", Numeric, nullable=False, server_default=text("0"), comment="over all endings of runs"
    ),
    *map(_count, COUNT_COLUMNS),
    Column("last_success_at", DateTime(timezone=True), comment="end of a run, partial ones included"),
    Column("last_failure_at", DateTime(timezone=True)),
)
"""Per status how many runs have it, and how often one ended with it: a run whose step is tried again ends
more than once. Like the counts, which add up what the runs did, the endings never go down."""
