"""The asset checks of a source: what is broken or odd now, how much of it, and how to recover.

Those that look at a partition carry its key; the others look at the source as a whole, so that a verdict of
long ago does not stand beside the present one. `schema_drift` and `every_record_accounted` block the rest.
Those that look at a partition are parts of its assets' steps. The questions are asked in the warehouse and in
`contract`; the verdicts are here.
"""

from kasparro_pipeline.components.checks.check import Check
from kasparro_pipeline.components.checks.drift import schema_drift
from kasparro_pipeline.components.checks.layers import orphans_between_layers
from kasparro_pipeline.components.checks.outcomes import every_record_accounted, unique_source_id
from kasparro_pipeline.components.checks.snapshots import snapshot_deletions
from kasparro_pipeline.components.checks.statistics import (
    null_rate,
    rejected_share,
    value_distribution,
    volume_anomaly,
)
from kasparro_pipeline.components.source import Source


def checks_of(source: Source) -> list[Check]:
    """The checks of a source's partitions, in the order of its assets."""
    checks = (
        *(schema_drift, volume_anomaly),
        *(every_record_accounted, unique_source_id, rejected_share, null_rate, value_distribution),
        orphans_between_layers,
        *((snapshot_deletions,) if source.snapshots else ()),
    )
    return [made(source) for made in checks]
