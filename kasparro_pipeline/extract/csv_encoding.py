"""Which encoding a CSV file is in: the declared one, that of a byte order mark, or one that is found out.

Finding out never guesses between encodings that give different text: that is an error which names them.
"""

import codecs
from collections.abc import Callable
from dataclasses import dataclass

from charset_normalizer import from_bytes

from kasparro_pipeline.extract.csv_lines import codec_name
from kasparro_pipeline.extract.csv_spec import AUTO, CsvDialect
from kasparro_pipeline.extract.decompression import CHUNK, Stream
from kasparro_pipeline.extract.errors import PermanentUpstreamError
from kasparro_pipeline.extract.json_records import mark_and_encoding

SAMPLE = 256 * 1024
"""Bytes of lines that are not ASCII which are looked at."""
WIDE_SHARE = 0.2
"""Share of NUL bytes from which on a file is taken to be UTF-16: half of its Latin text is."""
CLOSE = 0.1
"""Encodings whose measures of disorder or of language differ by less fit alike."""
FEW = 10
"""Bytes beyond ASCII that leave as much doubt as certainty."""
NAMED = 6
_WIDE_SETS = ("shift_jis", "euc_jp", "gb18030", "big5", "cp949")
"""Encodings of many thousand characters, under which most bytes are some text."""


@dataclass(frozen=True, slots=True)
class Encoding:
    """The byte order mark to pass over, and the codec of what follows it: exact both ways, row by row."""

    mark: bytes
    name: str
    confidence: float | None = None
    """Of one that was found out: from 0 to 1."""


def encoding_of(spec: CsvDialect, opened: Callable[[], Stream]) -> Encoding:
    """The encoding of a file's content; `opened` gives that from its beginning.

    Raises:
        PermanentUpstreamError: the file has no byte order mark and needs one, or `auto` is not sure enough.
    """
    mark, marked = mark_and_encoding(_head(opened()))
    if spec.encoding == AUTO:
        return Encoding(mark, marked, 1.0) if mark else _found(opened, spec.min_confidence)
    if spec.encoding is None:
        return Encoding(mark, marked)
    name = codec_name(spec.encoding)
    if name in {"utf-16", "utf-32"}:
        if not marked.startswith(name):
            raise PermanentUpstreamError(
                f"the file has no byte order mark of {name}; set `encoding` to {name}-le or {name}-be"
            )
        return Encoding(mark, marked)
    return Encoding(mark if marked == name else b"", name)


def _head(stream: Stream) -> bytes:
    head = b""
    while len(head) < len(codecs.BOM_UTF32_LE) and (more := stream.read(len(codecs.BOM_UTF32_LE))):
        head += more
    return head


def _found(opened: Callable[[], Stream], least: float) -> Encoding:
    beginning, lines = _sample(opened())
    if beginning.count(0) > WIDE_SHARE * len(beginning):
        found, others = _wide(beginning)
    elif not lines:
        return Encoding(b"", "utf-8", 1.0)  # ASCII
    elif utf8 := sum(map(_is_utf8, lines)):
        # text in other encodings is hardly ever UTF-8 by chance: what is not is a mixture, or damage
        found, others = Encoding(b"", "utf-8", utf8 / len(lines)), ["a mixture"]
    else:
        found, others = _legacy(b"".join(lines))
    if found.confidence is None or found.confidence < least:
        raise PermanentUpstreamError(
            f"the file's encoding cannot be told: {', '.join([found.name, *others][:NAMED])} may be meant"
            f" (confidence {found.confidence or 0:.2f}, `min_confidence` {least}); declare it in `encoding`"
        )
    return found


def _sample(stream: Stream) -> tuple[bytes, list[bytes]]:
    """The first bytes of a file, and its first lines that are not ASCII."""
    beginning, lines, size, rest = b"", list[bytes](), 0, b""
    while size < SAMPLE and (chunk := stream.read(CHUNK)):
        beginning = beginning or chunk
        *whole, rest = (rest + chunk).replace(b"\r", b"\n").split(b"\n")
        for line in whole:
            if not line.isascii():
                lines.append(line + b"\n")
                size += len(line)
        if len(rest) > SAMPLE:
            break
    if rest and not rest.isascii() and size < SAMPLE and len(rest) <= SAMPLE:
        lines.append(rest)
    return beginning, lines


def _is_utf8(line: bytes) -> bool:
    try:
        line.decode()
    except UnicodeDecodeError:
        return False
    return True


def _wide(beginning: bytes) -> tuple[Encoding, list[str]]:
    """UTF-16 without its mark: the NULs are the high bytes of its Latin letters."""
    odd = beginning[1::2].count(0) / beginning.count(0)
    names = ["utf-16-le", "utf-16-be"]
    best, other = names if odd > 1 - odd else names[::-1]
    return Encoding(b"", best, max(odd, 1 - odd)), [other]


def _reads_otherwise(sample: bytes, name: str, text: str) -> bool:
    try:
        return sample[:SAMPLE].decode(name) != text
    except UnicodeDecodeError:
        return False


def _legacy(sample: bytes) -> tuple[Encoding, list[str]]:
    """What charset-normalizer says of bytes that are not UTF-8, and which others fit alike."""
    matches = list(from_bytes(sample[:SAMPLE]))
    if not matches:
        return Encoding(b"", "none that is known", 0.0), []
    best, text = matches[0], str(matches[0])
    rivals = [
        match.encoding
        for match in matches[1:]
        if match.chaos < best.chaos + CLOSE
        and match.coherence > best.coherence - CLOSE
        and str(match) != text
    ]
    if best.coherence < CLOSE:
        # nothing tells the language: whatever else reads the bytes may be meant
        rivals += [name for name in _WIDE_SETS if name not in rivals and _reads_otherwise(sample, name, text)]
    beyond_ascii = sum(byte > 0x7F for byte in sample)  # noqa: PLR2004 - the last byte of ASCII
    sure = (1 - best.chaos) / (1 + len(rivals)) * beyond_ascii / (beyond_ascii + FEW)
    return Encoding(b"", codec_name(best.encoding), sure), rivals
