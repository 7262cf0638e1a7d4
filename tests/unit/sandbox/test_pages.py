"""Pages of the sandbox's market: what is on them, where they lead, what is refused."""

from pathlib import Path

import pytest

from kasparro_pipeline.stack.sandbox.app import create_app
from kasparro_pipeline.stack.sandbox.coins import SandboxDataError
from tests.unit.sandbox.conftest import CANDLES, MARKETS, Client, Clock, markets


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
