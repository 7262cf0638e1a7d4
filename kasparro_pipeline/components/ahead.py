"""Makes the next item in a thread while the present one is being written: Python and PostgreSQL work at once.

What the items are, is not known here.
"""

import sys
from collections import deque
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Final, TypeVar

Item = TypeVar("Item")
_END: Final = object()
SWITCH = 0.0005
"""Seconds after which Python gives way to a thread that waits for it; by default it is ten times that."""


@contextmanager
def _soon() -> Iterator[None]:
    """Let the thread that writes go on soon when PostgreSQL has answered: it needs Python for moments."""
    interval = sys.getswitchinterval()
    sys.setswitchinterval(SWITCH)
    try:
        yield
    finally:
        sys.setswitchinterval(interval)


def nothing() -> None:
    """Nothing waits."""


def ahead(items: Iterator[Item], stop: Callable[[], None] = nothing, *, most: int = 1) -> Generator[Item]:
    """The items, each made while the one before it is in use. The first one is made in the caller's thread.

    `most`: how many are made, at most, before they are asked for. The thread that makes them may use nothing
    that the caller uses meanwhile, such as its connection. An error while one is made is raised in its place,
    behind the items before it. If the caller gives up before the end, `stop` ends what that thread waits for.
    """
    first = next(items, _END)
    if first is _END:
        return
    with _soon(), ThreadPoolExecutor(1, thread_name_prefix="ahead") as thread:
        following = deque(thread.submit(next, items, _END) for _ in range(most))
        try:
            yield first  # type: ignore[misc]  # not the end
            while (item := following.popleft().result()) is not _END:
                following.append(thread.submit(next, items, _END))
                yield item  # type: ignore[misc]  # not the end
        except BaseException:
            for one in following:
                one.cancel()
            stop()  # the thread is waited for
            raise
