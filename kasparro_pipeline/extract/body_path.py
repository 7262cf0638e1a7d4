"""Finds what a body says beside its records: keys joined by dots, and the index of an entry of a list.

`meta.next`, `links[0].href` and `errors[-1].code` are paths; a leading `$.`, as JSONPath has it, means
nothing. Paths into records are the contract's business, in `contract.mapping`.
"""

import re

from kasparro_pipeline.contract.mapping import MISSING, value_at

_INDEX = re.compile(r"\[(-?\d{1,9})\]\.?")


def value_in(body: object, path: str) -> object:
    """The value at a path of a body, or MISSING."""
    keys_and_indexes = _INDEX.split(path.removeprefix("$").removeprefix("."))
    value = body
    for number, part in enumerate(keys_and_indexes):
        if number % 2 == 0:
            value = value_at(value, part.removesuffix("."), {}) if part else value
        elif isinstance(value, list) and -len(value) <= int(part) < len(value):
            value = value[int(part)]
        else:
            return MISSING
    return value
