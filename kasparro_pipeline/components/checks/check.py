"""What a check is: a part of its asset's step, which looks at the partition that the step has just written.

A step of its own would cost more than most checks do: starting it, some twenty events, and a connection for
each. Verdicts are in the other modules.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property

import dagster as dg

from kasparro_pipeline.components.source import Layer, Source
from kasparro_pipeline.contract.spec import Contract
from kasparro_pipeline.warehouse import checks, measurements
from kasparro_pipeline.warehouse.checks import Accounting
from kasparro_pipeline.warehouse.ledger import Connection, Hold

NUMERIC = {"number", "integer"}
"""Types of fields that have a median."""


class Look:
    """What the checks of a layer look at. What several of them ask for is asked once."""

    def __init__(self, connection: Connection, hold: Hold, contract: Contract, *, has_news: bool) -> None:
        self.connection, self.hold = connection, hold
        self._contract = contract
        self.partition_key = hold.partition_key
        self.run_id = hold.run_id
        self.has_news = has_news
        """Whether the step did anything to the partition; if not, the counts of its batches are enough."""

    @cached_property
    def accounting(self) -> Accounting:
        """The outcomes of the partition's raw records."""
        return checks.account(self.connection, self.hold.source, self.partition_key, one_by_one=self.has_news)

    @cached_property
    def fields(self) -> tuple[Mapping[str, float], Mapping[str, float]]:
        """Of the validated records, the share without a value by field, and the medians of numeric fields."""
        contract = self._contract
        fields = {name: contract.type_of(name) in NUMERIC for name in contract.fields}
        where = (self.connection, self.hold.source, self.partition_key, fields)
        found = None if self.has_news else measurements.kept_of_fields(*where)
        return found or measurements.of_fields(*where)


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
