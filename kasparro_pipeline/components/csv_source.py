"""The component for CSV files: one dynamic partition a file, and a sensor that lists them."""

import hashlib
from collections.abc import Iterator, Mapping
from datetime import date, timedelta
from itertools import islice
from typing import Any

import dagster as dg
from pydantic import Field

from kasparro_pipeline.components.ahead import nothing
from kasparro_pipeline.components.component import Automation, SourceComponent
from kasparro_pipeline.components.pending import attempts
from kasparro_pipeline.components.resources import Warehouse
from kasparro_pipeline.components.scaffolders import CsvScaffolder
from kasparro_pipeline.components.settings import PipelineSettings, secrets
from kasparro_pipeline.components.snapshot_spec import SnapshotSpec
from kasparro_pipeline.components.source import Extraction, Source
from kasparro_pipeline.components.source_spec import SourceSpec
from kasparro_pipeline.extract.csv_files import CsvExtraction, is_loaded, reading
from kasparro_pipeline.extract.csv_place import Place
from kasparro_pipeline.extract.csv_places import place_of
from kasparro_pipeline.extract.csv_spec import CsvFiles
from kasparro_pipeline.extract.documents import KnownDocument, PartialDocument, Request
from kasparro_pipeline.warehouse import checkpoints, raw
from kasparro_pipeline.warehouse.deletions import Rules
from kasparro_pipeline.warehouse.ledger import Connection, Hold

MAX_RUNS_A_TICK = 25
"""Runs that one tick of the sensor requests; the next tick goes on."""


class CsvSourceSpec(SourceSpec, SnapshotSpec, CsvFiles):
    """Rows of CSV files."""

    check_every: timedelta = Field(default=timedelta(seconds=30), ge=timedelta(seconds=5))
    """How often the folder is listed (ISO 8601)."""
    ends_with_line_break: bool = True
    """Of a snapshot: whether a file whose last line has no line break at its end counts as cut off, so that
    none is deleted and the check fails."""

    @classmethod
    def guards(cls) -> tuple[str, ...]:
        """The keys that mean something for a snapshot alone."""
        return (*super().guards(), "ends_with_line_break")


class _Csv(Source):
    """A folder of CSV files as a source."""

    kind = "csv"

    def __init__(self, name: str, spec: CsvSourceSpec) -> None:
        super().__init__(name, spec)
        self.spec = spec
        self._partitions = dg.DynamicPartitionsDefinition(name=f"{name}_files")

    @property
    def partitions(self) -> dg.DynamicPartitionsDefinition:
        """One partition a file, named like it."""
        return self._partitions

    @property
    def uri(self) -> str:
        """The files."""
        return self.spec.files

    @property
    def snapshots(self) -> Rules | None:
        """Each file is a snapshot of its own."""
        return self.spec.rules(by_partition=True, ends_with_line_break=self.spec.ends_with_line_break)

    def extract(self, connection: Connection, hold: Hold, launched_on: date) -> Extraction:
        """The rows of the partition's file, behind what an interrupted run of the same bytes has stored."""

        def known(location: str) -> KnownDocument | None:
            return raw.known_document(connection, self.name, location)

        def partial(location: str) -> PartialDocument | None:
            return raw.partial_document(connection, self.name, location)

        request = Request(today=launched_on, known=known, partial=partial)
        found = CsvExtraction(self.spec, self._place(), hold.partition_key, request)
        one = found.one_document
        return Extraction(
            found,
            incremental=False,
            stop=nothing if one else None,
            tell=found.compare_with if one else None,
        )

    def metadata(self, connection: Connection, partition_key: str) -> Mapping[str, Any]:
        """How the partition's documents were read: what was declared, and what was found out."""
        documents = raw.newest_documents(connection, self.name, partition_key)
        return {"read_as": dg.MetadataValue.json({name: reading(known) for name, known in documents})}

    def news(self, connection: Connection) -> Iterator[tuple[str, str]]:
        """The files that are not wholly unified as they are now, each with a key for its run."""
        waiting = set(checkpoints.pending(connection, self.name))

        def known_document(name: str) -> KnownDocument | None:
            return raw.known_document(connection, self.name, name)

        place = self._place()
        for file in place.listing(known_document):
            known, state = known_document(file.name), place.state(file)
            if known is None or file.name in waiting or not is_loaded(self.spec, known, state):
                # the document that it follows is part of the key: a file that returns to older bytes is news
                digest = hashlib.sha256(state.encode()).hexdigest()[:16]
                following = f"{file.name}@{digest}@{known.id if known else 0}"
                yield file.name, f"{following}@{attempts(connection, self.name, file.name)}"

    def _place(self) -> Place:
        return place_of(self.spec, secrets())


@dg.scaffold_with(CsvScaffolder)
class CsvSource(SourceComponent):
    """Rows of CSV files, one partition a file, whenever a file is new or changed."""

    spec_class = CsvSourceSpec

    def source(self, name: str) -> Source:
        """The CSV source under its name."""
        return _Csv(name, self.spec)

    def automation(self, source: Source, job: Any) -> list[Automation]:  # noqa: ANN401 - Dagster's job
        """A sensor that adds a partition a file, and requests a run for each new content."""
        assert isinstance(source, _Csv)  # noqa: S101 - made by `source` above

        @dg.sensor(
            name=f"{source.name}_sensor",
            job=job,
            minimum_interval_seconds=int(self.spec.check_every.total_seconds()),
            default_status=dg.DefaultSensorStatus.RUNNING
            if PipelineSettings().automation == "on"
            else dg.DefaultSensorStatus.STOPPED,
        )
        def files_changed(
            context: dg.SensorEvaluationContext, warehouse: Warehouse
        ) -> dg.SensorResult | dg.SkipReason:
            with warehouse.connect() as connection:
                fresh = (item for item in source.news(connection) if not _was_requested(context, item[1]))
                news = list(islice(fresh, MAX_RUNS_A_TICK))
            if not news:
                return dg.SkipReason("no new or changed file")
            return dg.SensorResult(
                run_requests=[dg.RunRequest(run_key=key, partition_key=name) for name, key in news],
                dynamic_partitions_requests=[source.partitions.build_add_request([name for name, _ in news])],
            )

        return [files_changed]


def _was_requested(context: dg.SensorEvaluationContext, run_key: str) -> bool:
    """Whether a run has this key: Dagster would drop the request, and others would wait behind it."""
    asked = dg.RunsFilter(tags={"dagster/run_key": run_key})
    return bool(context.instance.get_run_records(asked, limit=1))
