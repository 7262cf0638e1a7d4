"""CoinPaprika's `GET /v1/coins/{id}/ohlcv/historical`: daily candles, the one reply that has a history."""

from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING

from kasparro_pipeline.stack.sandbox.market import Record, day_volume, moment_of, tick_of
from kasparro_pipeline.stack.sandbox.walk import MINUTES_PER_DAY

if TYPE_CHECKING:
    from kasparro_pipeline.stack.sandbox.coins import Coin

HISTORY_START = date(2021, 1, 1)
_SAMPLE_MINUTES = 60


def candles(coin: "Coin", start: date, end: date, limit: int, tick: int) -> list[Record]:
    """The first `limit` candles from `start` to `end`, both included.

    Days before the history or after the day of `tick` are absent. The day of `tick` is partial.
    """
    first = max(start, HISTORY_START)
    last = min(end, moment_of(tick).date())
    days = min(limit, (last - first).days + 1)
    return [_candle(coin, first + timedelta(days=number), tick) for number in range(days)]


def _candle(coin: "Coin", day: date, tick: int) -> Record:
    opened = tick_of(datetime(day.year, day.month, day.day, tzinfo=UTC))
    closed = opened + MINUTES_PER_DAY
    partial = tick < closed
    until = tick if partial else closed
    prices = [coin.price_at(sample) for sample in (*range(opened, until, _SAMPLE_MINUTES), until)]
    time_close = f"{moment_of(tick):%Y-%m-%dT%H:%M:%SZ}" if partial else f"{day}T23:59:59Z"
    return {
        "time_open": f"{day}T00:00:00Z",
        "time_close": time_close,
        "open": prices[0],
        "high": max(prices),
        "low": min(prices),
        "close": prices[-1],
        "volume": round(day_volume(coin, closed) * (until - opened) / MINUTES_PER_DAY),
        "market_cap": round(prices[-1] * coin.circulating_supply),
    }
