"""The sandbox upstream over real HTTP: its shapes against recorded replies, and how it moves with a clock."""

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

import feedparser
import pytest
import requests
import uvicorn

from kasparro_pipeline.stack.sandbox.app import create_app
from kasparro_pipeline.stack.sandbox.coins import SandboxDataError

ROOT = Path(__file__).parents[2]
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


# Shapes


@needs_corpora
def test_every_ticker_has_the_fields_order_and_types_of_the_recorded_one(client: Client) -> None:
    expected = shape(recorded("coinpaprika_ticker_btc.json")[0])
    tickers = client.get(TICKERS).json()

    assert len(tickers) == 250
    assert all(shape(ticker) == expected for ticker in tickers)


@needs_corpora
def test_every_candle_has_the_fields_order_and_types_of_the_recorded_ones(client: Client) -> None:
    expected = shape(recorded("coinpaprika_ohlcv_eth_2021-11_2022-01.json")[0])
    reply = client.get(
        CANDLES.format("eth-ethereum"), params={"start": "2021-11-01", "end": "2022-01-30", "limit": 366}
    )

    assert len(reply.json()) == 91
    assert all(shape(candle) == expected for candle in reply.json())


@needs_corpora
def test_market_records_have_the_fields_order_and_types_of_the_recorded_page(client: Client) -> None:
    page = recorded("coingecko_coins_markets_2022-02-23.json")
    ours = markets(client, per_page=250, price_change_percentage="1h,24h,7d,14d,30d,200d,1y")
    types = types_by_field(page)

    assert all(list(record) == list(page[0]) for record in ours)
    for name, found in types_by_field(ours).items():
        assert found <= types[name], name
    assert {"roi": {"dict", "NoneType"}, "current_price": {"int", "float"}}.items() <= types_by_field(
        ours
    ).items()
    assert {tuple(record["roi"]) for record in ours if record["roi"]} == {tuple(page[0]["roi"])}


def test_the_in_currency_changes_are_there_only_when_asked_for(client: Client) -> None:
    plain, asked = markets(client)[0], markets(client, price_change_percentage="7d,1h")[0]

    assert list(asked)[len(plain) :] == [
        "price_change_percentage_1h_in_currency",
        "price_change_percentage_7d_in_currency",
    ]
    assert list(plain)[-1] == "last_updated"


def test_health_says_ok(client: Client) -> None:
    assert client.get("/health").json() == {"status": "ok"}


# Pages


def test_the_pages_hold_every_coin_once_and_end_with_an_empty_list(client: Client) -> None:
    pages = [markets(client, per_page=60, page=page) for page in range(1, 7)]

    assert [len(page) for page in pages] == [60, 60, 60, 60, 10, 0]
    assert len({record["id"] for page in pages for record in page}) == 250


def test_the_links_lead_through_the_pages_and_end_after_the_last(client: Client) -> None:
    url, seen = f"{MARKETS}?vs_currency=usd&per_page=100", 0
    while url:
        reply = client.get(url)
        seen += len(reply.json())
        assert (reply.headers["total"], reply.headers["per-page"]) == ("250", "100")
        url = reply.links.get("next", {}).get("url", "")

    assert seen == 250


def test_a_page_is_100_records_and_at_most_250(client: Client, clock: Clock) -> None:
    clock.go(hours=1)

    assert len(markets(client)) == 100
    assert len(markets(client, per_page=1000)) == 250


def test_pages_are_sorted_by_market_cap(client: Client) -> None:
    caps = [record["market_cap"] for record in markets(client, per_page=250)]

    assert caps == sorted(caps, reverse=True)


# Refusals


@pytest.mark.parametrize(
    ("url", "status", "error"),
    [
        (MARKETS, 422, "Missing parameter vs_currency"),
        (f"{MARKETS}?vs_currency=usd&page=0", 422, "page must be a whole number from 1, not '0'"),
        (f"{MARKETS}?vs_currency=usd&per_page=-1", 422, "per_page must be a whole number from 1, not '-1'"),
        (
            f"{MARKETS}?vs_currency=eur",
            400,
            "vs_currency=eur is not served by the sandbox; use vs_currency=usd",
        ),
        (f"{CANDLES.format('no-such')}?start=2026-11-01", 404, "id not found"),
        (CANDLES.format("btc-bitcoin"), 400, "Missing parameter start (YYYY-MM-DD)"),
        (f"{CANDLES.format('btc-bitcoin')}?start=x", 400, "start must be a date as YYYY-MM-DD, not 'x'"),
        (
            f"{CANDLES.format('btc-bitcoin')}?start=2026-11-01&limit=367",
            400,
            "limit must be between 1 and 366, not 367",
        ),
        (
            f"{CANDLES.format('btc-bitcoin')}?start=2026-11-02&end=2026-11-01",
            400,
            "end (2026-11-01) must not be before start (2026-11-02)",
        ),
    ],
)
def test_a_bad_request_is_refused_with_a_sentence(client: Client, url: str, status: int, error: str) -> None:
    reply = client.get(url)

    assert (reply.status_code, reply.json()) == (status, {"error": error})


def test_missing_data_is_said_with_the_file_and_the_setting(tmp_path: Path) -> None:
    with pytest.raises(SandboxDataError, match=r"coins\.json.*KASPARRO_DATA"):
        create_app(tmp_path)


# Time


def test_the_same_moment_gives_the_same_bytes_from_another_server(client: Client, clock: Clock) -> None:
    with served(clock) as other:
        for url in EVERY:
            there = other.get(url).text.replace(other.base, client.base)  # a feed names its own address
            assert there == client.get(url).text


@pytest.mark.parametrize(
    ("url", "key"),
    [(TICKERS, "id"), (f"{MARKETS}?vs_currency=usd&per_page=250", "id")],
    ids=["tickers", "markets"],
)
def test_a_tick_changes_about_a_quarter_and_leaves_the_rest_byte_identical(
    client: Client, clock: Clock, url: str, key: str
) -> None:
    before = texts(client, url, key)
    clock.go(seconds=29)
    assert texts(client, url, key) == before

    clock.go(seconds=1)
    after = texts(client, url, key)

    changed = [name for name in before if before[name] != after[name]]
    assert after.keys() == before.keys()
    assert 30 < len(changed) < 100
    assert all('"last_updated": "2026-11-08T12:01:00' in after[name] for name in changed)


def test_every_record_is_fresh_within_an_hour(client: Client) -> None:
    stamps = [ticker["last_updated"] for ticker in client.get(TICKERS).json()]

    assert min(stamps) > "2026-11-08T11:00:00Z"
    assert max(stamps) <= "2026-11-08T12:00:00Z"


def test_a_new_coin_is_listed_every_ten_minutes_and_none_disappears(client: Client, clock: Clock) -> None:
    listed = [set(texts(client, TICKERS, "id"))]
    for _ in range(17):
        clock.go(minutes=10)
        listed.append(set(texts(client, TICKERS, "id")))

    assert [len(ids) for ids in listed] == [*range(250, 265), 265, 265, 265]
    assert all(before <= after for before, after in pairwise(listed))


def test_a_listing_is_on_both_upstreams_at_the_same_moment(client: Client, clock: Clock) -> None:
    before = {record["name"] for page in (1, 2) for record in markets(client, per_page=250, page=page)}
    assert client.get(CANDLES.format("gt-gatechain-token"), params={"start": "2026-11-01"}).status_code == 404
    clock.go(minutes=10)
    after = {record["name"] for page in (1, 2) for record in markets(client, per_page=250, page=page)}

    assert after - before == {"GateToken"}
    assert "gt-gatechain-token" in texts(client, TICKERS, "id")
    assert client.get(CANDLES.format("gt-gatechain-token"), params={"start": "2026-11-01"}).status_code == 200


def test_a_restart_that_remembers_when_the_sandbox_opened_lists_the_same_coins(clock: Clock) -> None:
    clock.go(hours=1)
    with served(clock, opened=START) as again:
        assert len(again.get(TICKERS).json()) == 256


def test_prices_stay_within_their_band_for_years(client: Client, clock: Clock) -> None:
    for _ in range(12):
        for ticker in client.get(TICKERS).json():
            quote = ticker["quotes"]["USD"]
            assert 0 < quote["price"] < quote["ath_price"]
            if ticker["id"] == "usdt-tether":
                assert 0.98 < quote["price"] < 1.02
            if ticker["id"] == "btc-bitcoin":
                assert 20_000 < quote["price"] < 75_000
        clock.go(days=123)


# Candles


def candles(client: Client, **parameters: str | int) -> list[dict[str, Any]]:
    reply = client.get(CANDLES.format("btc-bitcoin"), params=parameters)
    assert reply.status_code == 200
    found: list[dict[str, Any]] = reply.json()
    return found


def days(found: list[dict[str, Any]]) -> list[str]:
    return [candle["time_open"][:10] for candle in found]


def test_candles_include_start_and_end_up_to_the_limit_which_is_one(client: Client) -> None:
    window = {"start": "2026-10-30", "end": "2026-11-02"}

    assert days(candles(client, **window, limit=10)) == [
        "2026-10-30",
        "2026-10-31",
        "2026-11-01",
        "2026-11-02",
    ]
    assert days(candles(client, **window, limit=2)) == ["2026-10-30", "2026-10-31"]
    assert days(candles(client, **window)) == ["2026-10-30"]


def test_days_of_the_future_and_before_the_history_are_absent(client: Client) -> None:
    assert days(candles(client, start="2026-11-07", end="2026-11-30", limit=366)) == [
        "2026-11-07",
        "2026-11-08",
    ]
    assert days(candles(client, start="2020-12-30", end="2021-01-02", limit=366)) == [
        "2021-01-01",
        "2021-01-02",
    ]
    assert candles(client, start="2026-11-09", end="2026-11-30", limit=5) == []


def test_the_current_day_moves_and_the_past_never_does(client: Client, clock: Clock) -> None:
    past, now = candles(client, start="2026-11-07", limit=2)
    clock.go(minutes=7)
    past_later, later = candles(client, start="2026-11-07", limit=2)
    clock.go(days=1)
    past_last, whole, _ = candles(client, start="2026-11-07", limit=3)
    clock.go(days=400)

    assert past == past_later == past_last == candles(client, start="2026-11-07")[0]
    assert whole == candles(client, start="2026-11-08")[0]
    assert (now["time_close"], later["time_close"], whole["time_close"]) == (
        "2026-11-08T12:00:00Z",
        "2026-11-08T12:07:00Z",
        "2026-11-08T23:59:59Z",
    )
    assert now["open"] == later["open"] == whole["open"]
    assert now["volume"] < later["volume"] < whole["volume"]
    assert now["close"] != later["close"]


def test_a_candle_holds_its_own_open_and_close_and_begins_where_the_last_ended(client: Client) -> None:
    found = candles(client, start="2026-01-01", limit=200)

    for candle in found:
        assert candle["low"] <= min(candle["open"], candle["close"])
        assert candle["high"] >= max(candle["open"], candle["close"])
    assert all(first["close"] == second["open"] for first, second in pairwise(found))


# Feeds


@pytest.mark.parametrize(("url", "version"), [(RSS, "rss20"), (ATOM, "atom10")])
def test_a_feed_parses_without_complaint_and_every_item_is_whole(
    client: Client, url: str, version: str
) -> None:
    reply = client.get(url)
    feed = feedparser.parse(reply.content, response_headers={"content-type": reply.headers["content-type"]})

    assert (feed.bozo, feed.version, len(feed.entries)) == (False, version, 40)
    for entry in feed.entries:
        assert entry.title
        assert entry.summary
        assert entry.link.startswith("http://news.kasparro.invalid/2026/")
        assert entry.author
        assert len(entry.tags) >= 2
        assert entry.published_parsed
    assert len({entry.id for entry in feed.entries}) == 40
    assert any("<p>" in entry.summary for entry in feed.entries)
    assert any("<" not in entry.summary for entry in feed.entries)


def test_both_feeds_carry_the_same_news(client: Client) -> None:
    rss, atom = (feedparser.parse(client.get(url).content).entries for url in (RSS, ATOM))

    def facts(entry: feedparser.FeedParserDict) -> tuple[Any, ...]:
        tags = [tag.term for tag in entry.tags]
        return entry.id, entry.title, entry.link, entry.author, entry.published_parsed, tags

    assert [facts(entry) for entry in rss] == [facts(entry) for entry in atom]


def test_rss_says_how_long_to_wait_and_that_its_ids_are_no_addresses(client: Client) -> None:
    text = client.get(RSS).text

    assert "<ttl>3</ttl>" in text
    assert text.count('<guid isPermaLink="false">tag:') == 40


def test_a_new_item_appears_every_three_minutes(client: Client, clock: Clock) -> None:
    before = [entry.id for entry in feedparser.parse(client.get(RSS).content).entries]
    clock.go(minutes=3)
    after = [entry.id for entry in feedparser.parse(client.get(RSS).content).entries]

    assert after[0] not in before
    assert after[1:] == before[:-1]


def test_a_title_is_corrected_ten_minutes_after_publication_and_updated_moves(
    client: Client, clock: Clock
) -> None:
    history: dict[str, list[tuple[str, str, str]]] = {}
    for _ in range(90):
        for entry in feedparser.parse(client.get(ATOM).content).entries:
            version = (entry.title, entry.published, entry.updated)
            if version not in history.setdefault(entry.id, []):
                history[entry.id].append(version)
        clock.go(minutes=1)

    corrected = [versions for versions in history.values() if len(versions) > 1]
    assert len(corrected) in {1, 2}
    for (wrong, published, untouched), (right, still, updated) in corrected:
        assert wrong != right
        assert published == still == untouched
        assert datetime.fromisoformat(updated) - datetime.fromisoformat(published) == timedelta(minutes=10)


def test_a_corrected_item_is_always_in_the_window(client: Client, clock: Clock) -> None:
    for _ in range(40):
        entries = feedparser.parse(client.get(ATOM).content).entries
        assert any(entry.updated != entry.published for entry in entries)
        clock.go(minutes=3)


# Conditional requests


@pytest.mark.parametrize("url", EVERY)
def test_an_answer_carries_its_validators_and_a_client_that_holds_it_gets_304(
    client: Client, url: str
) -> None:
    reply = client.get(url)
    tag, date = reply.headers["etag"], reply.headers["last-modified"]

    assert tag.startswith('"')
    assert parsedate_to_datetime(date) <= START
    assert reply.headers["cache-control"] == "max-age=60"
    for condition in (
        {"if-none-match": tag},
        {"if-none-match": f'"other", W/{tag}'},
        {"if-none-match": "*"},
        {"if-modified-since": date},
        {"if-none-match": tag, "if-modified-since": "Thu, 01 Jan 2026 00:00:00 GMT"},
    ):
        held = client.get(url, headers=condition)
        assert (held.status_code, held.content, held.headers["etag"]) == (304, b"", tag)


@pytest.mark.parametrize("url", EVERY)
@pytest.mark.parametrize(
    "condition",
    [
        {"if-none-match": '"other"'},
        {"if-none-match": '"other"', "if-modified-since": "Fri, 01 Jan 2100 00:00:00 GMT"},
        {"if-modified-since": "Thu, 01 Jan 2026 00:00:00 GMT"},
        {"if-modified-since": "yesterday"},
    ],
    ids=["tag", "tag-wins-over-date", "date", "no-date"],
)
def test_a_client_that_holds_something_else_gets_the_answer(
    client: Client, url: str, condition: dict[str, str]
) -> None:
    assert client.get(url, headers=condition).status_code == 200


@pytest.mark.parametrize("url", EVERY)
def test_whenever_the_bytes_change_both_validators_move(client: Client, clock: Clock, url: str) -> None:
    last = client.get(url)
    for _ in range(30):
        clock.go(seconds=60)
        reply = client.get(url)
        if reply.content != last.content:
            assert reply.headers["etag"] != last.headers["etag"]
            assert parsedate_to_datetime(reply.headers["last-modified"]) > parsedate_to_datetime(
                last.headers["last-modified"]
            )
        else:
            assert reply.headers["etag"] == last.headers["etag"]
        last = reply


def test_a_window_that_is_over_keeps_its_validators(client: Client, clock: Clock) -> None:
    url = f"{CANDLES.format('btc-bitcoin')}?start=2026-11-01&end=2026-11-07&limit=7"
    before = client.get(url)
    clock.go(days=3)
    after = client.get(url)

    assert after.headers["etag"] == before.headers["etag"]
    assert (
        after.headers["last-modified"] == before.headers["last-modified"] == "Sun, 08 Nov 2026 00:00:00 GMT"
    )


# The process


def start(**environment: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "kasparro_pipeline.stack.sandbox"],
        env=os.environ | {"KASPARRO_DATA": str(DATA), "KASPARRO_HOST": "127.0.0.1"} | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def test_the_module_serves_on_the_port_of_the_environment_and_stops_on_an_interrupt() -> None:
    port = free_port()
    with start(KASPARRO_SANDBOX_PORT=str(port)) as process:
        try:
            for _ in range(200):
                assert process.poll() is None, process.communicate()
                with suppress(requests.ConnectionError):
                    assert requests.get(f"http://127.0.0.1:{port}/health", timeout=5).ok
                    break
                time.sleep(0.05)
            process.send_signal(signal.SIGINT)
            out, err = process.communicate(timeout=10)
        finally:
            process.kill()

    assert (process.returncode, out, err) == (0, "", "")


def test_a_port_that_is_taken_is_said_with_what_to_do() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with start(KASPARRO_SANDBOX_PORT=str(taken.getsockname()[1])) as process:
            _, err = process.communicate(timeout=20)

    assert process.returncode == 1
    assert "Address already in use" in err
    assert "set KASPARRO_SANDBOX_PORT to a free one" in err
    assert "Traceback" not in err
