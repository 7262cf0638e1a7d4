"""Lines that are cut all at once give the columns that a reader of rows finds."""

from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from kasparro_pipeline.extract import csv_rows
from kasparro_pipeline.extract.csv_columns import columns_of

LAYOUT: dict[str, Any] = {"columns": ["a", "b"], "delimiter": ",", "quote": '"'}
LINES = st.lists(st.text("a,,,é \x00\x0b\u2028\\", max_size=4), min_size=1, max_size=12)
QUOTED = st.sampled_from(['"a",b', '"a,b",', '"",""', '"a\nb",c', '"a', 'a",b', "a\\,b,c", '"a""b",c'])
ENDS = st.sampled_from(["\n", "\r\n"])


def by_rows(lines: list[str], layout: dict[str, Any]) -> list[list[str]] | None:
    rows = csv_rows._cells_of(lines, layout)
    return None if rows is None else [list(column) for column in zip(*rows, strict=True)]


def at_once(lines: list[str], layout: dict[str, Any], longest: int = 1000) -> list[list[str]] | None:
    found = columns_of(lines, layout, longest, lambda some: csv_rows._cells_of(some, layout))
    return None if found is None else [list(column) for column in found]


@settings(max_examples=400)
@given(
    LINES,
    st.lists(QUOTED, max_size=2),
    ENDS,
    st.sampled_from([{}, {"quote": ""}, {"quote": "", "escape": "\\"}, {"columns": ["a"]}]),
    st.booleans(),
)
@example(["a,b", "c"], [], "\n", {}, False)
@example(["a,b,c", "d"], [], "\n", {}, False)
@example(["a,b", "c,d"], ['"a'], "\n", {}, False)
def test_lines_give_the_columns_of_their_rows(
    lines: list[str],
    quoted: list[str],
    end: str,
    changes: dict[str, Any],
    is_open: bool,
) -> None:
    layout = LAYOUT | changes
    whole = [line + end for line in [*lines, *quoted, *lines]]
    if is_open:
        whole[-1] = whole[-1].removesuffix(end)
    assert at_once(whole, layout) == by_rows(whole, layout)


@pytest.mark.parametrize(
    "lines",
    [
        ["a,b\n", "c,d\r\n"],
        ["a,b\r\n", "c,d\n"],
        ["a,b\n", "c,d\r"],
        ["a,b\n", "c\r,d\n"],
        ["a,b\r\n", "c\n,d\r\n"],
        ["a,b", "c,d\n"],
        ["\na,b\n", "c,d"],
        ["a,b\n", "\n"],
        ["a,b\n", "c,d\n", ""],
    ],
)
def test_line_ends_of_several_kinds_are_left_to_the_reader_of_rows(lines: list[str]) -> None:
    assert at_once(lines, LAYOUT) == by_rows(lines, LAYOUT)


def test_a_few_lines_with_quotes_leave_the_others_to_be_cut_at_once() -> None:
    read: list[list[str]] = []

    def reader(lines: Any) -> Any:
        read.append(list(lines))
        return csv_rows._cells_of(lines, LAYOUT)

    lines = [f"{number},b\n" for number in range(9)]
    lines[4] = '"4, or 5",b\n'
    found = columns_of(lines, LAYOUT, 1000, reader)
    assert found is not None
    assert list(found[0]) == ["0", "1", "2", "3", "4, or 5", "5", "6", "7", "8"]
    assert read == [['"4, or 5",b\n']]


def test_without_lines_each_column_is_empty() -> None:
    assert at_once([], LAYOUT) == [[], []]


def test_text_that_may_hold_a_cell_beyond_the_limit_is_left_to_the_reader_of_rows() -> None:
    assert columns_of(["a,bbbb\n"], LAYOUT, 5, lambda _: None) is None
