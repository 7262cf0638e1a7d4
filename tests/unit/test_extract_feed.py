"""Feeds: entries are cut out of the body to the byte, and read again from what was stored."""

import contextlib
import time
from typing import Any
from xml.sax.saxutils import escape

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kasparro_pipeline.extract import feed, feed_xml, records
from kasparro_pipeline.extract.errors import PermanentUpstreamError
from kasparro_pipeline.extract.unreadable import UnreadableRecordError

WHERE = "https://news.example/feed"
RSS = '<?xml version="1.0"?>\n<rss version="2.0"><channel a="1>2"><title>T</title>{}</channel></rss>'
ATOM = '<feed xmlns="http://www.w3.org/2005/Atom"><title>T</title>{}</feed>'
RDF = (
    '<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#" xmlns="http://purl.org/rss/1.0/"'
    ' xmlns:dc="http://purl.org/dc/elements/1.1/"><channel rdf:about="x"><title>T</title>'
    "<items><rdf:Seq/></items></channel>{}</rdf:RDF>"
)


def cut(body: str | bytes) -> list[bytes]:
    found = feed.entries(body.encode() if isinstance(body, str) else body, WHERE, lenient=False)
    return [record.payload for record in found.records]


def read(body: str | bytes) -> list[dict[str, Any]]:
    found = feed.entries(body.encode() if isinstance(body, str) else body, WHERE)
    for record in found.records:
        assert records.read(record.payload, found.layout) == record.value
    return [record.value for record in found.records]


def refusal(body: str | bytes) -> str:
    with pytest.raises(PermanentUpstreamError) as refused:
        cut(body)
    assert refused.value.location == WHERE
    return refused.value.message


def test_an_rss_item_has_its_fields() -> None:
    item = (
        "<item><title>A &amp; B</title><link>https://a.example/1</link><guid isPermaLink='false'>g1</guid>"
        "<description>text</description><author>x@y.example (Ann)</author>"
        "<category>c1</category><category>c2</category>"
        "<pubDate>Tue, 02 Jan 2024 03:04:05 +0100</pubDate></item>"
    )
    assert cut(RSS.format(item)) == [item.encode()]
    assert read(RSS.format(item)) == [
        {
            "id": "g1",
            "id_rule": "id",
            "title": "A & B",
            "link": "https://a.example/1",
            "summary": "text",
            "summary_text": "text",
            "author": "x@y.example (Ann)",
            "tags": ["c1", "c2"],
            "category": "c1",
            "published": "2024-01-02T02:04:05Z",
            "updated": "2024-01-02T02:04:05Z",
        }
    ]


def test_an_atom_entry_has_its_fields() -> None:
    entry = (
        '<entry><id>urn:1</id><title>A</title><link href="/1"/><summary>s</summary>'
        '<author><name>Ann</name></author><category term="c"/>'
        "<published>2024-01-01T00:00:00+01:00</published><updated>2024-01-02T00:00:00Z</updated></entry>"
    )
    (found,) = read(ATOM.format(entry))
    assert found == {
        "id": "urn:1",
        "id_rule": "id",
        "title": "A",
        "link": "https://news.example/1",
        "summary": "s",
        "summary_text": "s",
        "author": "Ann",
        "tags": ["c"],
        "category": "c",
        "published": "2023-12-31T23:00:00Z",
        "updated": "2024-01-02T00:00:00Z",
    }


def test_an_rdf_item_has_its_fields() -> None:
    item = '<item rdf:about="https://a.example/1"><title>A</title><link>https://a.example/1</link><dc:date>2024-01-02</dc:date><dc:creator>Ann</dc:creator></item>'
    (found,) = read(RDF.format(item))
    assert (found["id"], found["title"], found["author"]) == ("https://a.example/1", "A", "Ann")
    assert found["published"] == "2024-01-02T00:00:00"  # without a zone: the contract's `zone` says which


@pytest.mark.parametrize(
    "entry",
    [
        "<item/>",
        "<item />",
        '<item a="/>"/>',
        "<item></item>",
        "<item\n a='x>y' b=\"'>'\"\n>\n<title>x</title>\n</item\n>",
        "<item><title><![CDATA[</item> ]] > <b>]]></title></item>",
        "<item><!-- </item> --><title>x</title><?pi </item> ?></item>",
        "<item><media/><x:item xmlns:x='u'><item/></x:item></item>",
        "<x:item xmlns:x='u'><x:title>x</x:title></x:item>",
        "<item>\u20ac \U0001f600</item>",
    ],
)
def test_an_entry_is_cut_to_the_byte(entry: str) -> None:
    body = RSS.format(f"\n {entry}{entry}\n<other/>{entry}")
    assert cut(body) == [entry.encode()] * 3


plain = st.text(
    alphabet=st.characters(
        codec="utf-8", exclude_categories=["Cc", "Cs", "Cn"], exclude_characters="\ufffe\uffff"
    ),
    max_size=12,
)
inner = st.one_of(
    plain.map(escape),
    plain.map(lambda text: f"<title>{escape(text)}</title>"),
    plain.map(lambda text: f"<title><![CDATA[{text.replace(']]>', '')}]]></title>"),
    plain.map(lambda text: f"<description>{escape('<b>' + text)}</description>"),
    plain.map(lambda text: f"<pubDate>{escape(text)}</pubDate>"),
    plain.map(lambda text: f"<guid>{escape(text)}</guid>"),
    plain.map(lambda text: f"<!--{text.replace('-', '')}-->"),
    plain.map(lambda text: f"<x y='{escape(text, {chr(39): '&apos;'}).replace('&gt;', '>')}'/>"),
    st.sampled_from(
        [
            "<pubDate>2024-13-45</pubDate>",
            "<pubDate>Mon, 99 Foo 99999</pubDate>",
            "<link>http://[</link>",
            "<category/>",
            "<enclosure/>",
        ]
    ),
)
entry = st.tuples(st.sampled_from([" ", "\n", " a='>'"]), st.lists(inner, max_size=4), st.booleans()).map(
    lambda made: f"<item{made[0]}>{''.join(made[1])}</item >" if made[2] or made[1] else f"<item{made[0]}/>"
)


@settings(max_examples=150, deadline=None)
@given(st.lists(st.tuples(entry, st.sampled_from(["", "\n", "<x/>", "<!-- <item> -->"])), max_size=4))
def test_every_entry_of_a_feed_is_a_slice_of_its_body(made: list[tuple[str, str]]) -> None:
    body = RSS.format("".join(one + gap for one, gap in made))
    found = feed.entries(body.encode(), WHERE)
    assert [record.payload.decode() for record in found.records] == [one for one, _ in made]
    for record in found.records:
        assert record.value is None or record.value["id"]
        with contextlib.suppress(UnreadableRecordError):
            assert records.read(record.payload, found.layout) == record.value


def test_an_id_falls_back_to_the_link_then_to_what_the_entry_says() -> None:
    linked, told, dated = read(
        RSS.format(
            "<item><link>https://a.example/1</link></item><item><title>a</title></item>"
            "<item><pubDate>Tue, 02 Jan 2024 03:04:05 GMT</pubDate></item>"
        )
    )
    assert linked["id"] == "https://a.example/1"
    assert told["id"].startswith("sha256:")
    assert dated["id"].startswith("sha256:")


def test_an_entry_without_an_id_keeps_its_key_and_entries_that_differ_stay_apart() -> None:
    first = "<item><title>a</title><pubDate>Tue, 02 Jan 2024 03:04:05 GMT</pubDate></item>"
    later = "<item><title>a</title><pubDate>Wed, 03 Jan 2024 03:04:05 GMT</pubDate></item>"
    assert read(RSS.format(first))[0]["id"] == read(RSS.format(later))[0]["id"]
    bare = "<item><category>{}</category></item>"
    assert len({one["id"] for one in read(RSS.format(bare.format("a") + bare.format("b")))}) == 2


@pytest.mark.parametrize("body", [RSS.format(""), ATOM.format(""), RDF.format(""), '<rss version="2.0"/>'])
def test_a_feed_may_have_no_entries(body: str) -> None:
    assert cut(body) == []


@pytest.mark.parametrize("before", [b"\n", b" \r\n\t", b"\xef\xbb\xbf", b"\xef\xbb\xbf\n"])
def test_what_stands_before_the_declaration_is_passed_over_if_it_is_empty(before: bytes) -> None:
    assert cut(before + RSS.format("<item/>").encode()) == [b"<item/>"]


@pytest.mark.parametrize("encoding", ["iso-8859-1", "windows-1251", "koi8-r", "us-ascii", "UTF-8"])
def test_a_declared_encoding_is_kept_to_the_byte(encoding: str) -> None:
    title = {"iso-8859-1": "caf\u00e9", "us-ascii": "cafe"}.get(encoding, "\u043d\u043e\u0432\u043e")
    item = f"<item><title>{title}</title></item>".encode(encoding)
    head = f'<?xml version="1.0" encoding="{encoding}"?><rss version="2.0"><channel>'.encode()
    body = head + item + b"</channel></rss>"
    assert cut(body) == [item]
    assert read(body)[0]["title"] == title


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("", "no element found"),
        ("{}", "no key `items`"),
        ('{"items": []}', "no JSON Feed"),
        ('{"version": "https://jsonfeed.org/version/1", "items": [{}', "not JSON"),
        ("<html><body>x</body></html>", "its root is <html>"),
        ("<!DOCTYPE html><html><br></html>", "its root is <html>"),
        ("<rss><channel><item></channel></rss>", "mismatched tag, line 1"),
        (RSS.format("<item>")[:-3], "line 2"),
        (RSS.format("<item><title>&nbsp;</title></item>"), "undefined entity"),
        (RSS.format("<item/>") + "<x/>", "junk after document element"),
        (b"<rss><channel><item>\x01</item></channel></rss>", "not well-formed"),
    ],
)
def test_what_is_no_feed_is_refused_with_its_place(body: str | bytes, said: str) -> None:
    assert said in refusal(body)


def test_a_feed_that_is_cut_anywhere_is_refused() -> None:
    body = RSS.format("<item><title>a</title></item>").encode()
    for end in range(len(body)):
        refusal(body[:end])


@pytest.mark.parametrize(
    "attack",
    [
        '<!DOCTYPE x [<!ENTITY a "b">]>',
        '<!DOCTYPE x [<!ENTITY a SYSTEM "file:///etc/passwd">]>',
        '<!DOCTYPE x [<!ENTITY % a SYSTEM "http://127.0.0.1:1/x"> %a;]>',
    ],
)
def test_a_feed_that_declares_entities_is_refused(attack: str) -> None:
    assert "entity declarations are refused" in refusal(
        attack + "<rss><channel><item>&a;</item></channel></rss>"
    )


@pytest.mark.parametrize("depth", [feed_xml.MAX_DEPTH + 1, 200_000])
def test_elements_nested_without_end_are_refused_fast(depth: int) -> None:
    started = time.monotonic()
    assert "nested deeper than 200" in refusal("<rss>" + "<a>" * depth + "</a>" * depth + "</rss>")
    assert time.monotonic() - started < 30


def test_a_stored_entry_that_holds_none_is_unreadable() -> None:
    layout = feed.entries(RSS.format("").encode(), WHERE).layout
    with pytest.raises(UnreadableRecordError) as unreadable:
        records.read(b"", layout)
    assert unreadable.value.rule == "no_entry"
