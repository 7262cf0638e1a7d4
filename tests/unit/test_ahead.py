"""Items that are made ahead come in order, one at a time, and an error comes in its place."""

import sys
import threading
from collections.abc import Iterator
from contextlib import closing, nullcontext

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kasparro_pipeline.components.ahead import ahead


@given(st.lists(st.integers()), st.booleans(), st.integers(1, 4))
def test_items_come_in_order_and_an_error_behind_those_before_it(
    items: list[int], fails: bool, most: int
) -> None:
    def made() -> Iterator[int]:
        yield from items
        if fails:
            raise LookupError

    found = []
    with pytest.raises(LookupError) if fails else nullcontext():
        for item in ahead(made(), most=most):
            found.append(item)  # noqa: PERF402 - what came before an error counts
    assert found == items


def test_the_first_is_made_by_the_caller_and_the_next_one_while_it_is_in_use() -> None:
    makers: list[str] = []
    second_is_made = threading.Event()

    def made() -> Iterator[int]:
        for number in range(3):
            makers.append(threading.current_thread().name)
            if number == 1:
                second_is_made.set()
            yield number

    for number in ahead(made()):
        if number == 0:
            assert second_is_made.wait(10)
    assert makers[0] == threading.main_thread().name
    assert all(name.startswith("ahead") for name in makers[1:])


def test_not_more_than_one_is_made_ahead_and_leaving_early_leaves_nothing_behind() -> None:
    made: list[int] = []

    def items() -> Iterator[int]:
        for number in range(100):
            made.append(number)
            yield number

    interval, before = sys.getswitchinterval(), threading.active_count()
    found = ahead(items())
    assert next(found) == 0
    found.close()
    assert len(made) <= 2
    assert (sys.getswitchinterval(), threading.active_count()) == (interval, before)


def test_who_gives_up_ends_what_the_next_one_waits_for() -> None:
    given_up = threading.Event()

    def items() -> Iterator[int]:
        yield 1
        assert given_up.wait(10)  # an answer that does not come
        yield 2

    found = ahead(items(), given_up.set)
    assert next(found) == 1
    with pytest.raises(LookupError):
        found.throw(LookupError())
    assert given_up.is_set()


@pytest.mark.parametrize("most", [1, 3])
def test_no_more_are_made_than_may_wait(most: int) -> None:
    made: list[int] = []
    as_many_as_may = threading.Event()

    def numbers() -> Iterator[int]:
        for number in range(9):
            made.append(number)
            if number == most:
                as_many_as_may.set()
            yield number

    with closing(ahead(numbers(), most=most)) as items:
        next(items)
        assert as_many_as_may.wait(10)
    assert made == list(range(most + 1))
