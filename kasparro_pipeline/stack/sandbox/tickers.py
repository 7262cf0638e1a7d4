"""CoinPaprika's `GET /v1/tickers`: the shape of one record. Which coins and when is market.py's."""

from typing import TYPE_CHECKING

from kasparro_pipeline.stack.sandbox.candles import HISTORY_START
from kasparro_pipeline.stack.sandbox.market import Record, day_volume, moment_of, percent_change
from kasparro_pipeline.stack.sandbox.walk import MINUTES_PER_DAY, fraction

if TYPE_CHECKING:
    from kasparro_pipeline.stack.sandbox.coins import Coin
    from kasparro_pipeline.stack.sandbox.market import Market

# CoinPaprika's names of the periods and their minutes, in its order.
_PERIODS = {
    "15m": 15,
    "30m": 30,
    "1h": 60,
    "6h": 360,
    "12h": 720,
    "24h": MINUTES_PER_DAY,
    "7d": 7 * MINUTES_PER_DAY,
    "30d": 30 * MINUTES_PER_DAY,
    "1y": 365 * MINUTES_PER_DAY,
}


def tickers(market: "Market", tick: int) -> list[Record]:
    """Every listed coin's ticker at `tick`, by market cap."""
    return [
        _ticker(market, coin, market.changed("coinpaprika", coin, tick))
        for coin in market.by_market_cap("coinpaprika", tick)
    ]


def _ticker(market: "Market", coin: "Coin", changed: int) -> Record:
    price = coin.price_at(changed)
    volume, volume_before = day_volume(coin, changed), day_volume(coin, changed - MINUTES_PER_DAY)
    changes = {name: round(percent_change(coin, changed, minutes), 2) for name, minutes in _PERIODS.items()}
    return {
        "id": coin.paprika_id,
        "name": coin.name,
        "symbol": coin.symbol,
        "rank": market.rank("coinpaprika", coin, changed),
        "circulating_supply": coin.circulating_supply,
        "total_supply": coin.circulating_supply,
        "max_supply": coin.max_supply or 0,  # CoinPaprika writes 0 where there is no maximum
        "beta_value": round(0.4 + 1.2 * fraction(f"{coin.paprika_id}|beta"), 6),
        "first_data_at": f"{HISTORY_START.isoformat()}T00:00:00Z",
        "last_updated": f"{moment_of(changed):%Y-%m-%dT%H:%M:%SZ}",
        "quotes": {
            "USD": {
                "price": float(f"{price:.14g}"),
                "volume_24h": float(f"{volume:.12g}"),
                "volume_24h_change_24h": round((volume / volume_before - 1) * 100, 2),
                "market_cap": round(price * coin.circulating_supply),
                "market_cap_change_24h": changes["24h"],
                **{f"percent_change_{name}": change for name, change in changes.items()},
                "ath_price": float(f"{coin.highest:.14g}"),
                "ath_date": f"{coin.highest_at:%Y-%m-%dT%H:%M:%SZ}",
                "percent_from_price_ath": round((price / coin.highest - 1) * 100, 2),
            }
        },
    }
