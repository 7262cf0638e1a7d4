"""CSV files: each row is a record, its payload the row's own bytes, and a bad row harms no other."""

import codecs
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kasparro_pipeline.extract import csv_lines, csv_rows, records
from kasparro_pipeline.extract.csv_files import CsvExtraction
from kasparro_pipeline.extract.csv_folder import Folder
from kasparro_pipeline.extract.csv_place import FoundFile
from kasparro_pipeline.extract.csv_spec import CsvFiles
from kasparro_pipeline.extract.documents import Batch, KnownDocument, PartialDocument, Request, sha256
from kasparro_pipeline.extract.errors import PermanentUpstreamError, TransientUpstreamError
from kasparro_pipeline.extract.unreadable import UnreadableRecordError
from tests.conftest import corpus

TODAY = Request(today=date(2024, 1, 1))


def extract(spec: CsvFiles, name: str, request: Request) -> Iterator[Batch]:
    return iter(CsvExtraction(spec, Folder(spec.files), name, request))


def list_files(spec: CsvFiles) -> list[FoundFile]:
    return Folder(spec.files).listing()


@pytest.fixture(scope="module")
def load(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., list[Batch]]:
    """Write bytes to a file and extract it."""
    path = tmp_path_factory.mktemp("files") / "a.csv"

    def loaded(body: bytes, request: Request = TODAY, **spec: Any) -> list[Batch]:
        path.write_bytes(body)
        return list(extract(CsvFiles(files=str(path), **spec), "a.csv", request))

    return loaded


Load = Callable[..., list[Batch]]


def values(batches: list[Batch]) -> list[Any]:
    return [record.value for batch in batches for record in batch.records]


def payloads(batches: list[Batch]) -> list[bytes]:
    return [record.payload for batch in batches for record in batch.records]


def read_again(batches: list[Batch]) -> list[Any]:
    """What each stored row holds: its cells, or the rule that it breaks."""
    found: list[Any] = []
    for batch in batches:
        assert batch.document
        for record in batch.records:
            try:
                found.append(records.read(record.payload, batch.document.layout))
            except UnreadableRecordError as error:
                found.append(error.rule)
    return found


def refusal(load: Load, body: bytes, **spec: Any) -> str:
    with pytest.raises(PermanentUpstreamError) as refused:
        load(body, **spec)
    assert refused.value.location.endswith("a.csv")
    return refused.value.message


SPECTRUM = [
    "comma_in_quotes", "empty", "empty_crlf", "escaped_quotes", "json", "newlines", "newlines_crlf",
    "quotes_and_newlines", "simple", "simple_crlf", "utf8",
]  # fmt: skip


@pytest.mark.parametrize("name", SPECTRUM)
def test_the_rows_of_csv_spectrum_are_as_expected(name: str, load: Load) -> None:
    body = corpus(f"csv-spectrum/csvs/{name}.csv").read_bytes()
    expected = json.loads(corpus(f"csv-spectrum/json/{name}.json").read_bytes())
    found = load(body)
    for row, wanted in zip(values(found), expected, strict=True):
        assert row == {column: cell or None for column, cell in wanted.items()}
    assert read_again(found) == values(found)


cells = st.text(alphabet='ab ,;"\r\n\u00e9\u20ac\U0001f600\x00', max_size=5)


def written(row: list[str], end: str) -> str:
    return ",".join('"' + cell.replace('"', '""') + '"' for cell in row) + end


@given(st.lists(st.lists(cells, min_size=2, max_size=2), max_size=6), st.sampled_from(["\n", "\r\n", "\r"]))
def test_well_formed_rows_come_back_cell_by_cell(load: Load, rows: list[list[str]], end: str) -> None:
    body = written(["a", "b"], end) + "".join(written(row, end) for row in rows)
    found = load(body.encode())
    assert values(found) == [{"a": row[0] or None, "b": row[1] or None} for row in rows]
    assert [payload.decode() for payload in payloads(found)] == [written(row, end) for row in rows]
    assert [record.position for batch in found for record in batch.records] == list(range(len(rows)))


lines = st.tuples(
    st.lists(
        st.sampled_from([b"a", b",", b'"', b'""', b" ", b"\xff", b"\xe2\x82\xac", b"\x00", b"1"]),
        min_size=1,
        max_size=8,
    ),
    st.sampled_from([b"\n", b"\r\n", b"\r"]),
).map(lambda line: b"".join(line[0]) + line[1])


@settings(max_examples=250)
@given(
    st.lists(lines, max_size=8),
    st.sampled_from(["", "utf-8", "latin-1", "cp1252", "UTF-8-SIG"]),
    st.booleans(),
)
def test_header_and_payloads_together_are_the_file(
    load: Load, body: list[bytes], encoding: str, marked: bool
) -> None:
    header = codecs.BOM_UTF8 * (marked and "latin" not in encoding and "cp" not in encoding) + b"a,b\n"
    file = header + b"".join(body)
    found = load(file, encoding=encoding or None)
    assert header + b"".join(payloads(found)) == file
    assert found[-1].done
    # what is read from the stored row is what extraction saw, or extraction saw nothing
    for value, again in zip(values(found), read_again(found), strict=True):
        assert again == value if value is not None else isinstance(again, str)


def test_a_blank_line_is_no_record_and_an_empty_cell_is_null(load: Load) -> None:
    found = load(b'a,b\n\n1,\n\r\n"",2\n\n')
    assert values(found) == [{"a": "1", "b": None}, {"a": None, "b": "2"}]


def test_a_last_line_without_its_end_is_a_row(load: Load) -> None:
    assert values(load(b"a,b\n1,2\n3,4"))[-1] == {"a": "3", "b": "4"}


def test_a_ragged_row_is_kept_and_shifts_no_column(load: Load) -> None:
    found = load(b"a,b\n1\n1,2,3\n4,5\n")
    assert payloads(found) == [b"1\n", b"1,2,3\n", b"4,5\n"]
    assert read_again(found) == ["ragged_row", "ragged_row", {"a": "4", "b": "5"}]


def test_a_stray_quote_spoils_its_own_line_only(load: Load) -> None:
    found = load(b'a,b\n1,"x\n2,y\n"3"z,4\n5,"q\nr"\n6,""\n7,w\n')
    assert payloads(found)[:2] == [b'1,"x\n', b"2,y\n"]
    assert read_again(found) == [
        "csv_quotes",
        {"a": "2", "b": "y"},
        "csv_quotes",
        {"a": "5", "b": "q\nr"},
        {"a": "6", "b": None},
        {"a": "7", "b": "w"},
    ]


def test_a_cell_beyond_the_limit_spoils_its_own_row_only(load: Load) -> None:
    big = b"x" * (csv_rows.MAX_FIELD + 1)
    found = load(b"a,b\n1," + big + b'\n2,"y\n' + big + b'"\n3,z\n')
    assert read_again(found)[0] == "cell_too_long"
    assert read_again(found)[-1] == {"a": "3", "b": "z"}


def test_a_long_cell_is_read_again_in_another_process(load: Load) -> None:
    (found,) = load(b"a\n" + b"x" * 200_000 + b"\n")
    assert found.document
    code = (
        "import sys, json; from kasparro_pipeline.extract import records;"
        "print(len(records.read(sys.stdin.buffer.read(), json.loads(sys.argv[1]))['a']))"
    )
    layout = json.dumps(dict(found.document.layout))
    done = subprocess.run(
        [sys.executable, "-c", code, layout], input=payloads([found])[0], capture_output=True, check=True
    )
    assert done.stdout.strip() == b"200000"


def test_a_quoted_cell_may_hold_line_breaks_of_every_kind(load: Load) -> None:
    found = load(b'a,b\r\n"x\ny\r\nz\r",2\r\n')
    assert values(found) == [{"a": "x\ny\r\nz\r", "b": "2"}]
    assert payloads(found) == [b'"x\ny\r\nz\r",2\r\n']


@pytest.mark.parametrize(
    ("mark", "codec", "declared"),
    [
        (codecs.BOM_UTF8, "utf-8", None),
        (codecs.BOM_UTF8, "utf-8", "utf-8"),
        (codecs.BOM_UTF8, "utf-8", "UTF-8-SIG"),
        (b"", "utf-8", "utf-8-sig"),
        (codecs.BOM_UTF16_LE, "utf-16-le", None),
        (codecs.BOM_UTF16_BE, "utf-16-be", "utf-16"),
        (codecs.BOM_UTF16_LE, "utf-16-le", "UTF_16_LE"),
        (b"", "utf-16-be", "utf-16-be"),
        (codecs.BOM_UTF32_LE, "utf-32-le", None),
        (b"", "latin-1", "latin-1"),
        (b"", "cp1252", "windows-1252"),
    ],
)
def test_an_encoding_is_declared_or_marked_and_kept_to_the_byte(
    mark: bytes, codec: str, declared: str | None, load: Load
) -> None:
    row = 'caf\u00e9,"1\r\n2"\r\n'
    found = load(mark + f"a,b\r\n{row}".encode(codec), encoding=declared)
    assert values(found) == [{"a": "caf\u00e9", "b": "1\r\n2"}]
    assert payloads(found) == [row.encode(codec)]
    assert read_again(found) == values(found)


def test_bytes_that_are_no_utf8_are_kept_exactly_and_reject_their_row(load: Load) -> None:
    found = load(b"a,b\ncaf\xe9,2\n3,4\n")
    assert payloads(found) == [b"caf\xe9,2\n", b"3,4\n"]
    assert values(found) == [None, {"a": "3", "b": "4"}]
    assert read_again(found) == ["undecodable_byte", {"a": "3", "b": "4"}]


@pytest.mark.parametrize(
    ("body", "spec", "said"),
    [
        (b"", {}, "the file has no header row"),
        (b"\n1,2\n", {}, "the file has no header row"),
        (codecs.BOM_UTF8, {}, "the file has no header row"),
        (b"a,b,a\n", {}, "columns that come twice in the header: a"),
        (b"a, a \n", {}, "columns that come twice in the header: a"),
        (b"a\x00,b\n", {}, "the header holds NUL"),
        (b"caf\xe9,b\n", {}, "set `encoding`"),
        (b'a,"b\n1,2\n3,4\n', {}, "the header's quotes"),
        (b"a,b\n", {"encoding": "utf-16"}, "set `encoding` to utf-16-le or utf-16-be"),
    ],
)
def test_a_file_that_cannot_be_read_as_declared_is_refused(
    body: bytes, spec: dict[str, str], said: str, load: Load
) -> None:
    assert said in refusal(load, body, **spec)


@pytest.mark.parametrize("encoding", ["utf-99", "base64", "utf-7", "iso2022_jp"])
def test_an_encoding_whose_rows_cannot_be_read_one_by_one_is_refused_in_the_spec(encoding: str) -> None:
    with pytest.raises(ValueError, match="cannot be used"):
        CsvFiles(files="*.csv", encoding=encoding)


@pytest.mark.parametrize(
    ("mark", "encoding", "bad"),
    [
        (b"", "utf-8", b"\xc3"),
        (b"", "utf-8", b"\xed\xa0\x80"),
        (codecs.BOM_UTF16_LE, "utf-16-le", b"\x00\xd8"),
        (codecs.BOM_UTF16_BE, "utf-16-be", b"\xdc\x41"),
        (codecs.BOM_UTF32_LE, "utf-32-le", b"\x00\x00\x11\x00"),
        (b"", "cp1252", b"\x81"),
        (b"", "shift_jis", b"\xa0"),
        (b"", "ascii", b"\x80"),
    ],
)
def test_undecodable_bytes_reject_their_row_and_no_other(
    mark: bytes, encoding: str, bad: bytes, load: Load
) -> None:
    rows = ["1,x".encode(encoding) + bad + "\n".encode(encoding), "2,y\n".encode(encoding)]
    found = load(mark + "a,b\n".encode(encoding) + b"".join(rows), encoding=encoding)
    assert payloads(found) == rows
    assert read_again(found) == ["undecodable_byte", {"a": "2", "b": "y"}]
    assert values(found)[0] is None


def test_a_cut_character_at_the_end_of_utf16_rejects_the_last_row_only(load: Load) -> None:
    body = codecs.BOM_UTF16_LE + "a,b\n1,2\n3,4".encode("utf-16-le") + b"x"
    found = load(body)
    assert payloads(found)[-1] == "3,4".encode("utf-16-le") + b"x"
    assert read_again(found) == [{"a": "1", "b": "2"}, "undecodable_byte"]


def test_a_row_is_exact_where_the_encoding_writes_one_character_in_two_ways(load: Load) -> None:
    # both are U+2252, of which Python writes the first only
    found = load(b"a\n\x81\xe0\n\x87\x90\n", encoding="cp932")
    assert payloads(found) == [b"\x81\xe0\n", b"\x87\x90\n"]
    assert values(found) == [{"a": "\u2252"}, {"a": "\u2252"}]


def test_a_header_without_rows_is_a_document_without_records(load: Load) -> None:
    (batch,) = load(b"a,b\n")
    assert (list(batch.records), batch.complete, batch.done) == ([], True, True)
    assert batch.document
    assert batch.document.layout["columns"] == ["a", "b"]


def test_a_blank_column_name_gets_its_number(load: Load) -> None:
    assert values(load(b"a,,b\n1,2,3\n")) == [{"a": "1", "column_2": "2", "b": "3"}]


def test_delimiter_and_quote_are_declared(load: Load) -> None:
    found = load(b"a;b\n'1;2';3\n", delimiter=";", quote="'")
    assert values(found) == read_again(found) == [{"a": "1;2", "b": "3"}]


def test_the_document_says_what_came(load: Load) -> None:
    body = b"a\n1\n"
    (batch,) = load(body)
    assert batch.document
    assert (batch.document.byte_count, batch.document.sha256) == (len(body), sha256(body))
    assert batch.document.context == {"file": "a.csv"}
    assert batch.cursor == {"sha256": sha256(body).hex(), "records": 1}


def test_a_day_in_the_name_is_the_files_date(tmp_path: Path) -> None:
    (tmp_path / "coins-2026-11-08.csv").write_bytes(b"a\n1\n")
    (batch,) = extract(CsvFiles(files=f"{tmp_path}/*.csv"), "coins-2026-11-08.csv", TODAY)
    assert batch.document
    assert batch.document.context == {"file": "coins-2026-11-08.csv", "file_date": "2026-11-08"}


DIALECT = {"delimiter": ",", "quote": '"', "encoding": "utf-8"}


def test_the_same_bytes_again_are_a_no_op(load: Load) -> None:
    body = b"a\n1\n"
    known = KnownDocument(1, sha256(body), 1, {}, DIALECT, {})
    (batch,) = load(body, Request(today=date(2024, 1, 1), known=lambda _: known))
    assert (batch.document, batch.records, batch.done) == (None, [], True)
    (batch,) = load(body + b"2\n", Request(today=date(2024, 1, 1), known=lambda _: known))
    assert len(batch.records) == 2


@pytest.mark.parametrize("stored", [0, 1, 3, 7, 8])
def test_an_interrupted_extraction_goes_on_behind_what_is_stored(
    stored: int, load: Load, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(csv_rows, "BATCH_ROWS", 3)
    body = b"a,b\n" + b'1,x\n\n2\n3,"y\n4,z\n5,x\n6,x\n7,x\n8,x\n'
    whole = [record for batch in load(body) for record in batch.records]
    assert len(whole) == 8
    partial = PartialDocument(1, sha256(body), stored, {})
    rest = load(body, Request(today=date(2024, 1, 1), partial=lambda _: partial))
    assert [record for batch in rest for record in batch.records] == whole[stored:]
    assert [batch.complete for batch in rest] == [False] * (len(rest) - 1) + [True]
    other = PartialDocument(1, sha256(b"other"), stored, {})
    again = load(body, Request(today=date(2024, 1, 1), partial=lambda _: other))
    assert [record for batch in again for record in batch.records] == whole


@pytest.mark.parametrize("change", ["grows", "touched", "gone", "same size and time"])
def test_a_file_that_changes_while_it_is_read_is_not_completed(
    change: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(csv_rows, "BATCH_ROWS", 1000)
    monkeypatch.setattr(csv_lines, "BATCH_BYTES", 1000)
    monkeypatch.setattr(csv_lines, "READ_AT_ONCE", 1000)
    path = tmp_path / "a.csv"
    path.write_bytes(b"a\n" + b"1234567\n" * 5000)
    state = path.stat()
    batches = extract(CsvFiles(files=f"{tmp_path}/*.csv"), "a.csv", TODAY)
    assert not next(batches).complete
    if change == "grows":
        path.write_bytes(path.read_bytes() + b"2\n")
    elif change == "touched":
        os.utime(path, ns=(0, 0))
    elif change == "gone":
        path.unlink()
    else:
        with path.open("r+b") as file:
            file.seek(-8, os.SEEK_END)
            file.write(b"7654321\n")
        os.utime(path, ns=(state.st_atime_ns, state.st_mtime_ns))
    with pytest.raises((TransientUpstreamError, PermanentUpstreamError)):
        assert not any(batch.complete for batch in batches)


def settled(path: Path, body: bytes = b"a\n1\n", age: float = 60) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(body)
    os.utime(path, (time.time() - age, time.time() - age))
    return path


def names(found: list[FoundFile]) -> list[str]:
    return [file.name for file in found]


def test_the_listing_is_sorted_and_names_files_below_their_folder(tmp_path: Path) -> None:
    for name in ("b.csv", "a.csv", "deep/c.csv", "x.txt"):
        settled(tmp_path / "in" / name)
    (tmp_path / "in" / "folder.csv").mkdir()
    assert names(list_files(CsvFiles(files=f"{tmp_path}/in/*.csv"))) == ["a.csv", "b.csv"]
    assert names(list_files(CsvFiles(files=f"{tmp_path}/in/**/*.csv"))) == ["a.csv", "b.csv", "deep/c.csv"]
    assert names(list_files(CsvFiles(files=f"{tmp_path}/in/a.csv"))) == ["a.csv"]
    (found, _) = list_files(CsvFiles(files=f"{tmp_path}/in/*.csv"))
    assert found.size == 4


def test_the_listing_leaves_out_a_file_that_was_just_written(tmp_path: Path) -> None:
    settled(tmp_path / "old.csv")
    (tmp_path / "new.csv").write_bytes(b"a\n")
    assert names(list_files(CsvFiles(files=f"{tmp_path}/*.csv"))) == ["old.csv"]


def test_a_file_dated_ahead_by_another_clock_is_listed(tmp_path: Path) -> None:
    settled(tmp_path / "ahead.csv", age=-86_400)
    assert names(list_files(CsvFiles(files=f"{tmp_path}/*.csv"))) == ["ahead.csv"]


def test_a_missing_folder_is_an_error_and_an_empty_one_is_not(tmp_path: Path) -> None:
    assert list_files(CsvFiles(files=f"{tmp_path}/*.csv")) == []
    with pytest.raises(PermanentUpstreamError, match="the folder does not exist"):
        list_files(CsvFiles(files=f"{tmp_path}/none/*.csv"))


@pytest.mark.parametrize("name", ["../secret.csv", "/etc/passwd", "link.csv", "a/../../secret.csv"])
def test_a_path_outside_the_folder_is_refused(name: str, tmp_path: Path) -> None:
    settled(tmp_path / "secret.csv")
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "link.csv").symlink_to(tmp_path / "secret.csv")
    with pytest.raises(PermanentUpstreamError, match="outside the source's folder"):
        list(extract(CsvFiles(files=f"{tmp_path}/in/*.csv"), name, TODAY))


def test_a_file_that_is_gone_says_so(tmp_path: Path) -> None:
    with pytest.raises(PermanentUpstreamError, match="the file is gone; its records stay as they are"):
        list(extract(CsvFiles(files=f"{tmp_path}/*.csv"), "a.csv", TODAY))
