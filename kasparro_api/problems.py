"""Errors as problem+json (RFC 9457), and which error becomes which status. No route belongs here."""

import difflib
import json
import logging
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any, get_type_hints

import psycopg
from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from kasparro_api.access.keys import masked
from kasparro_api.operation.context import context_of

MEDIA_TYPE = "application/problem+json"
RETRY_AFTER = 5
"""Seconds after which a client may ask again when the database is away."""
DATABASE_UNAVAILABLE = "The database is away or has no free connection. Ask again later."
MIGRATIONS_PENDING = "The database is not at the revision that this API needs. Run `kasparro migrate`."

_SENT_LIMIT = 200
_log = logging.getLogger("kasparro_api.error")


class ProblemError(Exception):
    """An answer that is a problem; a route raises it."""

    def __init__(
        self,
        status: HTTPStatus,
        title: str,
        detail: str,
        *,
        kind: str,
        errors: Sequence[Mapping[str, object]] = (),
    ) -> None:
        """`kind` ends the problem's type URI; `errors` names each bad parameter (see `parameter_error`)."""
        super().__init__(detail)
        self.status = status
        self.title = title
        self.detail = detail
        self.kind = kind
        self.errors = errors


class ParametersError(Exception):
    """Parameters that a route cannot use."""

    def __init__(self, errors: Sequence[Mapping[str, Any]], known: Mapping[str, str]) -> None:
        """`errors` as pydantic has them; `known` are the route's parameters with what each allows."""
        super().__init__("a parameter cannot be used")
        self.errors = errors
        self.known = known


def parameter_error(name: str, sent: object, message: str, allowed: str) -> dict[str, object]:
    """One entry of `errors`: which parameter, what was sent (cut to 200 characters), what is allowed."""
    if isinstance(sent, str) and len(sent) > _SENT_LIMIT:
        sent = sent[:_SENT_LIMIT] + "…"
    return {"parameter": name, "sent": sent, "message": message, "allowed": allowed}


def problem(
    request: Request,
    status: HTTPStatus,
    title: str,
    detail: str,
    *,
    kind: str | None = None,
    headers: Mapping[str, str] | None = None,
    members: Mapping[str, object] | None = None,
) -> Response:
    """A problem answer; without `kind` its type is `about:blank`, `members` are extension members."""
    body = {
        "type": f"urn:kasparro:problem:{kind}" if kind else "about:blank",
        "title": title,
        "status": int(status),
        "detail": detail,
        "instance": request.scope["raw_path"].decode("latin-1"),
        "request_id": context_of(request).request_id,
        **(members or {}),
    }
    return Response(masked(json.dumps(body)), status, dict(headers or {}), media_type=MEDIA_TYPE)


def unavailable(
    request: Request, detail: str, *, kind: str, members: Mapping[str, object] | None = None
) -> Response:
    """503 with Retry-After."""
    return problem(
        request,
        HTTPStatus.SERVICE_UNAVAILABLE,
        "The database cannot answer",
        detail,
        kind=kind,
        headers={"Retry-After": str(RETRY_AFTER)},
        members=members,
    )


def failure(request: Request) -> Response:
    """The answer to a request that raised an error nobody expected; the log has the error."""
    return problem(
        request,
        HTTPStatus.INTERNAL_SERVER_ERROR,
        "Internal Server Error",
        "The request failed by a fault of this service. Its log names the cause under this request_id.",
    )


def log_database_error(request: Request, error: psycopg.Error) -> None:
    """Keep the driver's own words, which no answer shows."""
    fields = {
        "request_id": context_of(request).request_id,
        "sqlstate": error.sqlstate,
        "error": str(error),
    }
    _log.warning("database error", extra={"fields": fields})


def install(app: FastAPI) -> None:
    """Let every error of `app` leave as a problem."""

    async def answer(request: Request, error: Exception) -> Response:
        return answer_to(request, error)

    for kind in (ProblemError, ParametersError, RequestValidationError, HTTPException, psycopg.Error):
        app.add_exception_handler(kind, answer)


def answer_to(request: Request, error: Exception) -> Response:
    """The answer to an error; one that nobody expected is raised again."""
    if isinstance(error, ProblemError):
        members = {"errors": list(error.errors)} if error.errors else None
        return problem(request, error.status, error.title, error.detail, kind=error.kind, members=members)
    if isinstance(error, ParametersError):
        return _parameters(request, error.errors, error.known)
    if isinstance(error, RequestValidationError):
        return _parameters(request, error.errors(), _known_parameters(request))
    if isinstance(error, HTTPException):
        return _http(request, error)
    if isinstance(error, psycopg.Error):
        return _database(request, error)
    raise error


def _http(request: Request, error: HTTPException) -> Response:
    status = HTTPStatus(error.status_code)
    detail = error.detail
    if status == HTTPStatus.NOT_FOUND:
        detail = "There is no such path. /docs lists what there is."
    elif status == HTTPStatus.METHOD_NOT_ALLOWED:
        served = set((error.headers or {}).get("Allow", "").split(", "))
        allowed = ", ".join(sorted(served | {"OPTIONS"} | ({"HEAD"} if "GET" in served else set())))
        if request.method == "OPTIONS":
            return Response(status_code=HTTPStatus.NO_CONTENT, headers={"Allow": allowed})
        detail = f"This path does not take {request.method}; it takes {allowed}."
        return problem(request, status, status.phrase, detail, headers={"Allow": allowed})
    return problem(request, status, status.phrase, detail, headers=error.headers)


def _parameters(request: Request, entries: Sequence[Mapping[str, Any]], known: Mapping[str, str]) -> Response:
    errors = [_explained(entry, known) for entry in entries]
    names = ", ".join(dict.fromkeys(str(entry["parameter"]) for entry in errors))
    return problem(
        request,
        HTTPStatus.UNPROCESSABLE_ENTITY,
        "A parameter cannot be used",
        f"Not usable: {names[:_SENT_LIMIT]}. Each entry of `errors` says what was sent and what is allowed.",
        kind="invalid-parameters",
        members={"errors": errors},
    )


def _known_parameters(request: Request) -> dict[str, str]:
    """The query parameters of the route at hand, and what each allows."""
    return {
        name: field.description or ""
        for annotation in get_type_hints(request.scope["endpoint"]).values()
        if isinstance(annotation, type) and issubclass(annotation, BaseModel)
        for name, field in annotation.model_fields.items()
    }


def _explained(entry: Mapping[str, Any], known: Mapping[str, str]) -> dict[str, object]:
    """A pydantic error as an entry of `errors`; the location is `("query", name, …)`."""
    name = str(entry["loc"][1]) if len(entry["loc"]) > 1 else "the query as a whole"
    if entry["type"] != "extra_forbidden":
        message = entry["msg"].removeprefix("Value error, ")
        allowed = known.get(name) or known.get(name.rpartition(".")[0], "")
        return parameter_error(name, entry["input"], message, allowed)
    allowed = f"Known parameters: {', '.join(known)}." if known else "This path takes no parameters."
    closest = difflib.get_close_matches(name.lower(), known, n=1, cutoff=0.0)
    message = "Unknown parameter." + (f" The closest known one is `{closest[0]}`." if closest else "")
    explained = parameter_error(name[:_SENT_LIMIT], entry["input"], message, allowed)
    return {**explained, "closest": closest[0] if closest else None}


def _database(request: Request, error: psycopg.Error) -> Response:
    """The status follows from the driver's error, so from SQLSTATE."""
    log_database_error(request, error)
    if isinstance(error, psycopg.DataError):  # class 22: a value that PostgreSQL cannot take
        return problem(
            request,
            HTTPStatus.BAD_REQUEST,
            "A value cannot be used",
            "The database does not take a value of this request.",
            kind="invalid-value",
        )
    if isinstance(error, psycopg.errors.QueryCanceled):
        detail = "The query took longer than the API allows. Narrow it, or ask again later."
        return unavailable(request, detail, kind="query-timeout")
    if isinstance(error, psycopg.errors.UndefinedTable | psycopg.errors.UndefinedColumn):
        return unavailable(request, MIGRATIONS_PENDING, kind="migrations-pending")
    if isinstance(error, psycopg.OperationalError | psycopg.InterfaceError):
        return unavailable(request, DATABASE_UNAVAILABLE, kind="database-unavailable")
    raise error
