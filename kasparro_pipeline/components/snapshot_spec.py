"""What a `defs.yaml` may say about snapshots, for the kinds of source that can deliver one."""

from typing import Literal, Self

from pydantic import Field, model_validator

from kasparro_pipeline.contract.spec import StrictModel
from kasparro_pipeline.warehouse.deletions import Rules

ACCEPT_TAG = "kasparro/accept_deletions"
"""The tag of a run that accepts the newest snapshot whatever it deletes."""


class SnapshotSpec(StrictModel):
    """Whether an extraction says what exists, and when that is believed."""

    mode: Literal["append", "snapshot"] = "append"
    """`append`: a record stays. `snapshot`: a complete extraction (a file; all pages of an API) says what
    exists, and what it no longer holds is marked deleted: docs/snapshots.md has the rules."""
    max_deleted_share: float = Field(default=0.2, ge=0, le=1)
    """Of a snapshot: part of the living records that may be missing in it; with more, none is deleted and the
    check `snapshot_deletions` fails. Five may always be."""
    min_rows_share: float = Field(default=0.8, ge=0, le=1)
    """Of a snapshot: rows that it must have, as a part of those of the last accepted one. With fewer it
    counts as cut off, none is deleted, and the check fails. Five may always be missing."""

    @model_validator(mode="after")
    def _guards_are_for_snapshots(self) -> Self:
        guards = [name for name in type(self).guards() if name in self.model_fields_set]
        if guards and self.mode != "snapshot":
            raise ValueError(f"`{guards[0]}` is for `mode: snapshot`, which this source is not")
        return self

    @classmethod
    def guards(cls) -> tuple[str, ...]:
        """The keys that mean something for a snapshot alone."""
        return ("max_deleted_share", "min_rows_share")

    def rules(self, *, by_partition: bool, ends_with_line_break: bool = False) -> Rules | None:
        """When a snapshot of the source may delete; None if it takes none."""
        if self.mode != "snapshot":
            return None
        return Rules(by_partition, self.max_deleted_share, self.min_rows_share, ends_with_line_break)
