"""Feeds: every format and encoding is read, a broken one as far as its entries are whole, to the byte."""

from __future__ import annotations

import codecs
import json
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kasparro_pipeline.extract import feed, records
from kasparro_pipeline.extract.errors import PermanentUpstreamError
from tests.conftest import corpus

if TYPE_CHECKING:
    from kasparro_pipeline.extract.feed import FeedBody

WHERE = "https://news.example/feed"
NETSCAPE = (
    'xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#" xmlns="http://my.netscape.com/rdf/simple/0.9/"'
)
RSS1 = 'xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#" xmlns="http://purl.org/rss/1.0/"'
DOCTYPE = (
    '<!DOCTYPE rss PUBLIC "-//Netscape Communications//DTD RSS 0.91//EN"'
    ' "http://my.netscape.com/publish/formats/rss-0.91.dtd">'
)
ITEM = "<item><title>A &amp; B</title><link>https://a.example/1</link></item>"
ENTRY = (
    '<entry><id>https://a.example/1</id><title>A &amp; B</title><link href="https://a.example/1"/></entry>'
)
FORMATS = {
    "RSS 0.90": f"<rdf:RDF {NETSCAPE}><channel><title>T</title></channel>{ITEM}</rdf:RDF>",
    "RSS 0.91": f'{DOCTYPE}<rss version="0.91"><channel><title>T</title>{ITEM}</channel></rss>',
    "RSS 0.92": f'<rss version="0.92"><channel><title>T</title>{ITEM}</channel></rss>',
    "RSS 1.0": f"<rdf:RDF {RSS1}><channel rdf:about='x'><title>T</title></channel>"
    f"{ITEM.replace('<item>', '<item rdf:about=' + repr('https://a.example/1') + '>')}</rdf:RDF>",
    "RSS 2.0": f'<rss version="2.0"><channel><title>T</title>{ITEM}</channel></rss>',
    "Atom 0.3": f'<feed version="0.3" xmlns="http://purl.org/atom/ns#"><title>T</title>{ENTRY}</feed>',
    "Atom 1.0": f'<feed xmlns="http://www.w3.org/2005/Atom"><title>T</title>{ENTRY}</feed>',
    "JSON Feed 1.0": json.dumps(
        {
            "version": "https://jsonfeed.org/version/1",
            "title": "T",
            "items": [{"id": "https://a.example/1", "title": "A & B", "url": "https://a.example/1"}],
        }
    ),
    "JSON Feed 1.1": json.dumps(
        {
            "version": "https://jsonfeed.org/version/1.1",
            "title": "T",
            "items": [{"id": "https://a.example/1", "title": "A & B", "url": "https://a.example/1"}],
        }
    ),
}


def values(found: FeedBody) -> list[dict[str, Any]]:
    for record in found.records:
        assert records.read(record.payload, found.layout) == record.value
    return [record.value for record in found.records]


def require_exact(found: FeedBody, body: bytes) -> None:
    """P7: each entry is a slice of the body, and they stand in it one behind the other."""
    place = 0
    for record in found.records:
        place = body.find(record.payload, place)
        assert place >= 0
        place += len(record.payload)


@pytest.mark.parametrize("name", FORMATS)
def test_each_format_gives_its_entry(name: str) -> None:
    body = FORMATS[name].encode()
    found = feed.entries(body, WHERE)
    [entry] = values(found)
    assert (entry["id"], entry["title"], entry["link"]) == (
        "https://a.example/1",
        "A & B",
        "https://a.example/1",
    )
    assert found.problem is None
    require_exact(found, body)


def test_dates_of_atom_0_3_have_other_names() -> None:
    entry = (
        "<entry><id>1</id><issued>2003-12-13T08:29:29-04:00</issued>"
        "<modified>2003-12-14T00:00:00Z</modified></entry>"
    )
    [found] = values(feed.entries(FORMATS["Atom 0.3"].replace(ENTRY, entry).encode(), WHERE))
    assert (found["published"], found["updated"]) == ("2003-12-13T12:29:29Z", "2003-12-14T00:00:00Z")


def test_an_entity_of_the_dtd_of_rss_0_91_is_read_and_the_dtd_is_not() -> None:
    body = FORMATS["RSS 0.91"].replace("A &amp; B", "caf&eacute;").encode()
    assert values(feed.entries(body, WHERE))[0]["title"] == "café"


def test_a_json_item_has_the_fields_that_an_entry_of_xml_has() -> None:
    body = corpus("feeds/reader/full.json").read_bytes()
    found = feed.entries(body, WHERE)
    first, second = values(found)
    assert first == {
        "id": "2",
        "id_rule": "id",
        "title": "Title",
        "link": "https://example.org/second-item",
        "summary": "A summary",
        "summary_text": "A summary",
        "author": "mailto:joe@example.com",
        "tags": [],
        "enclosures": [
            {"url": "http://example.com/downloads/file.m4a", "type": "audio/x-m4a", "length": 12345678},
            {"url": "http://example.com/downloads/another.mp3"},
        ],
        "published": "2020-01-02T21:00:00Z",
        "updated": "2020-01-04T00:00:00Z",
    }
    assert (second["summary"], second["summary_text"]) == ("<p>Hello, world!</p>", "Hello, world!")
    assert second["author"] == "Jane"
    require_exact(found, body)


def test_json_values_of_wrong_types_are_passed_on_for_the_contract_to_judge() -> None:
    found = feed.entries(corpus("feeds/reader/invalid.json").read_bytes(), WHERE)
    first, second, *rest = values(found)
    assert (first["title"], first["published"], first["summary"]) == (1000, "not a date", True)
    assert second["id"] == "3.1415"
    assert len(rest) == 6


def test_a_json_feed_of_another_version_is_read_and_the_reason_told() -> None:
    body = b'{"version": "https://jsonfeed.org/version/9", "items": [{"id": 7}]}'
    found = feed.entries(body, WHERE)
    assert values(found)[0]["id"] == "7"
    assert found.problem == "its version, 'https://jsonfeed.org/version/9', is not known; read as 1.1"


def test_what_is_kept_of_a_feed_beside_its_entries_holds_nothing_that_postgresql_refuses() -> None:
    told = {"version": "https://jsonfeed.org/version/1\x00\ud800", "home_page_url": "https://h.example/\x00"}
    found = feed.entries(json.dumps(told | {"items": [{"id": "a"}]}).encode(), WHERE)
    item = b"<link>https://h.example/\x00</link><item/></channel>"
    broken = feed.entries(b"<rss a='\x00'><channel>" + item, WHERE)
    for one in (found, broken):
        for text in (*one.layout.values(), one.problem or ""):
            assert "\x00" not in text
            assert text.encode()
        assert one.layout["base"] == WHERE


def test_a_json_item_that_is_no_object_stays_in_raw_and_cannot_be_read() -> None:
    found = feed.entries(b'{"version": "https://jsonfeed.org/version/1", "items": [1, {"id": "a"}]}', WHERE)
    assert [record.payload for record in found.records] == [b"1", b'{"id": "a"}']
    assert found.records[0].value is None
    with pytest.raises(ValueError, match="no object"):
        records.read(b"1", found.layout)


ACCENT = "<rss><channel><item><title>é</title></item></channel></rss>"
TEXTS = {
    "gb2312": "\u65b0\u95fb",
    "gbk": "\u9999\u6e2f\u9ad4",
    "gb18030": "\u65b0\u95fb",
    "big5": "\u65b0\u805e",
    "shift_jis": "\u30bd\u30fc\u30b9",
    "euc-jp": "\u65b0\u805e",
    "euc-kr": "\ub274\uc2a4",
    "iso-8859-15": "5 \u20ac",
    "windows-1252": "\u201cquoted\u201d",
}


@pytest.mark.parametrize("encoding", TEXTS)
def test_an_encoding_that_is_declared_is_read_and_kept_to_the_byte(encoding: str) -> None:
    item = f"<item><title>{TEXTS[encoding]}</title></item>".encode(encoding)
    head = f'<?xml version="1.0" encoding="{encoding}"?><rss version="2.0"><channel>'.encode()
    found = feed.entries(head + item + item + b"</channel></rss>", WHERE)
    assert [record.payload for record in found.records] == [item, item]
    assert values(found)[0]["title"] == TEXTS[encoding]
    assert found.problem is None


def test_an_entry_in_bytes_that_its_encoding_writes_in_another_way_is_kept_to_the_byte() -> None:
    item = b"<item><title>\x87\x90</title></item>"  # read as U+2252, which is written as 0x81E0
    head = b'<?xml version="1.0" encoding="shift_jis"?><rss version="2.0"><channel>'
    found = feed.entries(head + item + b"</channel></rss>", WHERE)
    assert [record.payload for record in found.records] == [item]
    assert values(found)[0]["title"] == "\u2252"


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be", "utf-32-le", "utf-32-be"])
@pytest.mark.parametrize("mark", [True, False])
@pytest.mark.parametrize("name", ["RSS 2.0", "JSON Feed 1.1"])
def test_utf16_and_utf32_are_read_with_and_without_a_mark(encoding: str, mark: bool, name: str) -> None:
    marks = {
        "utf-16-le": codecs.BOM_UTF16_LE,
        "utf-16-be": codecs.BOM_UTF16_BE,
        "utf-32-le": codecs.BOM_UTF32_LE,
        "utf-32-be": codecs.BOM_UTF32_BE,
    }
    if name.startswith("JSON") and not mark:
        pytest.skip("JSON is UTF-8 without a mark (RFC 8259 8.1)")
    body = (marks[encoding] if mark else b"") + FORMATS[name].replace("A &", "\u20ac &").encode(encoding)
    found = feed.entries(body, WHERE)
    assert values(found)[0]["title"] == "\u20ac & B"
    require_exact(found, body)


def test_what_is_utf8_and_said_to_be_by_the_server_is_read_as_that_whatever_the_declaration_says() -> None:
    body = f'<?xml version="1.0" encoding="iso-8859-1"?>{ACCENT}'
    found = feed.entries(body.encode(), WHERE, "text/xml; charset=UTF-8")
    assert values(found)[0]["title"] == "é"
    assert found.problem is None


def test_the_charset_of_the_server_counts_where_the_body_declares_none() -> None:
    body = "<rss><channel><item><title>новое</title></item></channel></rss>".encode("windows-1251")
    found = feed.entries(body, WHERE, "application/rss+xml; charset=windows-1251")
    assert values(found)[0]["title"] == "новое"


def test_a_declared_utf16_that_is_utf8_is_read_and_told() -> None:
    found = feed.entries(corpus("feeds/fastfeedparser/utf16_encoded.xml").read_bytes(), WHERE)
    assert len(values(found)) == 1
    assert "it declares the encoding utf-16" in (found.problem or "")


def test_windows_1252_without_a_declaration_is_read_and_told() -> None:
    body = "<rss><channel><item><title>“é”</title></item></channel></rss>".encode("windows-1252")
    found = feed.entries(body, WHERE)
    assert values(found)[0]["title"] == "“é”"
    assert found.problem == "it is no utf-8; read as cp1252"


def test_a_single_byte_that_is_no_utf8_spoils_no_other_character() -> None:
    item = "<item><title>новое ".encode() + b"\xff" + b"</title></item>"
    body = b"<rss><channel>" + item + b"</channel></rss>"
    found = feed.entries(body, WHERE)
    assert [record.payload for record in found.records] == [item]
    assert values(found)[0]["title"] == "новое \ufffd"
    assert "bytes in it are no UTF-8" in (found.problem or "")


@pytest.mark.parametrize("encoding", ["nope", "utf-7", "base64", "idna", "undefined", "iso-2022-jp"])
def test_an_encoding_that_is_not_known_is_told_and_refused_where_it_matters(encoding: str) -> None:
    body = f'<?xml version="1.0" encoding="{encoding}"?>{ACCENT}'
    found = feed.entries(body.encode(), WHERE)
    assert values(found)[0]["title"] == "é"
    assert f"encoding {encoding}" in (found.problem or "")
    with pytest.raises(PermanentUpstreamError, match=f"{encoding}, which it declares, is not known"):
        feed.entries(body.encode("latin-1"), WHERE)


A, C = "<item><title>a</title></item>", "<item><title>c</title></item>"
BROKEN = {
    "an entity that HTML has": f"<rss><channel><item><title>a&nbsp;b</title></item>{C}</channel></rss>",
    "a bare ampersand": f"<rss><channel><item><title>a & b</title></item>{C}</channel></rss>",
    "a tag that is not closed": f"<rss><channel><item><title>a</title><b></item>{C}</channel></rss>",
    "an item that is not closed": f"<rss><channel><item><title>a</title>{C}</channel></rss>",
    "no end": f"<rss><channel>{A}{C}",
    "an attribute without quotes": f"<rss version=2.0><channel>{A}{C}</channel></rss>",
    "more behind the end": f"<rss><channel>{A}{C}</channel></rss><x/>",
    "a control character": f"<rss><channel><item><title>a\x01</title></item>{C}</channel></rss>",
    "an outer tag that is not closed": f"<rss><channel>{A}{C}<br></channel></rss>",
}


@pytest.mark.parametrize("fault", BROKEN)
def test_a_broken_feed_gives_its_entries_to_the_byte_and_the_reason(fault: str) -> None:
    body = BROKEN[fault].encode()
    found = feed.entries(body, WHERE)
    first, second = values(found)
    assert first["title"].startswith("a")
    assert second["title"] == "c"
    assert "not well-formed XML" in (found.problem or "")
    require_exact(found, body)
    with pytest.raises(PermanentUpstreamError, match="not well-formed XML"):
        feed.entries(body, WHERE, lenient=False)


def test_a_prefix_that_is_not_declared_is_told_and_costs_no_entry() -> None:
    item = "<item><guid>1</guid><title>a</title><media:x/></item>"
    body = f"<rss><channel>{item}{C}</channel></rss>".encode()
    found = feed.entries(body, WHERE, lenient=False)
    assert [one["title"] for one in values(found)] == ["a", "c"]
    assert found.problem == "its namespaces are not well-formed: unbound prefix, line 1, column 51"
    require_exact(found, body)


def test_an_entry_that_the_body_ends_in_is_left_out_and_told() -> None:
    body = "<rss><channel><item><title>a</title></item><item><link>https://a.example/lo"
    found = feed.entries(body.encode(), WHERE)
    assert [one["title"] for one in values(found)] == ["a"]
    assert "its last entry is cut off and was left out" in (found.problem or "")


def test_a_broken_feed_without_a_whole_entry_is_an_error_with_the_reason() -> None:
    with pytest.raises(PermanentUpstreamError, match=r"no element found.*no entry in it is whole"):
        feed.entries(b"<rss><channel><item><title>a", WHERE)


@pytest.mark.parametrize(
    "body",
    [
        "<?xml?xml ?><html><item></item></html>",
        "<html><item></html>",
        "<html>&nbsp;<entry></entry>",
        "no markup",
        "<",
        "<<rss>",
    ],
)
def test_what_is_no_feed_is_refused_however_broken(body: str) -> None:
    with pytest.raises(PermanentUpstreamError, match="no RSS or Atom feed"):
        feed.entries(body.encode(), WHERE)


def test_a_broken_feed_that_declares_entities_is_refused_too() -> None:
    body = '<?xml?xml ?><!DOCTYPE x [<!ENTITY a "b">]><rss><channel><item>&a;</item></channel></rss>'
    with pytest.raises(PermanentUpstreamError, match="entity declarations are refused"):
        feed.entries(body.encode(), WHERE)


def test_an_entry_is_looked_for_outside_comments_and_character_data() -> None:
    item = "<item><title><![CDATA[</item><item>]]>a</title></item>"
    body = f"<rss><channel>&x;<!-- <item>no</item> -->{item}</channel>"
    found = feed.entries(body.encode(), WHERE)
    assert [record.payload for record in found.records] == [item.encode()]


@settings(max_examples=200)
@given(st.integers(0, 400), st.integers(0, 400), st.binary(max_size=6))
def test_bytes_thrown_into_a_feed_lose_no_entry_silently(start: int, length: int, junk: bytes) -> None:
    body = FORMATS["RSS 2.0"].replace(ITEM, ITEM * 3).encode()
    spoiled = body[: start % len(body)] + junk + body[(start + length % 20) % len(body) :]
    try:
        found = feed.entries(spoiled, WHERE)
    except PermanentUpstreamError:
        return  # refused as a whole, with the reason
    require_exact(found, spoiled)
    for record in found.records:
        if record.value is not None:
            assert records.read(record.payload, found.layout) == record.value
    assert found.problem or len(found.records) == spoiled.count(b"</item>")
