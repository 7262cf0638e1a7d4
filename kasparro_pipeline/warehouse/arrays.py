"""Arrays of many numbers as statements are given them."""

from collections.abc import Iterable


def numbers(values: Iterable[int]) -> str:
    """Numbers as PostgreSQL writes an array of them: the driver takes ten times as long for each."""
    return f"{{{','.join(map(str, values))}}}"
