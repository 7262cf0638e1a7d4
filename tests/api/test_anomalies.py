"""What counts as unusual about a run, as pure functions."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kasparro_api.runs.anomalies import (
    LEAST_HISTORY,
    LEAST_RECORDS_OFF,
    LEAST_SECONDS_OFF,
    Facts,
    anomalies,
    of_run,
)

USUAL = Facts("success", seconds=60, read=1000, rejected=0, documents=1, documents_unchanged=0)
HISTORY = [USUAL] * LEAST_HISTORY
NOTHING_NEW = replace(USUAL, read=0, documents=0, documents_unchanged=1)

sizes = st.integers(0, 2**40)


@st.composite
def facts(
    draw: st.DrawFn, statuses: tuple[str, ...] = ("success", "partial", "failed", "cancelled")
) -> Facts:
    read = draw(st.integers(0, 50) | sizes)
    return Facts(
        status=draw(st.sampled_from(statuses)),
        seconds=draw(st.floats(0, 1e9)),
        read=read,
        rejected=draw(st.integers(0, read)),
        documents=draw(st.integers(0, 2)),
        documents_unchanged=draw(st.integers(0, 2)),
    )


histories = st.lists(facts(), max_size=12)
runs = facts(statuses=("running", "success", "partial", "failed", "cancelled"))


def kinds(run: Facts, history: list[Facts]) -> set[str]:
    return {anomaly.kind for anomaly in anomalies(run, history)}


@given(run=runs, history=histories, factor=st.sampled_from([0, 1e-9, 0.5, 3, 1e9]), data=st.data())
def test_no_history_raises_and_the_order_of_figures_does_not_matter(
    run: Facts, history: list[Facts], factor: float, data: st.DataObject
) -> None:
    scaled = [
        replace(
            each,
            seconds=each.seconds * factor,
            read=int(each.read * factor),
            rejected=int(each.rejected * factor),
        )
        for each in history
    ]
    permuted = data.draw(st.permutations(scaled))
    found, again = anomalies(run, scaled), anomalies(run, permuted)
    assert [a for a in found if a.kind != "failure"] == [a for a in again if a.kind != "failure"]
    for anomaly in found:
        assert anomaly.reason.endswith(".")
        assert anomaly.value != anomaly.expected or anomaly.kind == "zero_records"


@given(
    history=st.lists(facts(statuses=("success", "partial")), min_size=1, max_size=13).filter(
        lambda h: len(h) % 2
    )
)
def test_a_run_equal_to_the_median_is_never_an_anomaly(history: list[Facts]) -> None:
    same = [replace(each, documents=1, documents_unchanged=0) for each in history]
    # of an odd number of runs the median of each figure is the figure of one of them
    middle = len(same) // 2
    read = sorted(each.read for each in same if each.read > 0) or [0]
    shares = sorted((each.rejected_share, each.read, each.rejected) for each in same if each.read > 0)
    usual = replace(USUAL, seconds=sorted(each.seconds for each in same)[middle])
    if len(read) % 2 and shares:
        _, of, rejected = shares[len(shares) // 2]
        by_share = replace(usual, read=of, rejected=rejected)
        by_size = replace(usual, read=read[len(read) // 2])
        assert "rejected_share" not in kinds(by_share, same)
        assert not {"records", "zero_records"} & kinds(by_size, same)
    assert "duration" not in kinds(usual, same)


@given(run=facts(statuses=("success", "partial")), count=st.integers(1, 30))
def test_a_run_like_all_before_it_is_never_an_anomaly(run: Facts, count: int) -> None:
    assert anomalies(run, [run] * count) == []


@given(run=runs, history=st.lists(facts(), max_size=LEAST_HISTORY - 1))
def test_little_history_raises_no_alarm_about_figures(run: Facts, history: list[Facts]) -> None:
    assert kinds(run, history) <= {"failure", "zero_records"}


@pytest.mark.parametrize(
    ("run", "expected"),
    [
        (replace(USUAL, seconds=91), {"duration"}),
        (replace(USUAL, seconds=89), set()),
        (replace(USUAL, seconds=10), {"duration"}),
        (replace(USUAL, status="running", seconds=91, read=0), {"duration"}),
        (replace(USUAL, status="running", seconds=1, read=0), set()),
        (replace(USUAL, status="failed", seconds=1, read=0), {"failure"}),
        (replace(USUAL, status="cancelled", seconds=1, read=0), set()),
        (replace(USUAL, read=1501), {"records"}),
        (replace(USUAL, read=499), {"records"}),
        (replace(USUAL, read=501), set()),
        (replace(USUAL, read=0), {"zero_records"}),
        (NOTHING_NEW, set()),
        (replace(USUAL, status="partial", rejected=51), {"rejected_share"}),
        (replace(USUAL, status="partial", rejected=50), set()),
    ],
)
def test_what_is_far_off_is_told(run: Facts, expected: set[str]) -> None:
    assert kinds(run, HISTORY) == expected


def test_a_history_that_varies_much_forgives_much() -> None:
    varied = [replace(USUAL, read=read) for read in (100, 2000, 900, 400, 3000, 1200, 50)]
    assert kinds(replace(USUAL, read=3500), varied) == set()
    assert kinds(replace(USUAL, read=9000), varied) == {"records"}


def test_one_outlier_in_the_history_hides_nothing() -> None:
    history = [*HISTORY, replace(USUAL, read=10**9, seconds=10**6)]
    assert kinds(replace(USUAL, read=2000, seconds=300), history) == {"duration", "records"}


def test_little_is_never_far_off() -> None:
    small = replace(USUAL, seconds=0.1, read=2)
    more = replace(small, seconds=0.1 + LEAST_SECONDS_OFF, read=2 + int(LEAST_RECORDS_OFF))
    assert kinds(more, [small] * 9) == set()
    assert kinds(replace(more, seconds=6, read=13), [small] * 9) == {"duration", "records"}


def test_a_share_of_rejected_records_that_is_usual_for_the_source_is_none() -> None:
    bad = replace(USUAL, status="partial", rejected=400)
    assert kinds(bad, [bad] * 9) == set()
    assert kinds(replace(bad, rejected=700), [bad] * 9) == {"rejected_share"}
    assert kinds(replace(bad, rejected=0), [bad] * 9) == set()


def test_only_what_did_the_same_is_compared() -> None:
    again = replace(USUAL, seconds=1, documents=0)  # validated and merged again, without extraction
    assert kinds(again, HISTORY) == set()
    assert kinds(USUAL, [again] * 9) == set()
    assert kinds(USUAL, [replace(USUAL, status="failed", seconds=1, read=0)] * 9) == set()


def test_a_failure_is_an_anomaly_only_after_a_success() -> None:
    failed = replace(USUAL, status="failed")
    assert kinds(failed, [failed, *HISTORY]) == set()
    assert kinds(failed, []) == set()
    assert kinds(failed, [replace(USUAL, status="partial", documents=0)]) == {"failure"}


def test_one_run_that_had_records_is_enough_to_miss_them() -> None:
    [missed] = anomalies(replace(USUAL, read=0), [USUAL])
    assert missed.reason == (
        "It read no record, and 1 of the 1 comparable runs before it read some (median 1,000)."
    )
    assert kinds(replace(USUAL, read=0), [replace(USUAL, read=0)] * 9) == set()


def test_anomalies_are_told_as_json_objects_with_the_figures() -> None:
    as_json = {name: getattr(USUAL, name) for name in USUAL.__slots__}
    assert of_run({**as_json, "read": 3000, "rejected": 300}, [as_json] * 6) == [
        {
            "kind": "records",
            "reason": "It read 3,000 records; the median of 6 runs before it is 1,000, and 500 to 1,500 is "
            "usual.",
            "value": 3000,
            "expected": 1000,
        },
        {
            "kind": "rejected_share",
            "reason": "10.0% of its records were rejected (300 of 3,000), more than the 5% that pass without "
            "notice; the median of 6 runs before it is 0.0%, and 0.0% to 0.0% is usual.",
            "value": 0.1,
            "expected": 0,
        },
    ]
