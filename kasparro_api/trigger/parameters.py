"""What the trigger's requests may say, and reading it. Nothing is launched or stored here."""

import re
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from starlette.requests import Request

from kasparro_api.problems import ParametersError, ProblemError
from kasparro_api.trigger.launches import Mark
from kasparro_api.trigger.shapes import RunOrder
from kasparro_api.trigger.uploads import NAME_PATTERN, NAME_RULE, require_size

MAX_ORDER = 4096
"""Bytes of the body of an order."""
FILE_TYPES = ("text/csv", "application/octet-stream")
_KEY = "[!-~]{1,128}"

IDEMPOTENCY_KEY: dict[str, Any] = {
    "name": "Idempotency-Key",
    "in": "header",
    "required": False,
    "description": "1 to 128 visible ASCII characters of your choice, such as a UUID. The same request with "
    "the same key launches nothing twice: it is answered with the runs of the first.",
    "schema": {"type": "string", "pattern": f"^{_KEY}$"},
    "example": "8e03978e-40d5-43dd-bc93-6894a57f9324",
}


class UploadParameters(BaseModel):
    """What an upload says beside its bytes."""

    model_config = ConfigDict(extra="forbid")

    name: str = Field(
        description=f"The file's name: {NAME_RULE}; it must match the pattern of the source's files.",
        json_schema_extra={"pattern": f"^{NAME_PATTERN}$", "example": "coins-2026-11-15.csv"},
    )
    replace: bool = Field(default=False, description="true: take the place of a file of that name.")


async def read_order(request: Request) -> RunOrder:
    """The JSON body; none is an empty order.

    Raises:
        ProblemError: not JSON, or too long.
        ParametersError: not an order.
    """
    body = b""
    async for chunk in request.stream():
        body += chunk
        if len(body) > MAX_ORDER:
            raise ProblemError(
                HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
                "The body is too large",
                f"This body may have {MAX_ORDER:,} bytes.",
                kind="too-large",
            )
    if not body.strip():
        return RunOrder()
    allowed = {name: field.description or "" for name, field in RunOrder.model_fields.items()}
    try:
        order = RunOrder.model_validate_json(body)
    except ValidationError as error:
        entries = error.errors(include_url=False, include_context=False)
        if entries[0]["type"] == "json_invalid":
            raise ProblemError(
                HTTPStatus.BAD_REQUEST, "The body is not JSON", entries[0]["msg"], kind="invalid-json"
            ) from None
        # as text: the answer could not repeat every value that JSON parsers take, such as NaN
        sent = [{**entry, "loc": ("body", *entry["loc"]), "input": str(entry["input"])} for entry in entries]
        raise ParametersError(sent, allowed) from None
    if order.partition is not None and order.source is None:
        message = "Only together with `source`: every source has partitions of its own."
        raise ParametersError([_wrong("partition", order.partition, message)], allowed)
    return order


def read_mark(request: Request, order: RunOrder) -> Mark | None:
    """What the header `Idempotency-Key` makes of the order, for the caller of this request.

    Raises:
        ParametersError: the key is not well formed, or comes twice.
    """
    keys = request.headers.getlist("idempotency-key")
    if not keys:
        return None
    if len(keys) > 1 or not re.fullmatch(_KEY, keys[0]):
        name = "Idempotency-Key"
        entry = _wrong(name, ", ".join(keys), "Not one well-formed key.")
        raise ParametersError([entry], {name: "1 to 128 visible ASCII characters."})
    caller = getattr(request.state, "key", None)
    return Mark.of(caller and caller.id, keys[0], order)


def require_file(headers: Mapping[str, str], limit: int) -> None:
    """Refuse a body that is not the plain bytes of a file, or is said to be larger than `limit` bytes.

    Raises:
        ProblemError: 415 or 413.
    """
    media_type = headers.get("content-type", "").partition(";")[0].strip().lower()
    if media_type not in FILE_TYPES or headers.get("content-encoding", "identity") != "identity":
        raise ProblemError(
            HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
            "The body is not a plain file",
            "Send the file's own bytes with Content-Type: text/csv, and not compressed: "
            "curl --header 'Content-Type: text/csv' --data-binary @FILE.",
            kind="unsupported-media-type",
        )
    require_size(int(headers.get("content-length", 0)), limit)


def _wrong(name: str, sent: str, message: str) -> dict[str, object]:
    return {"type": "value_error", "loc": ("body", name), "msg": message, "input": sent}
