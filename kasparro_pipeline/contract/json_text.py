"""How a typed value is written as JSON text: what goes to `attributes`, and what a content hash covers."""

from decimal import Decimal

import orjson


def to_json(value: object) -> bytes:
    """Compact JSON with numbers to their last digit, dates as ISO 8601 and UTC as `Z`.

    Raises:
        TypeError: it holds an integer of more than 64 bits (see `writable`), or something JSON does not know.
    """
    return orjson.dumps(value, default=_default, option=orjson.OPT_UTC_Z | orjson.OPT_SORT_KEYS)


def writable(value: int) -> int | Decimal:
    """The integer in a form that `to_json` writes: orjson has a limit of 64 bits, decimals have none."""
    return Decimal(value) if abs(value) >= 2**63 else value


def _default(value: object) -> object:
    if isinstance(value, Decimal):
        return orjson.Fragment(str(value))
    raise TypeError(f"no JSON for {type(value).__name__}")
