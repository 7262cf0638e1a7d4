"""What is unusual beside what was before."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kasparro_pipeline.contract.usual import ENOUGH, LARGEST_JUMP, LARGEST_SCORE, SMALLEST_CHANGE, judge, jump

numbers = st.floats(min_value=0, max_value=1e9, allow_nan=False)


def test_a_value_like_the_others_is_usual() -> None:
    verdict = judge(103, [100, 98, 105, 101, 97])
    assert (verdict.usual, verdict.compared, verdict.is_unusual) == (100, 5, False)


@pytest.mark.parametrize("value", [0, 40, 200, 5000])
def test_a_value_far_from_the_others_is_unusual(value: float) -> None:
    assert judge(value, [100, 98, 105, 101, 97]).is_unusual


def test_an_outlier_of_the_past_neither_hides_nor_makes_an_alarm() -> None:
    past = [100, 98, 105, 101, 97, 1_000_000]
    assert judge(300, past).is_unusual
    assert not judge(102, past).is_unusual


def test_a_past_that_never_varied_lets_small_changes_pass() -> None:
    assert not judge(120, [100] * 10).is_unusual
    assert judge(130, [100] * 10).is_unusual


def test_a_past_that_varies_a_lot_lets_more_pass() -> None:
    assert not judge(180, [50, 100, 150, 90, 140, 60]).is_unusual


def test_a_part_of_a_day_is_not_judged_to_be_too_little() -> None:
    assert not judge(1, [100] * 10, judge_less=False).is_unusual
    assert judge(1000, [100] * 10, judge_less=False).is_unusual


@given(st.lists(numbers, max_size=ENOUGH - 1), numbers)
def test_too_short_a_past_makes_no_statement(past: list[float], value: float) -> None:
    verdict = judge(value, past)
    assert (verdict.is_unusual, verdict.score, verdict.compared) == (False, 0, len(past))


@given(st.lists(numbers, min_size=ENOUGH), numbers)
def test_what_is_unusual_is_far_off_by_both_measures(past: list[float], value: float) -> None:
    verdict = judge(value, past)
    if verdict.is_unusual:
        assert abs(verdict.score) > LARGEST_SCORE
        assert abs(value - verdict.usual) > SMALLEST_CHANGE * abs(verdict.usual)


@given(st.lists(numbers, min_size=ENOUGH))
def test_the_usual_value_itself_is_never_unusual(past: list[float]) -> None:
    assert not judge(judge(0, past).usual, past).is_unusual


@pytest.mark.parametrize(
    ("value", "usual", "factor"),
    [
        (300, 100, 3),
        (100, 300, 3),
        (5, 5, 1),
        (0, 0, 1),
        (1, 0, LARGEST_JUMP),
        (-1, 1, LARGEST_JUMP),
        (-4, -2, 2),
        (1e-200, 2e-200, 2),
    ],
)
def test_a_jump_is_a_factor_in_either_direction(value: float, usual: float, factor: float) -> None:
    assert jump(value, usual) == factor
