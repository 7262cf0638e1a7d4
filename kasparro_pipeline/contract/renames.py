"""Suspects renames: a promised field is gone, and one came that looks like it. Each states its confidence.

Three kinds of evidence, each 0 to 1, are combined like independent witnesses:
confidence = (1 - (1 - 0.8 name) (1 - 0.9 values) (1 - 0.2 type)) x (0.5 + 0.5 fit).
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from difflib import SequenceMatcher
from functools import lru_cache
from heapq import nlargest
from itertools import pairwise

from kasparro_pipeline.contract import fits
from kasparro_pipeline.contract.fits import Promise
from kasparro_pipeline.contract.observed import Field
from kasparro_pipeline.contract.profile import Profile
from kasparro_pipeline.contract.sketch import overlap

THRESHOLD = Decimal("0.6")
"""The least confidence of a suspicion."""
NAME_WEIGHT, VALUES_WEIGHT, TYPE_WEIGHT = 0.8, 0.9, 0.2
DISTINCTIVE = 8
"""Different values from which on an overlap counts fully: that two fields hold the same three says little."""
SAME_NAME_ELSEWHERE = 0.9
"""Likeness of two paths whose last key is the same."""
SHORTENED = 0.9
"""Likeness of a word and its beginning: cap and capitalization."""
LEAST_SHORTENED = 3
"""Letters of such a beginning."""
MAX_CANDIDATES = 50
"""Fields that came that are compared closely with one that is gone."""
MAX_LETTERS = 200
"""Letters of a path that are compared, the last ones: the beginning is where it is nested."""
_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+")


@dataclass(frozen=True, slots=True)
class Rename:
    """A suspicion: what came at `new` was promised at `old`."""

    old: str
    new: str
    confidence: Decimal


def suspected(
    gone: Sequence[Promise], added: Mapping[str, Field], profile: Profile, before: Profile | None
) -> list[Rename]:
    """The likeliest pairs of a field that is gone and one that came, each field in one pair at most.

    `before` is a profile in which the gone fields were still there.
    """
    signs = {path: _pairs_of_letters(path) for path in added}
    pairs = [
        Rename(promise.path, path, confidence)
        for promise in gone
        for path, came in _candidates(promise.path, added, signs, before)
        if (confidence := _confidence(promise, path, came, before, text_only=profile.text_only)) >= THRESHOLD
    ]
    chosen: list[Rename] = []
    for pair in sorted(pairs, key=lambda pair: (-pair.confidence, pair.old, pair.new)):
        if not any(pair.old == one.old or pair.new == one.new for one in chosen):
            chosen.append(pair)
    return chosen


def _candidates(
    old: str, added: Mapping[str, Field], signs: Mapping[str, frozenset[str]], before: Profile | None
) -> Iterable[tuple[str, Field]]:
    """The fields worth a closer look: of too many, those with the most letters and values in common."""
    if len(added) <= MAX_CANDIDATES:
        return added.items()
    letters = _pairs_of_letters(old)
    earlier = before.root.came_at(old) if before else None
    values = earlier.values.kept.keys() if earlier else set()

    def nearness(item: tuple[str, Field]) -> float:
        others, kept = signs[item[0]], item[1].values.kept
        in_common = 2 * len(letters & others) / (len(letters) + len(others) or 1)
        if not values or values.isdisjoint(kept):
            return in_common
        return in_common + len(values & kept.keys()) / min(len(values), len(kept))

    return nlargest(MAX_CANDIDATES, added.items(), key=nearness)


def _pairs_of_letters(path: str) -> frozenset[str]:
    text = "".join(_words(path))
    return frozenset(map("".join, pairwise(text))) or frozenset({text})


def combined(*, name: float, values: float, kind: float, fit: float) -> Decimal:
    """The confidence that the evidence gives, to two digits."""
    doubt = (1 - NAME_WEIGHT * name) * (1 - VALUES_WEIGHT * values) * (1 - TYPE_WEIGHT * kind)
    return Decimal((1 - doubt) * (0.5 + 0.5 * fit)).quantize(Decimal("0.01"))


def likeness(one: str, other: str) -> float:
    """How alike two paths are, 0 to 1: by their letters, by their words, and by their last keys."""
    one, other = sorted((one, other))
    first, second = _words(one), _words(other)
    by_letters = SequenceMatcher(None, "".join(first), "".join(second)).ratio()
    fewer, more = sorted((set(first), set(second)), key=len)
    common = sum(max(_likeness_of_words(word, others) for others in more) for word in fewer)
    by_words = (common / len(fewer) + common / (len(fewer) + len(more) - common)) / 2
    last, other_last = one.rpartition(".")[2], other.rpartition(".")[2]
    if (one, other) != (last, other_last):
        return max(by_letters, by_words, SAME_NAME_ELSEWHERE * likeness(last, other_last))
    return max(by_letters, by_words)


def _likeness_of_words(one: str, other: str) -> float:
    shorter, longer = sorted((one, other), key=len)
    if shorter == longer:
        return 1.0
    return SHORTENED if len(shorter) >= LEAST_SHORTENED and longer.startswith(shorter) else 0.0


def _confidence(
    promise: Promise, path: str, came: Field, before: Profile | None, *, text_only: bool
) -> Decimal:
    values = {name: seen.count for name, seen in came.classes.items() if name != "null"}
    whole = sum(values.values())
    if not whole:
        return Decimal(0)
    good = sum(n for name, n in values.items() if fits.verdict(promise, name, text_only=text_only) == "fits")
    return combined(
        name=likeness(promise.path, path),
        values=_same_values(promise.path, came, before),
        # that a text is a text says nothing
        kind=0.0 if promise.kind in {"string", "json", fits.KEY} else good / whole,
        fit=good / whole,
    )


def _same_values(old: str, came: Field, before: Profile | None) -> float:
    earlier = before.root.came_at(old) if before else None
    share = overlap(earlier.values, came.values) if earlier else None
    if earlier is None or share is None:
        return 0.0
    different = min(len(earlier.values.kept), len(came.values.kept))
    return share * min(1.0, different / DISTINCTIVE)


@lru_cache
def _words(path: str) -> tuple[str, ...]:
    """The words of a path in lower case: camelCase, snake_case and dots separate them."""
    path = path[-MAX_LETTERS:]
    return tuple(word.lower() for word in _WORD.findall(path)) or (path.lower(),)
