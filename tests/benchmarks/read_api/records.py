"""The records of the benchmark: seeded, the same in every run. Knows no database.

Words follow Zipf's law, so that a search can be for common, medium and rare ones; sources, categories,
authors and tags are skewed too, and one source stopped publishing long before the others began.
"""

import hashlib
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import accumulate
from typing import Any

GENERATOR = 3
"""Rises with every change of what is generated, so that kept data is made anew."""

CATEGORIES = (
    *("markets", "defi", "regulation", "equities", "macro", "security"),
    *("earnings", "layer2", "stablecoins", "funding", "governance", "research"),
)
TAGS = tuple(f"tag_{number:02}" for number in range(60))
LANGUAGES = ("en", "en", "en", "en", "de", "fr", "is")
BEGIN = datetime(2023, 1, 1, tzinfo=UTC)
SPAN = timedelta(days=3 * 365)
PERIODS = 25
"""Documents of a source, in order of time: what came together lies together, as in production."""
_VOCABULARY = 30_000
_AUTHORS = 2_000


@dataclass(frozen=True)
class Publisher:
    """A source of the benchmark."""

    name: str
    kind: str
    share: float
    """Of all records."""
    begin: datetime = BEGIN
    span: timedelta = SPAN
    periods: int = PERIODS


PUBLISHERS = (
    Publisher("coingecko_api", "price", 0.55),
    Publisher("newsfeed_rss", "article", 0.27),
    Publisher("ledger_csv", "entry", 0.13),
    Publisher("filings_api", "filing", 0.049),
    Publisher("closed_exchange", "price", 0.001, datetime(2019, 1, 1, tzinfo=UTC), timedelta(days=90), 1),
)
STOPPED = PUBLISHERS[-1]
LATECOMER = Publisher("latecomer_api", "article", 0.25)
"""A further source, loaded while others read."""


@dataclass(frozen=True)
class Page:
    """The records that one document holds."""

    source: str
    partition_key: str
    records: list[dict[str, Any]]


def _words() -> tuple[str, ...]:
    generator = random.Random(7)  # noqa: S311 - no secrets: the same in each run
    found: dict[str, None] = {}
    while len(found) < _VOCABULARY:
        syllables = generator.randint(2, 4)
        word = "".join(
            generator.choice("bcdfghklmnprstvz") + generator.choice("aeiou") for _ in range(syllables)
        )
        found[word] = None
    # English, because the index stems English words and passes over its stop words
    return ("market", "token", "yield", "network", "exchange", "liquidity", "inflation", *found)


WORDS = _words()
"""By rank: the first one is in a third of all records, the last ones in some dozens of a million."""
_WORD_WEIGHTS = list(accumulate(1 / (rank + 5) for rank in range(len(WORDS))))
AUTHORS = tuple(f"{first} {last}".title() for first, last in zip(WORDS[7:], WORDS[2007:], strict=False))[
    :_AUTHORS
]
"""By rank, the most frequent first."""
_AUTHOR_WEIGHTS = list(accumulate(1 / (rank + 3) for rank in range(_AUTHORS)))
_TAG_WEIGHTS = list(accumulate(1 / (rank + 1) ** 1.5 for rank in range(len(TAGS))))
_CATEGORY_WEIGHTS = list(accumulate(1 / (rank + 1) ** 0.9 for rank in range(len(CATEGORIES))))


def pages(publisher: Publisher, rows: int) -> Iterator[Page]:
    """The documents of a source in order of time, for a table of `rows` records in all."""
    count = round(rows * publisher.share)
    step = publisher.span / publisher.periods
    for period in range(publisher.periods):
        first, last = (count * edge // publisher.periods for edge in (period, period + 1))
        begin = publisher.begin + period * step
        generator = random.Random(f"{publisher.name} {period}")  # noqa: S311 - the same in each run
        records = [_record(generator, publisher, number, begin, step) for number in range(first, last)]
        yield Page(publisher.name, begin.date().isoformat(), records)


def by_time(publishers: Sequence[Publisher], rows: int) -> Iterator[Page]:
    """The documents of some sources, in the order in which they would have come."""
    streams = [pages(publisher, rows) for publisher in publishers]
    while streams:
        for stream in list(streams):
            page = next(stream, None)
            if page is None:
                streams.remove(stream)
            else:
                yield page


def _record(
    generator: random.Random, publisher: Publisher, number: int, begin: datetime, step: timedelta
) -> dict[str, Any]:
    key = f"{publisher.name[:3]}-{number:08}"
    title = _text(generator, 45, 75)
    published = begin + timedelta(seconds=generator.randrange(int(step.total_seconds())))
    tags = generator.choices(TAGS, cum_weights=_TAG_WEIGHTS, k=generator.randint(0, 4))
    return {
        "id": key,
        "title": title,
        "summary": _text(generator, 95, 145),
        "url": f"https://example.org/{publisher.name}/{key}/{title[:20].replace(' ', '-').lower()}",
        "category": generator.choices(CATEGORIES, cum_weights=_CATEGORY_WEIGHTS)[0],
        "author": generator.choices(AUTHORS, cum_weights=_AUTHOR_WEIGHTS)[0]
        if generator.random() < 0.85
        else None,
        "tags": list(dict.fromkeys(tags)),
        "amount": round(generator.lognormvariate(5, 2), 4) if generator.random() < 0.8 else None,
        "currency": "USD",
        "published_at": published.strftime("%Y-%m-%dT%H:%M:%SZ"),  # whole seconds: there are real ties
        "lang": generator.choice(LANGUAGES),
        "score": round(generator.random(), 4),
        "rank": generator.randrange(5000),
        "symbol": generator.choice(WORDS)[:6].upper(),
        "verified": generator.random() < 0.5,
    }


def _text(generator: random.Random, shortest: int, longest: int) -> str:
    """Words up to a length in characters between the two."""
    length = generator.randint(shortest, longest)
    words = generator.choices(WORDS, cum_weights=_WORD_WEIGHTS, k=length // 4)
    return " ".join(words)[: length + 1].rpartition(" ")[0].capitalize()


def fingerprint() -> str:
    """What the generated data depends on, beside the number of rows."""
    return hashlib.sha256(f"{GENERATOR} {PUBLISHERS}".encode()).hexdigest()[:12]
