"""The text form of a place in an ordered list. Knows no SQL and no HTTP.

A cursor is URL-safe base64 of: one byte of version, a fingerprint of the selection that it belongs to, the
place, and a checksum over all of it. The checksum finds a cut or changed cursor. It is no secret: every part
of a cursor is bound as a value, so that a made-up one can only name another place in the same list.
"""

import base64
import binascii
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

VERSION = 1
_FINGERPRINT = 8
_CHECKSUM = 8
_LARGEST_ID = 2**63 - 1


class CursorError(ValueError):
    """A text that is no cursor of this list; the message says why, and what to do."""


@dataclass(frozen=True)
class Position:
    """The place after one row of a list."""

    sort_key: str
    """The row's value of the list's first sort expression, as PostgreSQL writes it."""
    id: int


def encode(position: Position, selection: Mapping[str, Sequence[str]]) -> str:
    """The cursor of `position` in the list of `selection` (name of a filter → its values)."""
    place = f"{position.id} {position.sort_key}".encode()
    signed = bytes([VERSION]) + _fingerprint(selection) + place
    return base64.urlsafe_b64encode(signed + _checksum(signed)).rstrip(b"=").decode()


def decode(text: str, selection: Mapping[str, Sequence[str]]) -> Position:
    """The place that `text` stands for in the list of `selection`.

    Raises:
        CursorError: `text` is damaged, made up, of another version, or of another list.
    """
    signed = _signed_part(text)
    if signed[0] != VERSION:
        raise CursorError("It was made by another version of the API; start again without a cursor.")
    if signed[1 : 1 + _FINGERPRINT] != _fingerprint(selection):
        raise CursorError(
            "It belongs to a list with other filters; send the same filters with it, "
            "or start without a cursor."
        )
    number, separator, sort_key = signed[1 + _FINGERPRINT :].decode(errors="replace").partition(" ")
    if not (separator and number.isascii() and number.isdigit()) or len(number) > len(str(_LARGEST_ID)):
        raise CursorError("It names no row; use the cursor that a page gave.")
    return Position(sort_key, int(number))


def _signed_part(text: str) -> bytes:
    """What stands before the checksum, if the checksum is right."""
    damaged = CursorError(
        "It is damaged or was not made by this API; use the cursor that a page gave, unchanged."
    )
    try:
        data = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        raise damaged from None
    signed, checksum = data[:-_CHECKSUM], data[-_CHECKSUM:]
    # The last character of base64 can have unused bits: only the spelling that was given out is taken.
    spelling = base64.urlsafe_b64encode(data).rstrip(b"=").decode()
    if len(signed) <= 1 + _FINGERPRINT or checksum != _checksum(signed) or spelling != text:
        raise damaged
    return signed


def _fingerprint(selection: Mapping[str, Sequence[str]]) -> bytes:
    canonical = {name: sorted(set(values)) for name, values in selection.items() if values}
    text = json.dumps(canonical, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).digest()[:_FINGERPRINT]


def _checksum(signed: bytes) -> bytes:
    return hashlib.sha256(b"kasparro cursor " + signed).digest()[:_CHECKSUM]
