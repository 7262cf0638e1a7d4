"""The sensor of a feed source: it asks the feeds that are due, conditionally; a run follows if one changed.

What it learns is kept in the warehouse, not in its cursor: how long a feed is to be left alone, how it fails.
"""

import hashlib
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import dagster as dg

from kasparro_pipeline.components.feed_subscriptions import Subscriptions
from kasparro_pipeline.components.pending import attempts, pending_runs
from kasparro_pipeline.components.resources import Warehouse
from kasparro_pipeline.components.settings import PipelineSettings
from kasparro_pipeline.extract import feeds
from kasparro_pipeline.extract.documents import sha256
from kasparro_pipeline.extract.errors import UpstreamError
from kasparro_pipeline.extract.feeds import Question
from kasparro_pipeline.extract.http import Client, HttpSettings
from kasparro_pipeline.extract.opml import Subscription
from kasparro_pipeline.warehouse import raw
from kasparro_pipeline.warehouse.feed_states import FeedState
from kasparro_pipeline.warehouse.ledger import Connection

SENSOR_HTTP = {"attempts": 1, "connect_timeout": 5, "read_timeout": 10, "total_timeout": 15, "max_wait": 0}
"""A sensor has 60 s for its tick, and will ask again at a later one: it does not retry, and waits for no host
that rests."""
TICK = 20
"""Seconds after which a tick begins no further question; the feeds that are left are due at the next one."""


def build_sensor(
    source: str,
    job: Any,  # noqa: ANN401 - Dagster's job
    *,
    every: timedelta,
    http: HttpSettings,
    subscriptions: Subscriptions,
) -> dg.SensorDefinition:
    """A sensor that requests a run of today's partition when a feed of the source changed."""
    patient = http.model_copy(update=SENSOR_HTTP)

    @dg.sensor(
        name=f"{source}_sensor",
        job=job,
        minimum_interval_seconds=int(every.total_seconds()),
        default_status=dg.DefaultSensorStatus.RUNNING
        if PipelineSettings().automation == "on"
        else dg.DefaultSensorStatus.STOPPED,
    )
    def feed_changed(warehouse: Warehouse) -> dg.SensorResult | dg.SkipReason:
        today = datetime.now(UTC).date().isoformat()
        asking = _Tick(source, subscriptions, patient)
        with warehouse.connect() as connection:
            runs = pending_runs(connection, source)
            attempt = attempts(connection, source, today)
            news = sorted(asking.news(connection))
            if news:
                told = news[0] if len(news) == 1 else hashlib.sha256("\n".join(news).encode()).hexdigest()
                run_key = f"{today}@{told}@{attempt}"
                runs = [dg.RunRequest(run_key=run_key, partition_key=today), *runs]
            if runs:
                return dg.SensorResult(run_requests=runs)
            if asking.errors and subscriptions.none_works(connection):
                raise asking.errors[0]
        return dg.SkipReason(asking.summary())

    return feed_changed


class _Tick:
    """What one tick asks, and what it learns."""

    def __init__(self, source: str, subscriptions: Subscriptions, http: HttpSettings) -> None:
        self._source, self._subscriptions, self._http = source, subscriptions, http
        self.errors: list[UpstreamError] = []
        self._asked = self._due = self._feeds = 0

    def news(self, connection: Connection) -> Iterator[str]:
        """A key for the state of each feed that changed, among those that are due and get their turn."""
        began = time.monotonic()
        with Client(self._http) as client:
            states = self._subscriptions.states(connection, client)
            due = [state for state in states if state.is_due(datetime.now(UTC))]
            self._feeds, self._due = len(states), len(due)
            by_feed = {state.feed: state for state in due}
            questions = [Question(Subscription(state.feed), state.address) for state in due]
            answers = feeds.ask(
                questions, lambda feed: raw.known_document(connection, self._source, feed), client
            )
            for answer in answers:
                self._asked += 1
                state = by_feed[answer.question.subscription.url]
                if (key := self._taken(connection, state, answer)) is not None:
                    yield key
                if time.monotonic() - began > TICK:
                    break
            answers.close()

    def _taken(self, connection: Connection, state: FeedState, answer: feeds.FeedAnswer) -> str | None:
        if answer.error is not None or answer.response is None:
            error = answer.error or UpstreamError("no answer", state.feed)
            self._subscriptions.failed(connection, state, error)
            self.errors.append(error)
            return None
        if not answer.is_news:
            self._subscriptions.came(connection, state, answer.response, None)
            return None
        self._subscriptions.has_changed(connection, state)
        # the document that it follows is part of the key: a feed that returns to an older state is news. So
        # are its failures: one that could not be read is tried again when it is due
        document = answer.known.id if answer.known else 0
        return f"{sha256(answer.response.body or b'').hex()}@{document}@{state.failures}"

    def summary(self) -> str:
        """What the tick did."""
        if not self._due:
            return f"none of {self._feeds} feeds is due"
        failed = "".join(f"; {error}" for error in self.errors[:3])
        left = self._due - self._asked
        waiting = f"; {left} are left for the next tick" if left else ""
        return (
            f"of {self._asked} feeds asked, {len(self.errors)} failed and none has changed{failed}{waiting}"
        )
