"""The pages of a list as a request asks for them: where one starts, and how the next one is reached.

What a cursor's text is made of belongs to `cursor`; which rows a page has, to its route.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from urllib.parse import urlencode

from fastapi import Request

from kasparro_api import problems
from kasparro_api.data import cursor as cursors
from kasparro_api.data.cursor import CursorError, Position

CURSOR = "`pagination.next_cursor` of a page with the same parameters."
"""What the parameter allows."""


@dataclass(frozen=True)
class NextPage:
    """What an answer says of the page after it, if there is one."""

    limit: int
    cursor: str | None = None
    following: str | None = None
    """Its path and query."""

    def pagination(self) -> dict[str, object]:
        """The member `pagination` of the answer."""
        return {"limit": self.limit, "next_cursor": self.cursor, "has_more": self.cursor is not None}


def next_page(
    request: Request, limit: int, last: Position | None, identity: Mapping[str, Sequence[str]]
) -> NextPage:
    """The page after the row at `last`, in the list of `identity`; None: there is no further page."""
    if last is None:
        return NextPage(limit)
    cursor = cursors.encode(last, identity)
    return NextPage(limit, cursor, following(request, cursor, "cursor"))


def following(request: Request, cursor: str, parameter: str) -> str:
    """Path and query of this request with another cursor as its `parameter`."""
    replaced = {parameter, "offset"}
    pairs = [pair for pair in request.query_params.multi_items() if pair[0] not in replaced]
    path: str = request.scope["raw_path"].decode("latin-1")
    return f"{path}?{urlencode([*pairs, (parameter, cursor)])}"


def start(cursor: str | None, identity: Mapping[str, Sequence[str]]) -> Position | None:
    """The place behind which a page of the list of `identity` starts; None: at the list's beginning.

    Raises:
        ProblemError: the cursor cannot be used; 400.
    """
    if cursor is None:
        return None
    try:
        return cursors.decode(cursor, identity)
    except CursorError as error:
        raise unusable(cursor, str(error)) from None


def unusable(
    cursor: str, reason: str, parameter: str = "cursor", allowed: str = CURSOR
) -> problems.ProblemError:
    """The answer to a cursor that names no place of the list."""
    return problems.ProblemError(
        HTTPStatus.BAD_REQUEST,
        "The cursor cannot be used",
        reason,
        kind="invalid-cursor",
        errors=[problems.parameter_error(parameter, cursor, reason, allowed)],
    )
