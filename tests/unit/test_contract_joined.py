"""Texts written at once are written as each of them is by itself."""

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kasparro_pipeline.contract import joined

TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=6) | st.sampled_from(
    ["", '"', "\\", "\n", "\x00", "\x7f", '",', "é", "\u2028", "%s", "😀"]
)


@given(st.lists(st.none() | TEXTS))
def test_texts_are_quoted_as_each_is(texts: list[str | None]) -> None:
    assert list(joined.quoted(texts)) == [orjson.dumps(text).decode() for text in texts]


@given(st.lists(TEXTS))
def test_texts_are_escaped_as_each_is(texts: list[str]) -> None:
    assert list(joined.escaped(texts)) == [orjson.dumps(text).decode()[1:-1] for text in texts]


def test_texts_that_need_no_escape_stay_the_same_objects() -> None:
    texts = ["a", "é", ""]
    assert joined.escaped(texts) is texts


def test_what_is_no_text_is_refused() -> None:
    with pytest.raises(TypeError):
        joined.escaped(["a", None])  # type: ignore[list-item]


@pytest.mark.parametrize(
    ("parts", "rows"),
    [
        (["a", ["1", "2"], "b"], "a1b\na2b"),
        ([["1", "2"], ["3", "4"]], "13\n24"),
        (["a", "b"], "ab\nab"),
        (["%", ("\n", "")], "%\n\n%"),
    ],
)
def test_rows_are_made_of_what_they_share_and_of_their_own(parts: list[str | list[str]], rows: str) -> None:
    assert joined.rows(parts, 2) == rows
