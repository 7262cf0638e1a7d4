"""Encodings of CSV files that are found out: right, or an error that says to declare them. Never mojibake."""

import codecs
from collections.abc import Callable
from datetime import date
from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from kasparro_pipeline.extract.csv_files import CsvExtraction
from kasparro_pipeline.extract.csv_folder import Folder
from kasparro_pipeline.extract.csv_spec import CsvFiles
from kasparro_pipeline.extract.documents import Batch, Request
from kasparro_pipeline.extract.errors import PermanentUpstreamError

Load = Callable[..., list[Batch]]

RUSSIAN = "Привет мир. Москва столица России. Как дела сегодня? Хорошая погода была вчера вечером, и мы пошли"
GERMAN = (
    "Die Größe der Städte über dem Fluss ändert sich jährlich; für die Bürger wäre es schön, wenn Straßen"
)
FRENCH = "Le conseil a décidé que la première année serait consacrée à l'étude des problèmes, où l'on espère"


@pytest.fixture(scope="module")
def load(tmp_path_factory: pytest.TempPathFactory) -> Load:
    path = tmp_path_factory.mktemp("files") / "a.csv"

    def loaded(body: bytes, **spec: Any) -> list[Batch]:
        path.write_bytes(body)
        made = CsvFiles(files=str(path), encoding="auto", **spec)
        return list(CsvExtraction(made, Folder(made.files), "a.csv", Request(date(2026, 1, 1))))

    return loaded


def table(text: str) -> str:
    return "id,text\n" + "".join(f'{n},"{text} ({n})"\n' for n in range(20))


def texts(batches: list[Batch]) -> list[Any]:
    return [record.value and record.value["text"] for batch in batches for record in batch.records]


def found(batches: list[Batch]) -> tuple[str, float]:
    assert batches[0].document
    confidence = batches[0].document.headers["encoding_confidence"]
    return batches[0].document.layout["encoding"], float(confidence)


@pytest.mark.parametrize(
    ("text", "written", "expected"),
    [
        ("plain", "ascii", "utf-8"),
        (FRENCH, "utf-8", "utf-8"),
        (RUSSIAN, "cp1251", "cp1251"),
        (FRENCH, "utf-16", "utf-16-le"),
        (FRENCH, "utf-16-le", "utf-16-le"),
        (FRENCH, "utf-16-be", "utf-16-be"),
        (FRENCH, "utf-8-sig", "utf-8"),
    ],
)
def test_an_encoding_is_found_out_and_its_confidence_told(
    text: str, written: str, expected: str, load: Load
) -> None:
    batches = load(table(text).encode(written))
    encoding, confidence = found(batches)
    assert encoding == expected
    assert 0.8 <= confidence <= 1
    assert texts(batches) == [f"{text} ({n})" for n in range(20)]


def test_encodings_that_fit_alike_are_named_in_an_error(load: Load) -> None:
    with pytest.raises(PermanentUpstreamError, match=r"cp1252.*declare it in `encoding`") as refused:
        load(table(FRENCH).encode("cp1252"))
    assert "`min_confidence` 0.8" in refused.value.message


def test_a_few_bytes_are_too_little_to_tell(load: Load) -> None:
    with pytest.raises(PermanentUpstreamError, match="cannot be told"):
        load("id,text\n1,caf\xe9\n".encode("latin-1"))


def test_the_confidence_that_is_asked_for_decides(load: Load) -> None:
    body = table(GERMAN).encode("cp1252")
    _, confidence = found(load(body, min_confidence=0))
    assert found(load(body, min_confidence=confidence - 0.01))
    with pytest.raises(PermanentUpstreamError, match="cannot be told"):
        load(body, min_confidence=min(1, confidence + 0.01))


def test_a_row_in_another_encoding_is_rejected_and_spoils_no_utf8(load: Load) -> None:
    rows = [f"{n},\u00e9t\u00e9 {n}\n".encode() for n in range(20)]
    rows[7] = "7,\u00e9t\u00e9 7\n".encode("latin-1")
    batches = load(b"id,text\n" + b"".join(rows))
    assert found(batches) == ("utf-8", 0.95)
    assert texts(batches) == [None if n == 7 else f"\u00e9t\u00e9 {n}" for n in range(20)]


def test_a_mixture_of_encodings_is_an_error(load: Load) -> None:
    rows = ["1,\u00e9t\u00e9\n".encode(), "2,\u00e9t\u00e9\n".encode("latin-1")] * 5
    with pytest.raises(PermanentUpstreamError, match=r"utf-8, a mixture may be meant \(confidence 0.50"):
        load(b"id,text\n" + b"".join(rows))


def test_text_far_behind_the_beginning_counts(load: Load) -> None:
    body = b"id,text\n" + b"1,plain\n" * 300_000 + "2,\u20ac\n".encode()
    assert found(load(body)) == ("utf-8", 1.0)
    assert texts(load(body))[-1] == "\u20ac"


letters = st.text(alphabet="abc éèüßñżłßПривет東京ελ €", min_size=1, max_size=12)
encodings = [
    "utf-8",
    "utf-16",
    "utf-16-le",
    "cp1252",
    "cp1251",
    "cp1250",
    "iso8859-7",
    "shift_jis",
    "gb18030",
]


@settings(max_examples=150)
@given(st.lists(letters, min_size=1, max_size=6), st.sampled_from(encodings))
def test_what_is_found_out_is_the_text_or_an_error(load: Load, lines: list[str], encoding: str) -> None:
    rows = [line.encode(encoding, "ignore").decode(encoding).strip() or "x" for line in lines]
    body = ("id,text\n" + "".join(f'{n},"{row}"\n' for n, row in enumerate(rows))).encode(encoding)
    assume(encoding.startswith("utf") or body.isascii() or not is_utf8(body))  # by chance: nobody can tell
    try:
        batches = load(body)
    except PermanentUpstreamError:
        return
    assert texts(batches) == rows


def is_utf8(body: bytes) -> bool:
    try:
        body.decode()
    except UnicodeDecodeError:
        return False
    return True


@pytest.mark.parametrize("mark", [codecs.BOM_UTF8, codecs.BOM_UTF16_BE, codecs.BOM_UTF32_LE])
def test_a_byte_order_mark_is_believed(mark: bytes, load: Load) -> None:
    names = {codecs.BOM_UTF8: "utf-8", codecs.BOM_UTF16_BE: "utf-16-be", codecs.BOM_UTF32_LE: "utf-32-le"}
    assert found(load(mark + "id,text\n1,\u00e9\n".encode(names[mark]))) == (names[mark], 1.0)
