"""Many texts written at once as JSON (RFC 8259, 7): one call of orjson for a column, one join for all rows.

What the texts say, and in which order a row holds them, is its callers' business.
"""

from collections.abc import Sequence
from itertools import chain

import orjson

Texts = Sequence[str | None]
LINE = "\n"
"""Stands between rows. Compact JSON holds none."""
_BETWEEN = "\x7f"
"""Stands between the texts of a column: of the control characters the one that JSON writes as it is."""


def escaped(texts: Sequence[str]) -> Sequence[str]:
    """Each text as it stands between the quotes of its JSON: the same texts if nothing has to be escaped.

    Raises:
        TypeError: one of them is no text.
    """
    joined = _BETWEEN.join(texts)
    written = orjson.dumps(joined)
    if len(written) == 2 + (len(joined) if joined.isascii() else len(joined.encode())):
        return texts
    parts = written[1:-1].decode().split(_BETWEEN)
    return parts if len(parts) == len(texts) else [orjson.dumps(text)[1:-1].decode() for text in texts]


def quoted(texts: Texts) -> Sequence[str]:
    """Each text as JSON, `null` for None."""
    some = escaped([text or "" for text in texts])
    if all(texts) or None not in texts:
        return [f'"{text}"' for text in some]
    return ["null" if text is None else f'"{one}"' for text, one in zip(texts, some, strict=True)]


def rows(parts: Sequence[str | Sequence[str]], length: int) -> str:
    """So many rows with LINE between them. A part of a row is alike in all, or its own text in a column."""
    pieces: list[str | Sequence[str]] = [""]
    for part in chain(parts, (LINE,)):
        before = pieces[-1]
        if isinstance(part, str) and isinstance(before, str):
            pieces[-1] = before + part
        else:
            pieces.append(part)
    all_pieces = [piece if isinstance(piece, str) else "" for piece in pieces] * length
    for place, piece in enumerate(pieces):
        if not isinstance(piece, str):
            all_pieces[place :: len(pieces)] = piece
    return "".join(all_pieces)[: -len(LINE)]
