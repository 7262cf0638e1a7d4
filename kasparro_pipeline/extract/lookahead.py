"""Fetches the next pages while one is being taken up, in threads, and hands them out in order.

Memory is bounded: so many pages ahead at most, and fewer where they are large. What is fetched, and which
page comes next, is for the caller to say; pages that turn out not to come next are dropped.
"""

from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import Generic, Self, TypeVar

from kasparro_pipeline.extract.http import Client
from kasparro_pipeline.extract.http_answer import Response

Place = TypeVar("Place")


class Lookahead(Generic[Place]):
    """The pages under way. `ask` prepares a request in the caller's thread, and gives what sends it."""

    def __init__(self, client: Client, ask: Callable[[Place], Callable[[], Response]]) -> None:
        self._client, self._ask = client, ask
        self._threads = ThreadPoolExecutor(client.settings.concurrency, thread_name_prefix="fetch")
        self._under_way: deque[tuple[Place, Future[Response]]] = deque()
        self._largest = 0
        """Bytes of the largest body so far: those under way are taken to be as large."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._client.stop()
        self._threads.shutdown(wait=True, cancel_futures=True)

    def take(self, place: Place, following: Callable[[Place], Place | None], ahead: int) -> Response:
        """The answer of a page, and meanwhile the ones that `following` names, up to `ahead` of them.

        Raises:
            UpstreamError: the page could not be fetched.
        """
        if self._under_way and self._under_way[0][0] != place:
            self._drop()
        if not self._under_way:
            self._begin(place)
        last = self._under_way[-1][0]
        while len(self._under_way) <= ahead and self._has_room():
            guess = following(last)
            if guess is None:
                break
            self._begin(guess)
            last = guess
        response = self._under_way.popleft()[1].result()
        self._largest = max(self._largest, len(response.body or b""))
        return response

    def has(self, place: Place | None) -> bool:
        """Whether the answer of a page is there already."""
        return bool(self._under_way) and self._under_way[0][0] == place and self._under_way[0][1].done()

    def _begin(self, place: Place) -> None:
        self._under_way.append((place, self._threads.submit(self._ask(place))))

    def _drop(self) -> None:
        for _, fetched in self._under_way:
            fetched.cancel()
        self._under_way.clear()

    def _has_room(self) -> bool:
        settings = self._client.settings
        if not self._largest:
            return len(self._under_way) < settings.concurrency  # how large they are is not known yet
        return len(self._under_way) * self._largest < settings.max_bytes
