"""The keys of the read API: made, listed, revoked, rotated. Who may do what with one is the API's concern.

A key reads `kas_<id>_<secret>`. The id is public, and is what commands and logs name; of the secret only a
salted hash is stored, so that a key can be shown once, when it is made.
"""

import hashlib
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from kasparro_pipeline.warehouse.errors import WarehouseError
from kasparro_pipeline.warehouse.ledger import Connection
from kasparro_pipeline.warehouse.tables import KEY_SCOPES, SCHEMA

MAX_NAME = 100
"""Characters of a key's name."""
_ID_BYTES = 6
_SECRET_BYTES = 32
_SALT_BYTES = 16


class ApiKeyError(WarehouseError):
    """A key that is not there or cannot be made; the message says what to do."""


@dataclass(frozen=True, slots=True)
class StoredKey:
    """What is known of a key; times are UTC."""

    id: str
    name: str
    scopes: tuple[str, ...]
    created_at: datetime
    revoked_at: datetime | None
    """Not valid from then on; it may lie in the future."""
    is_valid: bool
    """By the clock of the database, as the API takes it."""


def create(connection: Connection, name: str, scopes: Sequence[str]) -> str:
    """Make a key and give its text, which nothing can show again.

    Raises:
        ApiKeyError: no usable name, or no scope that there is.
    """
    if not name.strip() or len(name) > MAX_NAME or not name.isprintable():
        raise ApiKeyError(
            f"A key's name is 1 to {MAX_NAME} printable characters, not {name!r}. Name the one who uses it."
        )
    unknown = sorted(set(scopes) - set(KEY_SCOPES))
    if unknown or not scopes:
        what = f"There is no scope {', '.join(map(repr, unknown))}." if unknown else "A key needs a scope."
        raise ApiKeyError(f"{what} Choose among: {', '.join(KEY_SCOPES)}.")
    key_id = secrets.token_hex(_ID_BYTES)
    secret = secrets.token_urlsafe(_SECRET_BYTES)
    salt = secrets.token_bytes(_SALT_BYTES)
    connection.execute(
        f"insert into {SCHEMA}.api_key (id, name, scopes, salt, hash) values (%s, %s, %s, %s, %s)",
        (key_id, name, [scope for scope in KEY_SCOPES if scope in scopes], salt, hash_of(salt, secret)),
    )
    return f"kas_{key_id}_{secret}"


def hash_of(salt: bytes, secret: str) -> bytes:
    """The stored hash of a key's secret part.

    A slow hash would only cost each request its time: it makes guessing dear, and there is nothing to guess
    in 256 random bits. The salt keeps equal hashes from telling anything.
    """
    return hashlib.sha256(salt + secret.encode()).digest()


def read_all(connection: Connection) -> list[StoredKey]:
    """Every key that was made, the oldest first."""
    rows = connection.execute(
        "select id, name, scopes, created_at, revoked_at, coalesce(revoked_at > clock_timestamp(), true)"
        f" from {SCHEMA}.api_key order by created_at, id"
    ).fetchall()
    return [StoredKey(key_id, name, tuple(scopes), *rest) for key_id, name, scopes, *rest in rows]


def revoke(connection: Connection, key_id: str) -> None:
    """Make a key invalid now; one that is already keeps its time.

    Raises:
        ApiKeyError: there is no such key.
    """
    _end(connection, key_id, timedelta())


def rotate(connection: Connection, key_id: str, overlap: timedelta = timedelta()) -> str:
    """Make a key with the name and scopes of a valid one, which itself ends `overlap` from now.

    Returns:
        The new key's text, which nothing can show again.

    Raises:
        ApiKeyError: there is no such key, or it is revoked.
    """
    with connection.transaction():
        name, scopes, is_valid = _end(connection, key_id, overlap)
        if not is_valid:
            raise ApiKeyError(f"The key {key_id} is revoked. Make another one with `kasparro keys create`.")
        return create(connection, name, scopes)


def _end(connection: Connection, key_id: str, overlap: timedelta) -> tuple[str, list[str], bool]:
    """Let a key end; gives its name, its scopes, and whether it was valid before."""
    row = connection.execute(
        f"with before as (select * from {SCHEMA}.api_key where id = %s for update)"
        f" update {SCHEMA}.api_key k set revoked_at = least(k.revoked_at, clock_timestamp() + %s)"
        " from before where k.id = before.id"
        " returning k.name, k.scopes, coalesce(before.revoked_at > clock_timestamp(), true)",
        (key_id, overlap),
    ).fetchone()
    if row is None:
        # not what was sent: somebody may have sent a whole key
        raise ApiKeyError("There is no key of this id. `kasparro keys list` shows the ids of all keys.")
    return row[0], row[1], row[2]
