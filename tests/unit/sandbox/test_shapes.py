"""Shapes of the sandbox's answers, against recorded replies."""

from tests.unit.sandbox.conftest import (
    CANDLES,
    TICKERS,
    Client,
    markets,
    needs_corpora,
    recorded,
    shape,
    types_by_field,
)


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
