"""Records of one set of keys, held column by column: the regular rows of a CSV file. Only a container."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Self


@dataclass(frozen=True, slots=True)
class Table:
    """Some records: the values of each key, in the order of the records; None for an empty cell."""

    columns: Mapping[str, Sequence[str | None]]
    length: int

    def __len__(self) -> int:
        return self.length

    def part(self, start: int, stop: int) -> Self:
        """The records from `start` to before `stop`."""
        columns = {name: column[start:stop] for name, column in self.columns.items()}
        return type(self)(columns, max(0, min(stop, self.length) - start))

    def record(self, index: int) -> dict[str, str | None]:
        """One of the records."""
        return {name: column[index] for name, column in self.columns.items()}

    def __iter__(self) -> Iterator[dict[str, str | None]]:
        return map(self.record, range(self.length))
