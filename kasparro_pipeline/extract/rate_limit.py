"""How fast an upstream is asked: requests are spaced, and a host that asked for a rest gets one.

One limit a host and rate holds for all threads of the process, and from one run to the next.
"""

import threading
import time
from functools import cache


class RateLimit:
    """Hands out the instants at which requests may be sent."""

    def __init__(self, per_second: float | None) -> None:
        self._gap = 1 / per_second if per_second else 0.0
        self._lock = threading.Lock()
        self._next = self._rest_until = 0.0

    def wait(self, stop: threading.Event) -> bool:
        """Wait for the turn of one request. False: `stop` was set in the meantime."""
        with self._lock:
            turn = max(self._next, time.monotonic())
            self._next = turn + self._gap
        while (left := max(turn, self._rest_until) - time.monotonic()) > 0:
            if stop.wait(left):
                return False
        return not stop.is_set()

    def rest(self, seconds: float) -> None:
        """Send nothing for some seconds: the upstream asked for it."""
        with self._lock:
            self._rest_until = max(self._rest_until, time.monotonic() + seconds)


@cache
def rate_limit(host: str, per_second: float | None) -> RateLimit:
    """The limit of a host, the same for all who ask for the same rate."""
    _ = host
    return RateLimit(per_second)
