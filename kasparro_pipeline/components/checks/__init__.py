"""The asset checks of a source: what is broken now, how much of it, and how to recover.

Those on raw and validated look at a partition; those on unified at the source, so that a verdict of long ago
does not stand beside the present one.
The questions are asked in the warehouse and in `contract.drift`; the verdicts are here.
"""

import dagster as dg

from kasparro_pipeline.components.checks.drift import schema_drift
from kasparro_pipeline.components.checks.outcomes import every_record_accounted
from kasparro_pipeline.components.checks.unified import freshness, unique_source_id
from kasparro_pipeline.components.source import Source


def build_checks(source: Source) -> list[dg.AssetChecksDefinition]:
    """The checks of a source, in the order of its assets."""
    return [
        schema_drift(source),
        every_record_accounted(source),
        unique_source_id(source),
        freshness(source),
    ]
