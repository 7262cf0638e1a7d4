"""The whole selection as a file: NDJSON or CSV by COPY, in blocks, over connections of its own."""

import asyncio
import zlib
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from http import HTTPStatus
from typing import TYPE_CHECKING, Literal

import psycopg
import zstandard
from fastapi import Request, Response
from starlette.types import Receive, Scope, Send

from kasparro_api import problems
from kasparro_api.answers import negotiated_coding, quality_of
from kasparro_api.data import as_of, selection
from kasparro_api.data.facets import declared_attributes
from kasparro_api.data.parameters import ExportParameters
from kasparro_api.data.requests import read_query
from kasparro_api.operation.context import client_gone
from kasparro_api.sql import Statement

if TYPE_CHECKING:
    from kasparro_api.database import Database

Format = Literal["json", "ndjson", "csv"]
MEDIA_TYPES: dict[str, Format] = {
    "application/json": "json",
    "application/x-ndjson": "ndjson",
    "application/jsonl": "ndjson",
    "text/csv": "csv",
}
"""What Accept may ask for; of those that it likes the same, the first one is given."""
CONTENT_TYPES = {"ndjson": "application/x-ndjson", "csv": "text/csv; charset=utf-8; header=present"}


def wanted_format(request: Request) -> Format:
    """The format that the path's extension names, or else Accept prefers (RFC 9110, 12.5.1).

    Raises:
        ProblemError: 406, the client accepts none of those that there are.
    """
    extension = request.scope["path"].rpartition(".")[2]
    if extension in {"json", "ndjson", "csv"}:
        return extension  # type: ignore[no-any-return]
    accepted = request.headers.get("accept", "*/*")
    if accepted == "*/*":
        return "json"
    weights: dict[str, float] = {}
    for entry in accepted.lower().split(","):
        media_type, _, parameters = entry.strip().partition(";")
        weights[media_type.strip()] = quality_of(parameters)
    best: tuple[float, Format | None] = (0.0, None)
    for media_type, file_format in MEDIA_TYPES.items():
        ranges = (media_type, f"{media_type.partition('/')[0]}/*", "*/*")  # the most specific one counts
        quality = next((weights[each] for each in ranges if each in weights), 0.0)
        if quality > best[0]:
            best = (quality, file_format)
    if best[1] is None:
        detail = "This path answers with application/json, application/x-ndjson or text/csv."
        raise problems.ProblemError(
            HTTPStatus.NOT_ACCEPTABLE, "Not acceptable", detail, kind="not-acceptable"
        )
    return best[1]


async def stream(request: Request, file_format: Format) -> Response:
    """Begin an export.

    Raises:
        ParametersError: a parameter is unknown, or has a value that is not allowed.
        psycopg.Error: the database is away, or every connection for exports is taken.
    """
    query = request.scope["query_string"]
    parameters, chosen = read_query(query, ExportParameters, await declared_attributes(request, query))
    await as_of.settle(request, chosen.as_of)
    ordered = "sort" in parameters.model_fields_set
    statement = selection.export(chosen, file_format, limit=parameters.limit, ordered=ordered)
    exports: Database = request.app.state.exports
    async with AsyncExitStack() as stack:
        # Whatever can fail at the start fails before the answer begins
        beginning = asyncio.ensure_future(_begin(exports, statement, stack))
        gone = asyncio.ensure_future(client_gone())
        try:
            await asyncio.wait({beginning, gone}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            gone.cancel()
            if not beginning.done():
                beginning.cancel()
                await asyncio.wait({beginning})
        if beginning.cancelled():
            raise psycopg.errors.QueryCanceled("the client went away before the first block")
        first, rest = beginning.result()
        timeout = request.app.state.settings.export_timeout
        return _Export(file_format, first, rest, stack.pop_all(), timeout)
    raise AssertionError  # pragma: no cover - the stack swallows nothing


async def _begin(
    exports: "Database", statement: Statement, stack: AsyncExitStack
) -> tuple[bytes, AsyncIterator[bytes]]:
    blocks = await stack.enter_async_context(exports.copy(statement))
    return await anext(blocks), blocks


class _Export(Response):
    """Sends the blocks, as fast as the client takes them."""

    def __init__(
        self,
        file_format: Format,
        first: bytes,
        rest: AsyncIterator[bytes],
        stack: AsyncExitStack,
        timeout: float,
    ) -> None:
        self.status_code = 200
        self.background = None
        self._first = first
        self._rest = rest
        self._stack = stack
        self._timeout = timeout
        self.raw_headers = [
            (b"content-type", CONTENT_TYPES[file_format].encode()),
            (b"content-disposition", f'attachment; filename="kasparro-data.{file_format}"'.encode()),
            (b"cache-control", b"no-store"),
            (b"vary", b"Accept, Accept-Encoding"),
        ]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002 - ASGI
        """Send the file; stop when the client goes away or takes too long."""
        accepted = next((value for name, value in scope["headers"] if name == b"accept-encoding"), b"")
        coding = negotiated_coding(accepted)
        compress, finish = _compressor(coding)
        headers = self.raw_headers
        if coding != "identity":
            headers = [*headers, (b"content-encoding", coding.encode())]
        gone = asyncio.ensure_future(client_gone())
        try:
            async with asyncio.timeout(self._timeout), self._stack:
                await send({"type": "http.response.start", "status": 200, "headers": headers})
                block = self._first
                while scope["method"] != "HEAD" and not gone.done():
                    if body := compress(block):
                        await send({"type": "http.response.body", "body": body, "more_body": True})
                    try:
                        block = await anext(self._rest)
                    except StopAsyncIteration:
                        break
                await send({"type": "http.response.body", "body": finish()})
        finally:
            gone.cancel()


def _compressor(coding: str) -> tuple[Callable[[bytes], bytes], Callable[[], bytes]]:
    if coding == "gzip":
        gzip = zlib.compressobj(1, zlib.DEFLATED, zlib.MAX_WBITS | 16)
        return gzip.compress, gzip.flush
    if coding == "zstd":
        zstd = zstandard.ZstdCompressor(level=1).compressobj()
        return zstd.compress, zstd.flush
    return bytes, bytes
