"""The sample files in data/: their counts, their four bad rows, and their ids against the recorded list."""

import csv
import json
from datetime import date
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "data" / "coin_reference"
FIRST = FOLDER / "coins-2026-11-01.csv"
SECOND = FOLDER / "coins-2026-11-08.csv"
RECORDED = ROOT.parent / "shared" / "corpora" / "coins" / "coinpaprika_coins_2021.json"
HEADER = ["id", "symbol", "name", "type", "rank", "launched", "description"]


def rows(path: Path) -> list[list[str]]:
    with path.open(encoding="utf-8", newline="") as file:
        header, *body = csv.reader(file, strict=True)
    assert header == HEADER
    return body


def faults(row: list[str]) -> list[str]:
    """What is wrong with a row; empty for a good one."""
    if len(row) != len(HEADER):
        return ["ragged"]
    cell = dict(zip(HEADER, row, strict=True))
    found = [f"blank {name}" for name in ("id", "symbol", "name", "description") if not cell[name].strip()]
    if cell["type"] not in {"coin", "token"}:
        found.append("type")
    if not cell["rank"].isdigit():
        found.append("rank")
    try:
        if cell["launched"]:
            date.fromisoformat(cell["launched"])
    except ValueError:
        found.append("launched")
    return found


def good(path: Path) -> dict[str, list[str]]:
    return {row[0]: row for row in rows(path) if not faults(row)}


def test_the_first_file_holds_350_good_rows_with_ids_and_ranks_of_their_own() -> None:
    body = rows(FIRST)

    assert [faults(row) for row in body] == [[]] * 350
    assert len({row[0] for row in body}) == 350
    assert sorted(int(row[4]) for row in body) == list(range(1, 351))


def test_the_second_file_has_exactly_four_bad_rows_each_bad_in_its_own_way() -> None:
    bad = [found for row in rows(SECOND) if (found := faults(row))]

    assert bad == [["blank id"], ["rank"], ["launched"], ["ragged"]]
    assert len(rows(SECOND)) == 366


def test_the_second_file_adds_12_changes_15_and_removes_none() -> None:
    first, second = good(FIRST), good(SECOND)

    assert len(second.keys() - first.keys()) == 12
    assert first.keys() - second.keys() == set()
    assert sum(first[key] != second[key] for key in first) == 15
    assert len({row[4] for row in second.values()}) == len(second)


def test_no_bad_row_hides_a_coin_of_the_first_file() -> None:
    names = {row[2] for row in rows(SECOND) if faults(row)}

    assert names.isdisjoint({row[2] for row in rows(FIRST)})


def test_every_description_is_one_sentence_of_its_own() -> None:
    for path in (FIRST, SECOND):
        texts = [row[6] for row in good(path).values()]
        assert len(set(texts)) == len(texts)
        assert all(text[0].isupper() and text.endswith(".") and ". " not in text for text in texts)


@pytest.mark.parametrize("path", [FIRST, SECOND], ids=lambda path: path.name)
def test_the_files_are_utf_8_without_a_mark_and_end_lines_with_a_line_feed(path: Path) -> None:
    content = path.read_bytes()

    assert not content.startswith(b"\xef\xbb\xbf")
    assert b"\r" not in content
    assert content.endswith(b"\n")


def test_the_readme_states_the_counts() -> None:
    readme = (ROOT / "data" / "README.md").read_text(encoding="utf-8")

    assert f"| `{FIRST.name}` | {len(rows(FIRST))} |" in readme
    assert f"| `{SECOND.name}` | {len(rows(SECOND))} |" in readme
    assert f"ends at {len(good(SECOND))} coins and 4 rejected rows" in readme


@pytest.mark.skipif(not RECORDED.exists(), reason="../shared/corpora is absent")
def test_every_id_and_symbol_of_the_first_file_is_one_that_coinpaprika_used() -> None:
    known = {(coin["id"], coin["symbol"]) for coin in json.loads(RECORDED.read_bytes())}

    # CRO and others were renamed since; their ids and symbols were not.
    assert {(row[0], row[1]) for row in rows(FIRST)} <= known
