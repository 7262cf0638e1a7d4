"""A CSV file that repeats most of the one before it: what came before is a no-op, the rest is taken up."""

from __future__ import annotations

import os
import random
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
from alembic import command

from kasparro_pipeline.components import CsvSource, comparison, holding, repeats, steps
from kasparro_pipeline.contract.profile import Profile
from kasparro_pipeline.extract import csv_lines, csv_rows, records
from kasparro_pipeline.warehouse import document_reader, migrate, raw, raw_batches, repeated

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from pathlib import Path

    from tests.integration.conftest import Pipeline, Run

HEADER = "id,name,price,note\n"
FIELDS = {"title": {"path": "name", "required": True}, "amount": {"path": "price"}, "note": {}}
ALTOGETHER = "select sum(extracted)::int as stored, sum(repeated)::int as repeated from kasparro.etl_run"


@pytest.fixture(autouse=True)
def small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    """Few records are many here, so that what is cut into batches, windows and rows is cut everywhere."""
    for module, name, value in (
        (repeated, "FEWEST", 4),
        (repeats, "MOST_STRETCHES", 2),
        (comparison, "WINDOW", 40),
        (csv_rows, "BATCH_ROWS", 13),
        (raw_batches, "MOST_RECORDS", 5),
        (csv_lines, "BATCH_BYTES", 200),
        (csv_lines, "READ_AT_ONCE", 70),
        (document_reader, "AT_ONCE", 7),
        (document_reader, "KEPT_ROWS", 2),
        (steps, "BATCH_SIZE", 10),
        (holding, "RETRY_WAIT", 0),
    ):
        monkeypatch.setattr(module, name, value)


@pytest.fixture
def csv(folder: Path, pipeline_of: Callable[..., Pipeline]) -> Callable[..., Pipeline]:
    """`csv(**attributes)` runs the source of the folder's files."""

    def build(**attributes: Any) -> Pipeline:
        spec = {"files": f"{folder}/*", "kind": "thing", "key": "id", "fields": FIELDS}
        return pipeline_of(CsvSource, spec | attributes)

    return build


def lines_of(rows: Iterable[Sequence[object]]) -> list[str]:
    return [",".join(map(str, row)) + "\n" for row in rows]


def deliver(pipeline: Pipeline, folder: Path, lines: Sequence[str], name: str) -> Run:
    """A file of these lines comes, and is loaded."""
    path = folder / name
    path.write_text(HEADER + "".join(lines))
    os.utime(path, (time.time() - 60, time.time() - 60))
    pipeline.add_files("it", name)
    found = pipeline.run("it", name)
    assert found.success, found.failure
    return found


def document(pipeline: Pipeline, name: str) -> tuple[int, bytes]:
    """The newest document of a file: its id, and its records put together again."""
    number = pipeline.value("select max(id) from kasparro.document where location = %s", name)
    found = pipeline.rows(
        "select d.position, kasparro.raw_payload(d.raw_id) as payload from kasparro.document_record d"
        " where document_id = %s order by position",
        number,
    )
    assert [row["position"] for row in found] == list(range(len(found)))
    return number, b"".join(bytes(row["payload"]) for row in found)


def titles(pipeline: Pipeline) -> dict[str, tuple[str, str]]:
    return {key: (row["title"], row["raw_id"]) for key, row in pipeline.unified("it").items()}


def plain(count: int) -> list[list[object]]:
    return [[number, f"name {number}", number * 2, "same"] for number in range(count)]


def test_p5_only_the_rows_that_changed_are_stored_and_only_their_records_are_written(
    csv: Callable[..., Pipeline], folder: Path
) -> None:
    rows, pipeline = plain(60), csv()
    deliver(pipeline, folder, lines_of(rows), "a.csv")
    before = pipeline.unified("it")
    rows[7][1] = rows[31][1] = "another"
    rows.append([60, "new", 1, "same"])

    run = deliver(pipeline, folder, lines_of(rows), "b.csv")

    counts = run.counts("extracted", "repeated", "read", "validated", "inserted", "updated", "unchanged")
    assert counts == (3, 58, 3, 3, 1, 2, 0)
    after = pipeline.unified("it")
    assert {key for key in before if before[key] != after[key]} == {"7", "31"}
    assert (after["7"]["title"], after["60"]["title"]) == ("another", "new")
    assert document(pipeline, "b.csv")[1] == "".join(lines_of(rows)).encode()
    assert pipeline.value("select record_count from kasparro.document where location = 'b.csv'") == 61
    assert run.check("every_record_accounted").metadata["repeated"].value == 58
    assert run.check("every_record_accounted").passed


@dataclass
class Model:
    """What must come of files: computed from their rows alone."""

    newest: dict[str, str] = field(default_factory=dict)
    """By key the title of the newest valid row."""
    rejected: int = 0

    def take(self, rows: Sequence[Sequence[object]]) -> None:
        for key, title, *_ in rows:
            if title:
                self.newest[str(key)] = str(title)


def edited(chance: random.Random, rows: list[list[object]]) -> list[list[object]]:
    """Some rows changed, gone, new, spoiled, doubled, or elsewhere."""
    rows = [list(row) for row in rows]
    for _ in range(chance.randrange(1, 9)):
        place = chance.randrange(len(rows))
        what = chance.choice(("change", "drop", "insert", "spoil", "double", "move", "repeat", "back"))
        if what == "change":
            rows[place][1] = f"name {chance.randrange(40)}"
        elif what == "drop" and len(rows) > 30:
            del rows[place : place + chance.choice((1, 1, 25))]
        elif what == "insert":
            rows.insert(place, [chance.randrange(90), f"name {chance.randrange(40)}", 1, "new"])
        elif what == "spoil":
            rows[place][1] = ""
        elif what == "double":
            again = [rows[place][0], f"name {chance.randrange(40)}", 5, "again"]
            rows.insert(chance.randrange(len(rows)), again)
        elif what == "move":
            rows.insert(chance.randrange(len(rows)), rows.pop(place))
        elif what == "repeat":
            rows.insert(chance.randrange(len(rows)), list(rows[place]))
        else:
            rows[place] = [rows[place][0], f"name {rows[place][0]}", rows[place][2], "same"]
    return rows


@pytest.mark.parametrize("seed", range(6))
def test_p1_p2_p3_p7_any_files_one_after_the_other_end_as_if_each_row_had_been_taken_anew(
    seed: int, csv: Callable[..., Pipeline], folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # few are decided about at once, or all of a file
    monkeypatch.setattr(repeats, "MOST_STRETCHES", (2, 5, 1000)[seed % 3])
    chance, model, pipeline = random.Random(seed), Model(), csv()  # noqa: S311 - no secrets
    rows = plain(70)
    earlier = [rows]
    for number in range(7):
        name = f"{number}.csv" if chance.random() < 0.8 else "0.csv"
        lines = lines_of(rows)
        run = deliver(pipeline, folder, lines, name)
        model.take(rows)
        assert {key: title for key, (title, _) in titles(pipeline).items()} == model.newest, number
        read, *outcomes = run.counts("read", "validated", "rejected", "superseded")
        assert read == sum(outcomes)
        assert run.check("every_record_accounted").passed
        document_id, body = document(pipeline, name)
        assert body == "".join(lines).encode()
        assert_profile_is_of_all_rows(pipeline, document_id, lines)
        rows = edited(chance, chance.choice([rows, rows, rows, chance.choice(earlier)]))
        earlier.append(rows)
    totals = pipeline.one(ALTOGETHER)
    assert totals["repeated"] > totals["stored"] / 2  # or nothing of this was tested
    found = pipeline.value("select count(*) from kasparro.raw_record")
    assert found == totals["stored"]


def assert_profile_is_of_all_rows(pipeline: Pipeline, document_id: int, lines: Sequence[str]) -> None:
    stored = pipeline.one("select profile, layout from kasparro.document where id = %s", document_id)
    read, _ = records.read_many([line.encode() for line in lines], stored["layout"])
    values: list[Any] = list(read)
    expected = Profile(text_only=True)
    expected.observe(values, range(len(lines)))
    found = Profile.of([(0, stored["profile"])])
    assert found.records == expected.records
    for path, one in expected.root.walk():
        same = found.root if not path else found.root.fields[path]
        assert {name: seen.count for name, seen in same.classes.items()} == {
            name: seen.count for name, seen in one.classes.items()
        }
        exact = {name: seen.count for name, seen in one.values.kept.items()}
        kept = {name: seen.count for name, seen in same.values.kept.items()}
        if one.values.is_sample:
            assert kept.items() <= counted(values, path).items()
        elif same.values.is_sample:
            assert kept.items() <= exact.items()
        else:
            assert kept == exact
        for name, seen in same.classes.items():
            if seen.place is not None:
                value = values[seen.place[1]] if not path else values[seen.place[1]][path]
                assert str(value or "None").startswith(str(seen.example)[:20]) or value is None, (path, name)


def counted(values: Any, path: str) -> dict[str, int]:
    found: dict[str, int] = {}
    for value in values:
        if value[path] is not None:
            found[value[path]] = found.get(value[path], 0) + 1
    return found


def test_fewer_records_of_the_base_are_fetched_at_once_where_they_are_large(
    csv: Callable[..., Pipeline], folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pipeline = csv()
    deliver(pipeline, folder, lines_of(plain(40)), "a.csv")
    number, whole = document(pipeline, "a.csv")
    monkeypatch.setattr(document_reader, "AT_ONCE", 100)
    monkeypatch.setattr(document_reader, "KEPT_BYTES", 20)
    size = document_reader.MOST_BYTES // 10

    fetched = list(document_reader.fetch(pipeline.warehouse, number, record_bytes=size))

    payloads = [some.cut(pipeline.warehouse, of_lines=True).payloads for some in fetched]
    assert b"".join(payload for some in payloads for payload in some) == whole
    assert max(map(len, payloads)) < 20
    assert max(len(some.rows) for some in fetched) <= 4
    assert len(next(document_reader.fetch(pipeline.warehouse, number, record_bytes=1)).rows) > 4


def test_p3_a_file_that_returns_to_what_it_was_ends_there(csv: Callable[..., Pipeline], folder: Path) -> None:
    a, b = plain(40), plain(40)
    b[3][1] = "between"
    pipeline = csv()
    for rows in (a, b, a):
        deliver(pipeline, folder, lines_of(rows), "a.csv")
    assert titles(pipeline)["3"][0] == "name 3"
    assert pipeline.one(ALTOGETHER) == {"stored": 42, "repeated": 78}


def test_p3_of_a_key_that_stands_twice_the_last_row_counts_also_if_only_one_of_them_came_before(
    csv: Callable[..., Pipeline], folder: Path
) -> None:
    first = plain(40)
    pipeline = csv()
    deliver(pipeline, folder, lines_of(first), "a.csv")
    # a new row before the one that came before: the latter counts
    second = [[20, "first of two", 0, "x"], *first]
    deliver(pipeline, folder, lines_of(second), "b.csv")
    assert titles(pipeline)["20"][0] == "name 20"
    # the last of the two is gone: the other one counts
    third = [row for row in second if row[1] != "name 20"]
    deliver(pipeline, folder, lines_of(third), "c.csv")
    assert titles(pipeline)["20"][0] == "first of two"
    # and behind the one that came before
    fourth = [*third, [39, "last of two", 0, "x"]]
    deliver(pipeline, folder, lines_of(fourth), "d.csv")
    assert titles(pipeline)["39"][0] == "last of two"
    assert pipeline.value("select sum(repeated) from kasparro.etl_run") > 100


@pytest.mark.parametrize(
    ("change", "newest", "repeated_rows"),
    [
        ("none", "second", 42),
        ("the last is gone", "first", 40),
        ("the first is gone", "second", 40),
        ("the last comes first", "first", 40),
        ("another one before them", "second", 40),
        ("another one behind them", "third", 40),
    ],
)
@pytest.mark.parametrize("waits", [1, 1000])
def test_p3_rows_of_a_key_are_repeated_all_together_in_their_order_or_not_at_all(
    change: str,
    newest: str,
    repeated_rows: int,
    waits: int,
    csv: Callable[..., Pipeline],
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(repeats, "MOST_STRETCHES", waits)
    pipeline, rows = csv(), plain(40)
    one, two, three = ([90, name, 1, "x"] for name in ("first", "second", "third"))
    deliver(pipeline, folder, lines_of([*rows[:5], one, *rows[5:35], two, *rows[35:]]), "a.csv")
    placed = {
        "none": ([], one, two, []),
        "the last is gone": ([], one, None, []),
        "the first is gone": ([], None, two, []),
        "the last comes first": ([], two, one, []),
        "another one before them": ([three], one, two, []),
        "another one behind them": ([], one, two, [three]),
    }[change]
    before, early, late, behind = placed
    middle = [*rows[:5], early, *rows[5:35], late, *rows[35:]]
    present = [row for row in middle if row is not None]
    run = deliver(pipeline, folder, lines_of([*before, *present, *behind]), "b.csv")
    assert titles(pipeline)["90"][0] == newest
    # what waits is decided about early: then a row whose others are not seen yet is taken anew
    assert run.counts("repeated") == (repeated_rows if waits > 1 else 40,)


@pytest.mark.parametrize("waits", [1, 1000])
def test_p3_a_rejected_row_that_is_corrected_counts_for_its_key_where_it_stands(
    waits: int, csv: Callable[..., Pipeline], folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(repeats, "MOST_STRETCHES", waits)
    pipeline, rows = csv(), plain(40)
    spoiled, corrected, other = ([90, name, 1, "x"] for name in ("", "corrected", "other"))
    deliver(pipeline, folder, lines_of([*rows[:5], spoiled, *rows[5:35], other, *rows[35:]]), "a.csv")
    run = deliver(pipeline, folder, lines_of([*rows[:5], corrected, *rows[5:35], other, *rows[35:]]), "b.csv")
    assert run.counts("rejected") == (0,)
    assert titles(pipeline)["90"][0] == "other"


@pytest.mark.parametrize("waits", [1, 1000])
def test_rows_whose_key_no_table_could_hold_come_and_go_like_others(
    waits: int, csv: Callable[..., Pipeline], folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(repeats, "MOST_STRETCHES", waits)
    strange = [
        *(b"a\x00b,name,1,x\n", b"\xff,name,1,x\n", b" ,name,1,x\n", b",name,1,x\n", b"1,2\n"),
        b"z" * 600 + b",name,1,x\n",
    ]
    pipeline, lines = csv(), [line.encode() for line in lines_of(plain(60))]
    deliver(pipeline, folder, lines_of(plain(60)), "a.csv")
    for number, line in enumerate(strange):
        lines.insert(3 + 8 * number, line)
    for name, fresh, again in (("b.csv", 6, 60), ("c.csv", 0, 63)):
        (folder / name).write_bytes(HEADER.encode() + b"".join(lines))
        os.utime(folder / name, (time.time() - 60, time.time() - 60))
        pipeline.add_files("it", name)
        run = pipeline.run("it", name)
        assert run.success, run.failure
        assert run.counts("extracted", "repeated", "rejected") == (fresh, again, fresh)
        lines = [line for line in lines if line not in strange[:3]]


def test_rows_that_were_taken_anew_are_validated_in_full_batches_the_same_ones_each_time(
    csv: Callable[..., Pipeline], folder: Path
) -> None:
    pipeline, rows = csv(), plain(60)
    deliver(pipeline, folder, lines_of(rows), "a.csv")
    for number in range(0, 60, 5):
        rows[number][:2] = [7, f"{number} of one key"]
    deliver(pipeline, folder, lines_of(rows), "b.csv")
    batches = (
        "select records, superseded, raw_id, superseded_by from kasparro.validated_batch"
        " where partition_key = 'b.csv' order by first_raw_id"
    )
    found = pipeline.rows(batches)
    assert [(row["records"], row["superseded"]) for row in found] == [(10, 9), (3, 2)]
    assert pipeline.run("it", "b.csv", layers="validated unified").success
    assert pipeline.rows(batches) == found
    assert titles(pipeline)["7"][0] == "55 of one key"


def test_p3_a_file_is_compared_with_what_came_last_of_the_source_not_of_its_name(
    csv: Callable[..., Pipeline], folder: Path
) -> None:
    pipeline = csv()
    rows, other = plain(40), plain(40)
    other[5][1] = "of another file"
    deliver(pipeline, folder, lines_of(rows), "a.csv")
    deliver(pipeline, folder, lines_of(other), "b.csv")
    rows.append([40, "new", 0, ""])
    deliver(pipeline, folder, lines_of(rows), "a.csv")
    assert titles(pipeline)["5"][0] == "name 5"


@pytest.mark.parametrize("number", [20, 60])
def test_a_file_with_little_of_the_one_before_it_or_a_small_one_is_stored_as_a_whole(
    number: int, csv: Callable[..., Pipeline], folder: Path
) -> None:
    pipeline = csv()
    deliver(pipeline, folder, lines_of(plain(60)), "a.csv")
    others = [[100 + n, f"name {n}", 1, "delta"] for n in range(number - 5)]
    run = deliver(pipeline, folder, lines_of([*plain(5), *others]), "b.csv")
    assert run.counts("extracted", "repeated") == (number, 0)


def test_nothing_is_repeated_of_a_file_that_repeats_rows_which_an_earlier_contract_rejected(
    csv: Callable[..., Pipeline], folder: Path
) -> None:
    pipeline, rows, bad = csv(), plain(80), [90, "", 1, "x"]
    deliver(pipeline, folder, lines_of([*rows[:40], bad]), "a.csv")
    deliver(pipeline, folder, lines_of([*rows[20:60], bad]), "b.csv")
    run = deliver(pipeline, folder, lines_of([*rows[40:80], bad]), "c.csv")
    assert run.counts("extracted", "repeated") == (20, 21)  # of a.csv the rejected row alone
    lenient = csv(fields={**FIELDS, "title": {"path": "name"}})
    for name in ("b.csv", "c.csv"):
        assert lenient.run("it", name, layers="validated unified").success
    run = deliver(lenient, folder, lines_of([*rows[40:80], bad]), "d.csv")
    assert run.counts("extracted", "repeated", "rejected") == (41, 0, 0)


@pytest.mark.parametrize("change", ["contract", "layout", "document", "unmerged"])
def test_nothing_is_repeated_where_an_outcome_could_be_another(
    change: str, csv: Callable[..., Pipeline], folder: Path
) -> None:
    pipeline = csv()
    deliver(pipeline, folder, lines_of(plain(40)), "a.csv")
    rows = plain(41)
    if change == "contract":
        pipeline = csv(fields={**FIELDS, "amount": {"path": "price", "maximum": 50}})
    elif change == "document":
        pipeline = csv(fields={**FIELDS, "file": {"path": "$document.file"}})
    elif change == "layout":
        pipeline = csv(escape="\\")
    else:
        with psycopg.connect(pipeline.warehouse.info.dsn, autocommit=True) as connection:
            connection.execute("update kasparro.checkpoint set unified_through = 0")
    run = deliver(pipeline, folder, lines_of(rows), "b.csv")
    assert run.counts("extracted", "repeated") == (41, 0)


def test_p7_a_row_that_came_before_is_not_taken_for_one_inside_of_quotes(
    csv: Callable[..., Pipeline], folder: Path
) -> None:
    pipeline = csv()
    lines = lines_of(plain(60))
    deliver(pipeline, folder, lines, "a.csv")
    # the rows 30 to 33 stand within the note of row 100
    inside = ['100,"quoted",1,"begins\n', *lines[30:34], 'ends"\n']
    changed = [*lines[:30], *inside, *lines[34:]]
    run = deliver(pipeline, folder, changed, "b.csv")
    assert document(pipeline, "b.csv")[1] == "".join(changed).encode()
    assert pipeline.unified("it")["100"]["attributes"]["note"] == "begins\n" + "".join(lines[30:34]) + "ends"
    assert run.counts("rejected", "inserted") == (0, 1)
    assert run.counts("repeated")[0] > 40


def test_p9_an_unreadable_row_at_the_end_of_a_file_is_repeated_like_others(
    csv: Callable[..., Pipeline], folder: Path
) -> None:
    pipeline = csv()
    lines = [*lines_of(plain(60)), "60,ragged,1,same,extra\n"]
    deliver(pipeline, folder, lines, "a.csv")
    lines[40] = "40,other,1,same\n"
    run = deliver(pipeline, folder, lines, "b.csv")
    assert run.counts("extracted", "repeated", "updated", "rejected") == (1, 60, 1, 0)
    assert document(pipeline, "b.csv")[1] == "".join(lines).encode()


def test_rows_with_quotes_and_blank_lines_are_repeated_like_others(
    csv: Callable[..., Pipeline], folder: Path
) -> None:
    pipeline = csv()
    lines = lines_of(plain(60))
    lines[5] = '5,"name, ""five""",10,same\n'
    lines[6] = "\n6,name 6,12,same\n"
    deliver(pipeline, folder, lines, "a.csv")
    lines[40] = "40,other,1,same\n"
    run = deliver(pipeline, folder, lines, "b.csv")
    assert run.counts("extracted", "repeated", "updated") == (1, 59, 1)
    assert document(pipeline, "b.csv")[1] == "".join(lines).encode()


@pytest.mark.parametrize("came_before", [(), (3, 43)], ids=["new", "came before"])
@pytest.mark.parametrize("line_break", ["\n", "\r", "\r\n"], ids=["LF", "CR", "CR LF"])
def test_a_rejected_row_is_told_with_its_line_among_rows_that_came_before(
    line_break: str, came_before: Sequence[int], csv: Callable[..., Pipeline], folder: Path
) -> None:
    pipeline = csv()
    lines = lines_of(plain(60))
    folded = [f'{number},"name{line_break}of two lines",6,same\n' for number in range(60)]
    for number in came_before:
        lines[number] = folded[number]
    deliver(pipeline, folder, lines, "a.csv")
    for number in (3, 43):
        lines[number] = folded[number]
    for number in (1, 20, 21, 44):
        lines[number] = f"{number},,0,bad\n"
    run = deliver(pipeline, folder, lines, "b.csv")
    told = pipeline.rows(
        "select reason->>'message' as message from kasparro.rejected_record"
        " cross join jsonb_array_elements(reasons) reason order by raw_id"
    )
    assert [row["message"].partition(":")[0] for row in told] == ["line 3", "line 23", "line 24", "line 48"]
    assert run.counts("extracted", "rejected") == (6 - len(came_before), 4)
    # of all rows of the file, not of those that were taken anew
    assert run.check("rejected_share").metadata["rejected_share"].value == pytest.approx(4 / 60)


def test_p5_rejected_rows_that_come_again_stay_where_they_are_and_count_for_the_file(
    csv: Callable[..., Pipeline], folder: Path
) -> None:
    pipeline = csv(max_rejected_share=0.03)
    lines = lines_of(plain(60))
    lines[20], lines[44] = "77,,0,bad\n", "78,,0,bad\n"
    deliver(pipeline, folder, lines, "a.csv")
    before = pipeline.rows("select * from kasparro.rejected_record order by raw_id")
    for name, number in (("b.csv", 10), ("c.csv", 30)):
        lines[number] = f"{number},another,1,same\n"
        run = deliver(pipeline, folder, lines, name)
        assert run.counts("extracted", "repeated", "rejected") == (1, 59, 0)
        assert pipeline.rows("select * from kasparro.rejected_record order by raw_id") == before
        told = run.check("rejected_share")
        assert not told.passed
        assert (told.metadata["rejected"].value, told.metadata["rejected_before"].value) == (2, 2)
    lines[44] = "44,corrected,1,same\n"
    told = deliver(pipeline, folder, lines, "d.csv").check("rejected_share")
    assert told.passed
    assert (told.metadata["rejected"].value, told.metadata["rejected_before"].value) == (1, 1)


@pytest.mark.parametrize("waits", [1, 1000])
def test_p3_a_rejected_row_is_taken_anew_with_the_others_of_its_key_and_counts_where_it_stands_if_it_passes(
    waits: int, csv: Callable[..., Pipeline], folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(repeats, "MOST_STRETCHES", waits)
    pipeline, rows = csv(), plain(40)
    spoiled, early, other = [90, "", 1, "the last"], [90, "early", 1, "x"], [90, "other", 1, "x"]
    deliver(pipeline, folder, lines_of([*rows[:5], early, *rows[5:35], spoiled, *rows[35:]]), "a.csv")
    again = [*rows[:5], early, *rows[5:35], spoiled, *rows[35:], [91, "", 1, "x"]]
    taken = deliver(pipeline, folder, lines_of(again), "b.csv").counts("extracted", "rejected")
    # what waits is decided about early: then a row whose others are not seen yet is taken anew
    assert taken == ((1, 1) if waits > 1 else (3, 2))
    again[5] = other
    assert deliver(pipeline, folder, lines_of(again), "c.csv").counts("extracted", "rejected") == (2, 1)
    assert titles(pipeline)["90"][0] == "other"

    lenient = csv(fields={**FIELDS, "title": {"path": "name"}})
    job = lenient.definitions.resolve_job_def("replay_rejected_it")
    assert job.execute_in_process(instance=lenient.instance).success

    assert lenient.unified("it")["90"]["attributes"]["note"] == "the last"
    assert "91" in lenient.unified("it")


def test_the_statistics_of_a_partition_are_over_what_it_repeats_too(
    csv: Callable[..., Pipeline], folder: Path
) -> None:
    pipeline = csv()
    rows = plain(60)
    for row in rows[:30]:
        row[3] = ""
    deliver(pipeline, folder, lines_of(rows), "a.csv")
    rows[50][3] = ""
    run = deliver(pipeline, folder, lines_of(rows), "b.csv")
    measured = pipeline.rows(
        "select measure, field, value from kasparro.measurement where partition_key = 'b.csv'"
    )
    found = {(row["measure"], row["field"]): row["value"] for row in measured}
    assert run.counts("extracted") == (1,)
    assert found["null_share", "note"] == pytest.approx(31 / 60)
    assert found["median", "amount"] == pytest.approx(58)
    assert found["volume", ""] == 60


def test_drift_is_told_of_a_file_that_repeats_it_and_points_to_the_raw_record(
    csv: Callable[..., Pipeline], folder: Path
) -> None:
    pipeline = csv(schema_contract={"retyped": "evolve"})
    lines = lines_of(plain(60))
    lines[17] = "17,name 17,dear,same\n"
    first = deliver(pipeline, folder, lines, "a.csv")
    lines[40] = "40,other,1,same\n"
    second = deliver(pipeline, folder, ["60,before,1,same\n", *lines], "b.csv")
    lines[17] = "17,name 17,1,same\n"
    third = deliver(pipeline, folder, lines, "c.csv")
    assert [run.check("schema_drift").passed for run in (first, second, third)] == [False, False, True]
    events = pipeline.rows("select records, examples from kasparro.drift_event order by id")
    [raw_id] = {example["raw_id"] for event in events for example in event["examples"]}
    payload = pipeline.value("select kasparro.raw_payload(%s)", raw_id)
    assert bytes(payload) == b"17,name 17,dear,same\n"
    assert second.counts("repeated") == (59,)


@pytest.fixture
def broken_store(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """`broken_store(n)` lets the n-th batch from now fail, once."""
    store, left = raw.store_together, [0]

    def storing(*arguments: Any, **options: Any) -> dict[str, int]:
        left[0] -= 1
        if left[0] == 0:
            raise RuntimeError("power cut")
        return store(*arguments, **options)

    monkeypatch.setattr(raw, "store_together", storing)
    return lambda number: left.__setitem__(0, number)


@pytest.mark.parametrize("batch", [1, 2, 4, 5])
def test_p1_p4_an_extraction_that_was_interrupted_goes_on_behind_what_it_had_repeated(
    batch: int, csv: Callable[..., Pipeline], folder: Path, broken_store: Callable[[int], None]
) -> None:
    pipeline, rows = csv(), plain(60)
    deliver(pipeline, folder, lines_of(rows), "a.csv")
    for number in range(0, 60, 9):
        rows[number][1] = "changed"
    lines = lines_of(rows)
    (folder / "b.csv").write_text(HEADER + "".join(lines))
    os.utime(folder / "b.csv", (time.time() - 60, time.time() - 60))
    pipeline.add_files("it", "b.csv")
    broken_store(batch)
    assert not pipeline.run("it", "b.csv").success

    found = pipeline.run("it", "b.csv")

    assert found.success
    document_id, body = document(pipeline, "b.csv")
    assert body == "".join(lines).encode()
    assert_profile_is_of_all_rows(pipeline, document_id, lines)
    assert sum(title == "changed" for title, _ in titles(pipeline).values()) == 7
    assert pipeline.value("select count(*) from kasparro.rejected_record") == 0
    stored = pipeline.one(ALTOGETHER)
    assert stored["stored"] + stored["repeated"] == 120


def test_p3_a_document_is_not_compared_any_more_once_another_run_has_stored_behind_its_base(
    csv: Callable[..., Pipeline], folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pipeline, rows = csv(), plain(60)
    deliver(pipeline, folder, lines_of(rows), "a.csv")
    base_of = repeated.base_of

    def then_another_run(*arguments: Any) -> Any:
        found = base_of(*arguments)
        pipeline.warehouse.execute(
            "insert into kasparro.etl_run (run_id, source, partition_key, fence, status, extracted)"
            " values ('other', 'it', 'x.csv', 1, 'running', 5) on conflict do nothing"
        )
        return found

    monkeypatch.setattr(repeated, "base_of", then_another_run)
    rows.append([60, "new", 1, ""])
    (folder / "b.csv").write_text(HEADER + "".join(lines_of(rows)))
    os.utime(folder / "b.csv", (time.time() - 60, time.time() - 60))
    pipeline.add_files("it", "b.csv")
    run = pipeline.run("it", "b.csv")
    [again] = [event for event in run.result.all_events if event.is_step_up_for_retry]
    assert "another run has stored records of the source meanwhile" in str(again.event_specific_data)
    assert run.success
    assert run.counts("extracted", "repeated") == (61, 0)


def test_a_raw_record_that_was_removed_is_told_and_nothing_is_stored(
    csv: Callable[..., Pipeline], folder: Path
) -> None:
    pipeline, rows = csv(), plain(60)
    deliver(pipeline, folder, lines_of(rows), "a.csv")
    rows[0][1] = "changed"
    deliver(pipeline, folder, lines_of(rows), "b.csv")
    pipeline.warehouse.execute("delete from kasparro.raw_batch where first_position = 18")
    rows[1][1] = "changed"
    (folder / "c.csv").write_text(HEADER + "".join(lines_of(rows)))
    os.utime(folder / "c.csv", (time.time() - 60, time.time() - 60))
    pipeline.add_files("it", "c.csv")
    assert "raw record 19 is gone, though a document still has it" in pipeline.run("it", "c.csv").failure


def test_p1_without_the_revision_what_was_repeated_is_stored_again_and_waits_for_its_outcome(
    csv: Callable[..., Pipeline], folder: Path, database_url: str
) -> None:
    pipeline, rows = csv(), plain(40)
    deliver(pipeline, folder, lines_of(rows), "a.csv")
    rows[3][1] = "changed"
    deliver(pipeline, folder, lines_of(rows), "b.csv")
    pipeline.warehouse.close()
    command.downgrade(migrate.alembic_config(database_url), "0012-1")
    with psycopg.connect(database_url) as connection:
        found = connection.execute(
            "select string_agg(payload, ''::bytea order by position) from kasparro.raw_record"
            " where document_id = (select max(id) from kasparro.document)"
        ).fetchone()
        waiting = connection.execute(
            "select raw_through > validated_through from kasparro.checkpoint where partition_key = 'b.csv'"
        ).fetchone()
    assert found == ("".join(lines_of(rows)).encode(),)
    assert waiting == (True,)
    command.upgrade(migrate.alembic_config(database_url), "head")
