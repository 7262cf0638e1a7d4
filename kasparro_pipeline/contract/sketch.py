"""What a profile keeps of the values of one field: counts with a first example, sizes, a sketch.

All of it is bounded, adds up exactly, and is stored as JSON. Which field it is, is the profile's business.
"""

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from itertools import pairwise
from typing import Any, Self
from zlib import crc32

import orjson

from kasparro_pipeline.contract.mapping import is_encodable

MAX_VALUES = 50
"""Different values of a field that are all kept, with their counts."""
SAMPLE = 20
"""Values that are kept of a field with more: those with the smallest hashes, so that the samples of two
fields with the same values hold the same values."""
STEPS = (100, 1000)
"""Values of a batch that are looked at before the others, and before those behind them."""
LOOK = 500
"""Hashes that one look tells to be too large, all of them."""
MAX_TEXT = 100
"""Characters of a value that is kept; of a longer one the beginning and a hash."""

Place = tuple[int, int]
"""Document and position of a record; document 0 is the one that is being read."""
PlaceOf = Callable[[int], Place]
"""The place of the record that a value came in, by the value's index."""


@dataclass(frozen=True, slots=True)
class Seen:
    """How often something came, and the first example of it; a profile of the first form has no example."""

    count: int
    example: str | None = None
    place: Place | None = None

    def __add__(self, other: "Seen") -> "Seen":
        first, second = sorted((self, other), key=_order)
        return Seen(first.count + second.count, first.example, first.place)

    def as_json(self) -> list[Any]:
        """Count, example and position."""
        return [self.count, self.example, self.place[1]] if self.place else [self.count]

    @classmethod
    def of(cls, stored: Sequence[Any], document: int) -> Self:
        """As stored with a document."""
        count, example, position = (*stored, None, None)[:3]
        return cls(count, example, None if position is None else (document, position))


def _order(seen: Seen) -> tuple[bool, Place, str]:
    return seen.place is None, seen.place or (0, 0), seen.example or ""


@dataclass(slots=True)
class Sketch:
    """The different values of a field, as text: all of them with their counts, or a sample if they are many.

    The count of a kept value is exact also in a sample: a value that belongs to those with the smallest
    hashes of all belonged to them ever since it came.
    """

    kept: dict[str, Seen] = field(default_factory=dict)
    is_sample: bool = False

    def observe(self, texts: Sequence[str], joined: str, place_of: PlaceOf) -> Counter[str] | None:
        """Count texts, of which `joined` has one a line.

        Returns:
            How often each came, if few have come so far, and they are kept as they are.
        """
        are_kept = (
            "\x00" not in joined
            and (joined.isascii() or is_encodable(joined))
            and (len(joined) <= MAX_TEXT or max(map(len, texts)) <= MAX_TEXT)
        )
        if not are_kept:
            texts = list(map(shown, texts))
            joined = "\n".join(texts)
        counts: Counter[str] = Counter()
        hashes: Sequence[int] | None = None
        # the first ones tell whether there are many values; if so, most of the others need no counting
        steps = (0, len(texts)) if self.is_sample else (0, *STEPS, len(texts))
        for start, end in pairwise(steps):
            if start >= len(texts):
                break
            if self.is_sample:
                hashes = hashes or _hashes(texts, joined)
                places: Sequence[int] = _at_most(self._largest(), hashes, start, end)
                came = Counter([texts[place] for place in places])
            else:
                places = range(start, min(end, len(texts)))
                came = Counter(texts[start:end])
                counts += came
            if came:
                self._keep(came, lambda text, places=places: place_of(_first(texts, text, places)))  # type: ignore[misc]
        return counts if are_kept and not self.is_sample else None

    def _largest(self) -> int:
        """The largest hash of a value that belongs to the sample."""
        return max(map(_hash, self.kept)) if len(self.kept) >= SAMPLE else 2**32

    def _keep(self, counts: Counter[str], place_of: Callable[[str], Place]) -> None:
        """Keep what came, or a sample of it and of what was there."""
        left = counts.keys() | self.kept.keys()
        if self.is_sample or len(left) > MAX_VALUES:
            left = self._sample(left)
        for text in counts.keys() & left:
            known = self.kept.get(text)
            place = known.place if known else place_of(text)
            self.kept[text] = Seen(counts[text] + (known.count if known else 0), None, place)

    def add(self, other: "Sketch") -> None:
        """Add the values that came elsewhere."""
        for text, seen in other.kept.items():
            self.kept[text] = self.kept[text] + seen if text in self.kept else seen
        if self.is_sample or other.is_sample or len(self.kept) > MAX_VALUES:
            self.is_sample = True
            self._sample(self.kept.keys())

    def as_json(self) -> dict[str, Any]:
        """The sketch as stored; empty without values."""
        if not self.kept:
            return {}
        kept = {text: [seen.count, *(seen.place or (0,))[1:]] for text, seen in self.kept.items()}
        return {"kept": kept} | ({"is_sample": True} if self.is_sample else {})

    @classmethod
    def of(cls, stored: Mapping[str, Any], document: int) -> Self:
        """As stored with a document."""
        kept = {
            text: Seen(count, None, (document, place[0]) if place else None)
            for text, (count, *place) in stored.get("kept", {}).items()
        }
        return cls(kept, stored.get("is_sample", False))

    def _sample(self, texts: Collection[str]) -> set[str]:
        """Keep the values with the smallest hashes of these and no others; returns them."""
        ordered = sorted(zip(map(_hash, texts), texts, strict=True))
        chosen = {text for _, text in ordered[:SAMPLE]}
        self.kept = {text: seen for text, seen in self.kept.items() if text in chosen}
        self.is_sample = True
        return chosen


@dataclass(slots=True)
class Sizes:
    """How large lists or objects came: how many of each order of magnitude, and the largest."""

    orders: dict[int, int] = field(default_factory=dict)
    """Number by binary digits of the size."""
    largest: int = 0
    place: Place | None = None

    def observe(self, sizes: Sequence[int], place_of: PlaceOf) -> None:
        """Count sizes."""
        for order, count in Counter(map(int.bit_length, sizes)).items():
            self.orders[order] = self.orders.get(order, 0) + count
        largest = max(sizes)
        place = place_of(sizes.index(largest))
        if self.place is None or (-largest, place) < (-self.largest, self.place):
            self.largest, self.place = largest, place

    def add(self, other: "Sizes") -> None:
        """Add the sizes that came elsewhere."""
        for order, count in other.orders.items():
            self.orders[order] = self.orders.get(order, 0) + count
        if other.place and (not self.place or (-other.largest, other.place) < (-self.largest, self.place)):
            self.largest, self.place = other.largest, other.place

    def over(self, limit: int) -> int:
        """How many, at least, were larger than the limit."""
        if self.largest <= limit:
            return 0
        return max(1, sum(count for order, count in self.orders.items() if 2 ** (order - 1) > limit))

    def as_json(self) -> dict[str, Any]:
        """The sizes as stored; empty without any."""
        if self.place is None:
            return {}
        orders = {str(order): count for order, count in self.orders.items()}
        return {"orders": orders, "largest": self.largest, "position": self.place[1]}

    @classmethod
    def of(cls, stored: Mapping[str, Any], document: int) -> Self:
        """As stored with a document."""
        if not stored:
            return cls()
        orders = {int(order): count for order, count in stored["orders"].items()}
        return cls(orders, stored["largest"], (document, stored["position"]))


def overlap(one: Sketch, other: Sketch) -> float | None:
    """Which share of the values of the field with fewer the other has too, 0 to 1; None without values.

    Of samples it is an estimate, over the part of the hashes that both cover.
    """
    last = min(
        (max(map(_hash, sketch.kept), default=0) for sketch in (one, other) if sketch.is_sample),
        default=2**32,
    )
    first, second = ({text for text in sketch.kept if _hash(text) <= last} for sketch in (one, other))
    fewer = min(len(first), len(second))
    return len(first & second) / fewer if fewer else None


def shown(value: object, longest: int = MAX_TEXT) -> str:
    """A value as a text that PostgreSQL can store, of `longest` characters at most."""
    is_plain = isinstance(value, (str, int, float, Decimal)) and not isinstance(value, bool)
    text = str(value) if is_plain else _as_json(value)
    if len(text) > longest:
        digest = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:12]
        text = f"{text[: longest - 13]}…{digest}"
    if "\x00" in text or not is_encodable(text):
        return text.encode("utf-8", "backslashreplace").decode().replace("\x00", "\\u0000")
    return text


def json_size(value: object) -> int:
    """Bytes of a list or object as JSON."""
    try:
        return len(orjson.dumps(value, default=str))
    except orjson.JSONEncodeError:
        # lone surrogates, integers of more than 64 bits, or nested very deep: about as large as its parts
        return sum(_sizes_of_parts(value))


def _sizes_of_parts(value: object) -> Iterator[int]:
    waiting = [value]
    while waiting:
        one = waiting.pop()
        if isinstance(one, dict):
            waiting += [*one, *one.values()]
            yield 2 * len(one) + 2
        elif isinstance(one, list):
            waiting += one
            yield len(one) + 2
        else:
            yield len(str(one).encode("utf-8", "surrogatepass"))


def _as_json(value: object) -> str:
    try:
        return json.dumps(value, default=str, ensure_ascii=False)
    except RecursionError:
        return "nested too deep to be shown"


def _first(texts: Sequence[str], text: str, places: Sequence[int]) -> int:
    """The first of some places, which rise, where a text stands."""
    return next(place for place in places if texts[place] == text)


def _at_most(largest: int, hashes: Sequence[int], start: int, end: int) -> Sequence[int]:
    """The places from `start` to before `end` of small enough hashes: of many values soon very few."""
    places: list[int] = []
    for begin in range(start, min(end, len(hashes)), LOOK):
        some = hashes[begin : min(begin + LOOK, end)]
        if min(some) <= largest:
            places += [place for place, code in enumerate(some, begin) if code <= largest]
    return places


def _hashes(texts: Sequence[str], joined: str) -> list[int]:
    """The hash of each text."""
    lines = joined.encode().split(b"\n")
    return list(map(crc32, lines)) if len(lines) == len(texts) else list(map(_hash, texts))


def _hash(text: str) -> int:
    return crc32(text.encode())
