"""Records that only a document has, or only its base: their profile and their keys, many of them at a time.

Which records those are is told by `matching`; what follows from their keys is decided in `repeats`.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from kasparro_pipeline.contract.keys import Keys
from kasparro_pipeline.contract.profile import Profile
from kasparro_pipeline.contract.table import Table
from kasparro_pipeline.extract import records

MOST_WAITING = 2_000
"""Records that wait to be read: a few at a time cost three times as much each."""
MOST_WAITING_BYTES = 4 * 1024 * 1024


class Differing:
    """Records of one side, in rising order of their positions."""

    def __init__(self, keys: Keys, layout: Mapping[str, Any]) -> None:
        self.profile = Profile(text_only=True)
        """Of those whose keys were asked for."""
        self._keys = keys
        self._layout = layout
        self._positions: list[int] = []
        self._payloads: list[bytes] = []
        self._bytes = 0

    def add(self, found: Iterable[tuple[int, bytes]]) -> None:
        """Let some wait, by position and payload."""
        for position, payload in found:
            self._positions.append(position)
            self._payloads.append(payload)
            self._bytes += len(payload)

    @property
    def are_many(self) -> bool:
        """Whether so many wait that they are to be read."""
        return len(self._payloads) >= MOST_WAITING or self._bytes >= MOST_WAITING_BYTES

    def keys(self) -> Sequence[str]:
        """The keys of those that wait, which then no more do."""
        positions, payloads = self._positions, self._payloads
        self._positions, self._payloads, self._bytes = [], [], 0
        if not payloads:
            return ()
        values, _ = records.read_many(payloads, self._layout)
        if isinstance(values, Table):
            self.profile.observe_table(values, positions)
        else:
            self.profile.observe(values, positions)
        return self._keys.of(values)
