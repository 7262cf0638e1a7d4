"""How often a caller may ask, compared with a plain model; whom a request counts for."""

import re
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kasparro_api.access import limits
from kasparro_api.access.limits import Limit, address_of


class Clock:
    """Seconds, as a test sets them."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


steps = st.lists(
    st.tuples(st.integers(0, 200).map(lambda eighths: eighths / 8), st.sampled_from(["a", "b", "c"])),
    max_size=200,
)


@given(quota=st.integers(1, 5), window=st.integers(1, 20), asked=steps)
def test_a_caller_gets_its_quota_in_each_window_and_no_more(
    quota: int, window: int, asked: list[tuple[float, str]]
) -> None:
    clock = Clock()
    limit = Limit(quota, window, clock)
    ends = clock.now + window
    taken: Counter[str] = Counter()
    for pause, caller in asked:
        clock.now += pause
        if clock.now >= ends:
            taken.clear()
            ends = clock.now + window
        assert limit.left(caller) == quota - taken[caller]
        expected = quota - taken[caller] - 1
        assert limit.take(caller) == expected
        if expected >= 0:
            taken[caller] += 1
        assert 1 <= limit.resets_in() <= window
        assert limit.resets_in() - 1 < ends - clock.now <= limit.resets_in()


@given(quota=st.integers(1, 10**12), window=st.integers(1, 86_400), left=st.integers(-1, 10**12))
def test_the_header_fields_have_the_syntax_of_the_draft(quota: int, window: int, left: int) -> None:
    clock = Clock()
    (policy_name, policy), (name, value) = Limit(quota, window, clock).headers(left)
    assert (policy_name, name) == (b"ratelimit-policy", b"ratelimit")
    assert policy.decode() == f'"default";q={quota};w={window}'
    assert value.decode() == f'"default";r={max(left, 0)};t={window}'
    assert re.fullmatch(r'"default";r=\d{1,15};t=\d{1,15}', value.decode())


def test_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "MAX_CALLERS", 10)
    limit = Limit(5, 60, Clock())
    for number in range(1000):
        assert limit.take(f"caller {number}") == 4
        assert len(limit._used) <= 10
    assert limit.take("caller 999") == 3


@pytest.mark.parametrize(
    ("client", "counted"),
    [
        (("192.0.2.1", 5), "192.0.2.1"),
        (("2001:db8:1:2:3:4:5:6", 5), "2001:db8:1:2::/64"),
        (("2001:db8:1:2::", 5), "2001:db8:1:2::/64"),
        (("::1", 5), "::/64"),
        (("::ffff:192.0.2.1", 5), "192.0.2.1"),
        (("fe80::1%eth0", 5), "fe80::/64"),
        (("a:word", 5), "a:word"),
        (None, ""),
    ],
)
def test_a_request_counts_for_its_address_or_its_network(
    client: tuple[str, int] | None, counted: str
) -> None:
    assert address_of({"type": "http", "client": client}) == counted
