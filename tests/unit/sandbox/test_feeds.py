"""Feeds of the sandbox: news that appears and is corrected."""

from datetime import datetime, timedelta
from typing import Any

import feedparser
import pytest

from tests.unit.sandbox.conftest import ATOM, RSS, Client, Clock


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
