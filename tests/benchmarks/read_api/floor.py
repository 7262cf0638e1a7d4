"""The least that an application under uvicorn costs: an answer of the same size, and no work for it.

No server of this kind answers faster, whatever it keeps: the floor of a kept answer and of 304.
`uvicorn tests.benchmarks.read_api.floor:app`, with `BODY_BYTES` in the environment.
"""

import os

from starlette.types import Receive, Scope, Send

BODY = b" " * int(os.environ.get("BODY_BYTES", "0"))


async def app(scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG001 - ASGI
    """The same for every request; 304 to those that know it."""
    if scope["type"] != "http":
        raise RuntimeError("it serves HTTP alone")
    known = any(name == b"if-none-match" for name, _ in scope["headers"])
    body = b"" if known else BODY
    headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
    await send(
        {"type": "http.response.start", "status": 304 if known else 200, "headers": headers[2 * known :]}
    )
    await send({"type": "http.response.body", "body": body})
