"""Feed sources end to end: many feeds in one, each at its own pace, moved, gone, failing; and real ones."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import TYPE_CHECKING, Any

import dagster as dg
import pytest
import yaml
from pydantic import ValidationError

from kasparro_pipeline.components import FeedSource, feed_sensor
from kasparro_pipeline.components.resources import Warehouse
from tests.conftest import PROJECT, corpus
from tests.integration.conftest import Pipeline, today

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.integration.conftest import Run, Upstream

    Built = Callable[..., Pipeline]

FIELDS: dict[str, Any] = {
    "title": {},
    "url": {"path": "link"},
    "category": {"path": "$document.feed_category"},
    "feed_title": {"path": "$document.feed_title"},
}
KEY = ["$document.feed", "id"]


def rss(*titles: str, head: str = "") -> bytes:
    items = "".join(f"<item><guid>{title[0]}</guid><title>{title}</title></item>" for title in titles)
    return f'<rss version="2.0"><channel>{head}{items}</channel></rss>'.encode()


class Server:
    """A feed on the tests' upstream that answers conditional questions."""

    def __init__(self, upstream: Upstream, path: str, body: bytes, **headers: str) -> None:
        self.path, self.body, self.headers = path, body, headers
        self.status = 200
        self.conditions: list[str | None] = []
        self.address = upstream.address + path
        upstream.answers[path] = self._answer

    @property
    def asked(self) -> int:
        return len(self.conditions)

    def _answer(self, _query: dict[str, str], headers: dict[str, str]) -> tuple[int, dict[str, str], bytes]:
        etag = f'"{hash(self.body)}"'
        self.conditions.append(headers.get("If-None-Match"))
        told = {"ETag": etag, **{name.replace("_", "-"): value for name, value in self.headers.items()}}
        if self.status == 200 and self.conditions[-1] == etag:
            return 304, told, b""
        return self.status, told, self.body


def source(pipeline_of: Built, *feeds: Any, **more: Any) -> Pipeline:
    attributes = {"feeds": list(feeds), "kind": "article", "key": KEY, "fields": FIELDS} | more
    attributes.setdefault("http", {"attempts": 1, "backoff": 0.01})
    return pipeline_of(FeedSource, {name: value for name, value in attributes.items() if value is not None})


def tick(pipeline: Pipeline, database_url: str) -> list[str]:
    """The run keys that a tick of the sensor asks for; empty if it skips."""
    context = dg.build_sensor_context(
        instance=pipeline.instance,
        definitions=pipeline.definitions,
        resources={"warehouse": Warehouse(database_url=database_url)},
    )
    found: Any = pipeline.definitions.resolve_sensor_def("it_sensor")(context)
    if isinstance(found, dg.SkipReason):
        return []
    assert {request.partition_key for request in found.run_requests} == {today()}
    return [request.run_key for request in found.run_requests]


def state(pipeline: Pipeline, server: Server) -> dict[str, Any]:
    return pipeline.one("select * from kasparro.feed_state where feed = %s", server.address)


def seconds_left(pipeline: Pipeline, server: Server) -> float:
    """Until the feed is due."""
    moment: datetime = state(pipeline, server)["next_check_at"]
    return (moment - datetime.now(UTC)).total_seconds()


def wait_over(pipeline: Pipeline) -> None:
    """As if every pause were over."""
    pipeline.warehouse.execute("update kasparro.feed_state set next_check_at = now()")
    pipeline.warehouse.execute("update kasparro.feed_list set next_check_at = now()")


def titles(pipeline: Pipeline) -> list[str]:
    return sorted(row["title"] for row in pipeline.unified("it").values())


def told(run: Run) -> dict[str, dict[str, Any]]:
    """The table of feeds that the raw step tells, by address."""
    [raw] = [
        one
        for one in run.result.get_asset_materialization_events()
        if one.asset_key and one.asset_key.path[0] == "raw"
    ]
    found: Any = raw.materialization.metadata["feeds"]
    return {record.data["feed"]: dict(record.data) for record in found.records}


FULL = (
    b"<rss><channel><item><guid>1</guid><title>1 news</title><link>https://a.example/1</link>"
    b"<description>&lt;b&gt;text&lt;/b&gt;</description><author>Ann</author><category>c</category>"
    b"<pubDate>Tue, 02 Jan 2024 03:04:05 GMT</pubDate><enclosure url='/1.mp3' length='3'/></item>"
    b"</channel></rss>"
)


def test_the_documented_example_runs(upstream: Upstream, pipeline_of: Built) -> None:
    text = (PROJECT / "docs" / "sources-feeds.md").read_text("utf-8")
    [written] = re.findall(r"defs/example_reading/defs.yaml`:\n\n```yaml\n(.*?)```", text, re.DOTALL)
    hosts = ("https://blog.example.org", "https://news.example.com", "https://reader.example.net")
    for host in hosts:
        assert host in written
        written = written.replace(host, upstream.address)
    loaded = yaml.safe_load(written)
    assert loaded["type"] == "kasparro_pipeline.components.FeedSource"
    Server(upstream, "/feed.xml", rss("1 blog"))
    Server(upstream, "/atom", FULL)
    listed = OPML.format(a=f"{upstream.address}/a", b=f"{upstream.address}/feed.xml").encode()
    Server(upstream, "/subscriptions.opml", listed)
    Server(upstream, "/a", rss("1 listed"))
    pipeline = pipeline_of(FeedSource, loaded["attributes"])

    run = pipeline.run("it")

    assert run.success, run.failure
    assert run.check("schema_drift").passed
    assert titles(pipeline) == ["1 blog", "1 listed", "1 news"]
    found = {row["title"]: row for row in pipeline.unified("it").values()}
    assert [found[title]["category"] for title in titles(pipeline)] == [None, "News/Tech", "news"]
    assert found["1 news"]["summary"] == "text"
    assert found["1 news"]["attributes"] == {
        "feed_title": "Example News",
        "id_rule": "id",
        "updated": "2024-01-02T03:04:05Z",
        "enclosures": [{"url": f"{upstream.address}/1.mp3", "length": 3}],
    }


# Many feeds


def test_several_feeds_are_one_source_and_one_that_fails_stops_no_other(
    upstream: Upstream, pipeline_of: Built, caplog: pytest.LogCaptureFixture
) -> None:
    a, b = Server(upstream, "/a", rss("1 a")), Server(upstream, "/b", rss("1 b", "2 b"))
    broken = Server(upstream, "/broken", b"<html></html>")
    missing = f"{upstream.address}/missing"
    named = {"url": b.address, "title": "The B", "category": "tech"}
    pipeline = source(pipeline_of, named, broken.address, missing, url=a.address)

    run = pipeline.run("it")

    assert run.success
    assert titles(pipeline) == ["1 a", "1 b", "2 b"]
    [first] = [row for row in pipeline.unified("it").values() if row["title"] == "1 b"]
    assert (first["category"], first["attributes"]["feed_title"]) == ("tech", "The B")
    table = told(run)
    assert [row["state"] for row in table.values()] == ["failing", "failing", "ok", "ok"]
    assert (table[a.address]["entries"], table[b.address]["entries"]) == (1, 2)
    assert "its root is <html>" in table[broken.address]["reason"]
    assert "HTTP 404" in table[missing]["reason"]
    assert table[missing]["next_check"] > table[a.address]["next_check"]
    assert broken.address in caplog.text


def test_all_feeds_failing_fails_the_run_and_says_why(upstream: Upstream, pipeline_of: Built) -> None:
    a, b = Server(upstream, "/a", b"<html/>"), Server(upstream, "/b", b"")
    pipeline = source(pipeline_of, a.address, b.address)

    run = pipeline.run("it")

    assert not run.success
    assert "no feed could be read" in run.ledger["error"]
    assert "its root is <html>" in run.ledger["error"]
    assert state(pipeline, a)["failures"] == state(pipeline, b)["failures"] == 1


def test_a_failing_feed_goes_slower_each_time_and_as_fast_as_ever_when_it_is_back(
    upstream: Upstream, pipeline_of: Built, database_url: str
) -> None:
    good, bad = Server(upstream, "/good", rss("1 good")), Server(upstream, "/bad", rss("1 bad"))
    bad.status = 500
    pipeline = source(pipeline_of, good.address, bad.address, check_every="PT1M")
    assert pipeline.run("it").success
    pauses = [seconds_left(pipeline, bad)]
    for _ in range(2):
        wait_over(pipeline)
        assert tick(pipeline, database_url) == []
        pauses.append(seconds_left(pipeline, bad))
    assert [round(pause / 60) for pause in pauses] == [2, 4, 8]

    asked = bad.asked
    assert tick(pipeline, database_url) == []
    assert bad.asked == asked  # not due
    wait_over(pipeline)
    bad.status = 200
    assert len(tick(pipeline, database_url)) == 1
    good_asked = good.asked
    assert pipeline.run("it").success
    assert good.asked == good_asked  # the run asks those that changed
    assert titles(pipeline) == ["1 bad", "1 good"]
    assert state(pipeline, bad)["failures"] == 0
    assert seconds_left(pipeline, bad) <= 0


def test_a_feed_that_answers_and_cannot_be_read_is_tried_again_by_a_run_when_it_is_due(
    upstream: Upstream, pipeline_of: Built, database_url: str
) -> None:
    good, bad = Server(upstream, "/good", rss("1 good")), Server(upstream, "/bad", b"<html/>")
    pipeline = source(pipeline_of, good.address, bad.address)
    assert pipeline.run("it").success
    keys = []
    for failures in (1, 2):
        assert state(pipeline, bad)["failures"] == failures
        assert tick(pipeline, database_url) == []  # not due
        wait_over(pipeline)
        keys += tick(pipeline, database_url)
        assert pipeline.run("it").success
    assert len(set(keys)) == 2
    assert seconds_left(pipeline, bad) > 4 * 60


def test_a_tick_that_finds_every_feed_failing_fails_with_the_reason(
    upstream: Upstream, pipeline_of: Built, database_url: str
) -> None:
    bad = Server(upstream, "/bad", b"overloaded")
    bad.status = 503
    pipeline = source(pipeline_of, bad.address)
    with pytest.raises(Exception, match="HTTP 503"):
        tick(pipeline, database_url)
    assert tick(pipeline, database_url) == []  # not due


def test_a_tick_that_has_no_time_left_goes_on_at_the_next_one(
    upstream: Upstream, pipeline_of: Built, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    servers = [Server(upstream, f"/{number}", rss("1 x")) for number in range(3)]
    pipeline = source(pipeline_of, *(one.address for one in servers), http={"concurrency": 1})
    assert pipeline.run("it").success
    monkeypatch.setattr(feed_sensor, "TICK", 0)
    checked = []
    for _ in servers:
        before = {one.path: state(pipeline, one)["checked_at"] for one in servers}
        assert tick(pipeline, database_url) == []
        checked += [one.path for one in servers if state(pipeline, one)["checked_at"] != before[one.path]]
    assert sorted(checked) == ["/0", "/1", "/2"]


OPML = """<opml version="2.0"><body><outline text="News"><outline text="Tech">
<outline title="The A" xmlUrl="{a}"/></outline></outline><outline text="The B" xmlUrl="{b}"/></body></opml>"""


def test_a_list_names_feeds_with_title_and_category(
    upstream: Upstream, pipeline_of: Built, tmp_path: Path
) -> None:
    a, b = Server(upstream, "/a", rss("1 a")), Server(upstream, "/b", rss("1 b"))
    path = tmp_path / "feeds.opml"
    path.write_text(OPML.format(a=a.address, b=b.address))
    pipeline = source(pipeline_of, feeds=None, opml=str(path))

    assert pipeline.run("it").success

    found = {row["title"]: row for row in pipeline.unified("it").values()}
    assert (found["1 a"]["category"], found["1 a"]["attributes"]["feed_title"]) == ("News/Tech", "The A")
    assert found["1 b"]["attributes"]["feed_title"] == "The B"

    path.unlink()
    run = pipeline.run("it")
    assert not run.success
    assert "the OPML cannot be read" in run.ledger["error"]


def test_a_list_at_an_address_is_asked_conditionally_and_kept_while_it_is_away(
    upstream: Upstream, pipeline_of: Built
) -> None:
    a, b = Server(upstream, "/a", rss("1 a")), Server(upstream, "/b", rss("1 b"))
    list_ = Server(upstream, "/list", OPML.format(a=a.address, b=b.address).encode())
    pipeline = source(pipeline_of, feeds=None, opml=list_.address)
    assert pipeline.run("it").success
    assert titles(pipeline) == ["1 a", "1 b"]

    wait_over(pipeline)
    assert pipeline.run("it").success
    assert list_.conditions == [None, f'"{hash(list_.body)}"']

    list_.status = 500
    wait_over(pipeline)
    assert pipeline.run("it").success
    assert len(pipeline.rows("select * from kasparro.feed_state")) == 2

    list_.status, list_.body = 200, OPML.replace('xmlUrl="{b}"', "").format(a=a.address).encode()
    wait_over(pipeline)
    assert pipeline.run("it").success
    assert [row["feed"] for row in pipeline.rows("select * from kasparro.feed_state")] == [a.address]
    assert titles(pipeline) == ["1 a", "1 b"]  # a feed that is dropped takes no record with it


@pytest.mark.parametrize(
    "attributes",
    [
        {},
        {"feeds": []},
        {"url": "ftp://x"},
        {"url": "https://me:secret@x/"},
        {"opml": "https://me:secret@x/"},
        {"longest_pause": "P2D"},
    ],
)
def test_a_spec_without_a_feed_or_with_a_wrong_one_is_refused(attributes: dict[str, Any]) -> None:
    named = {"url": "https://a.example"} if "longest_pause" in attributes else {}
    with pytest.raises(ValidationError):
        FeedSource.spec_class.model_validate(
            {"kind": "x", "key": "id", "fields": {"title": {}}} | named | attributes
        )


# Pacing


@pytest.mark.parametrize(
    ("head", "headers", "seconds"),
    [
        ("<ttl>30</ttl>", {}, 1_800),
        ("", {"Cache_Control": "max-age=7200", "Age": "3600"}, 3_600),
        ("<ttl>10</ttl>", {"Cache_Control": "max-age=1200"}, 1_200),
        ("", {"Expires": "in two hours"}, 7_200),
        ("<ttl>100000</ttl>", {}, 86_400),
        ("", {}, 0),
    ],
)
def test_a_feed_is_not_asked_sooner_than_it_and_its_server_want(
    upstream: Upstream,
    pipeline_of: Built,
    database_url: str,
    *,
    head: str,
    headers: dict[str, str],
    seconds: int,
) -> None:
    if "Expires" in headers:
        headers = {"Expires": format_datetime(datetime.now(UTC) + timedelta(hours=2), usegmt=False)}
    feed = Server(upstream, "/a", rss("1 a", head=head), **headers)
    pipeline = source(pipeline_of, feed.address)
    assert pipeline.run("it").success
    assert abs(seconds_left(pipeline, feed) - seconds) < 60

    assert tick(pipeline, database_url) == []
    assert feed.asked == (1 if seconds else 2)
    wait_over(pipeline)
    assert tick(pipeline, database_url) == []
    assert feed.conditions[-1] is not None
    assert abs(seconds_left(pipeline, feed) - seconds) < 60  # also of an answer without a body


def test_retry_after_is_kept_in_the_database_and_obeyed_by_the_sensor(
    upstream: Upstream, pipeline_of: Built, database_url: str
) -> None:
    good, busy = Server(upstream, "/good", rss("1 good")), Server(upstream, "/busy", rss("1 busy"))
    pipeline = source(pipeline_of, good.address, busy.address)
    assert pipeline.run("it").success
    for wait, expected in (("1800", 1_800), ("999999", 86_400)):
        busy.status, busy.headers = 503, {"Retry_After": wait}
        wait_over(pipeline)
        assert tick(pipeline, database_url) == []
        assert abs(seconds_left(pipeline, busy) - expected) < 60
    asked = busy.asked
    assert tick(pipeline, database_url) == []
    assert busy.asked == asked


def test_an_unchanged_feed_costs_one_conditional_request_and_no_run(
    upstream: Upstream, pipeline_of: Built, database_url: str
) -> None:
    feed = Server(upstream, "/a", rss("1 a"))
    pipeline = source(pipeline_of, feed.address)
    assert pipeline.run("it").success
    before, asked = pipeline.everything(), feed.asked

    assert tick(pipeline, database_url) == []

    assert feed.asked == asked + 1
    assert pipeline.everything() == before


def test_p5_a_run_of_unchanged_feeds_writes_no_row(upstream: Upstream, pipeline_of: Built) -> None:
    servers = [Server(upstream, f"/{number}", rss("1 x", "2 y")) for number in range(3)]
    pipeline = source(pipeline_of, *(one.address for one in servers))
    assert pipeline.run("it").success
    before = pipeline.everything()

    run = pipeline.run("it")

    assert run.success
    assert pipeline.everything() == before
    assert run.counts("documents", "documents_unchanged", "extracted") == (0, 3, 0)


# Moved and gone


def redirect(upstream: Upstream, path: str, to: str, status: int) -> list[str]:
    asked: list[str] = []

    def answer(_query: dict[str, str], _headers: dict[str, str]) -> tuple[int, dict[str, str], bytes]:
        asked.append(path)
        return status, {"Location": to}, b""

    upstream.answers[path] = answer
    return asked


@pytest.mark.parametrize(("status", "remembered"), [(301, True), (308, True), (302, False), (307, False)])
def test_a_feed_that_moved_for_good_is_asked_at_its_new_address_and_stays_the_same_feed(
    upstream: Upstream, pipeline_of: Built, status: int, remembered: bool
) -> None:
    old = Server(upstream, "/old", rss("1 a"))
    pipeline = source(pipeline_of, old.address)
    assert pipeline.run("it").success
    new = Server(upstream, "/new", rss("1 a", "2 b"))
    asked = redirect(upstream, "/old", "/new", status)

    run = pipeline.run("it")

    assert run.success
    assert told(run)[old.address]["state"] == ("moved" if remembered else "ok")
    assert (new.address in str(told(run)[old.address]["reason"])) == remembered
    assert pipeline.run("it").success
    assert len(asked) == (1 if remembered else 2)
    assert new.asked == 2
    assert titles(pipeline) == ["1 a", "2 b"]  # no duplicates: keys begin with the address in the spec
    locations = {row["location"] for row in pipeline.rows("select location from kasparro.document")}
    assert locations == {old.address}


def test_a_permanent_redirect_behind_a_temporary_one_is_not_remembered(
    upstream: Upstream, pipeline_of: Built
) -> None:
    Server(upstream, "/c", rss("1 a"))
    asked = redirect(upstream, "/a", "/b", 301)
    redirect(upstream, "/b", "/c", 302)
    pipeline = source(pipeline_of, f"{upstream.address}/a")
    for _ in range(2):
        assert pipeline.run("it").success
    assert len(asked) == 1
    assert pipeline.value("select moved_to from kasparro.feed_state") == f"{upstream.address}/b"


def test_a_new_address_that_fails_is_forgotten_and_the_old_one_asked_again(
    upstream: Upstream, pipeline_of: Built
) -> None:
    redirect(upstream, "/old", "/new", 301)
    new = Server(upstream, "/new", rss("1 a"))
    pipeline = source(pipeline_of, f"{upstream.address}/old")
    assert pipeline.run("it").success
    new.status = 410
    assert not pipeline.run("it").success
    back = Server(upstream, "/old", rss("1 a", "2 b"))
    assert pipeline.run("it").success
    assert back.asked == 1
    assert titles(pipeline) == ["1 a", "2 b"]


def test_a_redirect_to_a_private_address_is_not_followed(upstream: Upstream, pipeline_of: Built) -> None:
    redirect(upstream, "/a", "http://127.0.0.2:1/x", 301)
    pipeline = source(pipeline_of, f"{upstream.address}/a")
    run = pipeline.run("it")
    assert not run.success
    assert "no public address" in run.ledger["error"]
    assert pipeline.value("select moved_to from kasparro.feed_state") is None


def test_a_feed_that_is_gone_is_not_asked_any_more_until_the_spec_names_it_anew(
    upstream: Upstream, pipeline_of: Built, database_url: str
) -> None:
    good, gone = Server(upstream, "/good", rss("1 good")), Server(upstream, "/gone", rss("1 gone"))
    both = (good.address, gone.address)
    assert source(pipeline_of, *both).run("it").success
    gone.status = 410

    run = source(pipeline_of, *both).run("it")

    assert run.success
    assert told(run)[gone.address]["state"] == "gone"
    assert "HTTP 410" in told(run)[gone.address]["reason"]
    gone.status, asked = 200, gone.asked
    wait_over(source(pipeline_of, *both))
    assert tick(source(pipeline_of, *both), database_url) == []
    assert source(pipeline_of, *both).run("it").success
    assert gone.asked == asked

    assert source(pipeline_of, good.address).run("it").success
    assert source(pipeline_of, *both).run("it").success
    assert gone.asked == asked + 1
    assert titles(source(pipeline_of, *both)) == ["1 gone", "1 good"]


def test_a_source_whose_feeds_are_all_gone_says_how_to_ask_again(
    upstream: Upstream, pipeline_of: Built
) -> None:
    gone = Server(upstream, "/gone", rss("1 a"))
    gone.status = 410
    pipeline = source(pipeline_of, gone.address)
    assert not pipeline.run("it").success
    run = pipeline.run("it")
    assert gone.asked == 1
    assert "put it in again; or delete its row of kasparro.feed_state" in run.ledger["error"]
    gone.status = 200
    pipeline.warehouse.execute("delete from kasparro.feed_state")
    assert pipeline.run("it").success


# Entries


def test_a_guid_twice_with_different_content_is_one_record_the_newest_and_raw_keeps_both(
    upstream: Upstream, pipeline_of: Built
) -> None:
    item = "<item><guid>1</guid><title>{}</title><pubDate>{}</pubDate></item>"
    newest = item.format("new", "Tue, 03 Jan 2024 00:00:00 GMT")
    oldest = item.format("old", "Tue, 02 Jan 2024 00:00:00 GMT")
    feed = Server(upstream, "/a", f"<rss><channel>{newest}{oldest}</channel></rss>".encode())
    fields = FIELDS | {"updated": {"type": "timestamp"}, "published_at": {"path": "published"}}
    pipeline = source(pipeline_of, feed.address, fields=fields, version="updated")

    run = pipeline.run("it")

    assert run.success
    assert run.counts("read", "validated", "superseded", "rejected") == (2, 1, 1, 0)
    assert titles(pipeline) == ["new"]
    payloads = pipeline.rows(
        "select convert_from(payload, 'UTF8') as text from kasparro.raw_record order by 1"
    )
    assert [row["text"] for row in payloads] == [newest, oldest]


@pytest.mark.parametrize(
    ("mode", "expected"), [({}, (0, 1)), ({"format": "evolve", "retyped": "evolve"}, (1, 0))]
)
def test_a_date_that_does_not_exist_is_rejected_or_null_as_the_contract_says(
    upstream: Upstream, pipeline_of: Built, mode: dict[str, str], expected: tuple[int, int]
) -> None:
    item = "<item><guid>1</guid><pubDate>31 Feb 2024 00:00:00 GMT</pubDate></item>"
    feed = Server(upstream, "/a", f"<rss><channel>{item}</channel></rss>".encode())
    fields = {"published_at": {"path": "published"}}
    pipeline = source(pipeline_of, feed.address, fields=fields, key="id", schema_contract=mode)

    run = pipeline.run("it")

    assert run.counts("validated", "rejected") == expected
    if expected[1]:
        [rejected] = pipeline.rows("select reasons from kasparro.rejected_record")
        assert "31 Feb 2024" in json.dumps(rejected["reasons"])
    else:
        [row] = pipeline.unified("it").values()
        assert row["published_at"] is None
        assert "31 Feb 2024" in json.dumps(row["attributes"])


def test_a_broken_feed_is_read_and_its_reason_stands_with_the_document_and_in_the_run(
    upstream: Upstream, pipeline_of: Built
) -> None:
    body = b"<rss><channel><item><guid>1</guid><title>a & b</title></item></channel></rss>"
    feed = Server(upstream, "/a", body)
    pipeline = source(pipeline_of, feed.address)

    run = pipeline.run("it")

    assert run.success
    assert titles(pipeline) == ["a & b"]
    assert "not well-formed XML" in told(run)[feed.address]["reason"]
    assert "not well-formed XML" in pipeline.value("select context->>'feed_problem' from kasparro.document")
    run = pipeline.run("it")  # not changed: the reason stays
    assert "not well-formed XML" in told(run)[feed.address]["reason"]

    run = source(pipeline_of, feed.address, not_well_formed="refuse").run("it")
    assert run.success  # a 304 says that what was read still holds
    feed.body = body.replace(b"a &", b"c &")
    run = source(pipeline_of, feed.address, not_well_formed="refuse").run("it")
    assert not run.success
    assert "not well-formed XML" in run.ledger["error"]


# Real feeds


def test_p1_p2_p5_every_real_feed_of_the_corpora_in_one_run(upstream: Upstream, pipeline_of: Built) -> None:
    folder = corpus("feeds")
    files = [path for path in sorted(folder.rglob("*")) if path.is_file() and path.name != "LICENSE"]
    for path in files:
        upstream.answers[f"/{path.parent.name}/{path.name}"] = path.read_bytes()
    addresses = {f"{upstream.address}/{path.parent.name}/{path.name}": path for path in files}
    fields = {
        "title": {},
        "summary": {"path": "summary_text"},
        "author": {},
        "tags": {},
        "category": {},
        "published_at": {"path": "published"},
        "updated": {"type": "timestamp"},
        "id_rule": {},
        "enclosures": {"type": "json"},
    }
    pipeline = source(pipeline_of, *addresses, fields=fields, ignore=["link", "summary"])

    run = pipeline.run("it")

    assert run.success, run.failure
    table = told(run)
    assert table.keys() == addresses.keys()
    failing = {addresses[address].name for address, row in table.items() if row["state"] == "failing"}
    assert failing == {"iso88591.xml", "iso88591_utf8_mismatch.xml"}  # no feeds: their root is <note>
    documents = pipeline.rows("select id, location, record_count, context from kasparro.document")
    assert {row["location"] for row in documents} == {
        address for address in addresses if addresses[address].name not in failing
    }
    records = 0
    for row in documents:  # P1
        body = addresses[row["location"]].read_bytes()
        payloads = pipeline.rows(
            "select payload from kasparro.raw_record where document_id = %s order by position", row["id"]
        )
        assert len(payloads) == row["record_count"] == table[row["location"]]["entries"]
        place = 0
        for payload in payloads:
            place = body.find(bytes(payload["payload"]), place)
            assert place >= 0, row["location"]
        records += len(payloads)
    assert records > 400
    read, validated, rejected, superseded = run.counts("read", "validated", "rejected", "superseded")
    assert read == records == validated + rejected + superseded  # P2
    assert run.check("every_record_accounted").passed
    assert validated > 0.95 * read
    reasons = pipeline.rows("select reasons from kasparro.rejected_record")
    assert len(reasons) == rejected
    assert all(row["reasons"] for row in reasons)

    before = pipeline.everything()
    again = pipeline.run("it")
    assert again.success
    assert pipeline.everything() == before  # P5
    assert again.counts("documents", "documents_unchanged") == (0, len(documents))
