"""Feeds that attack: time and memory are bounded, no file is read and no address asked (also of an OPML)."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

from tests.conftest import PROJECT, corpus

if TYPE_CHECKING:
    from pathlib import Path

MEMORY = 512 * 1024 * 1024
"""Bytes of address space that a process may take, its libraries included."""
SECONDS = 60
READER = """
import json, resource, sys
from pathlib import Path
from kasparro_pipeline.extract import feed, opml
from kasparro_pipeline.extract.errors import PermanentUpstreamError

bodies = {path.name: path.read_bytes() for path in sorted(Path(sys.argv[1]).iterdir())}
resource.setrlimit(resource.RLIMIT_AS, (int(sys.argv[2]), int(sys.argv[2])))
touched = []

def watch(event, arguments):
    # a module that is imported only now is no file that the feed asked for
    if event == "socket.connect" or (event == "open" and not str(arguments[0]).endswith((".py", ".pyc"))):
        touched.append(f"{event} {arguments}")

sys.addaudithook(watch)
found = {}
for name, body in bodies.items():
    try:
        feed_body = feed.entries(body, "https://news.example/feed")
        read = [record.value is not None for record in feed_body.records]
        found[name] = {"entries": len(read), "read": sum(read), "problem": feed_body.problem}
    except PermanentUpstreamError as error:
        found[name] = {"refused": error.message}
    try:
        opml.subscriptions(body, "feeds.opml")
        found[name]["opml"] = "read"
    except PermanentUpstreamError:
        found[name]["opml"] = "refused"
print(json.dumps([found, touched]))
"""


def attacked(folder: Path) -> dict[str, dict[str, Any]]:
    """What becomes of each file of a folder, in a process that may take so much memory and time."""
    done = subprocess.run(
        [sys.executable, "-c", READER, str(folder), str(MEMORY)],
        capture_output=True,
        text=True,
        timeout=SECONDS,
        cwd=PROJECT,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    found, touched = json.loads(done.stdout)
    assert touched == []
    assert {one["opml"] for one in found.values()} == {"refused"}
    return dict(found)


pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="Windows has no limits of a process")


def test_every_xml_attack_is_refused_within_its_bounds() -> None:
    folder = corpus("xml-attacks")
    found = {name: one for name, one in attacked(folder).items() if name.endswith(".xml")}
    assert len(found) == len(list(folder.glob("*.xml")))
    reasons = ("entity declarations are refused", "no RSS or Atom feed")
    for name, one in found.items():
        assert any(reason in one["refused"] for reason in reasons), name


def test_every_xml_attack_inside_a_feed_is_refused_within_its_bounds(tmp_path: Path) -> None:
    for path in corpus("xml-attacks").glob("*.xml"):
        prolog = path.read_bytes().partition(b"]>")[0] + b"]>"
        if b"<!ENTITY" in prolog:
            feed = b"<rss><channel><item><title>&a;&ee;&b;&c;</title></item></channel></rss>"
            (tmp_path / path.name).write_bytes(prolog + feed)
            (tmp_path / f"broken-{path.name}").write_bytes(prolog + b"<rss a><channel>" + feed)
    found = attacked(tmp_path)
    assert len(found) > 8
    assert all("entity declarations are refused" in one["refused"] for one in found.values())


BIG = 200_000
FEED = "<rss><channel><item><title>a</title>{}</item></channel></rss>"


def test_what_is_nested_repeated_or_large_without_end_is_bounded(tmp_path: Path) -> None:
    bodies = {
        "nested": "<rss>" + "<a>" * BIG,
        "nested-in-an-entry": FEED.format("<a>" * BIG + "</a>" * BIG),
        "nested-in-a-broken-entry": FEED.format("&x;" + "<a>" * BIG + "</a>" * BIG),
        "nested-in-html": FEED.format("<description>" + "&lt;div>" * BIG + "</description>"),
        "comments": FEED.format("<description>" + "&lt;!--" * BIG + "</description>"),
        "tags-that-do-not-end": FEED.format("&x;" + "<a " * BIG),
        "entries-that-do-not-end": "<rss><channel>&x;" + "<item " * BIG,
        "quotes-that-do-not-end": "<rss><channel>&x;" + "<item '" * BIG + '<item "' * BIG,
        "items-in-items": "<rss><channel>&x;"
        + "<item>" * (BIG // 40)
        + "<title>a</title></item></channel></rss>",
        "an-attribute": f"<rss><channel><item a='{'x' * 3_000_000}'/></channel></rss>",
        "a-root": f"<rss a='{'x' * 1_000_000}'><channel><item/><item/></channel></rss>",
        "too-many-entries": "<rss><channel>" + "<item/>" * BIG + "</channel></rss>",
        "too-many-broken-entries": "<rss><channel>&x;" + "<item/>" * BIG + "</channel></rss>",
        "an-entry": FEED.format("x" * 5_000_000),
        "json-nested": '{"version": "https://jsonfeed.org/version/1", "items": [{"id": ' + "[" * BIG,
        "json-nested-around": '{"a": ' + '{"a": ' * BIG,
        "json-too-many": '{"version": "https://jsonfeed.org/version/1", "items": [' + "1," * BIG + "1]}",
    }
    for name, body in bodies.items():
        (tmp_path / name).write_text(body)
    found = attacked(tmp_path)
    refused = {name: one["refused"] for name, one in found.items() if "refused" in one}
    assert refused.keys() == bodies.keys() - {
        "nested-in-a-broken-entry",
        "nested-in-html",
        "comments",
        "tags-that-do-not-end",
        "items-in-items",
        "an-attribute",
        "an-entry",
    }
    assert "nested deeper than 200" in refused["nested-in-an-entry"]
    assert "longer than 65,536 characters" in refused["a-root"]
    assert "more than 100,000 entries" in refused["too-many-entries"]
    assert found["an-attribute"]["read"] == 1
    assert found["items-in-items"]["entries"] == BIG // 40
    for name in found.keys() - refused.keys() - {"an-attribute", "items-in-items"}:
        assert (found[name]["entries"], found[name]["read"]) == (1, 0), name  # in raw, and rejected
    assert len(refused["json-nested"]) < 1_000
