"""The sandbox's news: which items exist at a moment, and the same items as RSS 2.0 and as Atom 1.0.

An item is published every three minutes. Every twentieth has a wrong figure in its title, corrected ten
minutes later: its id and its publication time stay. All sentences are invented; see data/sandbox/news.json.
"""

import xml.etree.ElementTree as ET
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import TYPE_CHECKING, Any

from kasparro_pipeline.stack.sandbox.coins import SandboxDataError, read_json
from kasparro_pipeline.stack.sandbox.walk import fraction

if TYPE_CHECKING:
    from pathlib import Path

    from kasparro_pipeline.stack.sandbox.coins import Coin

ITEMS = 40
SECONDS_BETWEEN_ITEMS = 180
CORRECTED_EVERY = 20
CORRECTED_AFTER = timedelta(minutes=10)

_SITE = "http://news.kasparro.invalid"
_TITLE = "Kasparro Sandbox News"
_ABOUT = "Invented news about crypto assets, for trying out Kasparro."
_ATOM = "http://www.w3.org/2005/Atom"
_DC = "http://purl.org/dc/elements/1.1/"


@dataclass(frozen=True, slots=True)
class Item:
    """One news item as it reads at a moment."""

    number: int
    title: str
    summary: str
    categories: tuple[str, ...]
    author: str
    published: datetime
    updated: datetime

    @property
    def id(self) -> str:
        """A tag URI (RFC 4151), the same in both feeds."""
        return f"tag:news.kasparro.invalid,2026:{self.number}"

    @property
    def link(self) -> str:
        """The address of the article."""
        return f"{_SITE}/{self.published:%Y/%m/%d}/{self.number}"

    @property
    def is_html(self) -> bool:
        """Whether the summary is HTML instead of plain text."""
        return self.summary.startswith("<")


def load_templates(data: "Path") -> list[dict[str, Any]]:
    """The templates of `data`/sandbox/news.json.

    Raises:
        SandboxDataError: the file is missing or holds no templates.
    """
    path = data / "sandbox" / "news.json"
    content = read_json(path)
    templates = content.get("templates") if isinstance(content, dict) else None
    if not isinstance(templates, list) or not templates:
        raise SandboxDataError(f'{path} holds no "templates". Restore the file.')
    return templates


def items_at(templates: list[dict[str, Any]], coins: "tuple[Coin, ...]", now: datetime) -> list[Item]:
    """The newest items at `now`, the newest first."""
    newest = int(now.timestamp()) // SECONDS_BETWEEN_ITEMS
    return [_item(templates, coins, number, now) for number in range(newest, newest - ITEMS, -1)]


def changed_at(items: list[Item]) -> datetime:
    """When the feed of `items` last changed."""
    return max(item.updated for item in items)


def _item(templates: list[dict[str, Any]], coins: "tuple[Coin, ...]", number: int, now: datetime) -> Item:
    template = templates[int(fraction(f"news|{number}|template") * len(templates))]
    coin = coins[
        int(fraction(f"news|{number}|coin") ** 2 * len(coins))
    ]  # squared: larger coins are in the news more
    figure = 2 + int(fraction(f"news|{number}|figure") * 90)
    published = datetime.fromtimestamp(number * SECONDS_BETWEEN_ITEMS, UTC)
    corrected = published + CORRECTED_AFTER
    is_wrong = number % CORRECTED_EVERY == 0 and now < corrected
    is_corrected = number % CORRECTED_EVERY == 0 and not is_wrong
    words = {"name": coin.name, "symbol": coin.symbol}
    return Item(
        number=number,
        title=template["title"].format(figure=figure + 5 if is_wrong else figure, **words),
        summary=template["summary"].format(figure=figure, **words),
        categories=(*template["categories"], coin.symbol),
        author=template["author"],
        published=published,
        updated=corrected if is_corrected else published,
    )


def rss(items: list[Item], url: str) -> bytes:
    """`items` as RSS 2.0 with Dublin Core authors; `url` is the feed's own address."""
    root = ET.Element("rss", {"version": "2.0", "xmlns:dc": _DC, "xmlns:atom": _ATOM})
    channel = ET.SubElement(root, "channel")
    for name, text in (("title", _TITLE), ("link", f"{_SITE}/"), ("description", _ABOUT), ("language", "en")):
        ET.SubElement(channel, name).text = text
    ET.SubElement(channel, "lastBuildDate").text = format_datetime(changed_at(items), usegmt=True)
    ET.SubElement(channel, "ttl").text = "3"
    ET.SubElement(channel, "atom:link", {"href": url, "rel": "self", "type": "application/rss+xml"})
    for item in items:
        entry = ET.SubElement(channel, "item")
        ET.SubElement(entry, "title").text = item.title
        ET.SubElement(entry, "link").text = item.link
        ET.SubElement(entry, "guid", {"isPermaLink": "false"}).text = item.id
        ET.SubElement(entry, "pubDate").text = format_datetime(item.published, usegmt=True)
        for category in item.categories:
            ET.SubElement(entry, "category").text = category
        ET.SubElement(entry, "dc:creator").text = item.author
        ET.SubElement(entry, "description").text = item.summary
    return _document(root)


def atom(items: list[Item], url: str) -> bytes:
    """`items` as Atom 1.0 (RFC 4287); `url` is the feed's own address."""
    root = ET.Element("feed", {"xmlns": _ATOM})
    ET.SubElement(root, "id").text = "tag:news.kasparro.invalid,2026:feed"
    ET.SubElement(root, "title").text = _TITLE
    ET.SubElement(root, "subtitle").text = _ABOUT
    ET.SubElement(root, "updated").text = _rfc3339(changed_at(items))
    ET.SubElement(root, "link", {"href": url, "rel": "self", "type": "application/atom+xml"})
    ET.SubElement(root, "link", {"href": f"{_SITE}/", "rel": "alternate", "type": "text/html"})
    for item in items:
        entry = ET.SubElement(root, "entry")
        ET.SubElement(entry, "id").text = item.id
        ET.SubElement(entry, "title").text = item.title
        ET.SubElement(entry, "link", {"href": item.link, "rel": "alternate", "type": "text/html"})
        ET.SubElement(entry, "published").text = _rfc3339(item.published)
        ET.SubElement(entry, "updated").text = _rfc3339(item.updated)
        ET.SubElement(ET.SubElement(entry, "author"), "name").text = item.author
        for category in item.categories:
            ET.SubElement(entry, "category", {"term": category})
        ET.SubElement(entry, "summary", {"type": "html" if item.is_html else "text"}).text = item.summary
    return _document(root)


def _rfc3339(moment: datetime) -> str:
    return f"{moment:%Y-%m-%dT%H:%M:%SZ}"


def _document(root: ET.Element) -> bytes:
    ET.indent(root)
    body: bytes = ET.tostring(root, encoding="utf-8", xml_declaration=True)
    return body + b"\n"
