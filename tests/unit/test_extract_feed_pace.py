"""Feeds: none is asked sooner than it, its server and its failures allow, and each within a day."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kasparro_pipeline.extract import feed, feed_pace
from kasparro_pipeline.extract.feed_pace import LONGEST, Wishes, next_check, next_try

NOW = datetime(2026, 11, 18, 12, 30, tzinfo=UTC)  # a Wednesday
SY = 'xmlns:sy="http://purl.org/rss/1.0/modules/syndication/"'


def wishes(head: str) -> Wishes:
    item = "<item><title>a</title><ttl>999</ttl></item>"
    body = f"<rss version='2.0' {SY}><channel>{head}{item}</channel></rss>"
    return Wishes.of(feed.entries(body.encode(), "https://news.example/feed"))


@pytest.mark.parametrize(
    ("head", "seconds"),
    [
        ("", 0),
        ("<ttl>60</ttl>", 3_600),
        ("<ttl> 5 </ttl>", 300),
        ("<ttl>soon</ttl>", 0),
        ("<!-- <ttl>60</ttl> -->", 0),
        ("<sy:updatePeriod>hourly</sy:updatePeriod><sy:updateFrequency>2</sy:updateFrequency>", 1_800),
        ("<sy:updatePeriod>daily</sy:updatePeriod>", 86_400),
        ("<sy:updateFrequency>4</sy:updateFrequency>", 21_600),
        ("<sy:updatePeriod>hourly</sy:updatePeriod><sy:updateFrequency>0</sy:updateFrequency>", 3_600),
        ("<sy:updatePeriod>never</sy:updatePeriod>", 0),
        ("<ttl>120</ttl><sy:updatePeriod>hourly</sy:updatePeriod>", 7_200),
    ],
)
def test_a_feed_says_how_long_it_wants_to_be_left_alone(head: str, seconds: int) -> None:
    assert wishes(head).seconds == seconds


def test_a_feed_says_which_hours_and_days_to_leave_out() -> None:
    found = wishes(
        "<skipHours><hour>0</hour><hour>24</hour><hour>13</hour><hour>99</hour></skipHours>"
        "<skipDays><day>Sunday</day><day>monday</day><day>Someday</day></skipDays>"
    )
    assert found == Wishes(0, (0, 13), (0, 6))
    assert Wishes.from_json(found.as_json()).as_json() == found.as_json()


def test_an_hour_that_is_left_out_is_waited_for() -> None:
    asked = NOW.replace(hour=13)
    assert next_check(asked, Wishes(0, (13, 14)), {}) == NOW.replace(hour=15, minute=0)
    assert next_check(NOW, Wishes(3_600, (13, 14)), {}) == NOW.replace(hour=15, minute=0)
    assert next_check(NOW, Wishes(0, (13, 14)), {}) == NOW


def test_a_day_that_is_left_out_ends_the_pause_after_a_day_at_most() -> None:
    assert next_check(NOW, Wishes(0, (), (2,)), {}) == datetime(2026, 11, 19, tzinfo=UTC)
    assert next_check(NOW, Wishes(0, (), (2, 3, 4)), {}) == NOW + LONGEST
    assert next_check(NOW, Wishes(0, tuple(range(24))), {}) == NOW + LONGEST


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, 0),
        ({"cache-control": "max-age=300"}, 300),
        ({"cache-control": "public, Max-Age = 300, s-maxage=9999", "age": "100"}, 200),
        ({"cache-control": "max-age=300", "age": "999"}, 0),
        ({"cache-control": "x-max-age=300"}, 0),
        ({"cache-control": "max-age=99999999999999"}, 86_400),
        ({"cache-control": "max-age=999999999"}, 86_400),
        ({"expires": format_datetime(NOW + timedelta(minutes=5))}, 300),
        # the server's clock is an hour ahead of ours
        (
            {
                "date": format_datetime(NOW + timedelta(hours=1)),
                "expires": format_datetime(NOW + timedelta(minutes=65)),
            },
            300,
        ),
        ({"expires": "0"}, 0),
        ({"expires": format_datetime(NOW - timedelta(days=9))}, 0),
    ],
)
def test_the_headers_say_how_long_an_answer_holds(headers: dict[str, str], seconds: int) -> None:
    assert next_check(NOW, Wishes(), headers) == NOW + timedelta(seconds=seconds)


bounds = st.fixed_dictionaries(
    {name: st.integers(0, 400_000) for name in ("ttl", "max_age", "age", "expiry")}
    | {"retry_after": st.one_of(st.none(), st.floats(0, 1e9))}
)


@given(
    st.integers(0, 10**7).map(lambda seconds: NOW + timedelta(seconds=seconds)),
    bounds,
    st.sets(st.integers(0, 23)),
    st.sets(st.integers(0, 6)),
    st.integers(60, 86_400).map(lambda seconds: timedelta(seconds=seconds)),
)
def test_the_next_check_is_no_sooner_than_each_bound_and_within_the_longest_pause(
    asked_at: datetime, told: dict[str, Any], hours: set[int], days: set[int], longest: timedelta
) -> None:
    headers = {
        "cache-control": f"max-age={told['max_age']}",
        "age": str(told["age"]),
        "expires": format_datetime(asked_at + timedelta(seconds=told["expiry"])),
        "date": format_datetime(asked_at),
    }

    found = next_check(
        asked_at, Wishes(told["ttl"], tuple(hours), tuple(days)), headers, told["retry_after"], longest
    )

    for bound in (told["ttl"], told["max_age"] - told["age"], told["expiry"], told["retry_after"] or 0):
        assert found >= asked_at + min(timedelta(seconds=bound), longest)
    assert asked_at <= found <= asked_at + longest
    if found < asked_at + longest:
        assert found.hour not in hours
        assert found.weekday() not in days


@given(
    st.integers(1, 10_000),
    st.integers(10, 100_000),
    st.one_of(st.none(), st.floats(0, 1e9)),
    st.integers(60, 86_400),
)
def test_a_pause_after_failures_doubles_and_ends(
    failures: int, every: int, retry_after: float | None, longest: int
) -> None:
    pause = timedelta(seconds=every)
    most = timedelta(seconds=longest)
    found = next_try(NOW, failures, pause, retry_after, most)
    assert found <= NOW + most
    assert found >= NOW + min(most, timedelta(seconds=retry_after or 0))
    assert found >= NOW + min(most, 2 * pause)
    assert next_try(NOW, failures + 1, pause, retry_after, most) >= found


def test_the_pause_after_a_failure_is_twice_the_usual_one_then_four_times() -> None:
    minute = timedelta(minutes=1)
    assert [(next_try(NOW, n, minute) - NOW) / minute for n in (1, 2, 3, 30)] == [2, 4, 8, 24 * 60]
    assert timedelta(days=1) == feed_pace.LONGEST
