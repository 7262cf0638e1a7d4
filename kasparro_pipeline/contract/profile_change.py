"""The profile of a document that repeats most of another one: from the other's, not from all records again.

What the other had and this one has not is taken away, what only this one has is added. For formats without
types alone (CSV): their profiles have no sizes, of which the largest could not be taken away.
"""

from collections.abc import Mapping
from zlib import crc32

from kasparro_pipeline.contract.observed import Field
from kasparro_pipeline.contract.profile import VERSION, Profile
from kasparro_pipeline.contract.sketch import Place, Seen, Sketch


def can_change(stored: Mapping[str, object]) -> bool:
    """Whether a stored profile is of the form that `changed` takes."""
    root = stored.get("root")
    is_flat = isinstance(root, Mapping) and not root.get("is_mapping", False)
    return stored.get("version") == VERSION and bool(stored.get("text_only")) and is_flat


def positions(base: Profile) -> set[int]:
    """Positions of the records that the profile takes examples from."""
    seen = (
        one for _, field in base.root.walk() for one in (*field.classes.values(), *field.values.kept.values())
    )
    return {one.place[1] for one in seen if one.place}


def changed(base: Profile, gone: Profile, came: Profile, moved: Mapping[int, int]) -> Profile:
    """The profile of `base` without the records of `gone` and with those of `came`.

    `moved` has the new position of each record that stays, as far as `base` takes examples from it. An
    example that went is not replaced by another one of the records that stay.
    """
    left = Profile(
        text_only=True, records=base.records - gone.records, root=_less(base.root, gone.root, moved)
    )
    _limit_samples(came.root, base.root)
    return Profile.of([(0, left.as_json()), (0, came.as_json())])


def _less(base: Field, gone: Field, moved: Mapping[int, int]) -> Field:
    left = Field(
        classes=_fewer(base.classes, gone.classes, moved),
        values=Sketch(_fewer(base.values.kept, gone.values.kept, moved), base.values.is_sample),
    )
    for key, below in base.fields.items():
        rest = _less(below, gone.fields.get(key, Field()), moved)
        if rest.classes:
            left.fields[key] = rest
    return left


def _fewer(base: Mapping[str, Seen], gone: Mapping[str, Seen], moved: Mapping[int, int]) -> dict[str, Seen]:
    left: dict[str, Seen] = {}
    for name, seen in base.items():
        count = seen.count - (gone[name].count if name in gone else 0)
        if count > 0:
            place: Place | None = None
            if seen.place and seen.place[1] in moved:
                place = 0, moved[seen.place[1]]
            left[name] = Seen(count, seen.example if place else None, place)
    return left


def _limit_samples(came: Field, base: Field) -> None:
    """Leave values to the sample of a field only as far as the base's sample covers their hashes.

    Beyond it, the base may have had the same value, and nobody counted it there.
    """
    for key, field in came.fields.items():
        known = base.fields.get(key)
        if known is not None and known.values.is_sample and known.values.kept:
            last = max(crc32(text.encode()) for text in known.values.kept)
            kept = {text: one for text, one in field.values.kept.items() if crc32(text.encode()) <= last}
            field.values = Sketch(kept, is_sample=True)
