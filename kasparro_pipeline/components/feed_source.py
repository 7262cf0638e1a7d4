"""The component for feeds: daily partitions, and a sensor that asks the feed conditionally."""

from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from typing import Any

import dagster as dg
from pydantic import Field

from kasparro_pipeline.components.component import Automation, SourceComponent
from kasparro_pipeline.components.daily import daily_partitions, require_current
from kasparro_pipeline.components.pending import attempts, pending_runs
from kasparro_pipeline.components.resources import Warehouse
from kasparro_pipeline.components.scaffolders import FeedScaffolder
from kasparro_pipeline.components.settings import PipelineSettings
from kasparro_pipeline.components.source import Extraction, Source
from kasparro_pipeline.components.source_spec import UpstreamSpec
from kasparro_pipeline.extract import feed
from kasparro_pipeline.extract.documents import Batch, KnownDocument, Request
from kasparro_pipeline.extract.feed import FeedRequest
from kasparro_pipeline.extract.http import Client
from kasparro_pipeline.warehouse import checkpoints, raw
from kasparro_pipeline.warehouse.ledger import Connection, Hold

SENSOR_HTTP = {"attempts": 1, "connect_timeout": 5, "read_timeout": 10, "total_timeout": 20}
"""A sensor has 60 s for its tick, and will ask again at the next one: it does not retry."""


class FeedSourceSpec(UpstreamSpec, FeedRequest):
    """Entries of an RSS or Atom feed."""

    check_every: timedelta = Field(default=timedelta(minutes=1), ge=timedelta(seconds=10))
    """How often the feed is asked whether it changed (ISO 8601)."""


class _Feed(Source):
    """A feed as a source."""

    kind = "feed"

    def __init__(self, name: str, spec: FeedSourceSpec) -> None:
        super().__init__(name, spec)
        self.spec = spec
        settings = PipelineSettings()
        self.location = settings.base_url(spec.url, spec.sandbox)
        self.http = spec.http.allowing(settings.private_hosts(spec.sandbox))
        self._partitions = daily_partitions(spec.start_date)

    @property
    def partitions(self) -> dg.DailyPartitionsDefinition:
        """One partition a day."""
        return self._partitions

    @property
    def uri(self) -> str:
        """The feed's address."""
        return self.location

    def extract(self, connection: Connection, hold: Hold, launched_on: date) -> Extraction:
        """The feed as it is now.

        Raises:
            PermanentUpstreamError: a past day.
        """
        if hold.partition_key != launched_on.isoformat() and checkpoints.is_pending(connection, hold):
            return Extraction([], incremental=False)  # what an interrupted run stored is taken up
        require_current(self.name, hold.partition_key, launched_on)

        def known(location: str) -> KnownDocument | None:
            return raw.known_document(connection, self.name, location)

        request = Request(today=launched_on, known=known)
        return Extraction(self._batches(request), incremental=False)

    def _batches(self, request: Request) -> Iterator[Batch]:
        with Client(self.http) as client:
            yield from feed.extract(self.location, request, client)


@dg.scaffold_with(FeedScaffolder)
class FeedSource(SourceComponent):
    """Entries of an RSS or Atom feed, one partition a day, whenever the feed changed."""

    spec_class = FeedSourceSpec

    def source(self, name: str) -> Source:
        """The feed source under its name."""
        return _Feed(name, self.spec)

    def automation(self, source: Source, job: Any) -> list[Automation]:  # noqa: ANN401 - Dagster's job
        """A sensor that requests a run only when the feed changed."""
        assert isinstance(source, _Feed)  # noqa: S101 - made by `source` above
        http = source.http.model_copy(update=SENSOR_HTTP)

        @dg.sensor(
            name=f"{source.name}_sensor",
            job=job,
            minimum_interval_seconds=int(self.spec.check_every.total_seconds()),
            default_status=dg.DefaultSensorStatus.RUNNING
            if PipelineSettings().automation == "on"
            else dg.DefaultSensorStatus.STOPPED,
        )
        def feed_changed(warehouse: Warehouse) -> dg.SensorResult | dg.SkipReason:
            today = datetime.now(UTC).date().isoformat()
            with warehouse.connect() as connection:
                known = raw.known_document(connection, source.name, source.location)
                runs = pending_runs(connection, source.name)
                attempt = attempts(connection, source.name, today)
            with Client(http) as client:
                state = feed.has_changed(source.location, known, client)
            if state is not None:
                # the document it follows is part of the key: a feed that returns to an older state is news
                run_key = f"{today}@{state}@{known.id if known else 0}@{attempt}"
                runs = [dg.RunRequest(run_key=run_key, partition_key=today), *runs]
            return dg.SensorResult(run_requests=runs) if runs else dg.SkipReason("the feed has not changed")

        return [feed_changed]
