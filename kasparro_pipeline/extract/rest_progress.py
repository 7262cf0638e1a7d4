"""What an interrupted extraction leaves behind, to go on where it stopped; as stored, it is JSON.

It may have been written by another release: what does not read as it should is no progress, and the
extraction begins anew.
"""

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, ValidationError

from kasparro_pipeline.extract.paging import Page


class Progress(BaseModel):
    """The request that comes next."""

    asked: str
    """Digest of what the source asks for: a source that asks for something else begins anew."""
    item: str
    """Key of its item."""
    window: int
    page: tuple[int | str | None, int, int]
    """Token, number and size: see `Page`."""
    digests: list[str]
    """SHA-256 of the page before it, where that is of the same list."""

    @property
    def as_page(self) -> Page:
        """The page that comes next."""
        return Page(*self.page)


def progress_of(stored: Mapping[str, Any] | None, asked: str) -> Progress | None:
    """The progress of an extraction that asked for the same; None if there is none that can be read."""
    if not stored:
        return None
    try:
        progress = Progress.model_validate(stored)
    except ValidationError:
        return None
    return progress if progress.asked == asked else None
