"""A source as the Dagster side sees it: names, partitions, and how to extract one of them."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path
from typing import Any, Literal

import dagster as dg

from kasparro_pipeline.components.source_spec import SourceSpec
from kasparro_pipeline.extract.documents import Batch, CameBefore
from kasparro_pipeline.warehouse.deletions import Rules
from kasparro_pipeline.warehouse.ledger import Connection, Hold

Layer = Literal["raw", "validated", "unified"]
LAYERS: tuple[Layer, ...] = ("raw", "validated", "unified")


@dataclass(frozen=True, slots=True)
class Extraction:
    """An extraction under way, and what its last cursor stands for."""

    batches: Iterable[Batch]
    incremental: bool
    """Whether the last cursor is where the source's next extraction starts."""
    lookback_window: timedelta | None = None
    stop: Callable[[], None] | None = None
    """Ends, from another thread, what a batch is waiting for. Given where batches may be asked for while
    others are stored, since behind the first they ask the warehouse nothing over the step's connection."""
    tell: Callable[[CameBefore], None] | None = None
    """Told, once its document is compared with an earlier one, how to ask which records came before. Given
    where all batches are of one document that may be compared."""


class Source(ABC):
    """One upstream. A kind of source is a subclass that knows its partitions and its extractor."""

    kind: str
    """rest, csv or feed."""
    parent: str | None = None
    """The source whose unified records this one's requests are made from."""
    asks_apart: bool = False
    """Whether what an extraction asks the warehouse goes over a connection of its own, so that it can go on
    while batches are stored."""
    defs_file: Path | None = None
    """Where the spec was read from; None for one that was not read from a file."""

    def __init__(self, name: str, spec: SourceSpec) -> None:
        self.name = name
        self.contract = spec.contract()
        self.common = spec

    @property
    @abstractmethod
    def partitions(self) -> dg.PartitionsDefinition[str]:
        """The partitions that the three assets share."""

    @property
    @abstractmethod
    def uri(self) -> str:
        """Where the source's data comes from, for people."""

    @abstractmethod
    def extract(self, connection: Connection, hold: Hold, launched_on: date) -> Extraction:
        """Begin the extraction of the held partition, for a run launched on that day (UTC)."""

    @property
    def snapshots(self) -> Rules | None:
        """When a complete extraction of the source may delete what it lacks; None if it never does."""
        return None

    def asked_for(self, location: str) -> str:  # noqa: ARG002 - for sources whose locations move
        """Which part of the upstream's data a location asks for, if that moves from run to run."""
        return ""

    def metadata(self, connection: Connection, partition_key: str) -> Mapping[str, Any]:  # noqa: ARG002 - some have any
        """What the raw step tells beside its counts: how the upstream is doing, how a partition was read."""
        return {}

    def key(self, layer: Layer) -> dg.AssetKey:
        """The asset key of one layer."""
        return dg.AssetKey([layer, self.name])
