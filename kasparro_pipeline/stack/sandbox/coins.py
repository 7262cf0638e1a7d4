"""The coins of data/sandbox/coins.json, and what a coin costs at a tick. No reply shapes here."""

import math
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cached_property
from typing import TYPE_CHECKING, Any

import orjson

from kasparro_pipeline.stack.sandbox.walk import AMPLITUDE, fraction, log_walk

if TYPE_CHECKING:
    from pathlib import Path


class SandboxDataError(Exception):
    """A file of data/sandbox is missing or unreadable."""


@dataclass(frozen=True, eq=False)  # compared by identity: coins are keys of caches
class Coin:
    """One coin or token, under the ids of both upstreams.

    Attributes:
        price: US dollars that the price moves around.
        swing: how far it moves; 1 is an ordinary coin, a pegged one is near 0.
        walk: whose walk the price follows: a wrapped coin follows what it wraps.
    """

    paprika_id: str
    gecko_id: str
    symbol: str
    name: str
    type: str
    price: float
    circulating_supply: int
    max_supply: int | None
    swing: float = 1.0
    walk: str = ""

    def price_at(self, tick: int) -> float:
        """The price in US dollars at `tick` (minutes since the Unix epoch)."""
        return self.price * math.exp(self.swing * log_walk(self.walk or self.paprika_id, tick))

    @cached_property
    def highest(self) -> float:
        """An all-time high that `price_at` never reaches."""
        return self.price * math.exp(self.swing * (AMPLITUDE + 0.1 + fraction(f"{self.paprika_id}|ath")))

    @cached_property
    def lowest(self) -> float:
        """An all-time low that `price_at` never reaches."""
        return self.price * math.exp(-self.swing * (AMPLITUDE + 0.1 + 2 * fraction(f"{self.paprika_id}|atl")))

    @property
    def highest_at(self) -> datetime:
        """When the all-time high was: some second of 2020, before the sandbox's history."""
        return _second_of(2020, fraction(f"{self.paprika_id}|ath date"))

    @property
    def lowest_at(self) -> datetime:
        """When the all-time low was: some second of 2019."""
        return _second_of(2019, fraction(f"{self.paprika_id}|atl date"))


@dataclass(frozen=True, eq=False)
class Coins:
    """The coins listed from the start, and those that wait to be listed, in that order."""

    listed: tuple[Coin, ...]
    reserve: tuple[Coin, ...]


def _second_of(year: int, share: float) -> datetime:
    return datetime(year, 1, 1, tzinfo=UTC) + timedelta(milliseconds=int(share * 365 * 86_400_000))


def read_json(path: "Path") -> Any:  # noqa: ANN401 - JSON may hold anything; the callers look
    """One JSON file of the sandbox.

    Raises:
        SandboxDataError: the file is missing or is not JSON.
    """
    try:
        return orjson.loads(path.read_bytes())
    except (OSError, orjson.JSONDecodeError) as error:
        raise SandboxDataError(
            f"The sandbox cannot read {path}: {error}. Point KASPARRO_DATA at the project's data folder."
        ) from error


def load_coins(data: "Path") -> Coins:
    """The coins of `data`/sandbox/coins.json.

    Raises:
        SandboxDataError: the file is missing or does not hold coins.
    """
    path = data / "sandbox" / "coins.json"
    content = read_json(path)
    try:
        return Coins(*(tuple(Coin(**row) for row in content[part]) for part in ("listed", "reserve")))
    except (KeyError, TypeError) as error:
        raise SandboxDataError(
            f"{path} does not hold the sandbox's coins: {error}. Restore the file."
        ) from error
