"""Which encoding a feed is written in: its body as text, and what had to be guessed for that.

A byte order mark counts first, then what is written in UTF-8 without a fault, then the XML declaration and
the charset of Content-Type. What the text holds belongs to the cutters.
"""

import codecs
import re
from dataclasses import dataclass

from kasparro_pipeline.extract.json_records import mark_and_encoding

_DECLARED = re.compile(rb"""\s*<\?xml[^>]{0,200}?encoding\s*=\s*["']([\w.:-]{1,40})["']""")
_CHARSET = re.compile(r"""charset\s*=\s*["']?([\w.:-]{1,40})""", re.IGNORECASE)
_KNOWN = re.compile(
    r"ascii|utf-8|iso8859-\d+|cp(12\d\d|8\d\d|9\d\d|1006)|koi8-[rut]|mac-\w+|tis-620|ptcp154|kz1048"
    r"|gb2312|gbk|gb18030|big5(hkscs)?|shift_jis(x0213|_2004)?|euc_(jp|jis_2004|jisx0213|kr)|johab|hp-roman8"
)
"""Python's names of the encodings that carry ASCII as it is, so that tags can be found in their bytes."""
_WIDE = {
    b"<\x00\x00\x00": "utf-32-le",
    b"\x00\x00\x00<": "utf-32-be",
    b"<\x00": "utf-16-le",
    b"\x00<": "utf-16-be",
    b"{\x00": "utf-16-le",
    b"\x00{": "utf-16-be",
}
"""How a body begins that is UTF-16 or UTF-32 and has no mark (XML 1.0, appendix F)."""


_SUPERSETS = {"gb2312": "gb18030", "gbk": "gb18030", "shift_jis": "cp932", "euc_kr": "cp949"}
"""What is meant where an encoding is named (WHATWG Encoding 4.2): the others are written under its name."""
_WESTERN = frozenset({"utf-8", "ascii", "iso8859-1", "cp1252"})
"""What names a feed whose writer did not think of encodings: it may be Windows-1252 all the same."""


class RefusedError(ValueError):
    """The body is no feed, or one that is not taken."""


@dataclass(frozen=True, slots=True)
class FeedText:
    """A feed as text."""

    body: bytes
    """Without a byte order mark."""
    encoding: str
    text: str | None
    """None: some bytes are no text in any encoding that fits; `encoding` is the one that fits best."""
    problem: str | None = None
    """What is wrong with how it is encoded."""

    @property
    def is_wide(self) -> bool:
        """Whether a character takes at least two bytes, so that tags cannot be found in the bytes."""
        return self.encoding.startswith(("utf-16", "utf-32"))


def decoded(body: bytes, content_type: str | None) -> FeedText:
    """The body of a feed as text. A body that is not in the encoding that it names has a `problem`.

    Raises:
        RefusedError: the encoding that it names is not known, and it is no UTF-8.
    """
    mark, encoding = mark_and_encoding(body)
    rest = body[len(mark) :]
    if not mark:
        encoding = next((name for start, name in _WIDE.items() if body.startswith(start)), "")
    if encoding:
        text = _text(rest, encoding)
        problem = None if text is not None else f"bytes in it are no {encoding.upper()}"
        return FeedText(rest, encoding, text, problem)
    return _by_name(rest, content_type)


def _by_name(body: bytes, content_type: str | None) -> FeedText:
    written = _DECLARED.match(body)
    told = _CHARSET.search(content_type or "")
    declared = written[1].decode() if written else None
    names = [name for name in (declared, told[1] if told else None, "utf-8") if name]
    known = [name for name in map(_known, names) if name]
    # other encodings fit nearly any bytes; UTF-8 does not, so it is right where it fits and is named
    candidates = sorted(dict.fromkeys(known), key=lambda name: name != "utf-8" or name not in known[:-1])
    for encoding in candidates:
        text = _text(body, encoding)
        if text is not None:
            return FeedText(body, encoding, text, _difference(declared, encoding, known))
    if declared is not None and _known(declared) is None:
        raise RefusedError(f"the encoding {declared}, which it declares, is not known, and it is no UTF-8")
    if known[0] not in _WESTERN:
        return FeedText(body, known[0], None, f"bytes in it are no {known[0]}; they were replaced")
    loose = body.decode("utf-8", "replace")
    broken = loose.count("\ufffd")
    if sum(not character.isascii() for character in loose) >= 2 * broken:
        return FeedText(body, "utf-8", None, "bytes in it are no UTF-8; they were replaced")
    encoding = "cp1252" if _text(body, "cp1252") is not None else "iso8859-1"
    return FeedText(body, encoding, _text(body, encoding), f"it is no {known[0]}; read as {encoding}")


def _difference(declared: str | None, encoding: str, known: list[str]) -> str | None:
    if declared is None or _known(declared) == encoding:
        return None
    if _known(declared) is None:
        return (
            f"it declares the encoding {declared}, which it is not or which is not known; read as {encoding}"
        )
    # the server may have turned it into another one, and says so
    told = len(known) > 2 and known[1] == encoding  # noqa: PLR2004 - declared, told, UTF-8
    return None if told else f"it declares the encoding {declared}; read as {encoding}"


def _known(name: str) -> str | None:
    try:
        found = codecs.lookup(name).name
    except (LookupError, ValueError):
        return None
    return _SUPERSETS.get(found, found) if _KNOWN.fullmatch(found) else None


def _text(body: bytes, encoding: str) -> str | None:
    try:
        return body.decode(encoding)
    except UnicodeDecodeError:
        return None
