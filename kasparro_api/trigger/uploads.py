"""Storing an uploaded file in the folder of its source, whole or not at all. Nothing is launched here."""

import asyncio
import glob
import hashlib
import os
import re
import secrets
import time
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass
from fnmatch import fnmatchcase
from http import HTTPStatus
from pathlib import Path
from typing import BinaryIO

from kasparro_api.problems import ParametersError, ProblemError
from kasparro_api.sql import Statement, rendered, table
from kasparro_pipeline.warehouse.tables import document

NAME_PATTERN = r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,127}"
NAME_RULE = "1 to 128 letters, digits, dots, underscores and hyphens, with no dot in front"
BLOCK = 1024 * 1024
"""Bytes of an upload that are held in memory."""
STALL_SECONDS = 60
"""A client that sends nothing for as long has gone away."""
SLOWEST = 10_000
"""Bytes a second that an upload needs on average, after the first STALL_SECONDS."""
SETTLED_SECONDS = 5
"""To the sensor, a file that was written a moment ago may still grow; an upload is whole at once."""

# The digest of a document is that of its content; of a compressed file the headers have the file's own
_LOADED = rendered(
    "select coalesce(headers->>'file_sha256', encode(sha256, 'hex')) = %s from {documents}"
    " where source = %s and location = %s and loaded_at is not null order by id desc limit 1",
    documents=table(document.name),
)


@dataclass(frozen=True)
class Place:
    """The folder of a source's files, and the pattern of their names."""

    folder: Path
    pattern: str


@dataclass(frozen=True)
class StoredFile:
    """A file as it was stored."""

    name: str
    size: int
    sha256: bytes


def is_loaded(source: str, file: StoredFile) -> Statement:
    """At most one row, one column: whether the newest document of the file's name has its bytes."""
    return Statement(_LOADED, (file.sha256.hex(), source, file.name))


def place_of(pattern: str) -> Place:
    """Where files of a source's pattern belong, on this machine.

    Raises:
        ProblemError: not into one folder of this machine.
    """
    folder, name = os.path.split(pattern)
    if "://" in pattern or not name or glob.has_magic(folder):
        raise ProblemError(
            HTTPStatus.CONFLICT,
            "The source takes no uploads",
            f"Its files are {pattern or 'nowhere'}: uploads need one folder of this machine, and wildcards "
            "in the file name alone.",
            kind="uploads-impossible",
        )
    if not Path(folder).is_dir():
        raise _not_writable("it does not exist")
    return Place(Path(folder), name)


def require_name(name: str, place: Place) -> None:
    """Refuse a name that is not safe, or that the source would not look at.

    Raises:
        ParametersError: with the rule, and the source's pattern.
    """
    if re.fullmatch(NAME_PATTERN, name) and fnmatchcase(name, place.pattern):
        return
    message = f"Not a name of this source's files, which match {place.pattern}."
    entry = {"type": "value_error", "loc": ("query", "name"), "msg": message, "input": name}
    raise ParametersError([entry], {"name": f"{NAME_RULE}; and matching {place.pattern}."})


async def store(
    chunks: AsyncIterator[bytes], place: Place, name: str, *, limit: int, replace: bool
) -> StoredFile:
    """Store what comes, under the name, once all of it is on the disk; at most `limit` bytes.

    Raises:
        ProblemError: too large, empty, stalled, a file of that name exists, or the folder cannot be written.
    """
    target = place.folder / name
    temporary = place.folder / f".{name}.upload-{secrets.token_hex(8)}"
    digest, size = hashlib.sha256(), 0
    try:
        if not replace and target.exists():
            raise _exists(name)
        with temporary.open("xb") as file:
            async for block in _blocks(chunks):
                size += len(block)
                require_size(size, limit)
                digest.update(block)
                await asyncio.to_thread(file.write, block)
            if not size:
                raise ProblemError(
                    HTTPStatus.UNPROCESSABLE_ENTITY,
                    "The body is empty",
                    "Send the file's bytes as the body.",
                    kind="empty-body",
                )
            await asyncio.to_thread(_to_disk, file)
        await asyncio.to_thread(_publish, temporary, target, replace=replace)
    except FileExistsError:
        raise _exists(name) from None
    except OSError as error:
        raise _not_writable(os.strerror(error.errno or 0)) from error
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
    return StoredFile(name, size, digest.digest())


def require_size(size: int, limit: int) -> None:
    """Refuse more bytes than an upload may have.

    Raises:
        ProblemError: 413.
    """
    if size > limit:
        raise ProblemError(
            HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
            "The file is too large",
            f"A file may have {limit:,} bytes. Split it, or have KASPARRO_API_UPLOAD_LIMIT raised.",
            kind="too-large",
        )


async def _blocks(chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """What comes, in blocks that are worth a write; a client that sends hardly anything is sent away."""
    block = bytearray()
    size, began = 0, time.monotonic()
    while True:
        # A client that trickles would hold its place, and a file on the disk, for ever
        left = began + STALL_SECONDS + size / SLOWEST - time.monotonic()
        try:
            async with asyncio.timeout(min(STALL_SECONDS, left)):
                chunk = await anext(chunks, None)
        except TimeoutError:
            raise ProblemError(
                HTTPStatus.REQUEST_TIMEOUT,
                "The upload stalled",
                f"{size:,} bytes came within {time.monotonic() - began:.0f} s; nothing is kept. Send the "
                f"file again: at least {SLOWEST:,} bytes a second, without a pause of {STALL_SECONDS} s.",
                kind="upload-stalled",
            ) from None
        if chunk is None:
            break
        size += len(chunk)
        block += chunk
        if len(block) >= BLOCK:
            yield bytes(block)
            block.clear()
    if block:
        yield bytes(block)


def _to_disk(file: BinaryIO) -> None:
    file.flush()
    os.fsync(file.fileno())


def _publish(temporary: Path, target: Path, *, replace: bool) -> None:
    """Give the whole file its name in one step.

    Raises:
        FileExistsError: there is one already, and it is not to be replaced.
    """
    settled = time.time() - SETTLED_SECONDS
    os.utime(temporary, (settled, settled))
    if replace:
        temporary.replace(target)
    else:
        target.hardlink_to(temporary)  # unlike a rename, it never takes the place of another upload
    with suppress(OSError):  # not every system opens a folder
        folder = os.open(target.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def _exists(name: str) -> ProblemError:
    return ProblemError(
        HTTPStatus.CONFLICT,
        "The file exists",
        f"{name} exists already, and stays as it is. Choose another name, or send `replace=true`.",
        kind="file-exists",
    )


def _not_writable(reason: str) -> ProblemError:
    return ProblemError(
        HTTPStatus.SERVICE_UNAVAILABLE,
        "The file cannot be stored",
        f"The source's folder cannot be written where this API runs: {reason}.",
        kind="storage-unavailable",
    )
