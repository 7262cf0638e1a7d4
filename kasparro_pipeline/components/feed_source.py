"""The component for feeds: daily partitions, each feed a document, one that fails stopping no other.

The sensor that asks them is in `feed_sensor`; what is known of each feed in `feed_subscriptions`.
"""

from collections.abc import Iterator, Mapping
from datetime import date
from typing import Any

import dagster as dg

from kasparro_pipeline.components.checks.tables import table
from kasparro_pipeline.components.component import Automation, SourceComponent
from kasparro_pipeline.components.daily import daily_partitions, require_current
from kasparro_pipeline.components.feed_sensor import build_sensor
from kasparro_pipeline.components.feed_subscriptions import Subscriptions
from kasparro_pipeline.components.scaffolders import FeedScaffolder
from kasparro_pipeline.components.settings import PipelineSettings
from kasparro_pipeline.components.source import Extraction, Source
from kasparro_pipeline.components.source_spec import UpstreamSpec
from kasparro_pipeline.extract import feeds
from kasparro_pipeline.extract.documents import Batch, KnownDocument
from kasparro_pipeline.extract.errors import PermanentUpstreamError, TransientUpstreamError, UpstreamError
from kasparro_pipeline.extract.feed_spec import FeedRequests
from kasparro_pipeline.extract.feeds import Question
from kasparro_pipeline.extract.http import Client
from kasparro_pipeline.extract.opml import Subscription
from kasparro_pipeline.warehouse import checkpoints, feed_states, raw
from kasparro_pipeline.warehouse.feed_states import FeedState
from kasparro_pipeline.warehouse.ledger import Connection, Hold

SHOWN = 200
"""Feeds that the table of a run's metadata has."""
NAMED = 5
"""Feeds that an error names."""


class FeedSourceSpec(UpstreamSpec, FeedRequests):
    """Entries of RSS, Atom and JSON feeds."""


class FeedsOfSource(Source):
    """One feed, or several, as a source."""

    kind = "feed"

    def __init__(self, name: str, spec: FeedSourceSpec) -> None:
        super().__init__(name, spec)
        self.spec = spec
        settings = PipelineSettings()
        url = settings.base_url(spec.url, spec.sandbox) if spec.url else None
        self._uri = url or spec.opml or feed_address(spec)
        self.http = spec.http.allowing(settings.private_hosts(spec.sandbox))
        self.subscriptions = Subscriptions(name, spec, url)
        self._partitions = daily_partitions(spec.start_date)

    @property
    def partitions(self) -> dg.DailyPartitionsDefinition:
        """One partition a day."""
        return self._partitions

    @property
    def uri(self) -> str:
        """The address of the feed, of the list, or of the first one."""
        return self._uri

    def extract(self, connection: Connection, hold: Hold, launched_on: date) -> Extraction:
        """The feeds as they are now: those that the sensor found changed, else all that are not gone.

        Raises:
            PermanentUpstreamError: a past day.
        """
        if hold.partition_key != launched_on.isoformat() and checkpoints.is_pending(connection, hold):
            return Extraction([], incremental=False)  # what an interrupted run stored is taken up
        require_current(self.name, hold.partition_key, launched_on)
        return Extraction(self._batches(connection), incremental=False)

    def known(self, connection: Connection, feed: str) -> KnownDocument | None:
        """The newest document of a feed."""
        return raw.known_document(connection, self.name, feed)

    def metadata(self, connection: Connection, partition_key: str) -> Mapping[str, Any]:  # noqa: ARG002 - of all
        """The feeds: how each one goes, and when it is asked again. Those that need attention come first."""
        states = sorted(feed_states.of_source(connection, self.name), key=_calmness)
        return {
            "feeds": table([_row(state) for state in states[:SHOWN]]),
            "feeds_failing": sum(state.failures > 0 for state in states),
        }

    def _batches(self, connection: Connection) -> Iterator[Batch]:
        """What the feeds gave, one after the other; a feed's state is stored behind its records."""
        errors: list[UpstreamError] = []
        worked = False
        with Client(self.http) as client:
            states = self.subscriptions.states(connection, client)
            wanted = [state for state in states if state.changed]
            wanted = wanted or [state for state in states if state.gone_at is None]
            if not wanted:
                raise PermanentUpstreamError(_all_gone(states))
            by_feed = {state.feed: state for state in wanted}
            for answer in feeds.ask(
                [question(state) for state in wanted], lambda feed: self.known(connection, feed), client
            ):
                state = by_feed[answer.question.subscription.url]
                try:
                    batch, body = feeds.batch(answer, lenient=self.spec.not_well_formed == "read")
                except UpstreamError as error:
                    self.subscriptions.failed(connection, state, error)
                    errors.append(error)
                    continue
                yield batch
                worked = True
                assert answer.response is not None  # noqa: S101 - else there was no batch
                self.subscriptions.came(connection, state, answer.response, body)
        if errors and not worked and self.subscriptions.none_works(connection):
            raise _together(errors)


@dg.scaffold_with(FeedScaffolder)
class FeedSource(SourceComponent):
    """Entries of RSS, Atom and JSON feeds, one partition a day, whenever a feed changed."""

    spec_class = FeedSourceSpec

    def source(self, name: str) -> Source:
        """The feed source under its name."""
        return FeedsOfSource(name, self.spec)

    def automation(self, source: Source, job: Any) -> list[Automation]:  # noqa: ANN401 - Dagster's job
        """A sensor that requests a run only when a feed changed."""
        assert isinstance(source, FeedsOfSource)  # noqa: S101 - made by `source` above
        return [
            build_sensor(
                source.name,
                job,
                every=self.spec.check_every,
                http=source.http,
                subscriptions=source.subscriptions,
            )
        ]


def question(state: FeedState) -> Question:
    """What is asked of a feed."""
    return Question(Subscription(state.feed, state.title, state.category), state.address)


def feed_address(spec: FeedRequests) -> str:
    """The first feed of a list."""
    first = spec.feeds[0]
    return first if isinstance(first, str) else first.url


def _together(errors: list[UpstreamError]) -> UpstreamError:
    if len(errors) == 1:
        return errors[0]
    said = "; ".join(map(str, errors[:NAMED])) + (
        f"; and {len(errors) - NAMED} more" if len(errors) > NAMED else ""
    )
    may_pass = any(isinstance(error, TransientUpstreamError) for error in errors)
    return (TransientUpstreamError if may_pass else PermanentUpstreamError)(f"no feed could be read: {said}")


def _all_gone(states: list[FeedState]) -> str:
    named = ", ".join(state.feed for state in states[:NAMED])
    return (
        f"every feed of the source is gone for good (410), so none is asked any more: {named}. To ask one"
        " again, take it out of the defs.yaml, reload, and put it in again; or delete its row of"
        " kasparro.feed_state"
    )


def _calmness(state: FeedState) -> tuple[bool, bool, str]:
    return not state.failures, not state.problem and not state.moved_to, state.feed


def _row(state: FeedState) -> dict[str, str | int | None]:
    moved = f"moved to {state.moved_to}" if state.moved_to else None
    return {
        "feed": state.feed,
        "title": state.title,
        "state": state.name,
        "entries": state.entries,
        "next_check": state.next_check_at.isoformat() if state.next_check_at else None,
        "failures": state.failures,
        "reason": "; ".join(filter(None, (state.reason, state.problem, moved))) or None,
    }
