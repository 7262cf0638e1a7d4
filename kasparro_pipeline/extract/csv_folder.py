"""CSV files in folders of this machine."""

import glob
import hashlib
import os
from collections.abc import Callable
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path

from kasparro_pipeline.extract.csv_place import SETTLE_SECONDS, FoundFile, ReceivedFile
from kasparro_pipeline.extract.documents import KnownDocument
from kasparro_pipeline.extract.errors import PermanentUpstreamError, TransientUpstreamError


class Folder:
    """The files that a path with wildcards names."""

    def __init__(self, pattern: str) -> None:
        self._pattern = pattern
        parts = Path(pattern).parts
        wildcard = next((i for i, part in enumerate(parts) if glob.has_magic(part)), len(parts) - 1)
        self._folder = Path(*parts[:wildcard])

    def listing(self, _known: Callable[[str], KnownDocument | None] | None = None) -> list[FoundFile]:
        """The files, by name. Those that may still grow are left out.

        Raises:
            PermanentUpstreamError: the folder does not exist, which is not the same as holding no file.
        """
        if not self._folder.is_dir():
            raise PermanentUpstreamError(
                "the folder does not exist; create it or correct `files`", str(self._folder)
            )
        found = []
        now = datetime.now(UTC).timestamp()
        for name in glob.iglob(self._pattern, recursive=True):  # noqa: PTH207 - a pattern, possibly absolute
            path = Path(name)
            if not path.is_file():
                continue
            state = path.stat()
            if abs(now - state.st_mtime) >= SETTLE_SECONDS:
                found.append(FoundFile(path.relative_to(self._folder).as_posix(), state.st_size))
        return sorted(found, key=lambda file: file.name)

    def state(self, found: FoundFile) -> str:
        """The file's digest: times can be the same for other bytes."""
        with self._path(found.name).open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()

    def receive(self, name: str) -> ReceivedFile:
        """The file itself.

        Raises:
            PermanentUpstreamError: it is gone, or its name leads out of the source's folder.
        """
        path = self._path(name)
        if not path.is_file():
            raise PermanentUpstreamError("the file is gone; its records stay as they are", str(path))
        stack = ExitStack()
        file = stack.enter_context(path.open("rb"))
        before = os.fstat(file.fileno())
        sha = hashlib.file_digest(file, "sha256")

        def require_same() -> None:
            try:
                after = path.stat()
            except FileNotFoundError as error:
                raise TransientUpstreamError("the file went away while it was read") from error
            if (after.st_size, after.st_mtime_ns) != (before.st_size, before.st_mtime_ns):
                raise TransientUpstreamError("the file changed while it was read")

        uri = path.as_posix()
        headers = {"path": uri, "state": sha.hexdigest()}
        return ReceivedFile(file, uri, sha.digest(), before.st_size, headers, require_same, stack)

    def _path(self, name: str) -> Path:
        path = self._folder / name
        if not path.resolve().is_relative_to(self._folder.resolve()):
            raise PermanentUpstreamError("the file is outside the source's folder", name)
        return path
