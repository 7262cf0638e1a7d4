"""Fetches the next pages while one is being taken up, in threads, and hands them out in order.

Pages of the list that is being read are fetched ahead as far as they can be named beforehand. The lists
behind it (of the next parents, the next values) are read meanwhile, side by side, each page after the one
that names it. Memory is bounded: so many pages ahead at most, and fewer where they are large. What is
fetched, and which page comes next, is for the `Course` to say; pages that turn out not to come next are
dropped.
"""

from collections import deque
from collections.abc import Callable
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from types import TracebackType
from typing import Generic, Protocol, Self, TypeVar

from kasparro_pipeline.extract.http import Client
from kasparro_pipeline.extract.http_answer import Response

Place = TypeVar("Place")
Lane = deque[tuple[Place, Future[Response]]]
"""Pages of one list that follow each other, under way or waiting to be taken."""
SOON = 0.05
"""Seconds that a page may be away which is taken to be there: pages that come quickly are stored together."""


class Course(Protocol[Place]):
    """What is asked for, and in which order. It is called in the thread that takes the pages."""

    def ask(self, place: Place) -> Callable[[], Response]:
        """Prepare a request, and give what sends it."""

    def guess(self, place: Place) -> Place | None:
        """The page behind one whose answer has not come, as far as can be said."""

    def behind(self, place: Place, response: Response) -> Place | None:
        """The page of the same list behind an answer; None where it ends, or cannot be told."""

    def next_list(self, place: Place) -> Place | None:
        """The first page of the list behind that of a page, if its list is not just one of known length."""

    def ahead(self) -> tuple[int, int]:
        """How many pages to fetch ahead: of the list that is being read, and in all."""


class Lookahead(Generic[Place]):
    """The pages under way."""

    def __init__(self, client: Client, course: Course[Place]) -> None:
        self._client, self._course = client, course
        self._threads = ThreadPoolExecutor(client.settings.concurrency, thread_name_prefix="fetch")
        self._current: Lane[Place] = deque()
        """Pages of the list that is being read; and of those behind it, where their lengths are known."""
        self._lanes: deque[Lane[Place]] = deque()
        """The lists behind it, the next one first."""
        self._ended: set[Place] = set()
        """The last pages of lanes behind which nothing is asked for."""
        self._largest = 0
        """Bytes of the largest body so far: those under way are taken to be as large."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._client.stop()
        self._threads.shutdown(wait=True, cancel_futures=True)

    def take(self, place: Place) -> Response:
        """The answer of a page, and meanwhile those that come behind it.

        Raises:
            UpstreamError: the page could not be fetched.
        """
        self._go_to(place)
        taken = self._current[0][1]
        self._fetch_ahead()
        while not taken.done():
            under_way = [fetched for lane in (self._current, *self._lanes) for _, fetched in lane]
            wait([fetched for fetched in under_way if not fetched.done()], return_when=FIRST_COMPLETED)
            self._fetch_ahead()
        self._current.popleft()
        self._ended.discard(place)
        response = taken.result()
        self._note(response)
        return response

    def has(self, place: Place | None) -> bool:
        """Whether the answer of a page is there, or as good as there."""
        firsts = [lane[0] for lane in (self._current, *self._lanes) if lane]
        found = [fetched for first, fetched in firsts[:2] if first == place]
        return bool(found and wait(found, SOON).done)

    def _go_to(self, place: Place) -> None:
        """Make a page the first of the current ones."""
        if self._current and self._current[0][0] == place:
            return
        self._drop(self._current)
        if self._lanes and self._lanes[0][0][0] == place:
            self._current = self._lanes.popleft()
        else:
            self._begin(self._current, place)  # the list goes on, and those behind it stay

    def _fetch_ahead(self) -> None:
        of_this_list, in_all = self._course.ahead()
        while len(self._current) <= of_this_list and self._has_room(in_all):
            guess = self._course.guess(self._current[-1][0])
            if guess is None:
                break
            self._begin(self._current, guess)
        for lane in (self._current, *self._lanes):
            if self._has_room(in_all):
                self._go_on(lane)
        while self._has_room(in_all) and len(self._lanes) + 1 < self._client.settings.concurrency:
            first = self._course.next_list((self._lanes[-1] if self._lanes else self._current)[-1][0])
            if first is None:
                break
            self._lanes.append(deque())
            self._begin(self._lanes[-1], first)

    def _go_on(self, lane: Lane[Place]) -> None:
        """Ask for the page that the last answer of a lane names."""
        place, fetched = lane[-1]
        if place in self._ended or not fetched.done():
            return
        following = None
        if fetched.exception() is None:
            self._note(fetched.result())
            following = self._course.behind(place, fetched.result())
        if following is None:
            self._ended.add(place)
        else:
            self._begin(lane, following)

    def _begin(self, lane: Lane[Place], place: Place) -> None:
        lane.append((place, self._threads.submit(self._course.ask(place))))

    def _drop(self, lane: Lane[Place]) -> None:
        for place, fetched in lane:
            fetched.cancel()
            self._ended.discard(place)
        lane.clear()

    def _note(self, response: Response) -> None:
        self._largest = max(self._largest, len(response.body or b""))

    def _has_room(self, in_all: int) -> bool:
        """Whether one more page may be asked for: behind the one that is taken, up to `in_all`."""
        settings = self._client.settings
        under_way = len(self._current) + sum(map(len, self._lanes))
        if under_way > in_all:
            return False
        if not self._largest:
            return under_way < settings.concurrency  # how large they are is not known yet
        return under_way * self._largest < settings.max_bytes
