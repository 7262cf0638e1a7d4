"""The component for REST APIs: daily partitions and a schedule."""

from collections.abc import Iterator
from datetime import UTC, date, datetime
from functools import partial
from typing import Any, Self
from urllib.parse import parse_qs, urlsplit

import dagster as dg
from pydantic import Field, model_validator

from kasparro_pipeline.components.component import Automation, SourceComponent
from kasparro_pipeline.components.daily import daily_partitions, require_current
from kasparro_pipeline.components.parents import parents
from kasparro_pipeline.components.pending import pending_runs
from kasparro_pipeline.components.resources import Warehouse
from kasparro_pipeline.components.scaffolders import RestScaffolder
from kasparro_pipeline.components.settings import PipelineSettings, secrets
from kasparro_pipeline.components.snapshot_spec import SnapshotSpec
from kasparro_pipeline.components.source import Extraction, Source
from kasparro_pipeline.components.source_spec import UpstreamSpec
from kasparro_pipeline.extract.auth import credentials
from kasparro_pipeline.extract.documents import Batch, KnownDocument, Request
from kasparro_pipeline.extract.http import Client
from kasparro_pipeline.extract.rest import RestExtraction, lookback_of, start_param_of
from kasparro_pipeline.extract.rest_spec import RestRequests
from kasparro_pipeline.warehouse import checkpoints, raw
from kasparro_pipeline.warehouse.deletions import Rules
from kasparro_pipeline.warehouse.ledger import Connection, Hold


class RestSourceSpec(UpstreamSpec, SnapshotSpec, RestRequests):
    """Records from a REST API."""

    base_url: str = Field(pattern=r"^https?://[^/@\s]+(/\S*)?$")
    """Address of the API; `path` is added to it."""
    schedule: str = "0 * * * *"
    """When the current day is extracted: a cron expression, in UTC."""

    @model_validator(mode="after")
    def _snapshots_ask_for_everything(self) -> Self:
        parts = {"incremental": self.incremental, "date_window": self.date_window}
        for name, part in parts.items():
            if part is not None and self.mode == "snapshot":
                raise ValueError(
                    f"`mode: snapshot` says that what does not come is gone, and `{name}` asks for a part of"
                    " the records alone: take one of them out"
                )
        if self.mode == "snapshot" and self.paginator.beyond_max_pages == "stop":
            raise ValueError(
                "`mode: snapshot` says that what does not come is gone, and `beyond_max_pages: stop` leaves"
                " the pages behind `max_pages` out: take one of them out"
            )
        return self


class _Rest(Source):
    """A REST API as a source."""

    kind = "rest"
    asks_apart = True

    def __init__(self, name: str, spec: RestSourceSpec) -> None:
        super().__init__(name, spec)
        self.spec = spec
        self.parent = spec.parent.source if spec.parent else None
        if self.parent == name:
            raise ValueError(f"the source `{name}` names itself as its `parent`")
        settings = PipelineSettings()
        self.base_url = settings.base_url(spec.base_url, spec.sandbox)
        self.http = spec.http.allowing(settings.private_hosts(spec.sandbox))
        self._partitions = daily_partitions(spec.start_date)

    @property
    def partitions(self) -> dg.DailyPartitionsDefinition:
        """One partition a day."""
        return self._partitions

    @property
    def uri(self) -> str:
        """The endpoint."""
        return self.base_url + self.spec.path

    @property
    def snapshots(self) -> Rules | None:
        """All pages of all requests are one snapshot."""
        return self.spec.rules(by_partition=False)

    def extract(self, connection: Connection, hold: Hold, launched_on: date) -> Extraction:
        """Incrementally from the checkpoint for the current day; a past day by its date window.

        Raises:
            PermanentUpstreamError: a past day, and the upstream keeps no history; a secret is not set.
        """
        day = date.fromisoformat(hold.partition_key)
        current = day == launched_on
        if not current and self.spec.date_window is None:
            if checkpoints.is_pending(connection, hold):
                return Extraction([], incremental=False)  # what an interrupted run stored is taken up
            require_current(self.name, hold.partition_key, launched_on)

        came_before = raw.has_documents(connection, self.name)

        def known(location: str) -> KnownDocument | None:
            return raw.known_document(connection, self.name, location) if came_before else None

        # A snapshot that was interrupted begins anew: pages that came before may have changed since
        progress = (
            None if self.snapshots else checkpoints.read_cursor(connection, self.name, hold.partition_key)
        )
        request = Request(
            today=day,
            days=None if current else (day, day),
            source_cursor=checkpoints.read_cursor(connection, self.name),
            progress=progress,
            known=known,
            parents=partial(parents, connection),
        )
        incremental = current and (self.spec.date_window or self.spec.incremental) is not None
        proof = credentials(self.spec.auth, secrets())
        client = Client(self.http, proof, self.spec.error_rules)
        # one page after the other means that each is stored before the next one is asked for
        stop = client.stop if self.http.concurrency > 1 else None
        return Extraction(self._batches(request, client), incremental, lookback_of(self.spec), stop=stop)

    def asked_for(self, location: str) -> str:
        """Where the window starts: it follows the checkpoint, also within a day."""
        start = start_param_of(self.spec)
        return parse_qs(urlsplit(location).query).get(start, [""])[-1] if start else ""

    def _batches(self, request: Request, client: Client) -> Iterator[Batch]:
        with client:
            yield from RestExtraction(self.spec, self.base_url, request, client)


@dg.scaffold_with(RestScaffolder)
class RestSource(SourceComponent):
    """Records from a REST API, one partition a day, on a schedule."""

    spec_class = RestSourceSpec

    def source(self, name: str) -> Source:
        """The REST source under its name."""
        return _Rest(name, self.spec)

    def automation(self, source: Source, job: Any) -> list[Automation]:  # noqa: ANN401 - Dagster's job
        """A schedule that asks for the current day."""

        @dg.schedule(
            name=f"{source.name}_schedule",
            cron_schedule=self.spec.schedule,
            job=job,
            execution_timezone="UTC",
            default_status=dg.DefaultScheduleStatus.RUNNING
            if PipelineSettings().automation == "on"
            else dg.DefaultScheduleStatus.STOPPED,
        )
        def current_day(
            context: dg.ScheduleEvaluationContext, warehouse: Warehouse
        ) -> list[dg.RunRequest] | dg.SkipReason:
            today = datetime.now(UTC).date().isoformat()
            tick = context.scheduled_execution_time.astimezone(UTC)
            if tick.date().isoformat() != today:
                return dg.SkipReason(
                    f"a tick of {tick.date()} that was missed; the next one asks for {today}"
                )
            with warehouse.connect() as connection:
                left = pending_runs(connection, source.name)
            current = dg.RunRequest(run_key=f"{today}@{tick.isoformat()}", partition_key=today)
            return [current, *(run for run in left if run.partition_key != today)]

        return [current_day]
