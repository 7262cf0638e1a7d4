"""The records that are loaded: seeded, so that equal settings give equal bytes. Not who loads them.

Which row is a duplicate, invalid or changed follows from its number alone, so that every count that a load
must report is known beforehand.
"""

import csv
import random
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

COLUMNS = ("id", "title", "summary", "url", "category", "author", "price", "published_at")
INSTANT = "%Y-%m-%dT%H:%M:%SZ"
FORMAT = 2
"""Raised with each change of what is written, so that kept files are made again."""

_FIRST = datetime(2023, 1, 1, tzinfo=UTC)
_SPAN = 2 * 365 * 86_400
_TOPICS = ("business", "climate", "culture", "energy", "health", "markets", "science", "sport")
_VOCABULARY = """
absence account advance airport balance barrier battery border breach budget
capital carbon census charter climate council current debate decline deficit
desert device district economy election engine estuary export factory ferry
fibre forecast forest freight glacier harvest highway import island
"""
_WORDS = _VOCABULARY.split()
_BAD_DATES = ("yesterday", "31/12/2024", "2024-02-30T10:00:00Z", "")
Row = list[str]


def is_duplicate(number: int) -> bool:
    """Whether a row is a later version of an earlier id: 2%."""
    return number % 50 == 49


def is_invalid(number: int) -> bool:
    """Whether a row breaks the contract, by an empty title or a bad date: 0.5%."""
    return number % 200 == 123


def is_changed(number: int) -> bool:
    """Whether a row is another in the changed file: 1%, none of them a duplicate or invalid."""
    return number % 100 == 7


def rows(count: int) -> Iterator[Row]:
    """The rows of the first file."""
    chance = random.Random(20261121)  # noqa: S311 - figures, not secrets
    for number in range(1, count + 1):
        if is_duplicate(number):
            # of one that the changed file leaves alone, so that no change is undone by its duplicate
            yield _row(chance, _plain_number(chance, number), note="corrected")
        elif is_invalid(number):
            yield _spoiled(chance, _row(chance, number))
        else:
            yield _row(chance, number)


def changed(count: int) -> Iterator[Row]:
    """The same rows, 1% of them with another summary."""
    for number, row in enumerate(rows(count), 1):
        if is_changed(number):
            row[2] += ", revised"
        yield row


def changed_count(count: int) -> int:
    """How many records differ in `changed`."""
    return sum(map(is_changed, range(1, count + 1)))


def delta(count: int, size: int, number: int) -> Iterator[Row]:
    """A delta of a table of `count` rows, by its number: 80% changes records, 20% is new. No id twice."""
    chance = random.Random(f"delta {number}")  # noqa: S311 - figures, not secrets
    known: set[int] = set()
    while len(known) < size - size // 5:
        known.add(_plain_number(chance, count))
    first_new = count + 1 + number * size
    for place, one in enumerate(sorted(known)):
        yield _row(chance, one, note=f"revision {number}")
        if place % 4 == 3:
            yield _row(chance, first_new + place // 4)


def few(first: int, count: int) -> Iterator[Row]:
    """Some valid rows, numbered from `first`."""
    chance = random.Random(f"few {first}")  # noqa: S311 - figures, not secrets
    return (_row(chance, number) for number in range(first, first + count))


def records(count: int) -> Iterator[dict[str, object]]:
    """What the API serves: all valid, each with the time of its last change, which rises."""
    chance = random.Random(8)  # noqa: S311 - figures, not secrets
    for number in range(1, count + 1):
        cells: dict[str, object] = dict(zip(COLUMNS, _row(chance, number), strict=True))
        cells["price"] = float(str(cells["price"]))
        moment = _FIRST + timedelta(seconds=_SPAN * number / count)
        yield {**cells, "updated_at": f"{moment:{INSTANT}}"}


def prepared(folder: Path, name: str, make: Callable[[], Iterable[Row]]) -> Path:
    """The CSV file of that name; it is made if it is not there."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / name
    if not path.exists():
        unfinished = path.with_suffix(".unfinished")
        with unfinished.open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            writer.writerow(COLUMNS)
            writer.writerows(make())
        unfinished.rename(path)
    return path


def _plain_number(chance: random.Random, below: int) -> int:
    """A number whose row is valid, no duplicate, and the same in the changed file."""
    while True:
        number = chance.randrange(1, below)
        if not (is_duplicate(number) or is_invalid(number) or is_changed(number)):
            return number


def _row(chance: random.Random, number: int, note: str = "") -> Row:
    title = " ".join(chance.choices(_WORDS, k=4)).capitalize()
    summary = " ".join(chance.choices(_WORDS, k=7))
    if chance.random() < 0.05:
        summary += ', or "so they say"'
    published = _FIRST + timedelta(seconds=chance.randrange(_SPAN))
    return [
        str(number),
        f"{title} ({note})" if note else title,
        summary,
        f"https://example.org/a/{number:08d}",
        chance.choice(_TOPICS),
        f"author {chance.randrange(5000)}",
        f"{chance.randrange(100, 100_000) / 100:.2f}",
        f"{published:{INSTANT}}",
    ]


def _spoiled(chance: random.Random, row: Row) -> Row:
    if chance.random() < 0.5:
        row[1] = ""
    else:
        row[7] = chance.choice(_BAD_DATES)
    return row
