"""The keys of many records at once, without a look at anything else of them."""

from collections.abc import Sequence
from dataclasses import dataclass

from kasparro_pipeline.contract.field_spec import VersionSpec
from kasparro_pipeline.contract.mapping import DOCUMENT_PREFIX
from kasparro_pipeline.contract.reading import Reader, Records
from kasparro_pipeline.contract.record_hash import RECORD_HASH
from kasparro_pipeline.contract.spec import Contract


@dataclass(frozen=True, slots=True)
class Keys:
    """How the key of a record is read."""

    paths: tuple[str, ...]

    @property
    def columns(self) -> tuple[str, ...] | None:
        """The columns of a table that keys are read from; None: from all of them."""
        return None if RECORD_HASH in self.paths else self.paths

    def of(self, records: Records) -> Sequence[str]:
        """The source_id of each record; anything where there is none."""
        return Reader(records, {}, set()).keys(self.paths)


def keys_by_record(contract: Contract) -> Keys | None:
    """How keys are read, if the outcome of a record follows from the record alone.

    None if the contract reads anything of the document that it comes in.
    """
    paths = [*contract.key_paths, *(contract.path_of(name) for name in contract.fields)]
    if isinstance(contract.version, VersionSpec):
        paths.append(contract.version.path)
    if any(path.startswith(DOCUMENT_PREFIX) for path in paths):
        return None
    return Keys(contract.key_paths)
