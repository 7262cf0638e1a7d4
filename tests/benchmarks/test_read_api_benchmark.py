"""The parts of the benchmark that measure nothing: how outputs are read, figures judged and drawn."""

import xml.etree.ElementTree as ET
from datetime import datetime

import pytest

from tests.benchmarks import chart, tables
from tests.benchmarks.figures import Figures, Spread
from tests.benchmarks.marked import replaced
from tests.benchmarks.read_api import (
    goals,
    pgbench,
    publish,
    rates,
    records,
    report,
    statements,
    wrk,
)
from tests.benchmarks.read_api.pipeline import contract
from tests.benchmarks.read_api.settings import SECTIONS, BenchSettings

WRK = """\
Running 5s test @ http://127.0.0.1:8000/data
  1 threads and 8 connections
  Thread Stats   Avg      Stdev     Max   +/- Stdev
    Latency     6.10ms    2.05ms  41.22ms   88.31%
    Req/Sec     1.33k    88.13     1.48k    78.00%
  Latency Distribution
     50%  870.00us
     75%    6.58ms
     90%    8.09ms
     99%    1.28s
  6612 requests in 5.00s, 512.20MB read
  Socket errors: connect 0, read 1, write 0, timeout 2
  Non-2xx or 3xx responses: 12
Requests/sec:   1321.88
Transfer/sec:    102.41MB
"""
PGBENCH = """\
transaction type: statement.sql
number of transactions actually processed: 4
tps = 2334.118742 (without initial connection time)
"""


def test_what_wrk_prints_is_read_in_milliseconds_with_every_failure() -> None:
    assert wrk.parsed(WRK) == wrk.Load(requests=6612, rate=1321.88, p50=0.87, p99=1280.0, failures=15)


def test_a_load_that_was_not_answered_is_an_error_and_no_figure() -> None:
    with pytest.raises(RuntimeError, match="unable to connect"):
        wrk.parsed("", "unable to connect to 127.0.0.1:8000")


def test_what_pgbench_prints_and_logs_is_read() -> None:
    lines = [f"0 {number} {number * 1000} 0 1700000000 1" for number in (3, 1, 2, 4)]
    assert pgbench.parsed(PGBENCH, lines) == wrk.Load(
        requests=4, rate=2334.118742, p50=3.0, p99=4.0, failures=0
    )


def test_the_statements_of_a_log_are_read_with_their_values() -> None:
    log = (
        "2026-11-21 12:25:15.610 UTC [19] LOG:  statement: copy (select 1) to stdout\n"
        "2026-11-21 12:25:15.611 UTC [19] LOG:  execute page_1: select *\n"
        "\tfrom t where a = $1 and b = $2 limit $10\n"
        "2026-11-21 12:25:15.611 UTC [19] DETAIL:  Parameters: $1 = 'a''s, $2 = ''', $2 = NULL, $10 = '101'\n"
        "2026-11-21 12:25:15.612 UTC [19] LOG:  checkpoint starting: time\n"
    )
    assert statements.statements_of(log) == [
        "copy (select 1) to stdout",
        "select *\nfrom t where a = 'a''s, $2 = ''' and b = NULL limit '101'",
    ]


def test_a_spread_is_the_median_with_the_lowest_and_the_highest() -> None:
    assert Spread.of([3.0, 1.0, 2.0]) == Spread(median=2.0, lowest=1.0, highest=3.0)


def test_a_ratio_is_taken_round_by_round(figures: Figures) -> None:
    ratio = figures.ratio(
        rates.SECTION, (rates.NEWEST, rates.API), (rates.NEWEST, rates.PGBENCH), connections=8
    )
    assert ratio == Spread(median=0.6, lowest=0.5, highest=0.75)


def test_a_goal_is_met_not_met_or_not_measured(figures: Figures) -> None:
    judged = {goal.name: goal for goal in goals.judge(figures)}
    assert judged["newest 100 / pgbench"].met is True
    assert judged["newest 100 / pgbench, then"].met is False
    assert judged["one by id / PostgREST"].met is None
    assert judged["newest 100: p99 / p50"].figure == pytest.approx(2.0)


def test_the_results_are_tables_and_one_line_of_json(figures: Figures) -> None:
    judged = goals.judge(figures)
    assert "not measured" in tables.plain(tables.goals_table(judged))
    assert tables.markdown(report.rates_table(figures)).count("newest 100") == 2
    assert "\n" not in report.one_line(figures, judged, {"rows": 1000})


def test_the_chart_is_well_formed_whatever_a_label_holds() -> None:
    drawn = chart.svg("a < b & c", "1/s", [chart.Panel('"x" > y', [("one & only", 1.0), ("nil", 0.0)])])
    root = ET.fromstring(drawn)  # noqa: S314 - our own
    assert [element.text for element in root.iter("{http://www.w3.org/2000/svg}title")] == ["a < b & c"]
    assert len(list(root.iter("{http://www.w3.org/2000/svg}rect"))) == 3


def test_only_the_marked_part_of_a_document_is_replaced() -> None:
    document = "before [ old ] after"
    assert replaced(document, "[", "]", "new") == "before [\n\nnew\n\n] after"
    with pytest.raises(ValueError, match="has no"):
        replaced("no marks", publish.BEGIN, publish.END, "new")


def test_the_records_are_the_same_in_every_run_and_all_have_their_share() -> None:
    first, again = (list(records.by_time(records.PUBLISHERS, 1000)) for _ in range(2))
    assert first == again
    assert sum(len(page.records) for page in first) == 1000
    assert {page.source for page in first} == {publisher.name for publisher in records.PUBLISHERS}


def test_the_stopped_source_ends_before_the_others_begin() -> None:
    published: dict[bool, list[datetime]] = {True: [], False: []}
    for page in records.by_time(records.PUBLISHERS, 2000):
        published[page.source == records.STOPPED.name] += [
            datetime.fromisoformat(record["published_at"]) for record in page.records
        ]
    assert max(published[True]) < min(published[False])


@pytest.mark.parametrize("publisher", records.PUBLISHERS, ids=lambda publisher: publisher.name)
def test_the_contract_names_every_field_of_a_record(publisher: records.Publisher) -> None:
    page = next(page for page in records.pages(publisher, 10_000) if page.records)
    assert page.records[0].keys() - contract(publisher.name).fields.keys() == {"id"}


def test_the_sections_of_a_run_are_chosen_by_name() -> None:
    assert BenchSettings(ONLY="").sections == SECTIONS
    assert BenchSettings(ONLY="export, rates").sections == ("rates", "export")
    with pytest.raises(ValueError, match="no such section: speed"):
        BenchSettings(ONLY="speed")


@pytest.fixture
def figures() -> Figures:
    """Two rounds and a half of the newest 100: the API, and pgbench beside it."""
    found = Figures()
    for number, (api, floor) in enumerate([(500.0, 1000.0), (600.0, 1000.0), (900.0, 1200.0)]):
        for variant, rate in ((rates.API, api), (rates.PGBENCH, floor)):
            values = {"rate": rate, "p50": 5.0, "p99": 10.0}
            found.add(rates.SECTION, rates.NEWEST, variant, values, connections=8, number=number)
    return found
