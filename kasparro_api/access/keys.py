"""Which key a request presents, and whether it is one that was made. What it allows is the guard's to say."""

import hashlib
import hmac
import re
import secrets
import time
from collections.abc import Iterable
from dataclasses import dataclass

from psycopg.rows import TupleRow

from kasparro_api.sql import Statement, rendered, table
from kasparro_pipeline.warehouse.tables import api_key

VALID_KEYS = Statement(
    rendered(
        # By the clock of the database, which sets revoked_at. A difference of times would fail for infinity
        "select id, name, scopes, salt, hash,"
        " (extract(epoch from revoked_at) - extract(epoch from clock_timestamp()))::float8"
        " from {keys} where revoked_at is null or revoked_at > clock_timestamp()",
        keys=table(api_key.name),
    )
)
"""Every valid key, as rows for a `KeyRing`."""

# Whatever may hold a secret, also as a URL writes it; a shorter word after `kas_` is no key
_KEY_LIKE = re.compile(r"kas(?:_|%5[Ff])[\w%-]{16,}", re.ASCII)
_BEARER = b"bearer "


def masked(text: str) -> str:
    """`text` without the keys in it, for logs and answers that quote what was sent."""
    return _KEY_LIKE.sub("kas_***", text)


def presented(headers: Iterable[tuple[bytes, bytes]]) -> bytes | None:
    """The text of the key in raw headers; `X-API-Key` goes before `Authorization: Bearer`.

    An empty one counts as sent: it is what a program sends whose key is not set.
    """
    bearer = None
    for name, value in headers:
        if name == b"x-api-key":
            return value
        if name == b"authorization" and value[: len(_BEARER)].lower() == _BEARER:
            bearer = value[len(_BEARER) :].strip()
    return bearer


@dataclass(frozen=True, slots=True)
class Key:
    """A key that was presented and is valid."""

    id: str
    name: str
    scopes: frozenset[str]


@dataclass(frozen=True, slots=True)
class _Stored:
    key: Key | None
    salt: bytes
    hash: bytes
    valid_until: float | None = None
    """On the clock of `time.monotonic()`."""


class KeyRing:
    """The valid keys as of one version of them, in memory."""

    def __init__(
        self, rows: Iterable[TupleRow] = (), version: str | None = None, read_at: float | None = None
    ) -> None:
        """Take rows of `VALID_KEYS`: id, name, scopes, salt, hash, and the seconds until it ends or None.

        `read_at` is when they were asked for, on the clock of `time.monotonic()`; now by default.
        """
        now = time.monotonic() if read_at is None else read_at
        self.version = version
        self._stored = {
            key_id.encode(): _Stored(
                Key(key_id, name, frozenset(scopes)), salt, hash_, None if seconds is None else now + seconds
            )
            for key_id, name, scopes, salt, hash_, seconds in rows
        }
        # An unknown id is compared too, so that it takes as long as a known one
        self._nobody = _Stored(None, secrets.token_bytes(16), secrets.token_bytes(32))

    def find(self, token: bytes | str) -> Key | None:
        """The valid key whose whole text is `token`; the comparison takes the same time for every text."""
        sent = token.encode(errors="replace") if isinstance(token, str) else token
        prefix, _, rest = sent.partition(b"_")
        key_id, _, secret = rest.partition(b"_")
        stored = self._stored.get(key_id, self._nobody)
        same = hmac.compare_digest(hashlib.sha256(stored.salt + secret).digest(), stored.hash)
        ended = stored.valid_until is not None and stored.valid_until <= time.monotonic()
        return stored.key if same and prefix == b"kas" and not ended else None
