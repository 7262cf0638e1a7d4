"""How an answer is framed, revalidated (RFC 9110) and compressed. What it says stands elsewhere.

The members of an answer are JSON already; `meta`, which differs each time, is its last member. So one answer
can be kept and sent again: everything before `meta` is compressed once, and `meta` is put behind it.
"""

import json
import zlib
from collections.abc import Mapping
from functools import lru_cache

import zstandard
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from kasparro_api.operation.context import RequestContext

SMALLEST_COMPRESSED = 1000
"""Bytes; compressing less saves nothing."""
LONGEST_REMEMBERED = 200
"""Bytes of an Accept-Encoding."""
_GZIP_HEADER = b"\x1f\x8b\x08\0\0\0\0\0\0\xff"
_GZIP_LEVEL = 4
_ZSTD_LEVEL = 3


def to_json(value: object) -> bytes:
    """A value of this process as JSON."""
    return json.dumps(value, separators=(",", ":")).encode()


class Answer(Response):
    """A JSON object that can be sent any number of times, each time with a `meta` of its own."""

    def __init__(
        self,
        members: Mapping[str, bytes],
        headers: Mapping[str, str] | None = None,
        status: int = 200,
        *,
        version: str | None = None,
        etag: str | None = None,
        following: str | None = None,
    ) -> None:
        """Frame `members`, whose values are JSON already.

        `version` is that of the data which it was made from: with one it may be kept (see `access.cache`).
        `etag` is the entity tag without quotes. `following` is path and query of the next page.
        """
        self.status_code = status
        self.background = None
        self.body = b""
        self.version = version
        self.etag = etag
        self._following = following
        self.prefix = b"{" + b"".join(b'"%s":%s,' % (name.encode(), v) for name, v in members.items())
        fixed = {"vary": "Accept, Accept-Encoding", **(headers or {})}
        self._fixed = [(name.lower().encode(), value.encode("latin-1")) for name, value in fixed.items()]
        self.raw_headers = [(b"content-type", b"application/json"), *self._fixed]
        self._compressed: dict[str, tuple[bytes, int]] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002 - ASGI
        """Send it, or 304 if the client has it."""
        coding = "identity"
        known = None
        host = b""
        for name, value in scope["headers"]:
            if name == b"host":
                host = value
            elif name == b"accept-encoding" and len(self.prefix) >= SMALLEST_COMPRESSED:
                coding = negotiated_coding(value)
            elif name == b"if-none-match":
                known = value
        headers = self.raw_headers
        if self.etag is not None:
            # each coding is a representation of its own, with its own strong tag
            tag = self.etag if coding == "identity" else f"{self.etag}-{coding}"
            headers = [*headers, (b"etag", b'"%s"' % tag.encode())]
            if known is not None and _matches(known, self.etag):
                await send({"type": "http.response.start", "status": 304, "headers": headers[1:]})
                await send({"type": "http.response.body", "body": b""})
                return
        if self._following is not None:  # RFC 8288; absolute, under the name that the client used
            base = scope["scheme"].encode() + b"://" + host if host else b""
            headers = [*headers, (b"link", b'<%s%s>; rel="next"' % (base, self._following.encode()))]
        start, end = self._body(coding, _meta(scope["state"]["context"]))
        headers = [*headers, (b"content-length", b"%d" % (len(start) + len(end)))]
        if coding != "identity":
            headers.append((b"content-encoding", coding.encode()))
        await send({"type": "http.response.start", "status": self.status_code, "headers": headers})
        # Two parts, so that the large one is not copied for the sake of the small one
        await send({"type": "http.response.body", "body": start, "more_body": True})
        await send({"type": "http.response.body", "body": end})

    @property
    def size(self) -> int:
        """Bytes that it takes in memory, about."""
        return len(self.prefix) + sum(len(body) for body, _ in self._compressed.values()) + 1000

    def _body(self, coding: str, meta: bytes) -> tuple[bytes, bytes]:
        if coding == "identity":
            return self.prefix, meta
        if coding not in self._compressed:
            self._compressed[coding] = _COMPRESS[coding](self.prefix)
        start, checksum = self._compressed[coding]
        return start, _END[coding](meta, checksum, len(self.prefix) + len(meta))


def answer(
    members: Mapping[str, bytes],
    headers: Mapping[str, str] | None = None,
    status: int = 200,
    *,
    following: str | None = None,
) -> Answer:
    """An answer that is not kept: a JSON object of `members`, whose values are JSON already."""
    return Answer(members, {"cache-control": "no-store", **(headers or {})}, status, following=following)


def negotiated_coding(accepted: bytes) -> str:
    """`zstd`, `gzip` or `identity`: the one that Accept-Encoding prefers (RFC 9110, 12.5.3)."""
    # A long one is not remembered: it could be made to fill the memory
    return _negotiated(accepted) if len(accepted) <= LONGEST_REMEMBERED else _negotiated.__wrapped__(accepted)


@lru_cache(256)
def _negotiated(accepted: bytes) -> str:
    weights: dict[str, float] = {}
    for entry in accepted.decode("latin-1").lower().split(","):
        name, _, parameters = entry.partition(";")
        weights[name.strip()] = quality_of(parameters)
    best = max(("zstd", "gzip"), key=lambda name: weights.get(name, weights.get("*", 0.0)))
    return best if weights.get(best, weights.get("*", 0.0)) > 0 else "identity"


def quality_of(parameters: str) -> float:
    """The weight among the parameters of an entry of an Accept header; 1 if it has none, 0 if it is none."""
    for parameter in parameters.split(";"):
        name, _, value = parameter.strip().partition("=")
        if name == "q":
            try:
                return float(value)
            except ValueError:
                return 0.0
    return 1.0


def _meta(context: RequestContext) -> bytes:
    # put together by hand: the id holds no character that JSON escapes
    text = f'"meta":{{"request_id":"{context.request_id}","api_latency_ms":{context.latency_ms()}}}}}'
    return text.encode()


def _matches(known: bytes, etag: str) -> bool:
    """Whether If-None-Match names the tag in any coding; comparison is weak (RFC 9110, 13.1.2)."""
    tags = [tag.strip().removeprefix("W/").strip('"') for tag in known.decode("latin-1").split(",")]
    return any(tag in {"*", etag} or tag.rpartition("-")[0] == etag for tag in tags)


def _start_gzip(prefix: bytes) -> tuple[bytes, int]:
    """The member up to a byte boundary, and the checksum so far (RFC 1952)."""
    deflate = zlib.compressobj(_GZIP_LEVEL, zlib.DEFLATED, -zlib.MAX_WBITS)
    data = _GZIP_HEADER + deflate.compress(prefix) + deflate.flush(zlib.Z_FULL_FLUSH)
    return data, zlib.crc32(prefix)


def _end_gzip(rest: bytes, checksum: int, size: int) -> bytes:
    deflate = zlib.compressobj(_GZIP_LEVEL, zlib.DEFLATED, -zlib.MAX_WBITS)
    data = deflate.compress(rest) + deflate.flush()
    return data + zlib.crc32(rest, checksum).to_bytes(4, "little") + (size % 2**32).to_bytes(4, "little")


def _start_zstd(prefix: bytes) -> tuple[bytes, int]:
    """The frame's blocks, without the last one."""
    stream = zstandard.ZstdCompressor(level=_ZSTD_LEVEL).compressobj()
    return stream.compress(prefix) + stream.flush(zstandard.COMPRESSOBJ_FLUSH_BLOCK), 0


def _end_zstd(rest: bytes, checksum: int, size: int) -> bytes:  # noqa: ARG001 - the frame has neither
    """The last block, uncompressed: a header of three bytes, then the text (RFC 8878, 3.1.1.2)."""
    return (len(rest) << 3 | 1).to_bytes(3, "little") + rest


_COMPRESS = {"gzip": _start_gzip, "zstd": _start_zstd}
_END = {"gzip": _end_gzip, "zstd": _end_zstd}
