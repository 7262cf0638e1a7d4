"""When a feed may be asked again: what it says itself, and what the headers of its answer say.

The longest of all wishes counts, and none beyond a limit. Pure: clocks and memory are elsewhere.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Any

from kasparro_pipeline.extract.feed import FeedBody

LONGEST = timedelta(days=1)
"""No feed is left alone for longer than this, whatever it asks for."""
DAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
HOUR = timedelta(hours=1)
PERIODS = {"hourly": 3_600, "daily": 86_400, "weekly": 604_800, "monthly": 2_592_000, "yearly": 31_536_000}
"""Seconds of the periods of the RSS module Syndication."""
MAX_FAILURES = 20
"""Failures in a row beyond which the pause does not double any more."""
_WISH = re.compile(
    r"<(?:[\w.-]{1,40}:)?(ttl|updatePeriod|updateFrequency|hour|day)\s*>\s*([A-Za-z]{1,20}|\d{1,9})\s*<"
)
_MAX_AGE = re.compile(r"(?:^|[\s,])max-age\s*=\s*\"?(\d{1,12})", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Wishes:
    """What a feed says about when to ask it."""

    seconds: int = 0
    """Not again before so many have passed: `ttl`, or the period of `sy:updatePeriod`."""
    skip_hours: Sequence[int] = ()
    """Hours of the day, in UTC, from 0."""
    skip_days: Sequence[int] = ()
    """Days of the week, in UTC, from Monday, 0."""

    @classmethod
    def of(cls, body: FeedBody) -> "Wishes":
        """The wishes of a feed's body: RSS 2.0 `ttl`, `skipHours`, `skipDays`; the module Syndication."""
        told: dict[str, list[str]] = {}
        for name, value in _WISH.findall(body.before):
            told.setdefault(name, []).append(value.lower())
        ttl = [int(value) * 60 for value in told.get("ttl", ()) if value.isdigit()]
        hours = {int(value) % 24 for value in told.get("hour", ()) if value.isdigit() and int(value) <= 24}  # noqa: PLR2004
        days = {DAYS.index(value) for value in told.get("day", ()) if value in DAYS}
        return cls(max([0, *ttl[:1], _period(told)]), tuple(sorted(hours)), tuple(sorted(days)))

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> "Wishes":
        """The wishes as they were stored."""
        return cls(stored.get("seconds", 0), stored.get("skip_hours", ()), stored.get("skip_days", ()))

    def as_json(self) -> dict[str, Any]:
        """The wishes for storing; empty without any."""
        told = {
            "seconds": self.seconds,
            "skip_hours": list(self.skip_hours),
            "skip_days": list(self.skip_days),
        }
        return {name: value for name, value in told.items() if value}


def _period(told: Mapping[str, Sequence[str]]) -> int:
    """Seconds between two updates (RSS module Syndication: daily and once, where only one is told)."""
    if "updatePeriod" not in told and "updateFrequency" not in told:
        return 0
    period = PERIODS.get(told.get("updatePeriod", ["daily"])[0], 0)
    times = told.get("updateFrequency", ["1"])[0]
    return period // max(1, int(times) if times.isdigit() else 1)


def next_check(
    asked_at: datetime,
    wishes: Wishes,
    headers: Mapping[str, str],
    retry_after: float | None = None,
    longest: timedelta = LONGEST,
) -> datetime:
    """When a feed that was asked at an instant (with a zone) may be asked again.

    No sooner than its wishes, `max-age` less `Age` (RFC 9111 5.2.2.1, 4.2.3), `Expires` (5.3) and
    `Retry-After` (RFC 9110 10.2.3; seconds) say, and not in an hour or on a day that it wants left out; but
    within `longest`.
    """
    wait = max(wishes.seconds, _fresh(headers), _until_expiry(headers, asked_at), retry_after or 0)
    latest = asked_at + longest
    moment = asked_at + timedelta(seconds=min(wait, longest.total_seconds()))
    while moment < latest and _is_left_out(moment.astimezone(UTC), wishes):
        moment = moment.replace(minute=0, second=0, microsecond=0) + HOUR
    return min(moment, latest)


def next_try(
    asked_at: datetime,
    failures: int,
    every: timedelta,
    retry_after: float | None = None,
    longest: timedelta = LONGEST,
) -> datetime:
    """When a feed may be asked again that has failed so many times in a row, at least once.

    The pause doubles with each failure, from twice of how often it is asked otherwise; at least `Retry-After`
    (seconds), at most `longest`.
    """
    pause = every.total_seconds() * 2 ** min(max(failures, 1), MAX_FAILURES)
    wait = min(max(pause, retry_after or 0), longest.total_seconds())
    return asked_at + timedelta(seconds=wait)


def _is_left_out(moment: datetime, wishes: Wishes) -> bool:
    return moment.hour in wishes.skip_hours or moment.weekday() in wishes.skip_days


def _fresh(headers: Mapping[str, str]) -> float:
    age = headers.get("age", "").strip()
    told = _MAX_AGE.search(headers.get("cache-control", ""))
    old = int(age) if age.isascii() and age.isdigit() and len(age) < 12 else 0  # noqa: PLR2004 - digits
    return max(0, int(told[1]) - old) if told else 0


def _until_expiry(headers: Mapping[str, str], asked_at: datetime) -> float:
    """Seconds until `Expires`, by the clock of the server where it tells its `Date`."""
    expires, now = _moment(headers.get("expires")), _moment(headers.get("date")) or asked_at
    return max(0.0, (expires - now).total_seconds()) if expires else 0


def _moment(header: str | None) -> datetime | None:
    if header is None:
        return None
    try:
        moment = parsedate_to_datetime(header)
        return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    except (ValueError, OverflowError):
        return None
