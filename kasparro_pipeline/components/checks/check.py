"""What a check is: a part of its asset's step, which looks at the partition that the step has just written.

A step of its own would cost more than most checks do: starting it, some twenty events, and a connection for
each. Verdicts are in the other modules.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import dagster as dg

from kasparro_pipeline.components.source import Layer, Source
from kasparro_pipeline.warehouse import checks
from kasparro_pipeline.warehouse.checks import Accounting
from kasparro_pipeline.warehouse.ledger import Connection, Hold


class Look:
    """What the checks of a layer look at. What several of them ask for is asked once."""

    def __init__(self, connection: Connection, hold: Hold, *, has_news: bool) -> None:
        self.connection, self.hold = connection, hold
        self.partition_key = hold.partition_key
        self.run_id = hold.run_id
        self.has_news = has_news
        """Whether the step did anything to the partition; if not, the counts of its batches are enough."""

    @cached_property
    def accounting(self) -> Accounting:
        """The outcomes of the partition's raw records."""
        return checks.account(self.connection, self.hold.source, self.partition_key, one_by_one=self.has_news)


Judgement = Callable[[Look], dg.AssetCheckResult]


@dataclass(frozen=True, slots=True)
class Check:
    """A check of a layer: its spec, and the function that judges."""

    layer: Layer
    spec: dg.AssetCheckSpec
    judge: Judgement


def check(
    source: Source,
    layer: Layer,
    name: str,
    judge: Callable[[Source, Look], dg.AssetCheckResult],
    *,
    description: str,
    blocking: bool = False,
) -> Check:
    """The check `name` of a layer of a source."""
    key = source.key(layer)

    def judged(look: Look) -> dg.AssetCheckResult:
        found = judge(source, look)
        return found._replace(asset_key=key, check_name=name)

    described = dg.AssetCheckSpec(
        name, asset=key, partitions_def=source.partitions, description=description, blocking=blocking
    )
    return Check(layer, described, judged)
