"""The physical lines of a CSV file: their bytes, and the text of those that somebody reads.

Lines are cut at bytes, so that one that the encoding cannot read spoils no other. What a row is belongs to
`csv_rows`.
"""

import codecs
import hashlib
import io
import re
from collections.abc import Iterator, Sequence
from typing import Any

from kasparro_pipeline.extract.decompression import Stream
from kasparro_pipeline.extract.errors import PermanentUpstreamError

BATCH_BYTES = 3 * 1024 * 1024
"""Bytes of lines that are read ahead, at least, where many are asked for."""
MAX_LINE = 256 * 1024 * 1024
"""Bytes of one line: PostgreSQL could not keep many more, and memory has to hold them."""
READ_AT_ONCE = 1 << 18
"""Bytes that are read and cut at once: so few stay in the processor's cache."""
KEPT = "kasparro.kept"
"""How bytes are decoded that the encoding does not have: each to a lone surrogate, which text never holds."""
UNDECODABLE = re.compile("[\udc00-\udcff]")
_UNDECODABLE_PARTS = re.compile("([\udc00-\udcff]+)")
_FIRST_ESCAPE = 0xDC00
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


def is_bytewise(encoding: str) -> bool:
    """Whether line breaks are single bytes, which are no part of other characters."""
    return b"\r\n".decode(encoding, "replace") == "\r\n"


class Lines:
    """The lines of a file, for the CSV reader; and those of the row under way: the row's own bytes.

    `file` is read from behind the byte order mark. Lines that begin with `comment` are passed over where a
    row may begin.
    """

    def __init__(self, file: Stream, mark: bytes, encoding: str, comment: str | None = None) -> None:
        self.encoding = encoding
        self._cutter = _Cutter(file, mark) if is_bytewise(encoding) else _DecodingCutter(file, mark, encoding)
        self._comment = comment
        self._ahead: Sequence[bytes] = ()
        self._at = 0
        """How many of those ahead were read."""
        self._by_lf = False
        """Whether those ahead, and what the cutter has begun, may have a CR within."""
        self._before: list[bytes] = []
        self._row: list[bytes] = []
        self.taken = 0
        """Lines of what was taken."""

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        while True:
            line = self._next()
            if not line:
                raise StopIteration
            text = line.decode(self.encoding, KEPT)
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
            if line := self._next():
                self._before.append(line)
        self.take()

    def take(self) -> bytes:
        """The bytes of the row that was just read, behind blank lines and comments that stand before it."""
        lines = self._before + self._row
        self.taken += len(lines)
        self._before, self._row = [], []
        return b"".join(lines)

    def take_first(self) -> bytes:
        """The bytes of its first line alone; the lines behind it are read again, as rows of their own."""
        self.put_back(self._row[1:])
        del self._row[1:]
        return self.take()

    def read_again(self) -> None:
        """Let the row that was just read be read once more."""
        self.put_back(self._row)
        self._row = []

    def many(self, most: int, *, by_lf: bool = False) -> Sequence[bytes]:
        """The next lines; none of them counts as taken yet.

        `by_lf`: they are cut at LF alone, in a third of the time. One may be several then: `texts` is None,
        and `recut` cuts it.
        """
        if len(self._ahead) - self._at < most:
            if by_lf and isinstance(self._cutter, _Cutter):
                more, self._by_lf = self._cutter.cut(BATCH_BYTES, by_lf=True), True
            else:
                more = self._cutter.cut(BATCH_BYTES)
            self._ahead, self._at = [*self._ahead[self._at :], *more], 0
        lines = self._ahead[self._at : self._at + most]
        self._at += len(lines)
        return lines

    def texts(self, lines: Sequence[bytes]) -> Sequence[str] | None:
        """The text of lines; None where bytes are not of the encoding, one is a comment, or several lines."""
        encoding = self.encoding
        if (
            self._by_lf
            and b"\r" in b"".join(lines)
            and any(b"\r" in line.removesuffix(b"\n").removesuffix(b"\r") for line in lines)
        ):
            return None
        try:
            texts = [line.decode(encoding) for line in lines]
        except UnicodeError:
            return None
        if self._comment is not None and any(text.startswith(self._comment) for text in texts):
            return None
        return texts

    def take_many(self, lines: Sequence[bytes]) -> Sequence[bytes]:
        """Lines that were just read as the bytes of rows: each is one."""
        self.taken += len(self._before) + len(lines)
        if self._before:
            lines = [b"".join([*self._before, lines[0]]), *lines[1:]]
            self._before = []
        return lines

    def put_back(self, lines: Sequence[bytes]) -> None:
        """Let the lines that were read last be read again."""
        if len(lines) <= self._at:
            self._at -= len(lines)  # they are there still: a copy for each bad row would cost its square
        else:
            self._ahead, self._at = [*lines, *self._ahead[self._at :]], 0

    def recut(self) -> None:
        """Cut those ahead at every line break, if that was not done."""
        if self._by_lf and isinstance(self._cutter, _Cutter):
            ahead = b"".join(self._ahead[self._at :]).splitlines(keepends=True)
            self._ahead, self._at, self._by_lf = ahead + self._cutter.recut(), 0, False

    @property
    def are_ahead(self) -> bool:
        """Whether there are lines that were read from the file, and not taken yet."""
        return self._at < len(self._ahead)

    def sha256(self) -> bytes:
        """SHA-256 of the file, if it was read to its end."""
        return self._cutter.digest.digest()

    def _next(self) -> bytes:
        if not self.are_ahead:
            self._ahead, self._at = self._cutter.cut(READ_AT_ONCE), 0
            if not self._ahead:
                return b""
        self._at += 1
        return self._ahead[self._at - 1]


class _Cutter:
    """Cuts a file in whose encoding line breaks are single bytes."""

    def __init__(self, file: Stream, mark: bytes) -> None:
        self._file = file
        self._begun: list[bytes] = []
        """The parts of a line whose end was not read yet."""
        self.digest = hashlib.sha256(mark)
        """Of the mark and what was read."""

    def cut(self, size: int, *, by_lf: bool = False) -> Sequence[bytes]:
        """The next lines, some `size` bytes of them and one at least; none at the end.

        `by_lf`: cut at LF alone, where there is any.
        """
        lines: list[bytes] = []
        while size > 0 or not lines:
            more = self._file.read(READ_AT_ONCE)
            if not more:
                return lines + self._end()
            self.digest.update(more)
            lines += self._ended_by(more, by_lf=by_lf)
            size -= len(more)
        return lines

    def recut(self) -> list[bytes]:
        """The lines that have ended in what was begun, if that was cut at LF alone."""
        *lines, last = b"".join(self._begun).splitlines(keepends=True) or [b""]
        self._begun = [last] if last else []
        return lines

    def _ended_by(self, more: bytes, *, by_lf: bool) -> list[bytes]:
        """The lines that end in what was read."""
        # what is quicker knows LF alone; a file without any would be one line
        quickly = b"\n" in more if by_lf else b"\r" not in more
        lines = io.BytesIO(more).readlines() if quickly else more.splitlines(keepends=True)
        begins = [] if lines[-1].endswith(b"\n") else [lines.pop()]
        if self._begun and self._begun[-1].endswith(b"\r") and not more.startswith(b"\n"):
            lines = self._end() + lines  # it was a CR without LF
        elif self._begun and lines:
            lines[0] = b"".join([*self._begun, lines[0]])
            self._begun = []
        self._begun += begins
        _require_short(sum(map(len, self._begun)))
        return lines

    def _end(self) -> list[bytes]:
        """The line that was begun, as it is."""
        line, self._begun = b"".join(self._begun), []
        return [line] if line else []


class _DecodingCutter(io.RawIOBase):
    """Cuts a file by what its bytes mean, as in UTF-16."""

    def __init__(self, file: Stream, mark: bytes, encoding: str) -> None:
        self._file = file
        self._encoding = encoding
        self._read = 0
        buffered = io.BufferedReader(self, READ_AT_ONCE)
        self._text = io.TextIOWrapper(buffered, encoding=encoding, errors=KEPT, newline="")
        self.digest = hashlib.sha256(mark)

    def cut(self, size: int) -> Sequence[bytes]:
        """The next lines, some `size` characters of them and one at least; none at the end."""
        self._read = 0
        return [self._bytes(line) for line in self._text.readlines(size)]

    def _bytes(self, line: str) -> bytes:
        parts = _UNDECODABLE_PARTS.split(line)
        return b"".join(
            bytes_of(part) if number % 2 else part.encode(self._encoding) for number, part in enumerate(parts)
        )

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:  # noqa: ANN401 - any writable buffer
        found = self._file.read(len(buffer))
        buffer[: len(found)] = found
        self.digest.update(found)
        self._read += len(found)
        _require_short(self._read - BATCH_BYTES)
        return len(found)


def _require_short(line: int) -> None:
    if line > MAX_LINE:
        raise PermanentUpstreamError(
            f"a line is longer than {MAX_LINE} bytes: this is no CSV, or its line breaks are of another"
            " encoding; set `encoding`"
        )
