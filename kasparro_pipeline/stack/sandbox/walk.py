"""How numbers move: a walk that is a pure function of a key and a tick. No coins and no HTTP here."""

import hashlib
import math
from functools import lru_cache

MINUTES_PER_DAY = 1440

# (period in ticks, amplitude in natural-log units): months, days, hours, minutes. Bounded by construction: a
# value stays within exp(±AMPLITUDE) of its base for ever, past and future.
_WAVES = ((30 * MINUTES_PER_DAY, 0.35), (3 * MINUTES_PER_DAY, 0.12), (360, 0.06), (40, 0.02), (7, 0.004))
AMPLITUDE = sum(amplitude for _, amplitude in _WAVES)


@lru_cache(maxsize=131_072)
def fraction(key: str) -> float:
    """A number in [0, 1) that depends on `key` alone."""
    return int.from_bytes(hashlib.sha256(key.encode()).digest()[:6]) / 2**48


@lru_cache(maxsize=131_072)
def log_walk(key: str, tick: int) -> float:
    """The walk of `key` at `tick` (minutes since the Unix epoch), within ±AMPLITUDE.

    Each wave is value noise: a fixed random height at every multiple of its period, joined by a smooth curve.
    """
    total = 0.0
    for period, amplitude in _WAVES:
        step, rest = divmod(tick, period)
        left = fraction(f"{key}|{period}|{step}")
        right = fraction(f"{key}|{period}|{step + 1}")
        share = (1 - math.cos(math.pi * rest / period)) / 2
        total += amplitude * (2 * (left + (right - left) * share) - 1)
    return total
