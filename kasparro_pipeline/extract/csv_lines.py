"""The physical lines of a CSV file, as bytes and as text, without losing a byte of either.

Lines are cut at bytes, so that one that the encoding cannot read spoils no other. What a row is belongs to
`csv_rows`.
"""

import codecs
import hashlib
import io
import re
from collections import deque
from collections.abc import Iterator, Sequence
from typing import Any

from kasparro_pipeline.extract.decompression import Stream
from kasparro_pipeline.extract.errors import PermanentUpstreamError

BATCH_CHARACTERS = 3 * 1024 * 1024
"""Text that is read at once, up to the end of a line."""
MAX_LINE = 256 * 1024 * 1024
"""Bytes of one line: PostgreSQL could not keep many more, and memory has to hold them."""
READ_AT_ONCE = 1 << 16
KEPT = "kasparro.kept"
"""How bytes are decoded that the encoding does not have: each to a lone surrogate, which text never holds."""
UNDECODABLE = re.compile("[\udc00-\udcff]")
_UNDECODABLE_PARTS = re.compile("([\udc00-\udcff]+)")
_FIRST_ESCAPE = 0xDC00
_ASCII = bytes(range(128))
_STATEFUL = re.compile(r"utf-7|hz|iso2022.*|.*punycode|idna|.*unicode[_-]escape|undefined|mbcs|oem")
"""What a byte means in these depends on the lines before it, or they are no encodings of files."""


def _keep(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeDecodeError):
        raise error
    return "".join(chr(_FIRST_ESCAPE + byte) for byte in error.object[error.start : error.end]), error.end


codecs.register_error(KEPT, _keep)


def codec_name(declared: str) -> str:
    """The name of an encoding as Python knows it, without a byte order mark.

    Raises:
        LookupError: there is none of that name.
        ValueError: rows in it cannot be read one by one.
    """
    io.TextIOWrapper(io.BytesIO(), encoding=declared)  # Python also has codecs that give no text
    name = codecs.lookup(declared).name.removesuffix("-sig")
    if _STATEFUL.fullmatch(name):
        raise ValueError("rows in it cannot be read one by one; convert the file to UTF-8")
    return name


def bytes_of(undecodable: str) -> bytes:
    """The bytes that were decoded as KEPT says."""
    return bytes(ord(character) - _FIRST_ESCAPE for character in undecodable)


def count(payloads: bytes, encoding: str) -> int:
    """How many lines whole rows take: the line breaks in their bytes. A break is LF, CR or CR LF."""
    if "\n".encode(encoding) == b"\n":
        return payloads.count(b"\n") + payloads.count(b"\r") - payloads.count(b"\r\n")
    text = payloads.decode(encoding, KEPT)
    return text.count("\n") + text.count("\r") - text.count("\r\n")


class Lines:
    """The lines of a file, for the CSV reader; and those of the row under way: the row's own bytes.

    `file` is read from behind the byte order mark. Lines that begin with `comment` are passed over where a
    row may begin.
    """

    def __init__(self, file: Stream, mark: bytes, encoding: str, comment: str | None = None) -> None:
        self.encoding = encoding
        # where line breaks are single bytes, lines are cut as Latin-1, which has a character for each byte
        self._bytewise = b"\r\n".decode(encoding, "replace") == "\r\n"
        self._ascii = self._bytewise and _ASCII.decode(encoding, "replace") == _ASCII.decode("ascii")
        self._bounded = _Bounded(file)
        cut_as = "latin-1" if self._bytewise else encoding
        buffered = io.BufferedReader(self._bounded, READ_AT_ONCE)
        self._cut = io.TextIOWrapper(buffered, encoding=cut_as, errors=KEPT, newline="")
        self._comment = comment
        self._again: deque[str] = deque()
        self._before: list[str] = []
        self._row: list[str] = []
        self._digest = hashlib.sha256(mark)
        self.taken = 0
        """Lines of what was taken."""

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        while True:
            line = self._again.popleft() if self._again else self._next()
            text = self._text(line)
            if self._row or self._comment is None or not text.startswith(self._comment):
                self._row.append(line)
                return text
            self._before.append(line)

    def pass_over(self) -> None:
        """What was just read is no row, but a blank line: it belongs to what is taken next."""
        self._before += self._row
        self._row = []

    def skip(self, lines: int) -> None:
        """Take some lines, whatever they are."""
        for _ in range(lines):
            if line := (self._again.popleft() if self._again else next(self._cut, "")):
                self._before.append(line)
        self.take()

    def take(self) -> bytes:
        """The bytes of the row that was just read, behind blank lines and comments that stand before it."""
        lines = self._before + self._row
        payload = b"".join(map(self._bytes, lines))
        self.taken += len(lines)
        self._before, self._row = [], []
        self._digest.update(payload)
        return payload

    def take_first(self) -> bytes:
        """The bytes of its first line alone; the lines behind it are read again, as rows of their own."""
        self.put_back(self._row[1:])
        del self._row[1:]
        return self.take()

    def read_again(self) -> None:
        """Let the row that was just read be read once more."""
        self.put_back(self._row)
        self._row = []

    def many(self, most: int) -> list[str]:
        """The next lines, as they are cut; none of them counts as taken yet."""
        if not self._again:
            self._bounded.reset()
            lines = self._cut.readlines(BATCH_CHARACTERS)
            if len(lines) <= most:
                return lines
            self._again.extend(lines)
        take = self._again.popleft
        return [take() for _ in range(min(most, len(self._again)))]

    def texts(self, lines: Sequence[str]) -> Sequence[str] | None:
        """The text of cut lines; None where bytes are not of the encoding, or one is a comment."""
        try:
            if not self._bytewise:
                "".join(lines).encode(self.encoding)
            elif not self._ascii or not "".join(lines).isascii():
                lines = [line.encode("latin-1").decode(self.encoding) for line in lines]
        except UnicodeError:
            return None
        if self._comment is not None and any(line.startswith(self._comment) for line in lines):
            return None
        return lines

    def bytes_of_many(self, lines: Sequence[str]) -> list[bytes]:
        """The bytes of cut lines, none of which counts as taken."""
        if self._bytewise:
            return [line.encode("latin-1") for line in lines]
        return list(map(self._bytes, lines))

    def take_many(self, lines: Sequence[str]) -> list[bytes]:
        """The bytes of cut lines that are a row each."""
        payloads = self.bytes_of_many(lines)
        if self._before:
            payloads[0] = b"".join(map(self._bytes, self._before)) + payloads[0]
            self.taken += len(self._before)
            self._before = []
        self.taken += len(lines)
        self._digest.update(b"".join(payloads))
        return payloads

    def put_back(self, lines: Sequence[str]) -> None:
        """Let cut lines be read again."""
        self._again.extendleft(reversed(lines))

    @property
    def are_ahead(self) -> bool:
        """Whether there are lines that were read from the file, and not taken yet."""
        return bool(self._again)

    def sha256(self) -> bytes:
        """SHA-256 of the file, if it was read to its end."""
        digest = self._digest.copy()
        digest.update(
            b"".join(map(self._bytes, self._before))
        )  # blank lines and comments behind the last row
        return digest.digest()

    def _next(self) -> str:
        self._bounded.reset()
        return next(self._cut)

    def _text(self, line: str) -> str:
        if not self._bytewise or (self._ascii and line.isascii()):
            return line
        return line.encode("latin-1").decode(self.encoding, KEPT)

    def _bytes(self, line: str) -> bytes:
        if self._bytewise:
            return line.encode("latin-1")
        parts = _UNDECODABLE_PARTS.split(line)
        return b"".join(
            bytes_of(part) if number % 2 else part.encode(self.encoding) for number, part in enumerate(parts)
        )


class _Bounded(io.RawIOBase):
    """A file of which not more is read at once than a batch and the longest line."""

    def __init__(self, file: Stream) -> None:
        self._file = file
        self._read = 0

    def readable(self) -> bool:
        return True

    def reset(self) -> None:
        self._read = 0

    def readinto(self, buffer: Any) -> int:  # noqa: ANN401 - any writable buffer
        found = self._file.read(len(buffer))
        buffer[: len(found)] = found
        self._read += len(found)
        if self._read > BATCH_CHARACTERS + MAX_LINE:
            raise PermanentUpstreamError(
                f"a line is longer than {MAX_LINE} bytes: this is no CSV, or its line breaks are of another"
                " encoding; set `encoding`"
            )
        return len(found)
