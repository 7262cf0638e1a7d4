"""OPML: the feeds of a list with their titles and categories; what attacks is refused, no file is read."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kasparro_pipeline.extract import opml
from kasparro_pipeline.extract.errors import PermanentUpstreamError
from kasparro_pipeline.extract.opml import Subscription, subscriptions

WHERE = "feeds.opml"


def listed(body: str) -> list[Subscription]:
    return subscriptions(f"<opml version='2.0'><body>{body}</body></opml>".encode(), WHERE)


def test_nested_outlines_give_their_feeds_with_titles_and_categories() -> None:
    found = listed(
        "<outline text='Top' xmlUrl='https://a.example/'/>"
        "<outline text='News'><outline title='Tech'>"
        "<outline text='B text' title='B' type='rss' xmlUrl=' https://b.example/ '/></outline>"
        "<outline XMLURL='http://c.example/' category='own'/></outline>"
        "<outline text='no feed' type='link' url='https://d.example/'/>"
        "<outline text='other' xmlUrl='file:///etc/passwd'/>"
    )
    assert found == [
        Subscription("https://a.example/", "Top", None),
        Subscription("https://b.example/", "B", "News/Tech"),
        Subscription("http://c.example/", None, "own"),
    ]


def test_an_address_that_comes_twice_is_one_feed() -> None:
    assert listed("<outline text='a' xmlUrl='https://a.example/'/>" * 3) == [
        Subscription("https://a.example/", "a")
    ]


def test_a_list_in_another_encoding_is_read_and_stored_as_text() -> None:
    body = (
        "<?xml version='1.0' encoding='iso-8859-1'?>"
        "<opml><body><outline text='é' xmlUrl='https://a.example/'/></body></opml>"
    ).encode("latin-1")
    text = opml.text_of(body)
    assert subscriptions(body, WHERE) == subscriptions(text.encode(), WHERE)
    assert subscriptions(body, WHERE)[0].title == "é"


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"", "no element found"),
        (b"<rss/>", "its root is <rss>"),
        (b"<opml><body/></opml>", "names no feed"),
        (b"<opml><body><outline></body></opml>", "mismatched tag, line 1"),
        (b"\xff\xfe\x00", "no UTF-16"),
        (b'<!DOCTYPE x [<!ENTITY a "b">]><opml><body>&a;</body></opml>', "entity declarations are refused"),
        (b'<!DOCTYPE x [<!ENTITY a SYSTEM "file:///etc/passwd">]><opml/>', "entity declarations are refused"),
    ],
)
def test_what_is_no_list_is_refused_with_the_reason(body: bytes, said: str) -> None:
    with pytest.raises(PermanentUpstreamError, match=said) as refused:
        subscriptions(body, WHERE)
    assert refused.value.location == WHERE


def test_an_address_with_a_password_is_refused_without_telling_it() -> None:
    with pytest.raises(PermanentUpstreamError, match="the feed `a` holds a user name") as refused:
        listed("<outline text='a' xmlUrl='https://me:s3cret@a.example/x'/>")
    assert "s3cret" not in str(refused.value)
    assert listed("<outline text='a' xmlUrl='https://a.example/@me'/>")


@pytest.mark.parametrize("depth", [opml.MAX_DEPTH + 1, 200_000])
def test_outlines_nested_without_end_are_refused_fast(depth: int) -> None:
    started = time.monotonic()
    with pytest.raises(PermanentUpstreamError, match="nested deeper"):
        listed("<outline>" * depth + "</outline>" * depth)
    assert time.monotonic() - started < 30


def test_more_feeds_than_a_source_can_have_are_refused() -> None:
    with pytest.raises(PermanentUpstreamError, match="more than 10,000 feeds"):
        listed("".join(f"<outline xmlUrl='https://a.example/{n}'/>" for n in range(opml.MAX_FEEDS + 1)))


@given(st.binary(max_size=60))
def test_any_bytes_are_a_list_or_refused(junk: bytes) -> None:
    with pytest.raises(PermanentUpstreamError):
        subscriptions(junk, WHERE)
