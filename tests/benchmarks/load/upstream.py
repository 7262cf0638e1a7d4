"""The upstream of the benchmark: numbered pages of records, each after a fixed wait, and a feed.

Bodies are made once, so that it is not the server's own work that is measured.
"""

import asyncio
import hashlib
import os
from bisect import bisect_left
from datetime import UTC, datetime
from functools import cache

import orjson
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from tests.benchmarks.load import articles

RECORDS = "BENCH_RECORDS"
"""Environment: how many records there are."""
WAIT = 0.02
"""Seconds before each page."""
ENTRIES = 100
"""Of the feed."""


def create_app() -> Starlette:
    """The application: `/items`, `/feed.xml`, and `/requests` with the number of the others' requests."""
    upstream = _Upstream(int(os.environ.get(RECORDS, "0")))
    routes = [Route(path, upstream.answer) for path in ("/items", "/feed.xml")]
    return Starlette(routes=[*routes, Route("/requests", upstream.count)])


class _Upstream:
    """Records, and what was asked."""

    def __init__(self, records: int) -> None:
        found = list(articles.records(records))
        self._records = [orjson.dumps(record) for record in found]
        self._updated = [str(record["updated_at"]) for record in found]
        self._feed = _feed()
        self._requests = 0
        self._page = cache(self._make_page)

    async def count(self, _request: Request) -> Response:
        return JSONResponse({"requests": self._requests})

    async def answer(self, request: Request) -> Response:
        self._requests += 1
        await asyncio.sleep(WAIT)
        asked = request.query_params
        if request.url.path == "/feed.xml":
            body, tag, kind = *self._feed, "application/rss+xml"
        else:
            numbers = int(asked.get("page", "1")), int(asked.get("per_page", "100"))
            body, tag = self._page(*numbers, asked.get("since", ""))
            kind = "application/json"
        if request.headers.get("If-None-Match") == tag:
            return Response(status_code=304, headers={"ETag": tag})
        return Response(body, headers={"ETag": tag}, media_type=kind)

    def _make_page(self, page: int, size: int, since: str) -> tuple[bytes, str]:
        """A page of the records that changed at `since` or later, which may be a day or an instant."""
        first = bisect_left(self._updated, _as_written(since)) if since else 0
        total = len(self._records) - first
        some = self._records[first + (page - 1) * size : first + page * size]
        body = b'{"data":[%b],"total":%d,"pages":%d}' % (b",".join(some), total, -(-total // size))
        return body, _tag(body)


def _feed() -> tuple[bytes, str]:
    items = "".join(
        f"<item><guid>{record['id']}</guid><title>{record['title']}</title><link>{record['url']}</link>"
        f"<description>An article.</description><pubDate>Sat, 21 Nov 2026 10:00:00 GMT</pubDate></item>"
        for record in articles.records(ENTRIES)
    )
    head = "<title>Articles</title><link>https://example.org</link><description>All.</description>"
    body = f'<rss version="2.0"><channel>{head}{items}</channel></rss>'.encode()
    return body, _tag(body)


def _as_written(since: str) -> str:
    """An instant as the records write theirs."""
    instant = datetime.fromisoformat(since)
    known = instant if instant.tzinfo else instant.replace(tzinfo=UTC)
    return f"{known.astimezone(UTC):{articles.INSTANT}}"


def _tag(body: bytes) -> str:
    return f'"{hashlib.sha256(body).hexdigest()[:32]}"'
