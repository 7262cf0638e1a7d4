"""How an answer is framed: members that are JSON already, and `meta` as the last one."""

import json
from collections.abc import Mapping

from starlette.requests import Request
from starlette.responses import Response

from kasparro_api.operation.context import context_of


def to_json(value: object) -> bytes:
    """A value of this process as JSON."""
    return json.dumps(value, separators=(",", ":")).encode()


def answer(
    request: Request,
    members: Mapping[str, bytes],
    headers: Mapping[str, str] | None = None,
    status: int = 200,
) -> Response:
    """A JSON object of `members`, whose values are JSON already, with `meta` as its last member."""
    members = {**members, "meta": to_json(context_of(request).meta())}
    body = b",".join(b'"%s":%s' % (name.encode(), value) for name, value in members.items())
    return Response(b"{" + body + b"}", status, headers=headers, media_type="application/json")
