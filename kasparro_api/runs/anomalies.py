"""What is unusual about a run, judged by the runs of its source before it. Pure: knows no SQL and no HTTP.

A figure is far off when it is further from the median of the history than `FAR` times its spread (the median
absolute deviation, scaled to a standard deviation: Iglewicz and Hoaglin, 1993), and also further than a share
of the median and a few seconds or records, so that a source that hardly varies raises no alarm about little.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from statistics import median
from typing import Any

HISTORY = 30
"""Finished runs of the source before it that a run is compared with."""
LEAST_HISTORY = 5
"""Comparable runs below which figures raise no alarm."""
FAR = 3.5
MAD_TO_DEVIATION = 1.4826
LEAST_SHARE_OFF = 0.5
"""Share of the median that a figure must be off."""
LEAST_SECONDS_OFF = 5.0
LEAST_RECORDS_OFF = 10.0
REJECTED_SHARE = 0.05
"""Share of rejected records, 0 to 1, that no alarm is raised below."""

_SUCCESSES = ("success", "partial")


@dataclass(frozen=True, slots=True)
class Facts:
    """What of a run is judged. `seconds` runs on while it is under way."""

    status: str
    seconds: float
    read: int
    rejected: int
    documents: int
    documents_unchanged: int

    @property
    def succeeded(self) -> bool:
        """Whether it brought its records."""
        return self.status in _SUCCESSES

    @property
    def extracted(self) -> bool:
        """Whether it asked the upstream; a run of only the later steps did not."""
        return self.documents + self.documents_unchanged > 0

    @property
    def nothing_new(self) -> bool:
        """Whether the upstream had nothing that was not known."""
        return self.read == 0 and self.documents_unchanged > 0

    @property
    def rejected_share(self) -> float:
        """Share of the records read, 0 to 1."""
        return self.rejected / self.read if self.read else 0.0


@dataclass(frozen=True, slots=True)
class Anomaly:
    """One thing that is unusual. `value` is the run's figure, `expected` that of its history."""

    kind: str
    reason: str
    value: float | str
    expected: float | str


def of_run(run: Mapping[str, Any], history: Sequence[Mapping[str, Any]]) -> list[dict[str, object]]:
    """The anomalies of a run as JSON objects; `history` holds the finished runs before it, newest first."""
    return [asdict(found) for found in anomalies(Facts(**run), [Facts(**each) for each in history])]


def anomalies(run: Facts, history: Sequence[Facts]) -> list[Anomaly]:
    """What is unusual about `run`, given the finished runs of its source before it, newest first."""
    comparable = [each for each in history if each.succeeded and each.extracted == run.extracted]
    found = [_failure(run, history), _duration(run, comparable)]
    if run.succeeded:
        found += [_zero_records(run, comparable), _records(run, comparable), _rejected(run, comparable)]
    return [anomaly for anomaly in found if anomaly is not None]


def _failure(run: Facts, history: Sequence[Facts]) -> Anomaly | None:
    if run.status != "failed" or not history or not history[0].succeeded:
        return None
    return Anomaly("failure", "It failed, and the run before it succeeded.", "failed", history[0].status)


def _duration(run: Facts, history: Sequence[Facts]) -> Anomaly | None:
    usual = _usual([each.seconds for each in history], least=LEAST_SECONDS_OFF)
    if usual is None or not usual.is_far(run.seconds):
        return None
    if run.status == "running" and run.seconds > usual.middle:
        words = f"It has been under way for {run.seconds:.1f} s"
    elif run.succeeded:
        words = f"It took {run.seconds:.1f} s"
    else:  # it stopped early, or has hardly begun: that says nothing about its speed
        return None
    return Anomaly("duration", f"{words}; {usual.words('.1f', ' s')}.", run.seconds, usual.middle)


def _zero_records(run: Facts, history: Sequence[Facts]) -> Anomaly | None:
    had = [each.read for each in history if each.read > 0]
    if run.read > 0 or run.nothing_new or not had:
        return None
    expected = median(had)
    reason = (
        f"It read no record, and {len(had)} of the {len(history)} comparable runs before it read some "
        f"(median {expected:,.0f})."
    )
    return Anomaly("zero_records", reason, 0, expected)


def _records(run: Facts, history: Sequence[Facts]) -> Anomaly | None:
    usual = _usual([each.read for each in history if each.read > 0], least=LEAST_RECORDS_OFF)
    if usual is None or run.read == 0 or not usual.is_far(run.read):
        return None
    reason = f"It read {run.read:,} records; {usual.words(',.0f', '')}."
    return Anomaly("records", reason, run.read, usual.middle)


def _rejected(run: Facts, history: Sequence[Facts]) -> Anomaly | None:
    usual = _usual([each.rejected_share for each in history if each.read > 0])
    share = run.rejected_share
    if usual is None or share <= max(REJECTED_SHARE, usual.middle) or not usual.is_far(share):
        return None
    reason = (
        f"{share:.1%} of its records were rejected ({run.rejected:,} of {run.read:,}), more than the "
        f"{REJECTED_SHARE:.0%} that pass without notice; {usual.words('.1%', '')}."
    )
    return Anomaly("rejected_share", reason, share, usual.middle)


@dataclass(frozen=True, slots=True)
class _Usual:
    """What is usual for a figure: the median of `runs` runs, and how far from it is far."""

    middle: float
    tolerance: float
    runs: int

    def is_far(self, value: float) -> bool:
        return abs(value - self.middle) > self.tolerance

    def words(self, form: str, unit: str) -> str:
        low, high = max(self.middle - self.tolerance, 0), self.middle + self.tolerance
        return (
            f"the median of {self.runs} runs before it is {self.middle:{form}}{unit}, "
            f"and {low:{form}} to {high:{form}}{unit} is usual"
        )


def _usual(values: Sequence[float], least: float = 0.0) -> _Usual | None:
    if len(values) < LEAST_HISTORY:
        return None
    middle = median(values)
    spread = MAD_TO_DEVIATION * median(abs(value - middle) for value in values)
    return _Usual(middle, max(FAR * spread, LEAST_SHARE_OFF * middle, least), len(values))
