"""How the sandbox moves with its clock, and what never changes."""

from itertools import pairwise

import pytest

from tests.unit.sandbox.conftest import (
    CANDLES,
    EVERY,
    MARKETS,
    START,
    TICKERS,
    Client,
    Clock,
    markets,
    served,
    texts,
)


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
