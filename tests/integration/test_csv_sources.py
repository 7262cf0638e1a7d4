"""CSV sources from end to end: what becomes of each row, and what faults do."""

from __future__ import annotations

import codecs
import gzip
import io
import itertools
import json
import os
import re
import time
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import dagster as dg
import pytest
import yaml

from kasparro_pipeline.components import CsvSource, holding, steps
from kasparro_pipeline.extract import csv_rows
from kasparro_pipeline.extract.csv_spec import CsvFiles
from kasparro_pipeline.warehouse import raw_batches, raw_reader
from tests.conftest import corpus
from tests.integration.test_automation import tick
from tests.integration.test_replay import replay

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.integration.conftest import Pipeline, Run

FIELDS = {"title": {"path": "name", "required": True}, "amount": {"path": "price"}}


@pytest.fixture
def csv(folder: Path, pipeline_of: Callable[..., Pipeline]) -> Callable[..., Pipeline]:
    """`csv(**attributes)` runs the source of the folder's files."""

    def build(**attributes: Any) -> Pipeline:
        spec = {"files": f"{folder}/*", "kind": "thing", "key": "id", "fields": FIELDS}
        return pipeline_of(CsvSource, spec | attributes)

    return build


def put(folder: Path, body: bytes | str, name: str = "a.csv") -> None:
    """Write a file that looks finished a minute ago."""
    path = folder / name
    path.write_bytes(body if isinstance(body, bytes) else body.encode())
    os.utime(path, (time.time() - 60, time.time() - 60))


def run(pipeline: Pipeline, name: str = "a.csv") -> Run:
    pipeline.add_files("it", name)
    return pipeline.run("it", name)


def reasons(pipeline: Pipeline) -> list[tuple[str, str]]:
    """Rule and message of each reason of each rejected record, in the order of the rows."""
    found = pipeline.rows(
        "select reason->>'rule' as rule, reason->>'message' as message from kasparro.rejected_record"
        " cross join jsonb_array_elements(reasons) reason order by raw_id"
    )
    return [(row["rule"], row["message"]) for row in found]


def payloads(pipeline: Pipeline) -> list[bytes]:
    rows = pipeline.rows("select payload from kasparro.raw_record order by id")
    return [bytes(row["payload"]) for row in rows]


def titles(pipeline: Pipeline) -> dict[str, str]:
    return {key: row["title"] for key, row in pipeline.unified("it").items()}


def read_as(found: Run) -> Any:
    """What the raw asset says of how the files were read."""
    [raw] = [
        event.step_materialization_data.materialization
        for event in found.result.get_asset_materialization_events()
        if event.asset_key == dg.AssetKey(["raw", "it"])
    ]
    return raw.metadata["read_as"].value


# --- the corpus ---------------------------------------------------------------------------------------------

SPECTRUM = [
    "comma_in_quotes", "empty", "empty_crlf", "escaped_quotes", "json", "location_coordinates", "newlines",
    "newlines_crlf", "quotes_and_newlines", "simple", "simple_crlf", "utf8",
]  # fmt: skip


@pytest.mark.parametrize("name", SPECTRUM)
def test_p1_p2_p5_each_file_of_csv_spectrum_goes_through_a_source(
    name: str, csv: Callable[..., Pipeline], folder: Path, database_url: str
) -> None:
    body = corpus(f"csv-spectrum/csvs/{name}.csv").read_bytes()
    header, _, rest = body.partition(b"\n")
    columns = header.decode().strip().split(",")
    fields = {f"f{place}": {"path": column} for place, column in enumerate(columns)}
    put(folder, body)
    pipeline = csv(key=columns[0], fields=fields)

    found = run(pipeline)

    assert found.success
    # P1, P7: each row is in raw, with its own bytes; only a blank line at the end belongs to none
    assert b"".join(payloads(pipeline)).rstrip() == rest.rstrip()
    read, *outcomes = found.counts("read", "validated", "rejected", "superseded")
    assert read == sum(outcomes) == len(payloads(pipeline))
    if name == "location_coordinates":  # its two sides disagree
        expected = [dict(zip(columns, rest.decode().strip().split(","), strict=True))]
    else:
        expected = json.loads(corpus(f"csv-spectrum/json/{name}.json").read_bytes())
    unified = pipeline.unified("it")
    assert outcomes == [len(expected), 0, 0]
    for row in expected:
        stored = unified[row[columns[0]]]["attributes"]
        assert stored == {f"f{place}": row[column] or None for place, column in enumerate(columns)}
    before = pipeline.everything()
    again = run(pipeline)
    assert again.success
    assert pipeline.everything() == before
    assert isinstance(tick(pipeline, "it_sensor", database_url), dg.SkipReason)


# --- the line of a rejected row ---------------------------------------------------------------------------


def noisy(rows: int, ends: Iterator[str]) -> tuple[str, list[int], list[int]]:
    """A file with rows over several lines, blank lines and comments; the lines of bad and of all rows."""
    text, line, bad, places = 'skipped "\nid,name,price\n', 3, [], []
    for number in range(rows):
        before = [next(ends)] * (number % 3) + [f"# {number} is next{next(ends)}"] * (number % 2)
        text += "".join(before)
        line += len(before)
        places.append(line)
        if number % 4 == 1:
            bad.append(line)
        price = "x" if number % 4 == 1 else "1"
        middle = next(ends) if number % 5 == 2 else " "
        text += f'{number},"a{middle}b",{price}{next(ends)}'
        line += 1 + (number % 5 == 2)
    return text, bad, places


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16-le", "cp037"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_each_reason_tells_the_line_in_which_its_row_begins(
    encoding: str, end: str, csv: Callable[..., Pipeline], folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(steps, "BATCH_SIZE", 7)
    monkeypatch.setattr(raw_batches, "MOST_RECORDS", 3)
    monkeypatch.setattr(raw_reader, "PACKED_AT_ONCE", 2)
    monkeypatch.setattr(csv_rows, "BATCH_ROWS", 5)
    text, bad, _ = noisy(60, itertools.repeat(end))
    put(folder, text.replace("\n", end).encode(encoding) if end != "\r\n" else text.encode(encoding))
    pipeline = csv(encoding=encoding, comment="#", skip_rows=1)

    assert run(pipeline).success

    assert [message.partition(":")[0] for _, message in reasons(pipeline)] == [f"line {n}" for n in bad]
    lines = text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    assert all(lines[number - 1].partition(",")[0].isdigit() for number in bad)


def test_lines_are_right_after_an_extraction_that_was_interrupted_and_in_a_replay(
    csv: Callable[..., Pipeline], folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(csv_rows, "BATCH_ROWS", 10)
    text, bad, _ = noisy(60, itertools.repeat("\n"))
    put(folder, text)
    pipeline = csv(comment="#", skip_rows=1)
    whole = csv_rows.batches

    def cut(*asked: Any) -> Any:
        for number, batch in enumerate(whole(*asked)):
            if number == 2:
                raise RuntimeError("the machine is gone")
            yield batch

    with monkeypatch.context() as broken:
        broken.setattr(csv_rows, "batches", cut)
        assert not run(pipeline).success
    stored = len(payloads(pipeline))
    assert 0 < stored < 60

    found = run(pipeline)

    assert found.success
    assert found.counts("extracted", "read") == (60 - stored, 60)
    expected = [f"line {number}" for number in bad]
    assert [message.partition(":")[0] for _, message in reasons(pipeline)] == expected
    stricter = csv(comment="#", skip_rows=1, fields=FIELDS | {"rank": {"path": "name", "max_length": 2}})
    assert replay(stricter).success
    by_rule = [message.partition(":")[0] for rule, message in reasons(pipeline) if rule != "string_too_long"]
    assert by_rule == expected


@pytest.mark.parametrize("packed_together", [10, 7, 3])
def test_a_file_whose_rows_are_all_bad_is_not_read_once_more_to_count_lines(
    csv: Callable[..., Pipeline], folder: Path, monkeypatch: pytest.MonkeyPatch, packed_together: int
) -> None:
    monkeypatch.setattr(steps, "BATCH_SIZE", 10)
    monkeypatch.setattr(raw_batches, "MOST_RECORDS", packed_together)
    put(folder, "id,name,price\n" + "".join(f"{n},a,x\n" for n in range(200)))
    taken = []
    packed = raw_reader.packed

    def counted(*asked: Any, **more: Any) -> Any:
        for row in packed(*asked, **more):
            taken.append(row.first_id)
            yield row

    monkeypatch.setattr(raw_reader, "packed", counted)
    pipeline = csv()
    assert run(pipeline).success
    assert [message.partition(":")[0] for _, message in reasons(pipeline)] == [
        f"line {number}" for number in range(2, 202)
    ]
    assert len(taken) == 1  # the row in which the first batch begins


def test_lines_of_small_files_that_are_validated_together_are_their_own(
    csv: Callable[..., Pipeline], folder: Path
) -> None:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("a.csv", "id,name,price\n1,a,1\n2,b,x\n")
        archive.writestr("b.csv", "id,name,price\n3,a,1\n\n4,b,x\n5,c,x\n")
    put(folder, file.getvalue(), "a.zip")
    pipeline = csv()
    assert run(pipeline, "a.zip").success
    assert [message.partition(":")[0] for _, message in reasons(pipeline)] == ["line 3", "line 4", "line 5"]


# --- compressed files, and what is told ---------------------------------------------------------------------


def test_an_archive_is_told_in_the_raw_assets_metadata_and_is_no_news_afterwards(
    csv: Callable[..., Pipeline], folder: Path, database_url: str
) -> None:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("coins-2026-11-01.csv", "id,name,price\n1,one,1\n")
        archive.writestr("readme.txt", "no")
        archive.writestr("coins-2026-11-08.csv", "id,name,price\n1,ONE,2\n2,two,2\n")
    put(folder, file.getvalue(), "a.zip")
    pipeline = csv(version={"path": "$document.file_date", "type": "date"})
    found = run(pipeline, "a.zip")
    assert found.success
    assert found.counts("documents", "read", "validated") == (3, 3, 3)
    assert titles(pipeline) == {"1": "ONE", "2": "two"}
    assert read_as(found)["a.zip"]["left_members"] == "readme.txt"
    assert set(read_as(found)) == {"a.zip", "a.zip!coins-2026-11-01.csv", "a.zip!coins-2026-11-08.csv"}
    before = pipeline.everything()
    assert isinstance(tick(pipeline, "it_sensor", database_url), dg.SkipReason)
    assert run(pipeline, "a.zip").counts("documents_unchanged") == (1,)
    assert pipeline.everything() == before


def test_a_cut_archive_leaves_nothing_that_counts_as_complete_and_is_taken_when_it_is_whole(
    csv: Callable[..., Pipeline], folder: Path
) -> None:
    whole = gzip.compress(b"id,name,price\n" + b"".join(b"%d,n%d,1\n" % (n, n) for n in range(50_000)))
    pipeline = csv()
    put(folder, whole[: len(whole) // 2], "a.csv.gz")
    found = run(pipeline, "a.csv.gz")
    assert not found.success
    assert "the gzip file is cut, damaged or of another kind" in found.ledger["error"]
    assert pipeline.rows("select * from kasparro.document") == []
    put(folder, whole, "a.csv.gz")
    assert run(pipeline, "a.csv.gz").counts("inserted") == (50_000,)


def test_a_dialect_and_an_encoding_that_were_found_out_are_told_and_used_for_ever(
    csv: Callable[..., Pipeline], folder: Path, database_url: str
) -> None:
    text = "id;name;price\n" + "".join(f"{n};Привет мир, как дела сегодня;{n}.5\n" for n in range(30))
    put(folder, text.encode("cp1251"))
    pipeline = csv(dialect="auto", encoding="auto")
    found = run(pipeline)
    assert found.success
    told = read_as(found)["a.csv"]
    assert (told["delimiter"], told["quote"], told["header_rows"], told["encoding"]) == (
        ";",
        '"',
        "1",
        "cp1251",
    )
    assert float(told["dialect_confidence"]) > 0.9
    assert float(told["encoding_confidence"]) > 0.8
    assert titles(pipeline)["7"] == "Привет мир, как дела сегодня"
    assert isinstance(tick(pipeline, "it_sensor", database_url), dg.SkipReason)
    # what is stored is read as it was found out, whatever the spec says now
    before = titles(pipeline)
    later = csv(delimiter="|", encoding="latin-1", fields=FIELDS | {"rank": {"value": "1"}})
    assert later.run("it", "a.csv", layers="validated unified").success
    assert titles(pipeline) == before


# --- faults -----------------------------------------------------------------------------------------------


def test_fault_39_a_cell_of_100_mb_and_a_row_of_10000_columns_are_rejected_and_harm_no_other(
    csv: Callable[..., Pipeline], folder: Path
) -> None:
    huge = b"2," + b"x" * 100 * 1024 * 1024 + b",1\n"
    wide = b"3" + b",x" * 9_999 + b"\n"
    put(folder, b"id,name,price\n1,one,1\n" + huge + wide + b"4,four,4\n")
    pipeline = csv()
    found = run(pipeline)
    assert found.success
    assert found.counts("read", "validated", "rejected") == (4, 2, 2)
    assert reasons(pipeline) == [
        (
            "cell_too_long",
            f"line 3: the row has {len(huge)} characters, and a cell of more than {csv_rows.MAX_FIELD}",
        ),
        ("ragged_row", "line 4: the row has 10000 cells, the header 3"),
    ]
    assert titles(pipeline) == {"1": "one", "4": "four"}
    assert [len(payload) for payload in payloads(pipeline)] == [8, len(huge), len(wide), 9]


def test_fault_43_ids_that_are_blank_too_long_or_alike_are_never_merged_by_accident(
    csv: Callable[..., Pipeline], folder: Path
) -> None:
    ids = ["A", "a", " a", "a ", "caf\u00e9", "cafe\u0301", "1", "01", "1.0", "", "  ", "x" * 513]
    put(folder, "id,name,price\n" + "".join(f'"{one}",n{place},1\n' for place, one in enumerate(ids)))
    pipeline = csv()
    found = run(pipeline)
    assert found.counts("read", "validated", "rejected", "superseded") == (12, 9, 3, 0)
    assert titles(pipeline) == {one: f"n{place}" for place, one in enumerate(ids[:9])}
    assert [(rule, message.partition(":")[0]) for rule, message in reasons(pipeline)] == [
        ("key_missing", "line 11"),
        ("key_blank", "line 12"),
        ("key_too_long", "line 13"),
    ]


@pytest.mark.parametrize(
    ("written", "declared"),
    [
        ("utf-8-sig", None),
        ("utf-16", None),
        ("utf-16-be", "utf-16-be"),
        ("latin-1", "latin-1"),
        ("cp1252", "cp1252"),
    ],
)
def test_fault_44_marked_and_declared_encodings_are_exact(
    written: str, declared: str | None, csv: Callable[..., Pipeline], folder: Path
) -> None:
    put(folder, "id,name,price\n1,caf\u00e9 \u00fc\u00df,1\n".encode(written))
    pipeline = csv(encoding=declared)
    assert run(pipeline).success
    assert titles(pipeline) == {"1": "caf\u00e9 \u00fc\u00df"}


@pytest.mark.parametrize("declared", [None, "auto"])
def test_fault_44_mixed_encodings_are_exact_or_rejected_and_never_mojibake(
    declared: str | None, csv: Callable[..., Pipeline], folder: Path
) -> None:
    rows = [f"{n},caf\u00e9,1\n".encode() for n in range(10)]
    rows[4] = "4,caf\u00e9,1\n".encode("latin-1")
    rows.append(b"x,nul\x00,1\n")
    put(folder, b"id,name,price\n" + b"".join(rows))
    pipeline = csv(encoding=declared)
    found = run(pipeline)
    assert found.counts("validated", "rejected") == (9, 2)
    assert set(titles(pipeline).values()) == {"caf\u00e9"}
    byte, nul = reasons(pipeline)
    assert byte[0] == "undecodable_byte"
    assert byte[1].startswith("line 6: the byte 0xE9 behind 5 characters of the row is not utf-8; ")
    assert (nul[0], nul[1].partition(":")[0]) == ("nul_character", "line 12")
    assert payloads(pipeline) == rows


def test_fault_44_utf16_that_is_cut_in_a_character_rejects_one_row(
    csv: Callable[..., Pipeline], folder: Path
) -> None:
    body = codecs.BOM_UTF16_LE + "id,name,price\n1,one,1\n2,two,2".encode("utf-16-le")
    put(folder, body + b"\x41")
    pipeline = csv()
    assert run(pipeline).counts("validated", "rejected") == (1, 1)
    assert reasons(pipeline)[0][1].startswith("line 3: the byte 0x41")


def test_fault_45_ragged_rows_and_stray_quotes_are_their_own_outcome_and_shift_no_column(
    csv: Callable[..., Pipeline], folder: Path
) -> None:
    put(
        folder,
        'id,name,price\n1,one,1\n2,two\n3,three,3,3\n\n4,"fo"ur,4\n5,"five,5\n6,six,6\n7,"se\nven",7\n',
    )
    pipeline = csv()
    found = run(pipeline)
    assert found.success
    assert found.counts("read", "validated", "rejected") == (7, 3, 4)
    assert {key: (row["title"], row["amount"]) for key, row in pipeline.unified("it").items()} == {
        "1": ("one", 1),
        "6": ("six", 6),
        "7": ("se\nven", 7),
    }
    assert [(rule, message.partition(";")[0]) for rule, message in reasons(pipeline)] == [
        ("ragged_row", "line 3: the row has 2 cells, the header 3"),
        ("ragged_row", "line 4: the row has 4 cells, the header 3"),
        ("csv_quotes", "line 6: the row's quotes do not end, or are stray: ',' expected after '\"'"),
        ("csv_quotes", "line 7: the row's quotes do not end, or are stray: unexpected end of data"),
    ]


def test_fault_38_nul_is_the_outcome_of_its_own_row_and_raw_keeps_it(
    csv: Callable[..., Pipeline], folder: Path
) -> None:
    rows = [
        b"1,one,1,x\n",
        b"2,t\x00wo,2,x\n",
        b"3,three,3,\x00\n",
        b'4,four,4,"a\x00\nb"\n',
        b"5,five,5,x\n",
    ]
    put(folder, b"id,name,price,other\n" + b"".join(rows))
    pipeline = csv()
    found = run(pipeline)
    assert found.success
    read, *outcomes = found.counts("read", "validated", "rejected", "superseded")
    assert read == sum(outcomes) == 5
    assert payloads(pipeline) == rows
    [(rule, message)] = reasons(pipeline)
    assert (rule, message.partition(":")[0]) == ("nul_character", "line 3")
    # of a column that the contract does not name, the value is left out, and that is told
    attributes = {key: row["attributes"] for key, row in pipeline.unified("it").items()}
    assert attributes == {"1": {"other": "x"}, "3": {"\u2026": 1}, "4": {"\u2026": 1}, "5": {"other": "x"}}


def test_fault_45_duplicate_headers_refuse_the_file_or_are_numbered_and_blank_ones_are_too(
    csv: Callable[..., Pipeline], folder: Path
) -> None:
    put(folder, "id,name,name,,price\n1,one,uno,x,1\n")
    refused = run(csv())
    assert not refused.success
    assert "columns that come twice in the header: name" in refused.ledger["error"]
    pipeline = csv(duplicate_headers="number")
    assert run(pipeline).success
    [found] = pipeline.unified("it").values()
    assert (found["title"], found["attributes"]) == ("one", {"name_2": "uno", "column_4": "x"})


OLD = "id,name,price\n1,one,1\n2,two,2\n"


@pytest.mark.parametrize(
    ("change", "body", "passes", "after"),
    [
        ("added", "id,name,price,colour\n1,ONE,1,red\n2,two,2,blue\n", True, {"1": "ONE", "2": "two"}),
        ("removed", "id,price\n1,1\n2,2\n", False, {"1": "one", "2": "two"}),
        ("renamed", "id,names,price\n1,one,1\n2,two,2\n", False, {"1": "one", "2": "two"}),
        ("retyped", "id,name,price\n1,ONE,cheap\n2,TWO,2\n", True, {"1": "one", "2": "TWO"}),
    ],
)
def test_fault_46_a_header_that_changes_is_drift_and_old_data_stay(
    change: str, body: str, passes: bool, after: dict[str, str], csv: Callable[..., Pipeline], folder: Path
) -> None:
    pipeline = csv()
    put(folder, OLD)
    assert run(pipeline).check("schema_drift").passed
    put(folder, body)
    found = run(pipeline)
    drift = found.check("schema_drift")
    assert not drift.passed
    assert change in str(drift.metadata)
    assert found.success == passes
    assert titles(pipeline) == after


def test_fault_46_columns_in_another_order_are_no_drift_and_shift_nothing(
    csv: Callable[..., Pipeline], folder: Path
) -> None:
    pipeline = csv()
    put(folder, OLD)
    run(pipeline)
    put(folder, "price,name,id\n1,one,1\n2,TWO,2\n")
    found = run(pipeline)
    assert found.check("schema_drift").passed
    assert found.counts("updated", "unchanged") == (1, 1)
    assert titles(pipeline) == {"1": "one", "2": "TWO"}


def test_fault_47_a_file_that_grows_while_it_is_read_is_not_complete_and_is_read_again(
    csv: Callable[..., Pipeline],
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(csv_rows, "BATCH_ROWS", 100)
    body = "id,name,price\n" + "".join(f"{n},n{n},1\n" for n in range(1000))
    put(folder, body)
    pipeline = csv()
    whole, grown = csv_rows.batches, list[int]()

    def growing(*asked: Any) -> Any:
        for number, batch in enumerate(whole(*asked)):
            if number == 3 and not grown:
                put(folder, body + "1000,late,1\n")
                grown.append(pipeline.value("select count(*) from kasparro.document where loaded_at is null"))
            yield batch

    monkeypatch.setattr(csv_rows, "batches", growing)
    monkeypatch.setattr(holding, "RETRY_WAIT", 0)
    found = run(pipeline)
    assert "the file changed while it was read" in caplog.text
    assert found.success
    assert len(titles(pipeline)) == 1001
    complete = pipeline.rows("select record_count from kasparro.document where loaded_at is not null")
    assert complete == [{"record_count": 1001}]


def test_fault_47_a_file_that_is_truncated_on_a_row_boundary_deletes_nothing(
    csv: Callable[..., Pipeline], folder: Path
) -> None:
    pipeline = csv()
    put(folder, OLD)
    run(pipeline)
    put(folder, "id,name,price\n1,ONE,1\n")
    assert run(pipeline).counts("updated", "deleted") == (1, 0)
    assert titles(pipeline) == {"1": "ONE", "2": "two"}
    put(folder, "")
    emptied = run(pipeline)
    assert not emptied.success
    assert "the file has no header row" in emptied.ledger["error"]
    assert titles(pipeline) == {"1": "ONE", "2": "two"}


def test_fault_48_the_same_bytes_again_change_nothing_and_changed_rows_exactly_those(
    csv: Callable[..., Pipeline], folder: Path, database_url: str
) -> None:
    pipeline = csv()
    put(folder, OLD)
    run(pipeline)
    before = pipeline.everything()
    put(folder, OLD)
    assert isinstance(tick(pipeline, "it_sensor", database_url), dg.SkipReason)
    assert run(pipeline).counts("documents_unchanged", "extracted") == (1, 0)
    assert pipeline.everything() == before

    put(folder, OLD.replace("two", "TWO") + "3,three,3\n")
    changed = run(pipeline)
    assert changed.counts("inserted", "updated", "unchanged") == (1, 1, 1)
    assert titles(pipeline) == {"1": "one", "2": "TWO", "3": "three"}


# --- the documented example ---------------------------------------------------------------------------------

PAGE = Path(__file__).parents[2] / "docs" / "sources-csv.md"


def documented(name: str) -> dict[str, Any]:
    """A source of the page."""
    text = PAGE.read_text("utf-8")
    found = re.search(rf"`kasparro_pipeline/defs/{name}/defs.yaml`:\n\n```yaml\n(.*?)```", text, re.DOTALL)
    assert found
    written = yaml.safe_load(found[1])
    assert written["type"] == "kasparro_pipeline.components.CsvSource"
    attributes: dict[str, Any] = written["attributes"]
    return attributes


def documented_file() -> str:
    found = re.search(r"```text\n(.*?)```", PAGE.read_text("utf-8"), re.DOTALL)
    assert found
    return found[1]


def test_the_documented_example_reads_the_documented_file_plain_compressed_and_in_an_archive(
    folder: Path, pipeline_of: Callable[..., Pipeline]
) -> None:
    attributes = documented("example_prices")
    assert attributes["files"] == "data/example_prices/*"
    pipeline = pipeline_of(CsvSource, attributes | {"files": f"{folder}/*"})
    body = documented_file().encode("windows-1252")
    put(folder, body, "prices-2026-11-08.csv")
    assert run(pipeline, "prices-2026-11-08.csv").counts("read", "inserted") == (2, 2)
    silver = pipeline.unified("it")["2"]
    assert (silver["title"], float(silver["amount"])) == ("Silver; 1 oz", 31.25)
    assert silver["attributes"] == {"previous": 31.02}

    newer = body.replace(b"2650.10", b"2700.5").replace(
        b"Silver; 1 oz", "Silber; 1 Unze \u20ac".encode("cp1252")
    )
    put(folder, gzip.compress(newer), "prices-2026-11-09.csv.gz")
    assert run(pipeline, "prices-2026-11-09.csv.gz").counts("updated") == (2,)
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("prices-2026-11-07.csv", body)
    put(folder, file.getvalue(), "older.zip")
    assert run(pipeline, "older.zip").counts("updated", "stale") == (0, 2)
    assert titles(pipeline)["2"] == "Silber; 1 Unze \u20ac"


def test_the_documented_stored_example_is_a_spec() -> None:
    made = CsvSource.spec_class.model_validate(documented("example_stored_prices"))
    assert isinstance(made, CsvFiles)
    assert made.store
    assert made.store.environment_names == ["EXAMPLE_KEY_ID", "EXAMPLE_SECRET"]


def test_the_page_explains_every_field_of_how_files_are_read() -> None:
    text = PAGE.read_text("utf-8")
    explained = {*CsvFiles.model_fields, "check_every"} - {"auth"}
    assert {name for name in explained if f"`{name}" not in text and f"  {name}:" not in text} == set()
