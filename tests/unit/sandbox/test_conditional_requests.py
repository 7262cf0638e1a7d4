"""Validators of the sandbox's answers: a client that holds one gets 304."""

from email.utils import parsedate_to_datetime

import pytest

from tests.unit.sandbox.conftest import CANDLES, EVERY, START, Client, Clock


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
