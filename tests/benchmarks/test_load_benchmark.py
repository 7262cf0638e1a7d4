"""The load benchmark: what it makes and how it judges, and a small run of it without peers and network."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.benchmarks.figures import Figures
from tests.benchmarks.load import articles, goals, publish, report, runs, w1, w2, w3
from tests.benchmarks.load.bench import COPY, DICT, FETCH, OURS, TUNED
from tests.benchmarks.load.databases import layer_of
from tests.benchmarks.load.settings import PEER_MODES, SECTIONS, LoadSettings
from tests.benchmarks.marked import replaced
from tests.conftest import PROJECT

if TYPE_CHECKING:
    from pathlib import Path

ROWS = 2000


def measured(home: Path, only: str, **settings: str) -> dict[str, Any]:
    """The last line of a run, as a user starts it."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.benchmarks.load"],
        cwd=PROJECT,
        env={
            **os.environ,
            **settings,
            "BENCH_HOME": str(home),
            "ONLY": only,
            "PEERS": "no",
            "ROUNDS": "1",
            "ROWS": str(ROWS),
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    assert found["skipped"].keys() == {"dlt"}, found["skipped"]
    return found


@pytest.mark.stack
def test_a_small_run_measures_every_load_and_tells_all_figures_as_its_last_line(tmp_path: Path) -> None:
    found = measured(tmp_path, "w1 w2 w3 feed", SIZES="1")
    assert (found["rows"], found["rounds"]) == (ROWS, 1)
    figures = found["figures"]
    loads = [(w1.SECTION, case, OURS) for case in w1.LOADERS]
    loads += [
        (w2.SECTION, case(size), OURS) for size in w2.page_sizes(ROWS // 10) for case in (w2.first, w2.again)
    ]
    loads += [(w1.SECTION, w1.FIRST, COPY), (w2.SECTION, w2.first(100), FETCH)]
    loads += [(w3.SECTION, w3.case(ROWS), OURS), (w2.FEED, w2.AGAIN, OURS)]
    for load in loads:
        for name in ("seconds", "rate", "client_mib", "server_mib", "wal_mib"):
            assert len(figures[", ".join((*load, name))]) == 3, (load, name)
    # what came of it is what the generator promised
    first = f"{w1.SECTION}, {w1.FIRST}, {OURS}"
    outcomes = {name: figures[f"{first}, {name}"][0] for name in ("read", "rejected", "superseded")}
    assert outcomes == {"read": ROWS, "rejected": ROWS // 200, "superseded": ROWS // 50}
    assert figures[f"{first}, checks"][0] > 0
    judged = found["goals"]
    assert judged["1% changed: records written that had not changed"]["met"] is True
    assert judged["unchanged feed: requests"] == {"goal": "= 1", "figure": 1, "met": True}
    assert judged["first load: times dlt dict"] == {"goal": "≥ 5", "figure": None, "met": None}
    assert json.loads((tmp_path / "bench.json").read_text())["measurements"]


@pytest.mark.stack
def test_a_run_on_the_local_stack_is_taken_apart_into_its_chain_and_what_is_around_it(tmp_path: Path) -> None:
    figures = measured(tmp_path, "fixed")["figures"]
    whole, chain = (figures[f"{runs.FIXED}, {case}, {OURS}, seconds"][0] for case in (runs.RUN, runs.CHAIN))
    assert 0 < chain < whole


def test_the_rows_are_the_same_in_every_run_and_hold_what_is_promised() -> None:
    first, again = (list(articles.rows(ROWS)) for _ in range(2))
    assert first == again
    assert len(first) == ROWS
    ids = Counter(row[0] for row in first)
    assert ROWS - len(ids) == ROWS // 50
    rejected = [row for row in first if not row[1] or not row[7].startswith("2") or "02-30" in row[7]]
    assert len(rejected) == ROWS // 200


def test_the_changed_file_changes_one_record_in_a_hundred_and_nothing_else() -> None:
    pairs = list(zip(articles.rows(ROWS), articles.changed(ROWS), strict=True))
    changed = [(before, after) for before, after in pairs if before != after]
    assert len(changed) == articles.changed_count(ROWS) == ROWS // 100
    ids = Counter(row[0] for row, _ in pairs)
    assert all(ids[before[0]] == 1 and before[0] == after[0] for before, after in changed)


@given(count=st.integers(1000, 3000), size=st.integers(5, 100).map(lambda n: n * 5), number=st.integers(0, 5))
def test_a_delta_is_four_fifths_changes_and_one_fifth_new(count: int, size: int, number: int) -> None:
    found = [int(row[0]) for row in articles.delta(count, size, number)]
    assert len(found) == len(set(found)) == size
    assert sum(one > count for one in found) == size // 5


def test_the_deltas_of_several_rounds_bring_different_new_records() -> None:
    new = [{row[0] for row in articles.delta(1000, 50, n) if int(row[0]) > 1000} for n in range(3)]
    assert len(set.union(*new)) == 30


def test_a_file_is_made_once(tmp_path: Path) -> None:
    path = articles.prepared(tmp_path / "files", "few.csv", lambda: articles.few(1, 3))
    written = path.read_text()
    assert written.splitlines()[0] == ",".join(articles.COLUMNS)
    assert articles.prepared(tmp_path / "files", "few.csv", list) == path
    assert path.read_text() == written


@pytest.mark.parametrize(
    ("relation", "layer"),
    [
        ("raw_record", "raw"),
        ("document", "raw"),
        ("unified_record_p3", "unified"),
        ("unified_history", "history"),
        ("rejected_record", "rejected"),
        ("etl_run", "other"),
    ],
)
def test_a_table_belongs_to_the_layer_that_its_name_begins_with(relation: str, layer: str) -> None:
    assert layer_of(relation) == layer


def test_the_sections_of_a_run_are_chosen_by_name_and_memory_only_when_asked_for() -> None:
    assert LoadSettings(ONLY="").sections == tuple(name for name in SECTIONS if name != "memory")
    assert LoadSettings(ONLY="w2, w1").sections == ("w1", "w2")
    assert LoadSettings(ONLY="", MEMORY_ROWS="10000000").sections == SECTIONS
    assert LoadSettings(ROWS="1000", SIZES="3 0.5").table_sizes == (500, 3000)
    with pytest.raises(ValueError, match="no such section: speed"):
        LoadSettings(ONLY="speed")


def test_peers_are_measured_all_or_none_or_by_name() -> None:
    assert LoadSettings().measured_peers == PEER_MODES
    assert LoadSettings(PEERS="no").measured_peers == ()
    assert LoadSettings(PEERS="tuned,rest").measured_peers == ("tuned", "rest")
    with pytest.raises(ValueError, match="yes, no, or some of dict, duckdb, tuned, rest"):
        LoadSettings(PEERS="airbyte")


def test_a_goal_is_met_not_met_or_not_measured(figures: Figures) -> None:
    judged = {goal.name: goal for goal in goals.judge(figures)}
    assert judged["first load: times dlt dict"].met is True
    assert judged["1% changed: times dlt tuned"].met is False
    assert judged["1% delta: times dlt tuned"].met is None
    assert judged["1% changed: records written that had not changed"].met is False
    assert judged["1% changed: records written that had not changed"].shown == "0, 2"


def test_the_results_are_a_table_a_line_of_json_and_a_part_of_the_document(figures: Figures) -> None:
    judged = goals.judge(figures)
    facts: dict[str, object] = {"rows": 1000, "rounds": 2, "cores": 2, "system": "x", "started": "now"}
    assert "\n" not in report.one_line(figures, judged, facts)
    assert [row[2] for row in report.table(figures)[1:]] == [OURS, DICT, OURS, TUNED]
    assert "| first load |" in publish.text(figures, judged, facts).replace("w1 | ", "| ")
    assert "<svg" in publish.picture(figures, facts)
    document = (PROJECT / publish.DOCUMENT).read_text()
    assert replaced(document, publish.BEGIN, publish.END, "new").count(publish.BEGIN) == 1


@pytest.fixture
def figures() -> Figures:
    """Two rounds of a first load, and of a changed file of which one wrote too much."""
    found = Figures()
    for number in range(2):
        for case, variant, rate in (
            (w1.FIRST, OURS, 50_000.0),
            (w1.FIRST, DICT, 9000.0),
            (w1.CHANGED, OURS, 50_000.0),
            (w1.CHANGED, TUNED, 60_000.0),
        ):
            values = {"rate": rate, "seconds": 1e6 / rate}
            if case == w1.CHANGED:
                values |= {"inserted": 0.0, "updated": 10.0 + 2 * number, "rows_changed": 10.0}
            found.add(w1.SECTION, case, variant, values, number=number, shown=())
    return found
