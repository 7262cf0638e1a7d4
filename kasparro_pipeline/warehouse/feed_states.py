"""What is known of each feed of a source: when it may be asked again, how it failed, where it has moved to.

It paces questions and holds no data: a row that is gone makes its feed new, and it is asked again. The feeds
themselves are named by the spec; `listed` brings the table in line with it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from datetime import datetime
from typing import Any

from psycopg import sql
from psycopg.rows import class_row
from psycopg.types.json import Jsonb
from sqlalchemy import Boolean, Column, DateTime, Integer, PrimaryKeyConstraint, Table, Text, text
from sqlalchemy.dialects.postgresql import JSONB

from kasparro_pipeline.warehouse.ledger import Connection
from kasparro_pipeline.warehouse.tables import SCHEMA, metadata

feed_state = Table(
    "feed_state",
    metadata,
    Column("source", Text, nullable=False),
    Column("feed", Text, nullable=False, comment="address in the spec, also after the feed has moved"),
    Column("title", Text),
    Column("category", Text),
    Column("checked_at", DateTime(timezone=True), comment="when it was asked last"),
    Column("next_check_at", DateTime(timezone=True), comment="not asked by the sensor before"),
    Column("failures", Integer, nullable=False, server_default=text("0"), comment="in a row"),
    Column("reason", Text, comment="why it failed last"),
    Column("problem", Text, comment="what is wrong with its newest document, which was read all the same"),
    Column("moved_to", Text, comment="asked there, since permanent redirects led there"),
    Column("gone_at", DateTime(timezone=True), comment="it answered 410: it is not asked any more"),
    Column("changed", Boolean, nullable=False, server_default=text("false"), comment="for the next run"),
    Column("entries", Integer, comment="of its newest document"),
    Column("wishes", JSONB, nullable=False, server_default=text("'{}'"), comment="when it wants to be asked"),
    PrimaryKeyConstraint("source", "feed"),
)

feed_list = Table(
    "feed_list",
    metadata,
    Column("source", Text, nullable=False),
    Column("address", Text, nullable=False, comment="of an OPML file"),
    Column("body", Text, nullable=False, comment="as it was read last"),
    Column("headers", JSONB, nullable=False),
    Column("next_check_at", DateTime(timezone=True), nullable=False),
    Column("failures", Integer, nullable=False, server_default=text("0"), comment="in a row"),
    Column("reason", Text),
    PrimaryKeyConstraint("source", "address"),
)


@dataclass(slots=True)
class FeedState:
    """A feed's row: see the table."""

    feed: str
    title: str | None = None
    category: str | None = None
    checked_at: datetime | None = None
    next_check_at: datetime | None = None
    failures: int = 0
    reason: str | None = None
    problem: str | None = None
    moved_to: str | None = None
    gone_at: datetime | None = None
    changed: bool = False
    entries: int | None = None
    wishes: Mapping[str, Any] = field(default_factory=dict)

    @property
    def address(self) -> str:
        """Where the feed is now."""
        return self.moved_to or self.feed

    @property
    def name(self) -> str:
        """How it goes, in a word."""
        if self.gone_at is not None:
            return "gone"
        if self.failures:
            return "failing"
        if self.checked_at is None:
            return "not asked yet"
        return "changed" if self.changed else "moved" if self.moved_to else "ok"

    def is_due(self, now: datetime) -> bool:
        """Whether the sensor may ask it."""
        return self.gone_at is None and (self.next_check_at is None or self.next_check_at <= now)


@dataclass(slots=True)
class FeedList:
    """A list of feeds as it was read last."""

    body: str
    headers: Mapping[str, str]
    next_check_at: datetime
    failures: int = 0
    reason: str | None = None


_COLUMNS = tuple(one.name for one in fields(FeedState))
_LIST_COLUMNS = tuple(one.name for one in fields(FeedList))


def listed(
    connection: Connection, source: str, feeds: Sequence[tuple[str, str | None, str | None]]
) -> list[FeedState]:
    """The states of the feeds that a source names (address, title, category), those longest ago asked first.

    What is known of other feeds is forgotten, so that one that is named again begins anew.
    """
    addresses, titles, categories = ([one[place] for one in feeds] for place in range(3))
    with connection.transaction():
        connection.execute(
            f"delete from {SCHEMA}.feed_state where source = %s and feed <> all (%s)", (source, addresses)
        )
        connection.execute(
            f"insert into {SCHEMA}.feed_state as s (source, feed, title, category)"
            " select %s, * from unnest(%s::text[], %s::text[], %s::text[])"
            " on conflict (source, feed) do update set title = excluded.title, category = excluded.category"
            " where (s.title, s.category) is distinct from (excluded.title, excluded.category)",
            (source, addresses, titles, categories),
        )
    return of_source(connection, source)


def of_source(connection: Connection, source: str) -> list[FeedState]:
    """What is known of the feeds of a source, those longest ago asked first."""
    with connection.cursor(row_factory=class_row(FeedState)) as cursor:
        return cursor.execute(
            f"select {', '.join(_COLUMNS)} from {SCHEMA}.feed_state where source = %s"
            " order by checked_at nulls first, feed",
            (source,),
        ).fetchall()


def save(connection: Connection, source: str, state: FeedState) -> None:
    """Store what is known of a feed now; not if the spec has dropped it in the meantime."""
    values = asdict(state) | {"wishes": Jsonb(dict(state.wishes)), "source": source}
    sets = sql.SQL(", ").join(
        sql.SQL("{} = {}").format(sql.Identifier(name), sql.Placeholder(name)) for name in _COLUMNS
    )
    connection.execute(
        sql.SQL("update {} set {} where source = %(source)s and feed = %(feed)s").format(
            sql.Identifier(SCHEMA, "feed_state"), sets
        ),
        values,
    )


def stored_list(connection: Connection, source: str, address: str) -> FeedList | None:
    """A list of feeds as it was read last; None if it never was."""
    with connection.cursor(row_factory=class_row(FeedList)) as cursor:
        return cursor.execute(
            f"select {', '.join(_LIST_COLUMNS)} from {SCHEMA}.feed_list where source = %s and address = %s",
            (source, address),
        ).fetchone()


def save_list(connection: Connection, source: str, address: str, feeds: FeedList) -> None:
    """Store a list of feeds."""
    connection.execute(
        f"insert into {SCHEMA}.feed_list (source, address, body, headers, next_check_at, failures, reason)"
        " values (%s, %s, %s, %s, %s, %s, %s) on conflict (source, address) do update set"
        " body = excluded.body, headers = excluded.headers, next_check_at = excluded.next_check_at,"
        " failures = excluded.failures, reason = excluded.reason",
        (
            source,
            address,
            feeds.body,
            Jsonb(dict(feeds.headers)),
            feeds.next_check_at,
            feeds.failures,
            feeds.reason,
        ),
    )
