"""Tells the unusual from the usual, given what was before. Arithmetic alone: others measure.

Medians instead of means, so that one odd partition of the past neither hides nor makes an alarm.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

ENOUGH = 4
"""Earlier values that are needed for a statement."""
LARGEST_SCORE = 3.5
"""Robust score beyond which a value is an outlier (Iglewicz and Hoaglin, 1993)."""
SMALLEST_CHANGE = 0.25
"""A change by less than this part of the usual is never unusual: a very steady past makes any score large."""
LARGEST_JUMP = 1e6
"""Instead of an infinite factor, which JSON cannot say."""
_SCALE = 0.6745
"""Makes the median absolute deviation of a normal distribution its standard deviation."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """A value beside the usual one."""

    value: float
    usual: float
    score: float
    """Deviations from the usual, robust; 0 if there is too little history."""
    compared: int
    """Earlier values that it was compared with."""
    is_unusual: bool


def judge(value: float, past: Sequence[float], *, judge_less: bool = True) -> Verdict:
    """Whether a value is an outlier beside those of the past; too few of those: no statement."""
    if len(past) < ENOUGH:
        return Verdict(value, median(past) if past else value, 0.0, len(past), is_unusual=False)
    usual = median(past)
    spread = median(abs(one - usual) for one in past)
    # A past that never varied says nothing of the spread: then the smallest change that counts is the measure
    least = SMALLEST_CHANGE * abs(usual) / LARGEST_SCORE * _SCALE
    score = _SCALE * (value - usual) / (max(spread, least) or 1.0)
    changed = abs(value - usual) > SMALLEST_CHANGE * abs(usual)
    unusual = changed and abs(score) > LARGEST_SCORE and (judge_less or value > usual)
    return Verdict(value, usual, score, len(past), unusual)


def jump(value: float, usual: float) -> float:
    """By which factor a value is larger or smaller than the usual one; at most LARGEST_JUMP.

    It is LARGEST_JUMP too if only one of them is 0, or if their signs differ.
    """
    if value == usual:
        return 1.0
    if value == 0 or usual == 0 or (value > 0) != (usual > 0):
        return LARGEST_JUMP
    return min(max(value / usual, usual / value), LARGEST_JUMP)
