"""What was measured, row by row, and the medians of it. Measures nothing itself."""

from collections.abc import Collection, Iterable
from dataclasses import asdict, dataclass, field
from statistics import median
from typing import Any


@dataclass(frozen=True)
class Row:
    """One measurement."""

    section: str
    case: str
    """What was asked for."""
    variant: str
    """Who was asked."""
    connections: int
    """At the same time; 1 where that means nothing."""
    round: int
    values: dict[str, float]
    """Figures by name: rate (1/s), p50 and p99 (ms), and so on."""


@dataclass(frozen=True)
class Spread:
    """A figure over the rounds."""

    median: float
    lowest: float
    highest: float

    @classmethod
    def of(cls, values: Iterable[float]) -> "Spread":
        """The spread of at least one value."""
        ordered = sorted(values)
        return cls(median(ordered), ordered[0], ordered[-1])


@dataclass
class Figures:
    """Everything that a run has measured, and what it could not."""

    rows: list[Row] = field(default_factory=list)
    skipped: dict[str, str] = field(default_factory=dict)
    """Why a part was left out."""

    def add(
        self,
        section: str,
        case: str,
        variant: str,
        values: dict[str, float],
        *,
        connections: int = 1,
        number: int = 0,
        shown: Collection[str] | None = None,
    ) -> None:
        """Keep a measurement of round `number`, and print it: those figures that are `shown`, else all."""
        self.rows.append(Row(section, case, variant, connections, number, values))
        names = values.keys() if shown is None else [name for name in shown if name in values]
        if names:
            load = f"{connections:3} conn  " if connections > 1 else ""
            told = "  ".join(f"{name} {values[name]:,.4g}" for name in names)
            print(f"  {section:9} {case:22} {variant:12} {load}{told}", flush=True)

    def skip(self, part: str, reason: str) -> None:
        """Keep why a part is left out, and print it."""
        self.skipped[part] = reason
        print(f"  skipped {part}: {reason}", flush=True)

    def by_round(
        self, section: str, case: str, variant: str, name: str, connections: int
    ) -> dict[int, float]:
        """A figure by round; empty if it was not measured."""
        return {
            row.round: row.values[name]
            for row in self.rows
            if (row.section, row.case, row.variant, row.connections) == (section, case, variant, connections)
            and name in row.values
        }

    def spread(self, section: str, case: str, variant: str, name: str, connections: int = 1) -> Spread | None:
        """A figure over the rounds; None if it was not measured."""
        values = self.by_round(section, case, variant, name, connections)
        return Spread.of(values.values()) if values else None

    def ratio(
        self,
        section: str,
        over: tuple[str, str],
        under: tuple[str, str],
        name: str = "rate",
        connections: int = 1,
        under_connections: int | None = None,
    ) -> Spread | None:
        """A figure of one (case, variant) over that of another, round by round: both saw the same machine."""
        numbers = self.by_round(section, *over, name, connections)
        divisors = self.by_round(section, *under, name, under_connections or connections)
        ratios = [numbers[number] / divisors[number] for number in numbers.keys() & divisors.keys()]
        return Spread.of(ratios) if ratios else None

    def as_json(self) -> dict[str, Any]:
        """Every row, and the reasons of what is missing."""
        return {"measurements": [asdict(row) for row in self.rows], "skipped": self.skipped}
