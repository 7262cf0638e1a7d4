"""The sandbox's routes: what each takes, and which module computes its answer. No shapes here."""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from starlette.applications import Starlette
from starlette.responses import Response
from starlette.routing import Route

from kasparro_pipeline.stack.sandbox import news, parameters
from kasparro_pipeline.stack.sandbox.candles import candles
from kasparro_pipeline.stack.sandbox.coins import load_coins
from kasparro_pipeline.stack.sandbox.market import PERIODS, Market, moment_of, tick_of
from kasparro_pipeline.stack.sandbox.markets import markets
from kasparro_pipeline.stack.sandbox.replies import JSON, BadRequestError, json_body, refusal, reply
from kasparro_pipeline.stack.sandbox.tickers import tickers
from kasparro_pipeline.stack.sandbox.walk import MINUTES_PER_DAY

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from starlette.requests import Request

_MAX_CANDLES = 366
_MAX_PER_PAGE = 250
_GECKO_REFUSES = 422


def _utc_now() -> datetime:
    return datetime.now(UTC)


@dataclass(frozen=True, eq=False)
class _Sandbox:
    market: Market
    templates: list[dict[str, Any]]
    clock: "Callable[[], datetime]"

    def tickers(self, request: "Request") -> Response:
        tick = tick_of(self.clock())
        parameters.only(request, "quotes", "USD", status=400)
        changed = moment_of(self.market.last_change("coinpaprika", tick))
        return reply(request, json_body(tickers(self.market, tick)), JSON, changed)

    def candles(self, request: "Request") -> Response:
        tick = tick_of(self.clock())
        coin = self.market.find(request.path_params["id"], tick)
        if coin is None:
            raise BadRequestError(404, "id not found")
        parameters.only(request, "quote", "usd", status=400)
        parameters.only(request, "interval", "24h", status=400)
        start = parameters.day(request, "start", None)
        end = parameters.day(request, "end", moment_of(tick).date())
        if end < start:
            raise BadRequestError(400, f"end ({end}) must not be before start ({start})")
        limit = parameters.number(request, "limit", 1, status=400)
        if limit > _MAX_CANDLES:
            raise BadRequestError(400, f"limit must be between 1 and {_MAX_CANDLES}, not {limit}")
        body = json_body(candles(coin, start, end, limit, tick))
        # Nothing moves once the last day asked for is over; before that, the current day moves each tick.
        over = tick_of(datetime(end.year, end.month, end.day, tzinfo=UTC)) + MINUTES_PER_DAY
        return reply(request, body, JSON, moment_of(min(over, tick)))

    def markets(self, request: "Request") -> Response:
        tick = tick_of(self.clock())
        if not request.query_params.get("vs_currency"):
            raise BadRequestError(_GECKO_REFUSES, "Missing parameter vs_currency")
        parameters.only(request, "vs_currency", "usd", status=400)
        parameters.only(request, "order", "market_cap_desc", status=_GECKO_REFUSES)
        parameters.only(request, "sparkline", "false", status=_GECKO_REFUSES)
        page = parameters.number(request, "page", 1, status=_GECKO_REFUSES)
        per_page = min(parameters.number(request, "per_page", 100, status=_GECKO_REFUSES), _MAX_PER_PAGE)
        periods = parameters.names(request, "price_change_percentage", PERIODS, status=_GECKO_REFUSES)
        total = len(self.market.listed(tick))
        headers = {"total": str(total), "per-page": str(per_page)}
        if page * per_page < total:
            headers["Link"] = f'<{request.url.include_query_params(page=page + 1)}>; rel="next"'
        body = json_body(markets(self.market, tick, page=page, per_page=per_page, periods=periods))
        changed = moment_of(self.market.last_change("coingecko", tick))
        return reply(request, body, JSON, changed, headers)

    def rss(self, request: "Request") -> Response:
        items = news.items_at(self.templates, self.market.coins.listed, self.clock())
        body = news.rss(items, str(request.url))
        return reply(request, body, "application/rss+xml", news.changed_at(items))

    def atom(self, request: "Request") -> Response:
        items = news.items_at(self.templates, self.market.coins.listed, self.clock())
        body = news.atom(items, str(request.url))
        return reply(request, body, "application/atom+xml", news.changed_at(items))


def _health(_request: "Request") -> Response:
    return Response(json_body({"status": "ok"}), media_type=JSON, headers={"Cache-Control": "no-store"})


def create_app(
    data: "Path", clock: "Callable[[], datetime]" = _utc_now, opened: datetime | None = None
) -> Starlette:
    """The sandbox as an ASGI application.

    Args:
        data: the project's data folder; its `sandbox` folder is read once, here.
        clock: tells the time, in UTC; a test drives it.
        opened: when the listing of new coins began; by default now. Give the same moment again after a
            restart, and no coin that was listed disappears.

    Raises:
        SandboxDataError: a file of `data`/sandbox is missing or unreadable.
    """
    market = Market(load_coins(data), tick_of(opened or clock()))
    sandbox = _Sandbox(market, news.load_templates(data), clock)
    return Starlette(
        routes=[
            Route("/coinpaprika/v1/tickers", sandbox.tickers),
            Route("/coinpaprika/v1/coins/{id}/ohlcv/historical", sandbox.candles),
            Route("/coingecko/api/v3/coins/markets", sandbox.markets),
            Route("/news/rss.xml", sandbox.rss),
            Route("/news/atom.xml", sandbox.atom),
            Route("/health", _health),
        ],
        exception_handlers={BadRequestError: refusal},
    )
