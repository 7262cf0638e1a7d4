"""Finds a field's value in a record by its path, and a record's key. Checks no type; that is validation's."""

from collections.abc import Mapping
from typing import Any, Final

from kasparro_pipeline.contract.record_hash import RECORD_HASH, record_hash

DOCUMENT_PREFIX = "$document."
MAX_KEY_LENGTH = 512
MAX_DEPTH = 8
"""Objects nested deeper are one field, for the drift check and for what evolves."""


class _Missing:
    def __repr__(self) -> str:
        return "MISSING"


MISSING: Final = _Missing()
"""There is nothing at the path, which is not the same as null."""


class KeyRefusedError(ValueError):
    """A record has no usable key. `rule` names what was broken."""

    def __init__(self, rule: str, path: str, value: object, message: str) -> None:
        super().__init__(message)
        self.rule = rule
        self.path = path
        self.value = value


def value_at(record: object, path: str, context: Mapping[str, Any]) -> object:
    """The value at `path` (keys joined by dots), or MISSING. A key that itself holds dots is found too."""
    if path.startswith(DOCUMENT_PREFIX):
        return context.get(path.removeprefix(DOCUMENT_PREFIX), MISSING)
    if isinstance(record, dict):
        if path in record:
            return record[path]
        for dot in (index for index, character in enumerate(path) if character == "."):
            if path[:dot] in record:
                found = value_at(record[path[:dot]], path[dot + 1 :], context)
                if found is not MISSING:
                    return found
    return MISSING


def source_id(record: object, paths: tuple[str, ...], context: Mapping[str, Any]) -> str:
    """The record's key: one value as it is, several joined by colons (a colon inside a value is escaped).

    Keys are taken exactly: no trimming, no case folding, no Unicode normalisation, since two keys that differ
    upstream are two records. RECORD_HASH as a path stands for the hash of the whole record.

    Raises:
        KeyRefusedError: a part is missing, blank, not text or an integer, holds NUL or a lone surrogate, or
            the whole is longer than MAX_KEY_LENGTH characters; the record to be hashed has no value at all,
            or is nested too deep.
    """
    parts = [
        _hash_of(record) if path == RECORD_HASH else _key_part(value_at(record, path, context), path)
        for path in paths
    ]
    if len(parts) > 1:
        parts = [part.replace("\\", "\\\\").replace(":", "\\:") for part in parts]
    key = ":".join(parts)
    if len(key) > MAX_KEY_LENGTH:
        message = f"the key is {len(key)} characters long, at most {MAX_KEY_LENGTH} are allowed"
        raise KeyRefusedError("key_too_long", paths[0], key[:80], message)
    return key


def _hash_of(record: object) -> str:
    try:
        found = record_hash(record) if isinstance(record, dict) else None
    except RecursionError as error:
        message = "the record is nested too deep to be hashed"
        raise KeyRefusedError("key_type", RECORD_HASH, None, message) from error
    if found is None:
        raise KeyRefusedError(
            "key_missing", RECORD_HASH, None, "no field of the record has a value to make a key of"
        )
    return found


def _key_part(value: object, path: str) -> str:
    if value is MISSING or value is None:
        raise KeyRefusedError("key_missing", path, None, f"no key at `{path}`")
    if isinstance(value, bool) or not isinstance(value, (str, int)):
        raise KeyRefusedError("key_type", path, value, f"the key at `{path}` must be text or an integer")
    text = str(value)
    if not text.strip():
        raise KeyRefusedError("key_blank", path, text, f"the key at `{path}` is blank")
    if "\x00" in text:
        raise KeyRefusedError("nul_character", path, text, f"the key at `{path}` holds a NUL character")
    if not is_encodable(text):
        raise KeyRefusedError("lone_surrogate", path, None, f"the key at `{path}` is not valid Unicode")
    return text


def is_encodable(text: str) -> bool:
    """Whether the text can be written as UTF-8; a lone surrogate cannot."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
