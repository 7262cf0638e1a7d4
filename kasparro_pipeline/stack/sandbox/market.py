"""The market at a tick: which coins are listed, when each last changed, and its rank. No reply shapes here.

A tick is a minute since the Unix epoch. At each tick about a quarter of the coins gets a new price; a coin's
record is computed for the tick at which it last changed, and so is byte-identical until the next change.
CoinPaprika and CoinGecko see the same prices but change at different ticks, as two upstreams do.
"""

from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING, Any, Literal

from kasparro_pipeline.stack.sandbox.walk import MINUTES_PER_DAY, fraction

if TYPE_CHECKING:
    from kasparro_pipeline.stack.sandbox.coins import Coin, Coins

Upstream = Literal["coinpaprika", "coingecko"]
Record = dict[str, Any]

TICK_SECONDS = 60
MINUTES_BETWEEN_LISTINGS = 10
_CHANGING_SHARE = 0.25

# CoinGecko's names of the periods, in the order in which it adds them to a record.
PERIODS = {"14d": 14, "1h": 1 / 24, "1y": 365, "200d": 200, "24h": 1, "30d": 30, "7d": 7}


def tick_of(moment: datetime) -> int:
    """The tick that holds `moment`."""
    return int(moment.timestamp()) // TICK_SECONDS


def moment_of(tick: int) -> datetime:
    """The first second of `tick`, in UTC."""
    return datetime.fromtimestamp(tick * TICK_SECONDS, UTC)


@dataclass(frozen=True, eq=False)  # compared by identity: a market is a key of caches
class Market:
    """All coins, and the tick at which the sandbox opened: then the reserve is listed, one in 10 ticks."""

    coins: "Coins"
    opened: int

    def listed(self, tick: int) -> tuple["Coin", ...]:
        """The coins that are listed at `tick`. Coins are added and never removed."""
        new = max(0, (tick - self.opened) // MINUTES_BETWEEN_LISTINGS)
        return self.coins.listed + self.coins.reserve[:new]

    def find(self, paprika_id: str, tick: int) -> "Coin | None":
        """The listed coin with that CoinPaprika id."""
        return next((coin for coin in self.listed(tick) if coin.paprika_id == paprika_id), None)

    def changed(self, upstream: Upstream, coin: "Coin", tick: int) -> int:
        """The last tick up to `tick` at which `upstream` changed its record of `coin`."""
        listed = self._listing_ticks.get(coin, 0)
        while tick > listed and fraction(f"{upstream}|{coin.paprika_id}|{tick}") >= _CHANGING_SHARE:
            tick -= 1
        return tick

    @cached_property
    def _listing_ticks(self) -> dict["Coin", int]:
        return {
            coin: self.opened + MINUTES_BETWEEN_LISTINGS * number
            for number, coin in enumerate(self.coins.reserve, 1)
        }

    def by_market_cap(self, upstream: Upstream, tick: int) -> list["Coin"]:
        """The listed coins as `upstream` sorts them at `tick`, the largest first."""
        return list(_order(self, upstream, tick))

    def rank(self, upstream: Upstream, coin: "Coin", tick: int) -> int:
        """The place of `coin` in the order at `tick`, from 1."""
        return _order(self, upstream, tick)[coin]

    def last_change(self, upstream: Upstream, tick: int) -> int:
        """The last tick up to `tick` at which anything of `upstream` changed."""
        return max(self.changed(upstream, coin, tick) for coin in self.listed(tick))


@lru_cache(maxsize=128)
def _order(market: Market, upstream: Upstream, tick: int) -> dict["Coin", int]:
    def size(coin: "Coin") -> tuple[float, str]:
        price = coin.price_at(market.changed(upstream, coin, tick))
        return -price * coin.circulating_supply, coin.paprika_id

    return {coin: rank for rank, coin in enumerate(sorted(market.listed(tick), key=size), 1)}


def percent_change(coin: "Coin", tick: int, minutes: float) -> float:
    """By how many per cent the price moved in the `minutes` before `tick`."""
    return (coin.price_at(tick) / coin.price_at(tick - round(minutes)) - 1) * 100


def day_volume(coin: "Coin", tick: int) -> float:
    """US dollars traded in the 24 hours before `tick`: a share of the market cap, which moves."""
    turnover = 0.01 + 0.1 * fraction(f"{coin.paprika_id}|turnover") ** 2
    first, rest = divmod(tick, MINUTES_PER_DAY)
    today, tomorrow = (0.6 + 0.8 * fraction(f"{coin.paprika_id}|volume|{day}") for day in (first, first + 1))
    activity = today + (tomorrow - today) * rest / MINUTES_PER_DAY
    return coin.price * coin.circulating_supply * turnover * activity
