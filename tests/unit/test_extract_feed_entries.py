"""Feeds: the id of an entry and the rule that gave it, dates that are not invented, links, enclosures."""

from __future__ import annotations

from typing import Any
from xml.sax.saxutils import escape

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kasparro_pipeline.extract import feed, records
from kasparro_pipeline.extract.feed_dates import instant
from kasparro_pipeline.extract.feed_fields import identified

WHERE = "https://news.example/feed/main.xml"


def rss(items: str, head: str = "") -> bytes:
    return f'<rss version="2.0"><channel>{head}{items}</channel></rss>'.encode()


def atom(entries: str, base: str = "") -> bytes:
    return f'<feed xmlns="http://www.w3.org/2005/Atom" {base}>{entries}</feed>'.encode()


def read(body: bytes) -> list[dict[str, Any]]:
    found = feed.entries(body, WHERE)
    for record in found.records:
        # what is stored is enough: no other entry of the feed takes part
        assert records.read(record.payload, found.layout) == record.value
    return [record.value for record in found.records]


def rules(body: bytes) -> list[tuple[str, str]]:
    return [(one["id"], one["id_rule"]) for one in read(body)]


@pytest.mark.parametrize(
    "guid",
    [
        "<guid>abc 1</guid>",
        "<guid isPermaLink='true'>abc 1</guid>",
        "<guid isPermaLink='false'>abc 1</guid>",
        "<guid> abc 1\n</guid>",
        "<guid><![CDATA[abc 1]]></guid>",
    ],
)
def test_a_guid_is_the_id_as_it_is_written_and_no_link(guid: str) -> None:
    [found] = read(rss(f"<item>{guid}<title>t</title></item>", "<link>https://other.example/</link>"))
    assert (found["id"], found["id_rule"]) == ("abc 1", "id")
    assert "link" not in found


def test_a_guid_that_is_an_address_is_the_link_too_if_there_is_none() -> None:
    items = "<item><guid>https://a.example/1</guid></item><item><guid>https://a.example/2</guid><link>/x</link></item>"
    first, second = read(rss(items))
    assert (first["id"], first["link"]) == ("https://a.example/1", "https://a.example/1")
    assert (second["id"], second["link"]) == ("https://a.example/2", "https://news.example/x")


def test_an_id_of_atom_is_not_resolved_against_a_base() -> None:
    entry = '<entry><id>tag:x,2020:1</id></entry><entry xml:base="https://b.example/"><id>two</id></entry>'
    assert rules(atom(entry)) == [("tag:x,2020:1", "id"), ("two", "id")]


def test_without_an_id_the_address_counts_then_what_is_told_then_all_bytes() -> None:
    items = (
        "<item><link>https://a.example/1</link></item><item><guid></guid><link>https://a.example/2</link></item>"
        "<item><title>a</title></item><item><category>c</category></item>"
    )
    found = rules(rss(items))
    assert [rule for _, rule in found] == ["url", "url", "title_and_content", "bytes"]
    assert [key for key, _ in found[:2]] == ["https://a.example/1", "https://a.example/2"]


def test_entries_that_differ_in_their_content_alone_stay_apart() -> None:
    space = 'xmlns:content="http://purl.org/rss/1.0/modules/content/"'
    told = "<title>a</title><description>d</description>"
    item = f"<item {space}>{told}<content:encoded>{{}}</content:encoded></item>"
    assert len({key for key, _ in rules(rss(item.format("one") + item.format("two")))}) == 2


told = st.one_of(st.none(), st.text(max_size=8))


@given(told, told, told, told, st.text(max_size=8), st.binary(max_size=8), st.binary(max_size=8))
def test_an_id_is_that_of_the_first_rule_that_applies_and_of_nothing_else(
    key: str | None,
    link: str | None,
    title: str | None,
    summary: str | None,
    content: str,
    payload: bytes,
    other: bytes,
) -> None:
    given_fields = {"id": key, "link": link, "title": title, "summary": summary}
    found = identified(given_fields, content, payload)
    expected = (
        "id" if key else "url" if link else "title_and_content" if title or summary or content else "bytes"
    )
    assert found["id_rule"] == expected
    assert found["id"]
    if expected == "id":
        assert found["id"] == key
        assert identified({"id": key, "title": "x"}, "", other)["id"] == key
    elif expected == "url":
        assert found["id"] == link
        assert identified({"link": link, "title": "x"}, "", other)["id"] == link
    elif expected == "title_and_content":
        assert identified({**given_fields, "author": "x"}, content, other)["id"] == found["id"]
        assert identified({**given_fields, "title": f"{title}x"}, content, payload)["id"] != found["id"]
    else:
        assert (identified({}, "", other)["id"] == found["id"]) == (other == payload)


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("Tue, 02 Jan 2024 03:04:05 +0100", "2024-01-02T02:04:05Z"),
        ("02 Jan 2024 03:04 GMT", "2024-01-02T03:04:00Z"),
        ("Tue, 2 Jan 24 03:04:05 EST", "2024-01-02T08:04:05Z"),
        ("Tue, 02 Jan 2024 03:04:05 CET", "2024-01-02T02:04:05Z"),
        ("Tue, 02 Jan 2024 03:04:05 -0000", "2024-01-02T03:04:05Z"),
        ("Tuesday, 02 January 2024 03:04:05 Z", "2024-01-02T03:04:05Z"),
        ("2024-01-02T03:04:05.25+01:00", "2024-01-02T02:04:05.250000Z"),
        ("2024-01-02T03:04Z", "2024-01-02T03:04:00Z"),
        ("2024-01-02 03:04:05", "2024-01-02T03:04:05"),
        ("2024-01-02", "2024-01-02T00:00:00"),
        ("Tue, 02 Jan 2024 03:04:05", "2024-01-02T03:04:05"),
    ],
)
def test_a_date_is_read_and_one_without_a_zone_gets_none(written: str, expected: str) -> None:
    assert instant(written) == expected


@pytest.mark.parametrize(
    "written",
    [
        "2024-02-31T00:00:00Z",
        "31 Feb 2024 00:00:00 GMT",
        "2024-13-01",
        "Tue, 02 Jan 2024 25:04:05 GMT",
        "Tue, 02 Jan 2024 03:04:05 +9999",
        "Tue, 02 Jan 2024 03:04:05 XYZ",
        "0001-01-01T00:00:00+14:00",
        "2024-01",
        "soon",
        "Mon, 99 Foo 99999",
        "1704164645",
    ],
)
def test_a_date_that_does_not_exist_stays_as_it_is_written(written: str) -> None:
    assert instant(written) == written
    [found] = read(rss(f"<item><title>a</title><pubDate>{written}</pubDate></item>"))
    assert found["published"] == found["updated"] == written


@given(st.text(max_size=40))
def test_any_text_is_a_date_or_stays(written: str) -> None:
    found = instant(written)
    assert found == written.strip() or found[:4].isdigit()


def test_an_entry_without_dates_has_none() -> None:
    [found] = read(rss("<item><title>a</title></item>"))
    assert not {"published", "updated"} & found.keys()


@pytest.mark.parametrize(
    ("head", "expected"),
    [
        ("", "https://news.example/feed/blog/1"),
        ("<link>https://site.example/a/</link>", "https://site.example/a/blog/1"),
        ("<link><![CDATA[https://site.example/]]></link>", "https://site.example/blog/1"),
        ("<link>/other/</link>", "https://news.example/other/blog/1"),
        ("<!-- <link>https://no.example/</link> -->", "https://news.example/feed/blog/1"),
        ("<link>javascript:x</link>", "https://news.example/feed/blog/1"),
    ],
)
def test_a_relative_link_of_rss_begins_at_the_site_that_the_feed_names(head: str, expected: str) -> None:
    [found] = read(rss("<item><link>blog/1</link></item>", head))
    assert found["link"] == found["id"] == expected


@pytest.mark.parametrize(
    ("base", "inner", "expected"),
    [
        ("", "", "https://news.example/feed/1"),
        ('xml:base="https://b.example/x/"', "", "https://b.example/x/1"),
        ('xml:base="https://b.example/x/"', 'xml:base="y/"', "https://b.example/x/y/1"),
        ('xml:base="/base/"', "", "https://news.example/base/1"),
    ],
)
def test_a_relative_link_of_atom_begins_at_xml_base_else_at_the_feed(
    base: str, inner: str, expected: str
) -> None:
    entry = f'<entry {inner}><id>1</id><link href="1"/><link rel="enclosure" href="1" length="9"/></entry>'
    [found] = read(atom(entry, base))
    assert found["link"] == expected
    assert found["enclosures"][0]["url"] == expected


def test_a_relative_link_of_a_json_feed_begins_at_its_home_page() -> None:
    body = (
        b'{"version": "https://jsonfeed.org/version/1", "home_page_url": "https://h.example/a/",'
        b' "items": [{"url": "b"}]}'
    )
    [found] = read(body)
    assert (found["id"], found["id_rule"]) == ("https://h.example/a/b", "url")


def test_a_summary_of_html_is_made_safe_and_told_as_plain_text_beside() -> None:
    markup = escape("<p>one <b>two</b><script>evil()</script></p><a href='/x'>three</a>")
    [found] = read(rss(f"<item><guid>1</guid><description>{markup}</description></item>"))
    assert found["summary"] == '<p>one <b>two</b></p><a href="https://news.example/x">three</a>'
    assert found["summary_text"] == "one two three"


def test_a_summary_that_is_plain_text_is_not_taken_for_html() -> None:
    [found] = read(atom("<entry><id>1</id><summary>a &lt; b  and\nc</summary></entry>"))
    assert found["summary_text"] == "a < b and c"


def test_enclosures_and_categories_are_kept() -> None:
    item = (
        "<item><guid>1</guid><category>a</category><category domain='d'>b</category>"
        "<enclosure url='/1.mp3' type='audio/mpeg' length='12'/><enclosure url='/2.mp3' length='many'/>"
        "</item>"
    )
    [found] = read(rss(item))
    assert (found["tags"], found["category"]) == (["a", "b"], "a")
    assert found["enclosures"] == [
        {"url": "https://news.example/1.mp3", "type": "audio/mpeg", "length": 12},
        {"url": "https://news.example/2.mp3", "length": "many"},
    ]


def test_an_entry_that_an_older_layout_describes_is_still_read() -> None:
    layout = {
        "format": "feed",
        "encoding": "iso-8859-1",
        "head": '<rss version="2.0"><channel>',
        "tail": "</channel></rss>",
        "base": WHERE,
    }
    found = records.read("<item><guid>1</guid><title>é</title></item>".encode("latin-1"), layout)
    assert isinstance(found, dict)
    assert (found["id"], found["title"]) == ("1", "é")
