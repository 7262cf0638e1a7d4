"""What a contract may do to a text before it is checked. Each transform is a function from text to text."""

import html
import re
from collections.abc import Callable, Sequence
from typing import Literal

Transform = Literal["trim", "lower", "upper", "strip_html"]

TRANSFORM_TYPES: dict[Transform, set[str]] = {
    "trim": {"string", "url", "enum", "list"},
    "lower": {"string", "enum", "list"},
    "upper": {"string", "enum", "list"},
    "strip_html": {"string", "list"},
}
"""Which types of field each transform can be set for."""

_ATTRIBUTES = r"""(?:[^>=]+|=\s*(?:"[^"]*(?:"|\Z)|'[^']*(?:'|\Z))?)*"""
# Every alternative ends where the text ends, so none is tried in vain: linear time on any input. html.parser
# (Python 3.11) takes 19 s for 48 kB of unclosed tags.
_MARKUP = re.compile(
    rf"""
    <!--.*?(?:-->|\Z)
    | <(?P<hidden>script|style)(?=[\s/>]){_ATTRIBUTES}
      (?:\Z|>.*?(?:</(?P=hidden)(?=[\s/>]|\Z)[^>]*(?:>|\Z)|\Z))
    | </?(?P<name>[a-z][^\s/>]*){_ATTRIBUTES}(?:>|\Z)
    | <[!?/][^>]*(?:>|\Z)
    """,
    re.VERBOSE | re.DOTALL | re.IGNORECASE,
)
_BLOCKS = re.compile(
    "address|article|aside|blockquote|br|caption|d[dlt]|div|fieldset|figcaption|figure|footer|form|h[1-6r]"
    "|header|li|main|nav|[ou]l|option|p|pre|section|table|tbody|t[dhr]|tfoot|thead",
    re.IGNORECASE,
)
"""Elements that stand on a line of their own: their text does not touch that of their neighbours."""
_SPACE = re.compile(r"[ \t\n\r\f]+")
_LEADING_ZEROS = re.compile(r"&#0+(?=\d)")
_NO_CHARACTER = re.compile(r"&#\d{8,};?")


def strip_html(text: str) -> str:
    """The text that a browser would show of an HTML fragment, on one line.

    Comments, scripts and styles go with what is in them, also where they are not closed. Takes linear time.
    """
    if "<" in text:
        text = _MARKUP.sub(_in_place_of, text)
    if "&" in text:
        # Python refuses to read more than 4,300 digits, html.unescape does not expect that
        text = _NO_CHARACTER.sub("\ufffd", _LEADING_ZEROS.sub("&#", text))
        text = html.unescape(text)
    return _SPACE.sub(" ", text).strip(" ")


def transformer(transforms: Sequence[Transform]) -> Callable[[object], object]:
    """One function that applies the transforms in order: to a text, or to each text of a list."""
    steps = [_FUNCTIONS[name] for name in transforms]

    def transform(value: object) -> object:
        if isinstance(value, str):
            for step in steps:
                value = step(value)
            return value
        if isinstance(value, list):
            return [transform(item) if isinstance(item, str) else item for item in value]
        return value

    return transform


def _in_place_of(markup: re.Match[str]) -> str:
    name = markup["name"]
    return " " if name is not None and _BLOCKS.fullmatch(name) else ""


_FUNCTIONS: dict[Transform, Callable[[str], str]] = {
    "trim": str.strip,
    "lower": str.lower,
    "upper": str.upper,
    "strip_html": strip_html,
}
