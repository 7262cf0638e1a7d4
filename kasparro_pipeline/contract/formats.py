"""Tells what a text looks like: a number, a date, and in which of the known ways a date is written.

The class of a value is its type, with the format behind a slash where there is one: `string/rfc822`,
`integer/unix`. Only the look counts: whether there is a 31st of February is the validation's business.
"""

import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from functools import lru_cache
from itertools import product
from typing import Any

BLANK = "blank"
"""The class of a text without a character that is seen."""
EITHER_DAY_OR_MONTH = "dd/mm/yyyy or mm/dd/yyyy"
"""The format of a date like 03/04/2026, which is written in one of two ways."""
DAY_FIRST, MONTH_FIRST = "dd/mm/yyyy", "mm/dd/yyyy"
LAST_MONTH = 12
SECONDS = range(10**9, 10**10)
"""Seconds since 1970 from 2001 to 2286: integers of 10 digits."""
DIGITS_OF_SECONDS = 10
MILLISECONDS = range(10**12, 10**13)
"""The same in milliseconds: 13 digits."""

_DIGITS = str.maketrans("123456789", "000000000")
_DIGIT_BYTES = bytes.maketrans(b"123456789", b"000000000")
_DATE = r"(?:0000-00-00|0000-W00(?:-0)?)"
_TIME = r"00(?::?00(?::?00(?:[.,]0+)?)?)?(?:Z|[+-]00(?::?00(?::?00)?)?)?"
_CLOCK = r"(?:[ T]+0?0:00(?::00(?:\.0+)?)?(?: ?[AaPp][Mm])?)?"
_MONTH = "(?:Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec)"
_CLASSES = {
    "integer/unix": "0{10}",
    "integer/unix_ms": "0{13}",
    "integer/yyyymmdd": "0{8}",
    "integer": "[+-]?0+",
    "number/unix": r"0{10}\.0+",
    "number": r"[+-]?(?:0+\.?0*|\.0+)(?:[eE][+-]?0+)?",
    "boolean": "(?i:true|false)",
    "string/yes_no": "(?i:yes|no)",
    "date/iso_date": _DATE,
    "timestamp/iso_timestamp": f"(?:{_DATE}|0{{8}})[T ]{_TIME}",
    "string/rfc822": rf"(?:[A-Z][a-z]{{2}}, )?0?0 {_MONTH} 00(?:00)?(?: 00:00(?::00)?(?: \S+)?)?",
    "string/yyyy/mm/dd": f"0000/0?0/0?0{_CLOCK}",
    "string/dd.mm.yyyy": rf"0?0\.0?0\.0000{_CLOCK}",
    "string/dd-mm-yyyy": f"0?0-0?0-0000{_CLOCK}",
    "string/slashes": f"0?0/0?0/0000{_CLOCK}",
}
_PATTERNS = [(name, re.compile(pattern, re.ASCII)) for name, pattern in _CLASSES.items()]
_SLASHES = "string/slashes"
"""Of values of this shape, each tells by itself which comes first, day or month."""
_BEGINNINGS = frozenset("0123456789+-. \t\n\r\v\f") | {""}
_BOOLEANS = frozenset(
    "".join(letters)
    for word in ("true", "false", "yes", "no")
    for letters in product(*zip(word, word.upper(), strict=True))
)
# For ASCII alone, on texts that each stand between line ends
_FIRST = r"[0-9+\-. \t\r\v\f\x1c-\x1f\n]"
_WORD = r"[tTfFyYnN](?:[rR][uU][eE]|[aA][lL][sS][eE]|[eE][sS]|[oO])\n"
_SPECIAL = re.compile(rf"\n(?:{_FIRST}|{_WORD})")
_SPECIAL_OR_DAY = re.compile(rf"\n(?:{_FIRST}|{_WORD}|...,)")
_SPACES = "\t\r\v\f\x1c\x1d\x1e\x1f"
LOOKS = frozenset({"integer", "number", "boolean", "yes_no", "whole"})
"""What stands behind the slash of a class and is no way to write a date."""
_LONG = 64
"""Characters of a shape that is not worth being remembered."""


def class_of(text: str) -> str:
    """The class of one text."""
    if not _is_special(text):
        return "string"
    found = _class_of_shape(text.strip().translate(_DIGITS))
    return _class_of_slashes(text.strip()) if found == _SLASHES else found


def count_classes(texts: Sequence[str], joined: str) -> Counter[str]:
    """How many of many texts have each class: what `class_of` says of each, sooner.

    `joined` has one text a line.
    """
    is_plain = joined.isascii() and joined.count("\n") == len(texts) - 1
    if is_plain and _is_special(texts[0]):
        return _count_by_shape(texts, joined)
    if is_plain and _are_words(joined):  # as in most columns of words
        return Counter({"string": len(texts)})
    special = [text for text in texts if _is_special(text)]
    counts = _count_by_shape(special, "\n".join(special)) if special else Counter()
    if len(special) < len(texts):
        counts["string"] += len(texts) - len(special)
    return counts


def _count_by_shape(texts: Sequence[str], joined: str) -> Counter[str]:
    # with every digit alike the values of a column have few shapes: a look at each shape is enough
    shaped = joined.encode("utf-8", "surrogatepass").translate(_DIGIT_BYTES)
    first = shaped[: shaped.find(b"\n") + 1]
    if first * len(texts) == shaped + b"\n":
        return _of_shapes({first[:-1].decode(): len(texts)}, lambda _: texts)
    shapes = shaped.decode("utf-8", "surrogatepass").split("\n")
    if len(shapes) != len(texts):
        shapes = [text.translate(_DIGITS) for text in texts]
    return _of_shapes(
        Counter(shapes),
        lambda wanted: [text for text, one in zip(texts, shapes, strict=True) if one == wanted],
    )


def _of_shapes(shapes: Mapping[str, int], texts_of: Callable[[str], Sequence[str]]) -> Counter[str]:
    """The classes of texts, of which it is known how many have each shape."""
    counts: Counter[str] = Counter()
    for shape, number in shapes.items():
        found = _class_of_shape(shape.strip()) if _is_special(shape) else "string"
        if found == _SLASHES:
            counts.update(_class_of_slashes(text.strip()) for text in texts_of(shape))
        else:
            counts[found] += number
    return counts


def _is_special(text: str) -> bool:
    """Whether a text may be something else than a string."""
    return text[:1] in _BEGINNINGS or text[3:4] == "," or text in _BOOLEANS or text[-1:].isspace()


def _are_words(joined: str) -> bool:
    """Whether none of the lines is special; they are ASCII, and their ends as many as the texts."""
    if " \n" in joined or joined[-1:] == " " or any(space in joined for space in _SPACES):
        return False
    special = _SPECIAL_OR_DAY if "," in joined else _SPECIAL
    return not special.search(f"\n{joined}\n")


def split(name: str) -> tuple[str, str | None]:
    """Type and format of a class."""
    kind, _, written = name.partition("/")
    return kind, written or None


def _class_of_shape(shape: str) -> str:
    return _look_at(shape) if len(shape) > _LONG else _remembered(shape)


def _look_at(shape: str) -> str:
    if not shape:
        return BLANK
    return next((name for name, pattern in _PATTERNS if pattern.fullmatch(shape)), "string")


_remembered = lru_cache(maxsize=10_000)(_look_at)


def _class_of_slashes(text: str) -> str:
    first, second, _ = text.split("/", 2)
    if int(first) > LAST_MONTH:
        return f"string/{DAY_FIRST}"
    return f"string/{MONTH_FIRST if int(second) > LAST_MONTH else EITHER_DAY_OR_MONTH}"


def class_of_number(value: object) -> str:
    """The class of a boolean or a number that is no text."""
    if isinstance(value, bool):
        return "boolean"
    if isinstance(value, int):
        written = "/unix" if value in SECONDS else "/unix_ms" if value in MILLISECONDS else ""
        return f"integer{written}"
    if not isinstance(value, Decimal) or not value.is_finite():
        return "number"
    if value.adjusted() == DIGITS_OF_SECONDS - 1 and value > 0:
        return "number/unix"
    return "number/whole" if value == value.to_integral_value() else "number"


def count_classes_of_numbers(values: Sequence[Any]) -> Counter[str]:
    """How many of many numbers of one type have each class: what `class_of_number` says of each, sooner."""
    if type(values[0]) is int and max(values) < SECONDS.start:
        return Counter({"integer": len(values)})
    return Counter(map(class_of_number, values))


def in_json(name: str) -> str:
    """The class of a text of JSON whose cell would have class `name`: `"5"` is `string/integer`."""
    kind, written = split(name)
    if written or kind in LOOKS:
        return f"string/{written or kind}"
    return kind
