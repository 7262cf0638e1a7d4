"""Who may pass: the key of a request, what it allows, how often its caller may ask. Knows no route's work.

A plain ASGI layer inside the request context and around the routes.
"""

import time
from functools import partial
from http import HTTPStatus

import psycopg
from starlette.datastructures import State
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Match
from starlette.types import ASGIApp, Receive, Scope, Send

from kasparro_api import problems
from kasparro_api.access.keys import VALID_KEYS, Key, KeyRing, presented
from kasparro_api.access.limits import Limit, address_of
from kasparro_api.operation.docs_pages import STATIC
from kasparro_api.settings import ApiSettings

ATTEMPTS_WINDOW = 60
"""Seconds in which an address may send `key_attempts` wrong keys."""
# They tell the state of the service, also while the database is away, and of many asking at once
WATCHING = ("/health", "/health/ready", "/metrics")
DOCUMENTATION = ("/docs", "/redoc", "/openapi.json")
READING = frozenset({"GET", "HEAD"})

_CHALLENGE = 'Bearer realm="kasparro"'
_HOW = "Send one as the header X-API-Key, or as Authorization: Bearer; `kasparro keys create` makes one."


class Guard:
    """Finds the key of a request, then refuses it or lets it pass with `scope["state"]["key"]` set.

    The application's state holds `database` (a `Database`) and `versions` (a `VersionWatch`), which are used
    for requests that present a key: a key that was revoked is refused from the next request on.
    """

    def __init__(self, app: ASGIApp, settings: ApiSettings, prefix: str) -> None:
        """Wrap `app`, whose paths are served under `/` and under `prefix`."""
        self._app = app
        self._scope_to_read = "read" if settings.reads == "keys" else None
        self._limit = Limit(settings.rate_limit, settings.rate_window) if settings.rate_limit else None
        self._attempts = Limit(settings.key_attempts, ATTEMPTS_WINDOW) if settings.key_attempts else None
        self._watching = frozenset(start + path for path in WATCHING for start in ("", prefix))
        self._documentation = frozenset(start + path for path in DOCUMENTATION for start in ("", prefix))
        self._ring = KeyRing()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request; anything but HTTP passes untouched."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        state = scope["state"]
        state["key"] = key = None
        method, path = scope["method"], scope["path"].removeprefix(scope.get("root_path", ""))
        reads = method in READING
        if reads and path in self._watching:
            await self._app(scope, receive, send)
            return
        is_open = method == "OPTIONS" or (
            reads and (path in self._documentation or path.startswith(f"{STATIC}/"))
        )
        token = None if is_open else presented(scope["headers"])
        if token is not None:
            remembered = self._remembered(scope, token) if reads else None
            found = remembered or await self._identify(scope, token)
            if isinstance(found, Response):
                await found(scope, receive, send)
                return
            state["key"] = key = found
        if self._limit is not None:
            left = self._limit.take(key.id if key else address_of(scope))
            state["headers"] = self._limit.headers(left)  # of the answer, whoever gives it
            if left < 0:
                refusal = await confirmed(scope) or _too_many_requests(Request(scope), self._limit)
                await refusal(scope, receive, send)
                return
        needed = None if is_open else self._scope_to_read if reads else _scope_to_write(scope)
        if needed is None or (key is not None and needed in key.scopes):
            await self._app(scope, receive, send)
        else:
            await _refusal(Request(scope), key, needed)(scope, receive, send)

    def _remembered(self, scope: Scope, token: bytes) -> Key | None:
        """The key of `token` by what this process knows already, to be confirmed before anything is answered.

        So what is read can tell whether the keys have changed, and the database is asked once.
        """
        key = self._ring.find(token)
        needed = self._scope_to_read
        if key is None or (needed is not None and needed not in key.scopes):
            return None  # a refusal is never given by memory
        if self._attempts is not None and self._attempts.left(address_of(scope)) <= 0:
            return None
        scope["state"]["confirm"] = partial(self._confirm, scope, token, self._ring.version)
        return key

    async def _confirm(self, scope: Scope, token: bytes, version: str | None) -> Response | None:
        """The refusal, if the key is no longer one that this request may be answered for."""
        state = scope["state"]
        try:
            versions = state.get("versions") or await scope["app"].state.versions.current()
        except psycopg.Error as error:  # a key that cannot be checked is not let pass
            return problems.answer_to(Request(scope), error)
        if versions.keys == version:
            return None
        found = await self._identify(scope, token)
        if isinstance(found, Response):
            return found
        needed = self._scope_to_read
        return None if needed is None or needed in found.scopes else _refusal(Request(scope), found, needed)

    async def _identify(self, scope: Scope, token: bytes) -> Key | Response:
        """The key of `token`, or the answer to whoever sent it."""
        address = address_of(scope)
        if self._attempts is not None and self._attempts.left(address) <= 0:
            return _too_many_attempts(Request(scope), self._attempts)
        try:
            ring = await self._current_ring(scope["app"].state, scope["state"])
        except psycopg.Error as error:  # a key that cannot be checked is not let pass
            return problems.answer_to(Request(scope), error)
        # Again: others of the same address may have failed while this one waited
        if self._attempts is not None and self._attempts.left(address) <= 0:
            return _too_many_attempts(Request(scope), self._attempts)
        key = ring.find(token)
        if key is not None:
            return key
        if self._attempts is not None:
            self._attempts.take(address)
        return _not_valid(Request(scope))

    async def _current_ring(self, app: State, request: dict[str, object]) -> KeyRing:
        """The keys as they are now, later than the request arrived.

        Raises:
            psycopg.Error: the database is away, silent, or not migrated.
        """
        versions = await app.versions.current()
        request["versions"] = versions
        ring = self._ring
        if ring.version != versions.keys:
            read_at = time.monotonic()
            ring = self._ring = KeyRing(await app.database.fetch(VALID_KEYS), versions.keys, read_at)
        return ring


async def confirmed(scope: Scope) -> Response | None:
    """The refusal of a request whose key was let pass by memory, if it is not valid any more; asked once.

    Whoever answers a read calls it before the answer begins: with `versions` in the request's state, as read
    later than it arrived, it costs nothing.
    """
    confirm = scope["state"].pop("confirm", None)
    return None if confirm is None else await confirm()


def _scope_to_write(scope: Scope) -> str | None:
    """`trigger` wherever such a request would be served; else the router says that it is not."""
    served = any(route.matches(scope)[0] is Match.FULL for route in scope["app"].router.routes)
    return "trigger" if served else None


def _not_valid(request: Request) -> Response:
    return problems.problem(
        request,
        HTTPStatus.UNAUTHORIZED,
        "The key is not valid",
        f"The key that was sent is mistyped, unknown or revoked. {_HOW}",
        kind="invalid-key",
        headers={"WWW-Authenticate": f'{_CHALLENGE}, error="invalid_token"'},
    )


def _refusal(request: Request, key: Key | None, needed: str) -> Response:
    """The answer to a request that needs a key of scope `needed`, and has none or another one."""
    if key is None:
        return problems.problem(
            request,
            HTTPStatus.UNAUTHORIZED,
            "A key is needed",
            f"This request needs a key of scope {needed}. {_HOW}",
            kind="missing-key",
            headers={"WWW-Authenticate": _CHALLENGE},
        )
    return problems.problem(
        request,
        HTTPStatus.FORBIDDEN,
        "The key does not allow this",
        f"This request needs a key of scope {needed}; the key {key.id} has {', '.join(sorted(key.scopes))}. "
        "`kasparro keys create` makes one.",
        kind="missing-scope",
        headers={"WWW-Authenticate": f'{_CHALLENGE}, error="insufficient_scope", scope="{needed}"'},
    )


def _too_many_requests(request: Request, limit: Limit) -> Response:
    seconds = limit.resets_in()
    return problems.problem(
        request,
        HTTPStatus.TOO_MANY_REQUESTS,
        "Too many requests",
        f"The quota of this caller is used up. Ask again in {seconds} s; RateLimit-Policy says what it is.",
        kind="too-many-requests",
        headers={"Retry-After": str(seconds)},
    )


def _too_many_attempts(request: Request, attempts: Limit) -> Response:
    seconds = attempts.resets_in()
    return problems.problem(
        request,
        HTTPStatus.TOO_MANY_REQUESTS,
        "Too many wrong keys",
        f"This address sent too many wrong keys, so none is looked at for {seconds} s, not even a right one.",
        kind="too-many-wrong-keys",
        headers={"Retry-After": str(seconds)},
    )
