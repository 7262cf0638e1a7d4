"""CSV rows that an earlier file had: cut without a look at their cells, with the outcome that a look has."""

from __future__ import annotations

import hashlib
import io
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from kasparro_pipeline.extract import csv_lines, csv_rows
from kasparro_pipeline.extract.csv_lines import Lines
from kasparro_pipeline.extract.documents import RawRecord, Rows

if TYPE_CHECKING:
    from collections.abc import Sequence

LAYOUT: dict[str, Any] = {"format": "csv", "delimiter": ",", "quote": '"', "encoding": "utf-8"} | {
    "columns": ["a", "b", "c"],
    "comment": "#",
}
cells = st.text(st.sampled_from('xyé", \n\r'), max_size=4)
regular = st.lists(cells, min_size=3, max_size=3).map(
    lambda row: ",".join(
        '"' + cell.replace('"', '""') + '"' if set(cell) & set('",\n\r') else cell for cell in row
    )
)
lines = st.lists(
    st.tuples(regular, st.sampled_from(["\n", "\r\n", "\r"])).map("".join)
    | st.sampled_from(["\n", "\r\n", "\r", "#c\n", "a,b\n", 'x,"y\n', 'z",1,2\n', ",,\n", '""\n']),
    max_size=12,
)


def read(body: str, came: set[bytes] | None) -> list[RawRecord]:
    """The records of a file, if lines that are rows in `came` are known."""

    def known(payloads: Sequence[bytes]) -> list[int]:
        return [place for place, payload in enumerate(payloads) if payload not in (came or ())]

    found = csv_rows.batches(
        Lines(io.BytesIO(body.encode()), b"", "utf-8", LAYOUT["comment"]),
        LAYOUT,
        0,
        lambda: known if came is not None else None,
    )
    return [record for records, _ in found for record in records]


@given(earlier=lines, later=lines, size=st.integers(1, 40))
@example(earlier=["1,2,3\n"], later=["1,2,3\n", '4,"p\n', 'q",r\r', "s,t,u\n"], size=17)
@example(earlier=["1,2,3\n"], later=["1,2,3\n", "#c\n", "x,y,z\r", "s,t,u\n"], size=16)
def test_a_file_has_the_same_records_whatever_of_it_came_before_and_wherever_its_reading_pauses(
    *, earlier: list[str], later: list[str], size: int
) -> None:
    came = {record.payload for record in read("".join(earlier), None) if record.value is not None}
    mixed = "".join(line for pair in zip(later, [*earlier, *later], strict=False) for line in pair)
    for body in ("".join(later), mixed, "".join(earlier)):
        expected = read(body, None)
        assert read(body, came) == expected
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(csv_lines, "READ_AT_ONCE", size)
            patch.setattr(csv_lines, "BATCH_BYTES", size)
            assert read(body, came) == expected


@given(rows=lines, size=st.integers(1, 12))
def test_a_file_has_the_same_records_wherever_its_reading_pauses(*, rows: list[str], size: int) -> None:
    body = "".join(rows)
    whole = read(body, None)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(csv_lines, "READ_AT_ONCE", size)
        patch.setattr(csv_lines, "BATCH_BYTES", size)
        assert [record.payload for record in read(body, None)] == [record.payload for record in whole]


@given(body=st.text("a\r\n", max_size=30), size=st.integers(1, 6))
def test_lines_end_at_lf_cr_or_both_wherever_reading_pauses(*, body: str, size: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(csv_lines, "READ_AT_ONCE", size)
        patch.setattr(csv_lines, "BATCH_BYTES", size)
        source = Lines(io.BytesIO(body.encode()), b"", "utf-8")
        found = [line for _ in range(31) for line in source.many(1)]
    assert found == body.encode().splitlines(keepends=True)
    assert source.sha256() == hashlib.sha256(body.encode()).digest()


def test_a_file_whose_lines_end_with_cr_alone_is_not_taken_for_one_line(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(csv_lines, "READ_AT_ONCE", 14)  # never up to the end of a line
    monkeypatch.setattr(csv_lines, "MAX_LINE", 50)
    body = "1,2,3\n" + "a,b,cc\r" * 100
    assert read(body, {b"1,2,3\n", b"a,b,cc\r"}) == read(body, None)


def test_a_bad_row_leaves_the_lines_behind_it_where_they_are() -> None:
    source = Lines(io.BytesIO(b'"x"y,1,2\n' + b"1,2,3\n" * 1000), b"", "utf-8")
    next(source)
    waiting = source._ahead
    assert source.take_first() == b'"x"y,1,2\n'
    assert source._ahead is waiting  # a copy for each of many bad rows takes minutes
    assert len(source.many(2000)) == 1000


def test_what_came_before_is_no_row_inside_of_quotes() -> None:
    body = '1,"begins\n2,two,x\nends",y\n3,three,z\n'
    found = read(body, {b"2,two,x\n", b"3,three,z\n"})
    assert [record.payload for record in found] == [b'1,"begins\n2,two,x\nends",y\n', b"3,three,z\n"]


@given(rows=st.lists(regular, min_size=1, max_size=8), encoding=st.sampled_from(["utf-8", "utf-16-le"]))
def test_one_column_of_many_rows_is_that_of_each_row(*, rows: list[str], encoding: str) -> None:
    layout: dict[str, Any] = LAYOUT | {"encoding": encoding}
    payloads = [(row + "\n").encode(encoding) for row in rows]
    for name in LAYOUT["columns"]:
        expected = [csv_rows.read(payload, layout)[name] for payload in payloads]
        assert list(csv_rows.column(payloads, layout, name)) == expected


def test_the_cells_of_rows_that_are_not_known_are_given_for_just_these() -> None:
    texts = [f"{number},x,y\n" for number in range(10)]
    source = Lines(io.BytesIO("".join(texts).encode()), b"", "utf-8")
    [[found, _]] = csv_rows.batches(source, LAYOUT, 0, lambda: lambda _payloads: [3, 7])
    assert isinstance(found, Rows)
    table = found.read_before([3, 7])
    assert table is not None
    assert table.columns["a"] == ["3", "7"]
    assert found.read_before([3]) is None
    assert found.read_before([3, 7, 8]) is None


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16-le"])
@pytest.mark.parametrize("line_break", ["\n", "\r\n"], ids=["LF", "CR LF"])
def test_the_cells_of_known_rows_are_read_when_somebody_asks(
    line_break: str, encoding: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(csv_rows, "BATCH_ROWS", 5)
    layout = LAYOUT | {"encoding": encoding}
    texts = [f"{number},x,y{line_break}" for number in range(10)]
    came = {text.encode(encoding) for text in texts if not text.startswith("7")}

    def known(payloads: Sequence[bytes]) -> list[int]:
        return [place for place, payload in enumerate(payloads) if payload not in came]

    source = Lines(io.BytesIO("".join(texts).encode(encoding)), b"", encoding)
    batches = [found for found, _ in csv_rows.batches(source, layout, 0, lambda: known)]
    for batch in batches:
        assert isinstance(batch, Rows)
        assert batch[1].value == {"a": str(batch.start + 1), "b": "x", "c": "y"}
        assert list(batch.table.columns["a"]) == [str(batch.start + place) for place in range(5)]
    assert len(batches) == 2
