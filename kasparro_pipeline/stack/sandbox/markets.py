"""CoinGecko's `GET /api/v3/coins/markets`: the shape of one record. Which coins and when is market.py's."""

from typing import TYPE_CHECKING

from kasparro_pipeline.stack.sandbox.market import PERIODS, Record, day_volume, moment_of, percent_change
from kasparro_pipeline.stack.sandbox.walk import MINUTES_PER_DAY, fraction

if TYPE_CHECKING:
    from collections.abc import Collection
    from datetime import datetime

    from kasparro_pipeline.stack.sandbox.coins import Coin
    from kasparro_pipeline.stack.sandbox.market import Market

_SHARE_WITH_ROI = 0.22


def markets(
    market: "Market", tick: int, *, page: int, per_page: int, periods: "Collection[str]" = ()
) -> list[Record]:
    """One page of the listed coins at `tick`, by market cap; empty after the last page.

    Args:
        market: the coins.
        tick: minutes since the Unix epoch.
        page: from 1.
        per_page: records a page.
        periods: names in PERIODS that each add a `price_change_percentage_<name>_in_currency`.
    """
    coins = market.by_market_cap("coingecko", tick)[(page - 1) * per_page : page * per_page]
    return [_record(market, coin, market.changed("coingecko", coin, tick), periods) for coin in coins]


def quoted(price: float) -> int | float:
    """`price` with CoinGecko's digits: none from 10,000, 2 from 1.1, 3 from 1, 6 significant below."""
    if price >= 10_000:  # noqa: PLR2004 - the steps are named above
        return round(price)
    if price >= 1:
        return round(price, 2 if price >= 1.1 else 3)  # noqa: PLR2004 - the steps are named above
    return float(f"{price:.6g}")


def _stamp(moment: "datetime") -> str:
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{moment.microsecond // 1000:03d}Z"


def _roi(coin: "Coin", price: float) -> Record | None:
    if fraction(f"{coin.paprika_id}|roi") >= _SHARE_WITH_ROI:
        return None
    times = price / (coin.price * (0.02 + fraction(f"{coin.paprika_id}|sale"))) - 1
    return {"times": times, "currency": "usd", "percentage": times * 100}


def _record(market: "Market", coin: "Coin", changed: int, periods: "Collection[str]") -> Record:
    price = coin.price_at(changed)
    before = coin.price_at(changed - MINUTES_PER_DAY)
    day = [coin.price_at(changed - minutes) for minutes in range(0, MINUTES_PER_DAY + 1, 60)]
    cap = round(price * coin.circulating_supply)
    change = (price / before - 1) * 100
    record: Record = {
        "id": coin.gecko_id,
        "symbol": coin.symbol.lower(),
        "name": coin.name,
        "image": f"http://images.kasparro.invalid/coins/{coin.gecko_id}.png",
        "current_price": quoted(price),
        "market_cap": cap,
        "market_cap_rank": market.rank("coingecko", coin, changed),
        "fully_diluted_valuation": round(price * coin.max_supply) if coin.max_supply else None,
        "total_volume": round(day_volume(coin, changed)),
        "high_24h": quoted(max(day)),
        "low_24h": quoted(min(day)),
        "price_change_24h": float(f"{price - before:.6g}"),
        "price_change_percentage_24h": round(change, 5),
        "market_cap_change_24h": cap - round(before * coin.circulating_supply),
        "market_cap_change_percentage_24h": round(change, 5),
        "circulating_supply": float(coin.circulating_supply),
        "total_supply": float(coin.circulating_supply),
        "max_supply": float(coin.max_supply) if coin.max_supply else None,
        "ath": quoted(coin.highest),
        "ath_change_percentage": round((price / coin.highest - 1) * 100, 5),
        "ath_date": _stamp(coin.highest_at),
        "atl": float(quoted(coin.lowest)),
        "atl_change_percentage": round((price / coin.lowest - 1) * 100, 5),
        "atl_date": _stamp(coin.lowest_at),
        "roi": _roi(coin, price),
        "last_updated": _stamp(moment_of(changed)),
    }
    for name in PERIODS:
        if name in periods:
            percent = percent_change(coin, changed, PERIODS[name] * MINUTES_PER_DAY)
            record[f"price_change_percentage_{name}_in_currency"] = percent
    return record
