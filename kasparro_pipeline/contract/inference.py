"""Which type of field holds everything that came. Proposes nothing; that is `proposal`'s."""

from kasparro_pipeline.contract import formats
from kasparro_pipeline.contract.observed import Field
from kasparro_pipeline.contract.spec import FieldType

_ISO = frozenset({"iso_date", "iso_timestamp"})
_NUMBERS: dict[frozenset[str], FieldType] = {
    frozenset({"integer"}): "integer",
    frozenset({"number"}): "number",
    frozenset({"integer", "number"}): "number",
    frozenset({"boolean"}): "boolean",
}


def fitting(came: Field, *, text_only: bool, is_moment: bool = False) -> tuple[FieldType, str]:
    """The narrowest type that takes every value that came, and the format in which its timestamps are.

    Integers are taken for moments only if `is_moment`: what they count is not to be seen. A list may hold
    anything, so it is `json`.
    """
    classes = [formats.split(name) for name in came.classes if name != "null"]
    kinds, ways = frozenset(kind for kind, _ in classes), {way for _, way in classes}
    if ways and ways <= _ISO:
        return ("date" if ways == {"iso_date"} else "timestamp"), "iso"
    if ways == {"rfc822"}:
        return "timestamp", "rfc822"
    if is_moment and ways in ({"unix"}, {"unix_ms"}):
        return "timestamp", "unix" if ways == {"unix"} else "unix_ms"
    if kinds in _NUMBERS:
        return _NUMBERS[kinds], "iso"
    if text_only or (kinds and kinds <= {"string", formats.BLANK}):
        return "string", "iso"
    return "json", "iso"
