"""Wanted figures, and whether they were reached. What is wanted stands in each benchmark's own `goals`."""

from collections.abc import Callable
from dataclasses import dataclass

from tests.benchmarks.figures import Spread

FLOOR = "the floor"
"""Instead of a wanted figure."""


@dataclass(frozen=True)
class Goal:
    """A figure that is wanted, and the one that was measured."""

    name: str
    wanted: str
    figure: float | None
    """None if it was not measured."""
    met: bool | None
    shown: str
    """The figure with its parts, for people."""


def _middle(spread: Spread) -> float:
    return spread.median


def at_least(
    name: str, wanted: float, found: dict[str, Spread], of: Callable[[Spread], float] = _middle
) -> Goal:
    """A goal that the lowest of some figures, by name of where each was taken, must reach."""
    worst = min((of(spread) for spread in found.values()), default=None)
    met = None if worst is None else worst >= wanted
    return Goal(name, f"≥ {wanted:g}", worst, met, _shown(found))


def at_most(
    name: str,
    wanted: float,
    found: dict[str, Spread],
    of: Callable[[Spread], float] = _middle,
    parts: int | None = None,
) -> Goal:
    """A goal that the highest of some figures may not exceed; only the `parts` highest are shown."""
    worst = max((of(spread) for spread in found.values()), default=None)
    met = None if worst is None else worst <= wanted
    if parts is not None:
        ordered = sorted(found.items(), key=lambda item: of(item[1]), reverse=True)
        found = dict(ordered[:parts])
    return Goal(name, f"≤ {wanted:g}", worst, met, _shown(found))


def told(name: str, found: dict[str, Spread]) -> Goal:
    """A figure that is no goal: how near a goal could be come to at all."""
    return Goal(
        name, FLOOR, min((spread.median for spread in found.values()), default=None), None, _shown(found)
    )


def _shown(found: dict[str, Spread]) -> str:
    parts = []
    for where, spread in found.items():
        moved = f" ({spread.lowest:.3g} to {spread.highest:.3g})" if spread.lowest != spread.highest else ""
        parts.append(f"{where}: {spread.median:.3g}{moved}")
    return "; ".join(parts) or "not measured"


def named(where: str, spread: Spread | None) -> dict[str, Spread]:
    """A figure with its place, as the functions above take it; nothing if it was not measured."""
    return {} if spread is None else {where: spread}
