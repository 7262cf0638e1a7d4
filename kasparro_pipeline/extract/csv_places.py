"""Which place the files of a source are in, by how their path begins."""

from collections.abc import Mapping

from kasparro_pipeline.extract.auth import credentials
from kasparro_pipeline.extract.csv_address import Address
from kasparro_pipeline.extract.csv_folder import Folder
from kasparro_pipeline.extract.csv_place import Place
from kasparro_pipeline.extract.csv_spec import CsvFiles
from kasparro_pipeline.extract.csv_store import Bucket


def place_of(spec: CsvFiles, secrets: Mapping[str, str]) -> Place:
    """The place of a source's files; `secrets` has the environment variables that the spec names.

    Raises:
        PermanentUpstreamError: one of them is not set.
    """
    if spec.store is not None:
        return Bucket(spec.files, spec.store, spec.http, secrets, spec.max_bytes)
    if spec.scheme:
        return Address(spec.files, spec.http, credentials(spec.auth, secrets), spec.max_bytes)
    return Folder(spec.files)
