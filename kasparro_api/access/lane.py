"""The short way to the reads that come most often: to a kept answer, or straight to the function.

The same functions are routes of the application too, which documents them; its machinery costs each request
more than finding one record. Which they are is said in `data`.
"""

from collections.abc import Awaitable, Callable

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from kasparro_api import problems
from kasparro_api.access.cache import HotCache
from kasparro_api.access.guard import confirmed
from kasparro_api.answers import Answer

Endpoint = Callable[[Request], Awaitable[Response]]
Find = Callable[[str], tuple[str, Endpoint] | None]


class ReadLane:
    """Serves GET and HEAD of the paths that `find` knows; everything else goes on to the application."""

    def __init__(self, app: ASGIApp, find: Find, cache: HotCache) -> None:
        """`find` gives for a path its template and the function that answers it, or None."""
        self._app = app
        self._find = find
        self._cache = cache

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        found = self._find(scope["path"]) if scope.get("method") in {"GET", "HEAD"} else None
        if found is None:
            refusal = await confirmed(scope)
            await (refusal(scope, receive, send) if refusal else self._pass_on(scope, receive, send))
            return
        template, endpoint = found
        scope["state"]["route"] = template
        try:
            response: Response | None = await self._cache.find(scope)
            if response is None:
                response = await endpoint(Request(scope, receive))
                if isinstance(response, Answer):
                    self._cache.keep(scope, response)
        except Exception as error:  # noqa: BLE001 - those that no answer is known for are raised again
            response = problems.answer_to(Request(scope, receive), error)
        await (await confirmed(scope) or response)(scope, receive, send)

    async def _pass_on(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope.get("method") != "HEAD":
            await self._app(scope, receive, send)
            return
        # The routes know GET alone; the server leaves the body of the answer out
        inner = {**scope, "method": "GET"}
        await self._app(inner, receive, send)
        scope["route"] = inner.get("route")
