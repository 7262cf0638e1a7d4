"""How the sandbox answers: validators and conditional requests, and errors in the upstreams' shape."""

import hashlib
from email.utils import format_datetime, parsedate_to_datetime
from typing import TYPE_CHECKING

import orjson
from starlette.responses import Response

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from starlette.requests import Request

JSON = "application/json"


class BadRequestError(Exception):
    """A request that the upstream would refuse.

    Attributes:
        status: the HTTP status of the refusal.
    """

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


def json_body(value: object) -> bytes:
    """`value` as JSON: floats keep their shortest exact form, integers stay integers."""
    return orjson.dumps(value)


def refusal(_request: "Request", error: Exception) -> Response:
    """The answer to a BadRequestError, as both upstreams give it: `{"error": "…"}`."""
    if not isinstance(error, BadRequestError):
        raise error
    return Response(json_body({"error": str(error)}), status_code=error.status, media_type=JSON)


def reply(
    request: "Request",
    body: bytes,
    media_type: str,
    changed: "datetime",
    headers: "Mapping[str, str] | None" = None,
) -> Response:
    """`body` with its validators, or a bare 304 if the client holds it already (RFC 9110, section 13).

    Args:
        request: the request, whose If-None-Match wins over its If-Modified-Since.
        body: the whole answer.
        media_type: of `body`.
        changed: when `body` last changed, in UTC.
        headers: further headers of a 200.
    """
    etag = f'"{hashlib.sha256(body).hexdigest()[:32]}"'
    validators = {
        "ETag": etag,
        "Last-Modified": format_datetime(changed, usegmt=True),
        "Cache-Control": "max-age=60",
    }
    if _is_fresh(request, etag, changed):
        return Response(status_code=304, headers=validators)
    return Response(body, media_type=media_type, headers=validators | dict(headers or {}))


def _is_fresh(request: "Request", etag: str, changed: "datetime") -> bool:
    held = request.headers.getlist("if-none-match")
    if held:
        tags = {tag.strip().removeprefix("W/") for line in held for tag in line.split(",")}
        return "*" in tags or etag in tags
    since = request.headers.get("if-modified-since")
    if since is None:
        return False
    try:
        moment = parsedate_to_datetime(since)
    except ValueError:
        return False  # an unreadable date is ignored (RFC 9110, section 13.1.3)
    return moment.tzinfo is not None and changed <= moment
