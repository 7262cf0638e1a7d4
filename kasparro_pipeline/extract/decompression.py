"""Compressed files as streams: what a file is by its first bytes, its content, and an end to bombs.

Knows nothing of what is inside. Nothing is unpacked to a disk, and memory stays flat.
"""

import gzip
import hashlib
import io
import zipfile
import zlib
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import BinaryIO, Literal, Protocol

import zstandard

from kasparro_pipeline.extract.errors import PermanentUpstreamError

Kind = Literal["none", "gzip", "zip", "zstd"]
_MAGIC: dict[bytes, Kind] = {
    b"\x1f\x8b": "gzip",  # RFC 1952 2.3.1
    b"PK\x03\x04": "zip",  # APPNOTE.TXT 4.3.7
    b"PK\x05\x06": "zip",  # an archive without members, 4.3.16
    b"\x28\xb5\x2f\xfd": "zstd",  # RFC 8878 3.1.1
}
RATIO_COUNTS_FROM = 16 * 1024 * 1024
"""Bytes of content from which on their ratio to those of the file is looked at: small ones do no harm."""
MAX_MEMBERS = 10_000
"""Members of an archive."""
CHUNK = 1 << 20
ENCRYPTED = 1
"""Bit of a member's flags, APPNOTE.TXT 4.4.4."""
_ZSTD_INPUT = 1024
"""Bytes that are decompressed at once: of Zstandard, they may become 32 MB (RFC 8878 3.1.1.2.4)."""
_BROKEN = (EOFError, OSError, zlib.error, zstandard.ZstdError, zipfile.BadZipFile, NotImplementedError)


@dataclass(frozen=True, slots=True)
class Limits:
    """How much content is taken from a file."""

    max_bytes: int
    max_ratio: int
    """Bytes of content for each byte of the file."""


def kind_of(file: BinaryIO) -> Kind:
    """How a file is compressed, by its first bytes."""
    file.seek(0)
    head = file.read(4)
    return next((kind for magic, kind in _MAGIC.items() if head.startswith(magic)), "none")


class Stream(Protocol):
    """What can be read from its beginning to its end."""

    def read(self, size: int, /) -> bytes:
        """At most `size` bytes; none at the end."""


def content(file: BinaryIO, kind: Kind, limits: Limits) -> Stream:
    """What is in a file that is no archive, from its beginning.

    Reading raises PermanentUpstreamError where the file is cut or damaged, or has more content than `limits`.
    """
    size = file.seek(0, io.SEEK_END)
    file.seek(0)
    opened: Stream = file
    if kind == "gzip":
        opened = gzip.GzipFile(fileobj=file)
    elif kind == "zstd":
        opened = _Zstd(file)
    return _Content(opened, kind, limits, size)


def digest(stream: Stream) -> tuple[bytes, int]:
    """SHA-256 and size of what a stream has, which is read to its end."""
    found, size = hashlib.sha256(), 0
    while chunk := stream.read(CHUNK):
        found.update(chunk)
        size += len(chunk)
    return found.digest(), size


class Archive:
    """The members of a ZIP file, by name.

    Raises:
        PermanentUpstreamError: the archive is cut or damaged, or has two members of one name.
    """

    def __init__(self, file: BinaryIO, limits: Limits) -> None:
        self._size = file.seek(0, io.SEEK_END)
        self._limits = limits
        with _damage_told("zip"):
            self._zip = zipfile.ZipFile(file)
        self.names = [entry.filename for entry in self._zip.infolist() if not entry.is_dir()]
        if len(self.names) > MAX_MEMBERS:
            raise PermanentUpstreamError(f"the archive has {len(self.names)} members, at most {MAX_MEMBERS}")
        if doubled := sorted(name for name, times in Counter(self.names).items() if times > 1):
            raise PermanentUpstreamError(f"members that come twice in the archive: {', '.join(doubled)}")

    def member(self, name: str, before: int = 0) -> Stream:
        """A member's content, as in `content`; `before`: bytes of the members that were read before it."""
        entry = self._zip.getinfo(name)
        if entry.flag_bits & ENCRYPTED:
            raise PermanentUpstreamError(f"the member {name} is encrypted; send it without a password")
        with _damage_told("zip"):
            opened = self._zip.open(entry)
        return _Content(opened, "zip", self._limits, self._size, before)


class _Content:
    """A stream that ends with an error where there is too much in it, or where it is damaged."""

    def __init__(self, opened: Stream, kind: Kind, limits: Limits, size: int, before: int = 0) -> None:
        self._opened, self._kind, self._limits, self._size = opened, kind, limits, size
        self._count = before

    def read(self, size: int, /) -> bytes:
        with _damage_told(self._kind):
            found = self._opened.read(size)
        self._count += len(found)
        if self._count > self._limits.max_bytes:
            raise PermanentUpstreamError(
                f"more than `max_bytes`, {self._limits.max_bytes} bytes; raise it if such files are meant"
            )
        if (
            self._kind != "none"
            and self._count > RATIO_COUNTS_FROM
            and self._count > self._limits.max_ratio * self._size
        ):
            raise PermanentUpstreamError(
                f"the {self._kind} file has more than {self._limits.max_ratio} times its size in it, as bombs"
                " do; raise `max_ratio` if such files are meant"
            )
        return found


class _Zstd:
    """Zstandard frames, one after the other (RFC 8878 3), of which the last one has to be whole."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._frame: zstandard.ZstdDecompressionObj | None = None
        self._input = self._output = b""
        self._given = 0

    def read(self, size: int, /) -> bytes:
        while self._given == len(self._output):
            if not self._input and not (chunk := self._file.read(_ZSTD_INPUT)):
                if self._frame is not None:
                    raise EOFError("the last frame does not end")
                return b""
            chunk, self._input = self._input or chunk, b""
            if self._frame is None:
                self._frame = zstandard.ZstdDecompressor().decompressobj()
            self._output, self._given = self._frame.decompress(chunk), 0
            if self._frame.eof:
                self._input, self._frame = self._frame.unused_data, None
        found = self._output[self._given : self._given + size]
        self._given += len(found)
        return found


@contextmanager
def _damage_told(kind: Kind) -> Iterator[None]:
    try:
        yield
    except _BROKEN as error:
        if kind == "none":
            raise
        raise PermanentUpstreamError(
            f"the {kind} file is cut, damaged or of another kind: {str(error) or type(error).__name__};"
            " nothing behind what was read is taken, send it again"
        ) from error
