"""Answers that are kept and sent again while the data has not changed. Whether it has, `versions` says."""

from collections import OrderedDict

from starlette.types import Scope

from kasparro_api.access.versions import VersionWatch
from kasparro_api.answers import Answer

LARGEST_SHARE = 8
"""An answer larger than this part of the whole cache is not kept."""

LONGEST_KEY = 2000
"""Bytes: longer ones are made by nobody who asks again, and would fill the memory uncounted."""

Key = tuple[bytes, bytes, bytes]


class HotCache:
    """Answers by request, the one that was asked for longest ago leaves first."""

    def __init__(self, versions: VersionWatch, max_bytes: int) -> None:
        """Keep at most `max_bytes`; 0 keeps nothing and asks nothing."""
        self._versions = versions
        self._max_bytes = max_bytes
        self._answers: OrderedDict[Key, Answer] = OrderedDict()
        self._sizes: dict[Key, int] = {}
        self._bytes = 0

    async def find(self, scope: Scope) -> Answer | None:
        """The kept answer to this request, if it is still the present one.

        Raises:
            psycopg.Error: the database cannot say whether the data has changed.
        """
        key = _key(scope)
        found = self._answers.get(key)
        if found is None:
            return None
        # Asked after the request came (for its key, perhaps): what was committed before it is seen
        state = scope["state"]
        if "versions" not in state:
            state["versions"] = await self._versions.current()
        current = state["versions"].data
        if found.version == current:
            if key in self._answers:  # it may have left meanwhile
                self._answers.move_to_end(key)
            return found
        self._forget(key)
        return None

    def keep(self, scope: Scope, answer: Answer) -> None:
        """Keep an answer that names the version of the data it was made from."""
        if answer.version is None or answer.status_code != 200:  # noqa: PLR2004 - OK
            return
        # Its two compressed forms come later
        key = _key(scope)
        if sum(map(len, key)) > LONGEST_KEY:
            return
        size = 3 * answer.size
        if size * LARGEST_SHARE > self._max_bytes:
            return
        self._forget(key)
        self._answers[key] = answer
        self._sizes[key] = size
        self._bytes += size
        while self._bytes > self._max_bytes:
            self._forget(next(iter(self._answers)))

    def _forget(self, key: Key) -> None:
        if self._answers.pop(key, None) is not None:
            self._bytes -= self._sizes.pop(key)


def _key(scope: Scope) -> Key:
    """What the answer depends on, beside the data: what is asked for, and in which format."""
    accept = next((value for name, value in scope["headers"] if name == b"accept"), b"")
    return scope["raw_path"], scope["query_string"], accept
