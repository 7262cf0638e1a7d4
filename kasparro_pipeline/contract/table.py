"""Records of one set of keys, held column by column: the regular rows of a CSV file. Only a container."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Table:
    """Some records: the values of each key, in the order of the records; None for an empty cell."""

    columns: Mapping[str, Sequence[str | None]]
    length: int

    def __len__(self) -> int:
        return self.length

    def record(self, index: int) -> dict[str, str | None]:
        """One of the records."""
        return {name: column[index] for name, column in self.columns.items()}

    def __iter__(self) -> Iterator[dict[str, str | None]]:
        return map(self.record, range(self.length))
