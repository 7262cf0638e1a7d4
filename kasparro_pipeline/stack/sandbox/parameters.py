"""The query parameters that the upstreams take. A refusal names the parameter, and what came."""

from datetime import date
from typing import TYPE_CHECKING

from kasparro_pipeline.stack.sandbox.replies import BadRequestError

if TYPE_CHECKING:
    from collections.abc import Collection

    from starlette.requests import Request

_MOST_DIGITS = 9


def only(request: "Request", name: str, served: str, *, status: int) -> None:
    """Refuse a parameter that asks for what the sandbox does not serve.

    Raises:
        BadRequestError: it is given and is not `served`.
    """
    value = request.query_params.get(name) or served
    if value.lower() != served.lower():
        raise BadRequestError(status, f"{name}={value} is not served by the sandbox; use {name}={served}")


def number(request: "Request", name: str, default: int, *, status: int) -> int:
    """A whole number from 1.

    Raises:
        BadRequestError: it is something else.
    """
    text = request.query_params.get(name) or str(default)
    if not (text.isascii() and text.isdigit() and len(text) <= _MOST_DIGITS and int(text) >= 1):
        raise BadRequestError(status, f"{name} must be a whole number from 1, not {text!r}")
    return int(text)


def day(request: "Request", name: str, default: date | None) -> date:
    """A date; required where there is no `default`.

    Raises:
        BadRequestError: it is missing, or is not a date.
    """
    text = request.query_params.get(name)
    if not text:
        if default is None:
            raise BadRequestError(400, f"Missing parameter {name} (YYYY-MM-DD)")
        return default
    try:
        return date.fromisoformat(text)
    except ValueError as error:
        raise BadRequestError(400, f"{name} must be a date as YYYY-MM-DD, not {text!r}") from error


def names(request: "Request", name: str, known: "Collection[str]", *, status: int) -> set[str]:
    """A comma-separated list of names.

    Raises:
        BadRequestError: one of them is not `known`.
    """
    wanted = {part for part in request.query_params.get(name, "").split(",") if part}
    unknown = wanted.difference(known)
    if unknown:
        message = f"{name} has no {', '.join(sorted(unknown))}; known are {', '.join(known)}"
        raise BadRequestError(status, message)
    return wanted
