"""The feeds of a source with what is known of them, and how an answer changes that.

Shared by the run and the sensor of `feed_source`. What is stored is in `warehouse.feed_states`, who is asked
and when in `extract`.
"""

import logging
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from kasparro_pipeline.extract import feed_pace, opml
from kasparro_pipeline.extract.documents import KnownDocument
from kasparro_pipeline.extract.errors import PermanentUpstreamError, TransientUpstreamError, UpstreamError
from kasparro_pipeline.extract.feed import FeedBody
from kasparro_pipeline.extract.feed_pace import Wishes
from kasparro_pipeline.extract.feed_spec import FeedRequests, named
from kasparro_pipeline.extract.http import Client
from kasparro_pipeline.extract.http_answer import GoneError, Response
from kasparro_pipeline.extract.opml import Subscription
from kasparro_pipeline.warehouse import feed_states
from kasparro_pipeline.warehouse.feed_states import FeedList, FeedState
from kasparro_pipeline.warehouse.ledger import Connection

MAX_REASON = 500
"""Characters of a reason that is kept."""

logger = logging.getLogger(__name__)


class Subscriptions:
    """The feeds of one source."""

    def __init__(self, source: str, spec: FeedRequests, url: str | None) -> None:
        self._source, self._spec, self._url = source, spec, url

    def states(self, connection: Connection, client: Client) -> list[FeedState]:
        """What is known of each feed that is named now, those longest ago asked first.

        Raises:
            UpstreamError: the OPML cannot be read, and never was.
        """
        listed = self._listed(connection, client)
        feeds = [(one.url, one.title, one.category) for one in named(self._spec, self._url, listed)]
        return feed_states.listed(connection, self._source, feeds)

    def came(
        self, connection: Connection, state: FeedState, response: Response, body: FeedBody | None
    ) -> None:
        """The feed has answered, and what it told is stored; without a body it has not changed."""
        now = datetime.now(UTC)
        wishes = Wishes.of(body) if body is not None else Wishes.from_json(state.wishes)
        if body is not None:
            state = replace(
                state, problem=_short(body.problem), entries=len(body.records), wishes=wishes.as_json()
            )
            if body.problem:
                logger.warning("%s was read as far as it can be: %s", state.feed, body.problem)
        moved_to = response.moved_to or state.moved_to
        if moved_to != state.moved_to:
            logger.warning("%s has moved to %s, and is asked there from now on", state.feed, moved_to)
        next_check = feed_pace.next_check(now, wishes, response.headers, longest=self._spec.longest_pause)
        state = replace(
            state,
            checked_at=now,
            next_check_at=next_check,
            moved_to=moved_to if moved_to != state.feed else None,
        )
        feed_states.save(
            connection, self._source, replace(state, failures=0, reason=None, gone_at=None, changed=False)
        )

    def has_changed(self, connection: Connection, state: FeedState) -> None:
        """The feed has news, for the next run to fetch."""
        feed_states.save(connection, self._source, replace(state, checked_at=datetime.now(UTC), changed=True))

    def failed(self, connection: Connection, state: FeedState, error: UpstreamError) -> None:
        """The feed gave nothing to read. It is asked more and more seldom; not any more if it is gone."""
        now, failures = datetime.now(UTC), state.failures + 1
        # an address that it once moved to may be what is wrong: the next question goes to the first one
        gone_at = now if isinstance(error, GoneError) and state.moved_to is None else None
        rest = error.retry_after if isinstance(error, TransientUpstreamError) else None
        next_check = feed_pace.next_try(
            now, failures, self._spec.check_every, rest, longest=self._spec.longest_pause
        )
        logger.warning("%s: %s", state.feed, error)
        failing = replace(
            state,
            checked_at=now,
            next_check_at=None if gone_at else next_check,
            failures=failures,
            reason=_short(str(error)),
            moved_to=None,
            gone_at=gone_at,
            changed=False,
        )
        feed_states.save(connection, self._source, failing)

    def none_works(self, connection: Connection) -> bool:
        """Whether every feed of the source is failing or gone."""
        return all(state.failures for state in feed_states.of_source(connection, self._source))

    def _listed(self, connection: Connection, client: Client) -> list[Subscription]:
        address = self._spec.opml
        if address is None:
            return []
        if not self._spec.opml_is_address:
            try:
                return opml.subscriptions(Path(address).read_bytes(), address)
            except OSError as error:
                raise PermanentUpstreamError(f"the OPML cannot be read: {error.strerror}", address) from error
        stored = feed_states.stored_list(connection, self._source, address)
        if stored is None or stored.next_check_at <= datetime.now(UTC):
            stored = self._asked_list(connection, client, address, stored)
        return opml.subscriptions(stored.body.encode(), address)

    def _asked_list(
        self, connection: Connection, client: Client, address: str, stored: FeedList | None
    ) -> FeedList:
        """The list as it is now; as it was, where it cannot be had."""
        now = datetime.now(UTC)
        known = KnownDocument(0, b"", 0, stored.headers, {}, {}) if stored else None
        try:
            response = client.fetch(address, known=known)
            if response.body is None and stored is not None:
                body = stored.body
            else:
                opml.subscriptions(response.body or b"", address)
                body = opml.text_of(response.body or b"")
        except UpstreamError as error:
            if stored is None:
                raise
            logger.warning("the list of feeds stays as it was: %s", error)
            failures = stored.failures + 1
            pause = feed_pace.next_try(
                now, failures, self._spec.check_every, longest=self._spec.longest_pause
            )
            kept = replace(stored, next_check_at=pause, failures=failures, reason=_short(str(error)))
        else:
            pause = feed_pace.next_check(now, Wishes(), response.headers, longest=self._spec.longest_pause)
            kept = FeedList(body, {**(stored.headers if stored else {}), **response.headers}, pause)
        feed_states.save_list(connection, self._source, address, kept)
        return kept


def _short(reason: str | None) -> str | None:
    """A reason as PostgreSQL takes it: upstreams put anything into their answers."""
    if not reason:
        return None
    return reason[:MAX_REASON].replace("\x00", "\ufffd").encode("utf-8", "replace").decode()
