"""Dialects of CSV: what is declared is read exactly, and what is found out is right or an error."""

from collections.abc import Callable
from datetime import date
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from kasparro_pipeline.extract import csv_lines, csv_rows, records
from kasparro_pipeline.extract.csv_files import CsvExtraction
from kasparro_pipeline.extract.csv_folder import Folder
from kasparro_pipeline.extract.csv_header import MAX_COLUMNS
from kasparro_pipeline.extract.csv_spec import CsvFiles
from kasparro_pipeline.extract.documents import Batch, Request
from kasparro_pipeline.extract.errors import PermanentUpstreamError
from kasparro_pipeline.extract.unreadable import UnreadableRecordError

Load = Callable[..., list[Batch]]


@pytest.fixture(scope="module")
def load(tmp_path_factory: pytest.TempPathFactory) -> Load:
    path = tmp_path_factory.mktemp("files") / "a.csv"

    def loaded(body: bytes | str, **spec: Any) -> list[Batch]:
        path.write_bytes(body if isinstance(body, bytes) else body.encode())
        made = CsvFiles(files=str(path), **spec)
        return list(CsvExtraction(made, Folder(made.files), "a.csv", Request(date(2026, 1, 1))))

    return loaded


def layout(batches: list[Batch]) -> Any:
    assert batches[0].document
    return batches[0].document.layout


def told(batches: list[Batch]) -> Any:
    assert batches[0].document
    return batches[0].document.headers


def cells(batches: list[Batch]) -> list[Any]:
    return [list(record.value.values()) for batch in batches for record in batch.records]


def values(batches: list[Batch]) -> list[Any]:
    return [record.value for batch in batches for record in batch.records]


def payloads(batches: list[Batch]) -> bytes:
    return b"".join(record.payload for batch in batches for record in batch.records)


def read_again(batches: list[Batch]) -> list[Any]:
    """What each stored row holds: its cells, or the rule that it breaks and the message."""
    found: list[Any] = []
    for batch in batches:
        for record in batch.records:
            try:
                found.append(records.read(record.payload, layout(batches)))
            except UnreadableRecordError as error:
                found.append((error.rule, str(error)))
    return found


def refusal(load: Load, body: bytes | str, **spec: Any) -> str:
    with pytest.raises(PermanentUpstreamError) as refused:
        load(body, **spec)
    assert refused.value.location.endswith("a.csv")
    return refused.value.message


# --- declared: any table in any dialect ---------------------------------------------------------------------

ENDS = ("\n", "\r\n", "\r")


@st.composite
def dialects(draw: st.DrawFn) -> dict[str, Any]:
    """What a spec can declare of how rows are written."""
    delimiter, quote, escape = draw(st.permutations(list(",;\t|'\"\\^ ~ax")).map(lambda some: some[:3]))
    quoted, escaped = draw(st.sampled_from([(True, False), (True, True), (False, True)]))
    return {
        "delimiter": delimiter,
        "quote": quote if quoted else "",
        "escape": escape if escaped else None,
        "header_rows": draw(st.integers(0, 3)),
        "skip_rows": draw(st.integers(0, 2)),
        "comment": draw(st.sampled_from([None, "#", "--"])),
        "encoding": draw(st.sampled_from([None, "utf-16-le", "utf-32-be", "cp037", "utf-8-sig"])),
        "duplicate_headers": "number",
    }


texts = st.text(alphabet="ab1#-,;\t|'\"\\^ ~x\u00e9", max_size=6)
texts_of_lines = st.text(alphabet="a#,;\t|'\"\\^ x\r\n\u00e9", max_size=6)


@st.composite
def tables(draw: st.DrawFn) -> tuple[dict[str, Any], list[list[str]]]:
    dialect = draw(dialects())
    width = draw(st.integers(1, 4))
    text = texts_of_lines if dialect["quote"] else texts
    rows = draw(st.lists(st.lists(text, min_size=width, max_size=width), min_size=1, max_size=6))
    return dialect, rows


def written(row: list[str], dialect: dict[str, Any], end: str, *, bare: bool = False) -> str:
    """A row as a writer of the dialect writes it."""
    delimiter, quote, escape = dialect["delimiter"], dialect["quote"], dialect["escape"]
    found = []
    for text in row:
        cell = text.replace(escape, escape * 2) if escape else text
        if quote and not (bare and cell and not {delimiter, quote, "\r", "\n", "#", "-"} & set(cell)):
            found.append(quote + cell.replace(quote, (escape or quote) + quote) + quote)
        else:
            marks = {delimiter, "#", "-"}
            found.append("".join(escape + one if one in marks else one for one in cell) if escape else cell)
    # a row that is one empty cell is written with quotes, or it would be a blank line
    return str(delimiter).join(found) + end


@settings(max_examples=400)
@given(tables(), st.sampled_from(ENDS), st.booleans(), st.booleans(), st.booleans())
def test_any_table_in_any_dialect_comes_back_cell_by_cell_and_byte_by_byte(
    load: Load, table: tuple[dict[str, Any], list[list[str]]], end: str, bare: bool, noisy: bool, last: bool
) -> None:
    dialect, rows = table
    if not dialect["quote"] and any(not any(row) and len(row) == 1 for row in rows):
        rows = [["a"] if row == [""] else row for row in rows]  # without quotes, it is a blank line
    encoding = dialect["encoding"] or "utf-8"
    noise = end + (f'{dialect["comment"]} it\'s "a" comment{end}' if dialect["comment"] else "")
    names = [[f"n{place}" for place in range(len(rows[0]))]] * dialect["header_rows"]
    lines = [written(row, dialect, end, bare=bare) for row in rows]
    body = [noise + line if noisy else line for line in lines]
    if last and body[-1].removesuffix(end):
        body[-1] = body[-1].removesuffix(end)
    preamble = [f"line {number} that's no row{end}" for number in range(dialect["skip_rows"])]
    head = preamble + [written(row, dialect, end) for row in names]
    whole = "".join(head + body).encode(encoding)
    if dialect["header_rows"] == 0 and noisy:
        return  # a blank line is no first row
    found = load(whole, **dialect)
    encoding = encoding.removesuffix("-sig")
    assert cells(found) == [[cell or None for cell in row] for row in rows]
    assert read_again(found) == values(found)
    assert payloads(found) == "".join(body).encode(encoding)


# --- found out: the same cells, or an error -----------------------------------------------------------------

kinds = {
    "text": st.text(alphabet="abc ,;|\t\u00e9.-", max_size=8),
    "quoted": st.text(alphabet="ab'\" ,;|\r\n", max_size=8),
    "number": st.integers(-5000, 5000).map(str) | st.floats(0, 1000).map(lambda x: f"{x:.2f}"),
    "date": st.dates(date(1999, 1, 1), date(2030, 1, 1)).map(str),
    "flag": st.sampled_from(["true", "false"]),
}


@st.composite
def plain_tables(draw: st.DrawFn) -> tuple[str, str, list[list[str]]]:
    """A table with a header of names, in a dialect that `auto` knows."""
    delimiter = draw(st.sampled_from([",", ";", "\t", "|"]))
    quote, other = draw(st.sampled_from([('"', "'"), ("'", '"')]))
    columns = draw(st.lists(st.sampled_from(sorted(kinds)), min_size=2, max_size=5))
    row = st.tuples(*(kinds[kind] for kind in columns)).map(list)
    # a cell that begins with the other quote is one that it encloses, for anybody who looks
    row = row.map(lambda cells: ["x" + cell if cell.startswith(other) else cell for cell in cells])
    names = st.text(alphabet="abcdefgh_ ", min_size=1, max_size=8).map(lambda name: f"n{name.strip()}")
    header = draw(st.lists(names, min_size=len(columns), max_size=len(columns), unique=True))
    return delimiter, quote, [header, *draw(st.lists(row, max_size=8))]


def minimal(row: list[str], delimiter: str, quote: str) -> str:
    """A row with quotes only where they are needed."""
    return (
        delimiter.join(
            quote + cell.replace(quote, quote * 2) + quote
            if {delimiter, quote, "\r", "\n"} & set(cell)
            else cell
            for cell in row
        )
        + "\n"
    )


@settings(max_examples=600)
@given(plain_tables())
@example((";", '"', [["na", "nb"], ["1,5", "2"], ["2,5", "3"]]))
@example((",", "'", [["na", "nb"], ["it's", "2"], ["a,b", "3"]]))
def test_a_dialect_that_is_found_out_gives_the_same_cells_or_an_error(
    load: Load, table: tuple[str, str, list[list[str]]]
) -> None:
    delimiter, quote, rows = table
    body = "".join(minimal(row, delimiter, quote) for row in rows)
    declared = load(body, delimiter=delimiter, quote=quote)
    try:
        found = load(body, dialect="auto")
    except PermanentUpstreamError:
        return
    assert values(found) == values(declared)
    assert layout(found)["columns"] == layout(declared)["columns"]
    assert payloads(found) == payloads(declared)


@pytest.mark.parametrize(
    ("body", "delimiter", "quote", "header_rows"),
    [
        ("id,name\n1,one\n2,two\n", ",", '"', "1"),
        ("id;price\n1;1,5\n2;2,5\n", ";", '"', "1"),
        ("id\tname\n1\ta b\n", "\t", '"', "1"),
        ('id|note\n1|"a|b"\n2|"c""d"\n', "|", '"', "1"),
        ("id,note\n1,'a,b'\n2,'c'\n", ",", "'", "1"),
        ('id,note\n1,"Tom, Dick"\n2,"it\'s; fine"\n', ",", '"', "1"),
        ("day,open,up\n2026-01-01,1.5,true\n2026-01-02,2.5,false\n", ",", '"', "1"),
        ("1,1.5,a\n2,2.5,b\n", ",", '"', "0"),
        ("2026-01-01T00:00:00Z;x\n2026-01-02T00:00:00Z;y\n", ";", '"', "0"),
    ],
)
def test_a_dialect_is_found_out_and_told(
    body: str, delimiter: str, quote: str, header_rows: str, load: Load
) -> None:
    found = load(body, dialect="auto")
    assert (layout(found)["delimiter"], layout(found)["quote"]) == (delimiter, quote)
    assert told(found)["header_rows"] == header_rows
    rows = body.count("\n")
    assert told(found)["dialect_rows"] == str(rows)
    assert float(told(found)["dialect_confidence"]) == pytest.approx((rows + 1) / (rows + 2), abs=0.001)
    assert read_again(found) == values(found)


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("1,5;2,5\n3,5;4,5\n", "delimiter ',' with quote '\"' (3 columns); delimiter ';'"),
        ("name\nBob\nAda\n", "no dialect fits"),
        ("a,b\n1,2\n3\n", "no dialect fits"),
        ('a,b\n1,"x\n2,y\n', "no dialect fits"),
        ("name,city\nBob,Paris\nAda,Rome\n", "whether the first row is a header"),
        ("country,2020,2021\nFR,5,6\nDE,7,8\n", "whether the first row is a header"),
        ("n/a,x\n1,y\n2,z\n", "whether the first row is a header"),
        ("", "no dialect fits: none of comma, semicolon, tab and bar"),
    ],
)
def test_what_cannot_be_told_is_an_error_that_says_what_to_declare(body: str, said: str, load: Load) -> None:
    assert said in refusal(load, body, dialect="auto")


def test_what_is_declared_beside_auto_counts(load: Load) -> None:
    body = "name,city\nBob,Paris\nAda,Rome\n"
    assert values(load(body, dialect="auto", header_rows=1))[0] == {"name": "Bob", "city": "Paris"}
    assert len(values(load(body, dialect="auto", header_rows=0))) == 3
    assert values(load("1,5;2,5\n3,5;4,5\n", dialect="auto", header_rows=0, delimiter=";"))[0] == {
        "column_1": "1,5",
        "column_2": "2,5",
    }


def test_delimiter_auto_finds_out_the_delimiter_alone(load: Load) -> None:
    found = load("name;city\nBob;Paris\n", delimiter="auto")
    assert values(found) == [{"name": "Bob", "city": "Paris"}]
    assert told(found)["header_rows"] == "1"
    assert "dialect_confidence" not in told(load("a,b\n1,2\n"))


def test_a_sample_that_ends_inside_a_row_is_enough(load: Load) -> None:
    body = "id,note\n" + "".join(f'{n},"line one\nline two, of {n}"\n' for n in range(60_000))
    assert len(body) > 1024 * 1024
    assert len(values(load(body, dialect="auto"))) == 60_000


@pytest.mark.parametrize(
    "spec",
    [
        {"delimiter": ",,"},
        {"delimiter": "\n"},
        {"delimiter": '"'},
        {"quote": "'", "escape": "'"},
        {"comment": ",x"},
        {"quote": '""'},
        {"header_rows": -1},
    ],
)
def test_a_dialect_that_contradicts_itself_is_refused(spec: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="validation error"):
        CsvFiles(files="*.csv", **spec)


# --- headers ----------------------------------------------------------------------------------------------


def test_without_header_rows_the_columns_are_numbered_and_the_first_row_is_a_record(load: Load) -> None:
    found = load("# note\n1,a\n2,b\n", header_rows=0, comment="#")
    assert values(found) == [{"column_1": "1", "column_2": "a"}, {"column_1": "2", "column_2": "b"}]
    assert payloads(found) == b"# note\n1,a\n2,b\n"
    assert values(load("", header_rows=0)) == []


def test_several_header_rows_are_joined_by_a_space(load: Load) -> None:
    found = load("Price,,Volume\nUSD,EUR,\n1,2,3\n", header_rows=2)
    assert values(found) == [{"Price USD": "1", "EUR": "2", "Volume": "3"}]
    assert "the file has no header row 2" in refusal(load, "a,b\n", header_rows=2)


def test_lines_before_the_header_are_skipped_whatever_they_are(load: Load) -> None:
    body = b'Report "of\n\n# \xff\nid,n\n1,2\n'
    assert values(load(body, skip_rows=3, comment="#")) == [{"id": "1", "n": "2"}]
    assert "say how many in `skip_rows`" in refusal(load, "\nid\n1\n")


def test_comments_are_passed_over_where_a_row_begins_and_kept_with_the_row_behind_them(load: Load) -> None:
    body = 'id,n\n# "one\n1,"a\n# no comment"\n2,#b\n#c\n'
    found = load("# head\n" + body, comment="#")
    assert values(found) == [{"id": "1", "n": "a\n# no comment"}, {"id": "2", "n": "#b"}]
    assert [record.payload for record in found[0].records] == [b'# "one\n1,"a\n# no comment"\n', b"2,#b\n"]
    assert read_again(found) == values(found)


def test_columns_of_one_name_are_numbered_where_the_spec_says_so(load: Load) -> None:
    body = "a,a,,a_2, a ,\n1,2,3,4,5,6\n"
    assert "columns that come twice in the header: a; correct the file, or set" in refusal(load, body)
    found = load(body, duplicate_headers="number")
    assert layout(found)["columns"] == ["a", "a_3", "column_3", "a_2", "a_4", "column_6"]
    assert cells(found) == [["1", "2", "3", "4", "5", "6"]]


@given(st.lists(st.sampled_from(["a", "a_2", "a_3", "", "column_1", "b "]), min_size=1, max_size=8))
def test_numbered_columns_differ_and_keep_the_names_that_they_can(load: Load, header: list[str]) -> None:
    body = ",".join(f'"{name}"' for name in header) + "\n"
    columns = layout(load(body, duplicate_headers="number"))["columns"]
    assert len(columns) == len(set(columns)) == len(header)
    named = [name.strip() or f"column_{place}" for place, name in enumerate(header, start=1)]
    assert set(named) <= set(columns)


def test_a_header_of_too_many_columns_is_an_error_and_a_row_of_too_many_cells_is_its_own(load: Load) -> None:
    wide = ",".join(f"c{n}" for n in range(MAX_COLUMNS + 1))
    assert f"the file has {MAX_COLUMNS + 1} columns" in refusal(load, wide + "\n")
    assert "is `delimiter` right?" in refusal(load, wide + "\n", header_rows=0)
    found = load("a,b\n" + "x," * 9_999 + "x\n1,2\n")
    assert read_again(found) == [
        ("ragged_row", "the row has 10000 cells, the header 2"),
        {"a": "1", "b": "2"},
    ]


def test_a_line_without_end_is_an_error_before_memory_is_full(
    load: Load, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(csv_lines, "MAX_LINE", 1 << 18)
    monkeypatch.setattr(csv_lines, "BATCH_BYTES", 1 << 16)
    assert "a line is longer than 262144 bytes" in refusal(load, b"a\n" + b"x" * (1 << 19))
    assert sum(len(batch.records) for batch in load(b"a\n" + b"1\n" * (1 << 18))) == 1 << 18


def test_a_row_that_cannot_be_read_says_what_is_wrong_with_it(
    load: Load, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = load(b'a,b\ncaf\xe9,1\n1,"x"y\n1,2,3\n')
    assert read_again(found) == [
        (
            "undecodable_byte",
            "the byte 0xE9 behind 3 characters of the row is not utf-8; correct the file, or set `encoding`",
        ),
        ("csv_quotes", "the row's quotes do not end, or are stray: ',' expected after '\"'"),
        ("ragged_row", "the row has 3 cells, the header 2"),
    ]
    monkeypatch.setattr(csv_rows, "MAX_FIELD", 3)
    with pytest.raises(UnreadableRecordError, match=r"the row has 6 characters") as error:
        csv_rows.read(b'1,"xyz', layout(found))
    assert error.value.rule == "cell_too_long"
