"""The text form of a cursor, without a server."""

import base64
import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kasparro_api.data.cursor import CursorError, Position, decode, encode

POSITION = Position("2026-11-01 12:00:00.123456+00", 42)
ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"

filters = st.dictionaries(st.sampled_from(["source", "category"]), st.lists(st.text(), max_size=3))


@given(st.text(), st.integers(0, 2**63 - 1), filters)
def test_a_cursor_gives_back_its_position(sort_key: str, row: int, selection: dict[str, list[str]]) -> None:
    position = Position(sort_key, row)
    text = encode(position, selection)
    assert decode(text, selection) == position
    assert set(text) <= set(ALPHABET)


@given(filters, filters)
def test_a_cursor_of_other_filters_is_refused(one: dict[str, list[str]], other: dict[str, list[str]]) -> None:
    def meaning(selection: dict[str, list[str]]) -> dict[str, set[str]]:
        return {name: set(values) for name, values in selection.items() if values}

    text = encode(POSITION, one)
    if meaning(one) == meaning(other):
        assert decode(text, other) == POSITION
    else:
        with pytest.raises(CursorError, match="other filters"):
            decode(text, other)


def test_every_cut_of_a_cursor_is_refused() -> None:
    text = encode(POSITION, {})
    for length in range(len(text)):
        with pytest.raises(CursorError):
            decode(text[:length], {})


def test_every_change_of_one_character_is_refused() -> None:
    text = encode(POSITION, {})
    for place, right in enumerate(text):
        for wrong in ALPHABET.replace(right, ""):
            with pytest.raises(CursorError):
                decode(text[:place] + wrong + text[place + 1 :], {})


@given(st.text())
def test_any_other_text_is_refused(text: str) -> None:
    with pytest.raises(CursorError):
        decode(text, {})


def signed(content: bytes) -> str:
    """A cursor with a right checksum, as someone who read the source can make it."""
    checksum = hashlib.sha256(b"kasparro cursor " + content).digest()[:8]
    return base64.urlsafe_b64encode(content + checksum).rstrip(b"=").decode()


@pytest.mark.parametrize(
    "place", [b"", b"42", b" x", b"-1 x", b"4e2 x", "٤ x".encode(), b"\xff x", b"9" * 5000 + b" x"]
)
def test_a_made_up_place_with_a_right_checksum_is_refused(place: bytes) -> None:
    head = base64.urlsafe_b64decode(encode(POSITION, {}) + "==")[:9]
    with pytest.raises(CursorError):
        decode(signed(head + place), {})


def test_a_cursor_of_another_version_says_so() -> None:
    content = base64.urlsafe_b64decode(encode(POSITION, {}) + "==")[:-8]
    with pytest.raises(CursorError, match="another version"):
        decode(signed(b"\x02" + content[1:]), {})
