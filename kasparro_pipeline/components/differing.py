"""Records that only a document has, or only its base: their profile and their keys, many of them at a time.

Which records those are is told by `matching`; what follows from their keys is decided in `repeats`.
"""

from collections.abc import Mapping, Sequence
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
        """Of those that wait."""
        self._payloads: list[bytes] = []
        self._tables: list[Table] = []
        """What they hold, where it was read already: of those that wait either all have that, or none."""
        self._bytes = 0
        self._read: list[str] = []
        """The keys of those that wait no more, and were not asked for."""

    def add(self, found: Sequence[tuple[int, bytes]], table: Table | None = None) -> None:
        """Let some wait, by position and payload; `table` has what they hold, if it was read already."""
        if not found:
            return
        if table is None:
            if self._tables:
                self._read_waiting()
            self._payloads += [payload for _, payload in found]
        else:
            if self._payloads:
                self._read_waiting()
            self._tables.append(table)
        self._positions += [position for position, _ in found]
        self._bytes += sum(len(payload) for _, payload in found)

    @property
    def are_many(self) -> bool:
        """Whether so many wait that they are to be read."""
        return len(self._positions) >= MOST_WAITING or self._bytes >= MOST_WAITING_BYTES

    def keys(self) -> Sequence[str]:
        """The keys of those that were added since they were asked for last."""
        self._read_waiting()
        read, self._read = self._read, []
        return read

    def _read_waiting(self) -> None:
        positions, payloads, tables = self._positions, self._payloads, self._tables
        self._positions, self._payloads, self._tables, self._bytes = [], [], [], 0
        if not positions:
            return
        values = Table.joined(tables) if tables else records.read_many(payloads, self._layout)[0]
        if isinstance(values, Table):
            self.profile.observe_table(values, positions)
        else:
            self.profile.observe(values, positions)
        self._read += self._keys.of(values)
