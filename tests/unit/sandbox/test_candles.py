"""Candles of the sandbox: their days and limits, what moves and what never does."""

from itertools import pairwise
from typing import Any

from tests.unit.sandbox.conftest import CANDLES, Client, Clock


def candles(client: Client, **parameters: str | int) -> list[dict[str, Any]]:
    reply = client.get(CANDLES.format("btc-bitcoin"), params=parameters)
    assert reply.status_code == 200
    found: list[dict[str, Any]] = reply.json()
    return found


def days(found: list[dict[str, Any]]) -> list[str]:
    return [candle["time_open"][:10] for candle in found]


def test_candles_include_start_and_end_up_to_the_limit_which_is_one(client: Client) -> None:
    window = {"start": "2026-10-30", "end": "2026-11-02"}

    assert days(candles(client, **window, limit=10)) == [
        "2026-10-30",
        "2026-10-31",
        "2026-11-01",
        "2026-11-02",
    ]
    assert days(candles(client, **window, limit=2)) == ["2026-10-30", "2026-10-31"]
    assert days(candles(client, **window)) == ["2026-10-30"]


def test_days_of_the_future_and_before_the_history_are_absent(client: Client) -> None:
    assert days(candles(client, start="2026-11-07", end="2026-11-30", limit=366)) == [
        "2026-11-07",
        "2026-11-08",
    ]
    assert days(candles(client, start="2020-12-30", end="2021-01-02", limit=366)) == [
        "2021-01-01",
        "2021-01-02",
    ]
    assert candles(client, start="2026-11-09", end="2026-11-30", limit=5) == []


def test_the_current_day_moves_and_the_past_never_does(client: Client, clock: Clock) -> None:
    past, now = candles(client, start="2026-11-07", limit=2)
    clock.go(minutes=7)
    past_later, later = candles(client, start="2026-11-07", limit=2)
    clock.go(days=1)
    past_last, whole, _ = candles(client, start="2026-11-07", limit=3)
    clock.go(days=400)

    assert past == past_later == past_last == candles(client, start="2026-11-07")[0]
    assert whole == candles(client, start="2026-11-08")[0]
    assert (now["time_close"], later["time_close"], whole["time_close"]) == (
        "2026-11-08T12:00:00Z",
        "2026-11-08T12:07:00Z",
        "2026-11-08T23:59:59Z",
    )
    assert now["open"] == later["open"] == whole["open"]
    assert now["volume"] < later["volume"] < whole["volume"]
    assert now["close"] != later["close"]


def test_a_candle_holds_its_own_open_and_close_and_begins_where_the_last_ended(client: Client) -> None:
    found = candles(client, start="2026-01-01", limit=200)

    for candle in found:
        assert candle["low"] <= min(candle["open"], candle["close"])
        assert candle["high"] >= max(candle["open"], candle["close"])
    assert all(first["close"] == second["open"] for first, second in pairwise(found))
