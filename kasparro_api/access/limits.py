"""How often a caller may ask: counts in the memory of this process. Who is limited is the guard's to say.

The header fields are those of the IETF's draft "RateLimit header fields for HTTP" (version 10).
"""

import math
import time
from collections.abc import Callable
from functools import lru_cache
from ipaddress import IPv6Address, IPv6Network

from starlette.types import Scope

MAX_CALLERS = 100_000
"""Callers counted at once, about 15 MB; one more, and the counting begins anew."""


class Limit:
    """A quota of each caller in a window of time; the windows of all callers begin together.

    Nothing here waits, so that one event loop needs no lock; each worker process counts for itself.
    """

    def __init__(self, quota: int, window: int, clock: Callable[[], float] = time.monotonic) -> None:
        """`quota` is at least 1, `window` is in seconds, `clock` gives seconds and never goes back."""
        self._quota = quota
        self._window = window
        self._clock = clock
        self._ends = clock() + window
        self._used: dict[str, int] = {}
        self._policy = (b"ratelimit-policy", b'"default";q=%d;w=%d' % (quota, window))

    def take(self, caller: str) -> int:
        """Use one of the caller's quota; what is left of it, or -1 if nothing was."""
        left = self.left(caller) - 1
        if left >= 0:
            if caller not in self._used and len(self._used) >= MAX_CALLERS:
                self._used.clear()
            self._used[caller] = self._quota - left
        return left

    def left(self, caller: str) -> int:
        """What is left of the caller's quota in this window."""
        now = self._clock()
        if now >= self._ends:
            self._used.clear()
            self._ends = now + self._window
        return self._quota - self._used.get(caller, 0)

    def resets_in(self) -> int:
        """Whole seconds until every caller has the full quota again, from 1 to the window."""
        return min(max(1, math.ceil(self._ends - self._clock())), self._window)

    def headers(self, left: int) -> tuple[tuple[bytes, bytes], tuple[bytes, bytes]]:
        """`RateLimit-Policy` and `RateLimit` of an answer after which `left` requests are left."""
        return self._policy, (b"ratelimit", b'"default";r=%d;t=%d' % (max(left, 0), self.resets_in()))


def address_of(scope: Scope) -> str:
    """Whom a request without a key counts for: its address; in IPv6 its /64 network, which one host owns."""
    client = scope.get("client")
    if client is None:  # a unix socket
        return ""
    host: str = client[0]
    return _network(host) if ":" in host else host


@lru_cache(maxsize=4096)
def _network(host: str) -> str:
    try:
        address = IPv6Address(host)
    except ValueError:
        return host
    return str(address.ipv4_mapped or IPv6Network((address, 64), strict=False))
