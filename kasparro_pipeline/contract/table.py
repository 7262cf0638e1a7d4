"""Records of one set of keys, held column by column: the regular rows of a CSV file. Only a container."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Self


@dataclass(frozen=True, slots=True)
class Table:
    """Some records: the values of each key, in the order of the records; None for an empty cell."""

    columns: Mapping[str, Sequence[str | None]]
    length: int

    def __len__(self) -> int:
        return self.length

    @classmethod
    def joined(cls, tables: Sequence[Self]) -> Self:
        """The records of tables of the same keys, one behind the other."""
        columns = {
            name: list(chain.from_iterable(table.columns[name] for table in tables))
            for name in tables[0].columns
        }
        return cls(columns, sum(map(len, tables)))

    def part(self, start: int, stop: int) -> Self:
        """The records from `start` to before `stop`."""
        columns = {name: column[start:stop] for name, column in self.columns.items()}
        return type(self)(columns, max(0, min(stop, self.length) - start))

    def record(self, index: int) -> dict[str, str | None]:
        """One of the records."""
        return {name: column[index] for name, column in self.columns.items()}

    def __iter__(self) -> Iterator[dict[str, str | None]]:
        return map(self.record, range(self.length))
