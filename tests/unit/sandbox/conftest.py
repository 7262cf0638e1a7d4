"""The sandbox upstream over real HTTP, with a clock that a test moves, and recorded replies."""

import json
import socket
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import requests
import uvicorn

from kasparro_pipeline.stack.sandbox.app import create_app

ROOT = Path(__file__).parents[3]
DATA = ROOT / "data"
CORPORA = ROOT.parent / "shared" / "corpora" / "coins"
START = datetime(2026, 11, 8, 12, 0, 30, tzinfo=UTC)
TICKERS = "/coinpaprika/v1/tickers"
CANDLES = "/coinpaprika/v1/coins/{}/ohlcv/historical"
MARKETS = "/coingecko/api/v3/coins/markets"
RSS, ATOM = "/news/rss.xml", "/news/atom.xml"
EVERY = [
    TICKERS,
    f"{CANDLES.format('btc-bitcoin')}?start=2026-11-01&limit=30",
    f"{MARKETS}?vs_currency=usd",
    RSS,
    ATOM,
]

needs_corpora = pytest.mark.skipif(not CORPORA.exists(), reason="../shared/corpora is absent")


class Clock:
    """A clock that stands still until it is told to go on."""

    def __init__(self) -> None:
        self.now = START

    def __call__(self) -> datetime:
        return self.now

    def go(self, **step: float) -> None:
        self.now += timedelta(**step)


@dataclass(frozen=True)
class Client:
    """Asks one server, by path or by a whole address that it gave."""

    base: str
    session: requests.Session

    def get(
        self,
        url: str,
        params: Mapping[str, str | int] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> requests.Response:
        whole = self.base + url if url.startswith("/") else url
        return self.session.get(whole, params=params, headers=headers, timeout=10)


@contextmanager
def served(clock: Clock, opened: datetime | None = None) -> Iterator[Client]:
    app = create_app(DATA, clock, opened=opened)
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        server = uvicorn.Server(uvicorn.Config(app, log_level="warning", lifespan="off"))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        try:
            while not server.started:
                assert thread.is_alive(), "the sandbox did not start"
                time.sleep(0.005)
            with requests.Session() as session:
                yield Client(f"http://127.0.0.1:{listener.getsockname()[1]}", session)
        finally:
            server.should_exit = True
            thread.join()


@pytest.fixture(scope="module")
def sandbox() -> Iterator[tuple[Client, Clock]]:
    """One server for all tests here: it holds no state but its clock, which `clock` sets back."""
    clock = Clock()
    with served(clock) as client:
        yield client, clock


@pytest.fixture
def clock(sandbox: tuple[Client, Clock]) -> Clock:
    sandbox[1].now = START
    return sandbox[1]


@pytest.fixture
def client(sandbox: tuple[Client, Clock], clock: Clock) -> Client:
    assert clock.now == START
    return sandbox[0]


def recorded(name: str) -> list[dict[str, Any]]:
    """The records of a recorded reply; a reply of one record gives a list of one."""
    content = json.loads((CORPORA / name).read_bytes())
    return content if isinstance(content, list) else [content]


def shape(value: object) -> object:
    """The names, in order, and the types of a JSON value."""
    if isinstance(value, dict):
        return [(name, shape(part)) for name, part in value.items()]
    return type(value).__name__


def types_by_field(records: list[dict[str, Any]]) -> dict[str, set[str]]:
    return {name: {type(record[name]).__name__ for record in records} for name in records[0]}


def texts(client: Client, url: str, key: str) -> dict[str, str]:
    """Each record's id and its JSON text."""
    return {record[key]: json.dumps(record) for record in client.get(url).json()}


def markets(client: Client, **parameters: str | int) -> list[dict[str, Any]]:
    reply = client.get(MARKETS, params=parameters | {"vs_currency": "usd"})
    assert reply.status_code == 200
    found: list[dict[str, Any]] = reply.json()
    return found
