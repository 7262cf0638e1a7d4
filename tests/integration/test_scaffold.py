"""Sources made by `dg scaffold defs` from real upstreams: what is written loads, and runs as it is."""

from __future__ import annotations

import json
import os
import time
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from dagster.components.component_scaffolding import scaffold_object
from jsonschema import Draft202012Validator

from kasparro_pipeline import components
from tests.integration.conftest import run_dg

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable
    from pathlib import Path

    from tests.integration.conftest import Pipeline, Upstream

    Built = Callable[..., Pipeline]
    Make = Callable[..., Path]

pytestmark = pytest.mark.commands
HERE = ["127.0.0.1"]
TOKEN = "s3cret-token"  # noqa: S105 - of nobody
COINS: list[dict[str, Any]] = [
    {
        "id": number,
        "name": f"coin {number}",
        "price": number + 0.5,
        "quotes": {"usd": {"volume": number * 1000}},
        "updated_at": f"2026-11-{number:02}T10:00:00Z",
        "rank": None,
        "labels": ["a", "b"],
    }
    for number in range(1, 26)
]
SIZE = 10
RSS = """<?xml version="1.0"?><rss version="2.0"><channel><title>News</title>
<item><guid>a1</guid><title>One</title><link>https://example.com/1</link>
<pubDate>Sat, 21 Nov 2026 10:00:00 GMT</pubDate></item>
<item><guid>a2</guid><title>Two</title><link>https://example.com/2</link>
<pubDate>Sat, 21 Nov 2026 11:00:00 GMT</pubDate></item></channel></rss>"""
ATOM = """<?xml version="1.0"?><feed xmlns="http://www.w3.org/2005/Atom"><title>News</title><id>urn:n</id>
<entry><id>urn:1</id><title>One</title><link href="https://example.com/1"/><updated>2026-11-21T10:00:00Z</updated>
</entry><entry><id>urn:2</id><title>Two</title><link href="https://example.com/2"/>
<updated>2026-11-21T11:00:00Z</updated></entry></feed>"""


def page(query: dict[str, str]) -> list[dict[str, Any]]:
    number = int(query.get("page", 1))
    return COINS[(number - 1) * SIZE : number * SIZE]


def by_offset(query: dict[str, str], _headers: dict[str, str]) -> Any:
    start = int(query.get("offset", 0))
    return {"data": {"items": COINS[start:][: int(query.get("limit", SIZE))]}, "meta": {"total": len(COINS)}}


def by_cursor(query: dict[str, str], _headers: dict[str, str]) -> Any:
    start = int(query.get("pageToken", 0))
    following = str(start + SIZE) if start + SIZE < len(COINS) else None
    return {"results": COINS[start:][:SIZE], "nextPageToken": following}


def by_link(query: dict[str, str], _headers: dict[str, str]) -> Any:
    number = int(query.get("page", 1))
    link = {"Link": f'</link?page={number + 1}>; rel="next"'} if number < 3 else {}
    return 200, link, json.dumps(page(query)).encode()


def by_next_url(query: dict[str, str], _headers: dict[str, str]) -> Any:
    number = int(query.get("page", 1))
    following = f"/next?page={number + 1}" if number < 3 else None
    return {"count": len(COINS), "next": following, "results": page(query)}


def behind_a_token(query: dict[str, str], headers: dict[str, str]) -> Any:
    if headers.get("Authorization") != f"Bearer {TOKEN}":
        return 401, {}, b"who are you?"
    return page(query)


ANSWERS: dict[str, Any] = {
    "/list": lambda query, _headers: page(query),
    "/zero": lambda query, _headers: page({"page": str(int(query.get("page", 0)) + 1)}),
    "/whole": COINS,
    "/offset": by_offset,
    "/cursor": by_cursor,
    "/link": by_link,
    "/next": by_next_url,
    "/map": {"coins": {coin["name"]: {k: v for k, v in coin.items() if k != "id"} for coin in COINS}},
    "/token": behind_a_token,
    "/small": lambda query, _headers: {"total": 25, "data": COINS if query.get("page", "1") == "1" else []},
    "/mistaken": lambda query, _headers: {"total": len(page(query)), "data": page(query)},
    "/query-key": lambda query, _headers: behind_a_token(
        query, {"Authorization": f"Bearer {query.get('key')}"}
    ),
    "/since": lambda query, _headers: [
        coin for coin in COINS if coin["updated_at"] >= query.get("updated_since", "")
    ],
    "/wrapped": {
        "data": [
            {"id": str(coin["id"]), "attributes": {k: v for k, v in coin.items() if k != "id"}}
            for coin in COINS
        ],
        "links": {"next": None},
    },
    "/echo": lambda _query, headers: [{"id": 1, headers["Authorization"].split()[1]: 2}],
    "/rss": RSS.encode(),
    "/atom": ATOM.encode(),
    "/empty": {"data": []},
    "/html": b"<html>Welcome</html>",
    "/text": {"message": "use /v2"},
}
"""What each API answers; all of them hold COINS, or say why not."""
EXPECTED: dict[str, dict[str, Any]] = {
    "/list": {"type": "page_number"},
    "/zero": {"type": "page_number", "first_page": 0},
    "/whole": {"type": "single_page"},
    "/offset?limit=10": {
        "type": "offset", "limit": 10, "limit_param": "limit", "total_path": "meta.total",
    },
    "/cursor": {"type": "cursor", "cursor_param": "pageToken", "cursor_path": "nextPageToken"},
    "/link": {"type": "link_header"},
    "/next": {"type": "next_url", "next_path": "next"},
    "/map": {"type": "single_page"},
    "/small": {"type": "page_number", "total_path": "total"},
    "/wrapped": {"type": "next_url", "next_path": "links.next"},
    "/mistaken": {"type": "page_number"},
}  # fmt: skip
RECORDS = {
    "/offset?limit=10": "data.items",
    "/cursor": "results",
    "/next": "results",
    "/map": "coins.*",
    "/small": "data",
    "/wrapped": "data",
    "/mistaken": "data",
}


@pytest.fixture
def apis(upstream: Upstream) -> Upstream:
    upstream.answers |= ANSWERS
    return upstream


@pytest.fixture
def make(tmp_path: Path) -> Make:
    """Makes a source as `dg scaffold defs` does, and gives its file."""

    def scaffold(component: str, name: str, **params: Any) -> Path:
        folder = tmp_path / "defs" / name
        scaffold_object(
            folder, f"kasparro_pipeline.components.{component}", json.dumps(params), "yaml", tmp_path
        )
        return folder / "defs.yaml"

    return scaffold


def attributes_of(file: Path) -> dict[str, Any]:
    """What the file says, as Dagster reads it."""
    written = yaml.safe_load(file.read_text("utf-8"))
    found: dict[str, Any] = written["attributes"]
    component = getattr(components, written["type"].rpartition(".")[2])
    # the schema that `dg check yaml` and editors read
    schema = component.spec_class.model_json_schema()
    assert list(Draft202012Validator(schema).iter_errors(found)) == []
    return found


@pytest.mark.parametrize("target", EXPECTED)
def test_an_api_is_read_as_it_pages_and_every_record_arrives(
    apis: Upstream, make: Make, pipeline_of: Built, target: str
) -> None:
    file = make("RestSource", "coins", url=apis.address + target, allow_private_hosts=HERE)

    attributes = attributes_of(file)
    assert attributes["paginator"] == EXPECTED[target]
    assert attributes.get("records") == RECORDS.get(target)
    assert attributes["http"] == {"allow_private_hosts": HERE}
    pipeline = pipeline_of(components.RestSource, attributes)
    run = pipeline.run("it")
    assert run.success, run.failure
    assert run.counts("read", "validated", "rejected", "inserted") == (25, 25, 0, 25)
    rows = pipeline.unified("it")
    key = "coin 7" if target == "/map" else "7"
    assert (rows[key]["title"], rows[key]["amount"], rows[key]["tags"]) == ("coin 7", 7.5, ["a", "b"])
    assert rows[key]["attributes"]["quotes_usd_volume"] == 7000
    assert rows[key]["kind"] == "coin"


def test_comments_say_what_was_seen(apis: Upstream, make: Make) -> None:
    text = make("RestSource", "coins", url=f"{apis.address}/list", allow_private_hosts=HERE).read_text()

    assert "# Made from 20 records in 2 answers of the API" in text
    assert "key: id  # id: 20 of 20 values differ" in text
    assert "page 2 held 10 other records" in text
    assert "title: {path: name}  # in 20 of 20 records" in text
    assert "# incremental: {cursor: updated_at, param: updated_since" in text
    assert "ignore: [rank]" in text


def test_a_token_is_named_and_used_and_never_written(
    apis: Upstream, make: Make, pipeline_of: Built, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COINS_TOKEN", TOKEN)
    auth = {"type": "bearer", "token_env": "COINS_TOKEN"}

    file = make("RestSource", "coins", url=f"{apis.address}/token", auth=auth, allow_private_hosts=HERE)

    assert TOKEN not in file.read_text()
    assert attributes_of(file)["auth"] == auth
    run = pipeline_of(components.RestSource, attributes_of(file)).run("it")
    assert run.counts("read", "validated", "inserted") == (25, 25, 25)


def test_a_key_in_the_query_is_named_and_used_and_never_written(
    apis: Upstream, make: Make, pipeline_of: Built, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COINS_KEY", TOKEN)
    auth = {"type": "api_key", "name": "key", "location": "query", "value_env": "COINS_KEY"}

    file = make("RestSource", "coins", url=f"{apis.address}/query-key", auth=auth, allow_private_hosts=HERE)

    assert TOKEN not in file.read_text()
    run = pipeline_of(components.RestSource, attributes_of(file)).run("it")
    assert run.counts("read", "validated", "inserted") == (25, 25, 25)


def test_an_answer_that_repeats_the_secret_is_not_written(
    apis: Upstream, make: Make, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("COINS_TOKEN", TOKEN)

    with pytest.raises(SystemExit, match="repeats a secret"):
        make(
            "RestSource",
            "coins",
            url=f"{apis.address}/echo",
            auth={"type": "bearer", "token_env": "COINS_TOKEN"},
            allow_private_hosts=HERE,
        )

    assert not [file for file in tmp_path.rglob("*") if file.is_file()]


def test_an_api_that_can_filter_is_asked_only_for_what_is_new(
    apis: Upstream, make: Make, pipeline_of: Built
) -> None:
    file = make("RestSource", "coins", url=f"{apis.address}/since", allow_private_hosts=HERE)

    attributes = attributes_of(file)
    assert attributes["incremental"] == {
        "cursor": "updated_at",
        "param": "updated_since",
        "lookback_window": "PT1H",
    }
    pipeline = pipeline_of(components.RestSource, attributes)
    assert pipeline.run("it").counts("read", "inserted") == (25, 25)
    pipeline.run("it")
    assert "updated_since=2026-11-" in apis.requests[-1]


@pytest.mark.parametrize(
    ("target", "params", "told"),
    [
        ("/nowhere", {}, "HTTP 404"),
        ("/token", {}, "HTTP 401"),
        ("/empty", {}, "the list at `data` is empty"),
        ("/html", {}, "is not JSON"),
        ("/text", {}, "there is no list of objects in it"),
        ("/list", {"records": "data"}, "no object that holds `data`"),
        ("/list", {"key": "nothing"}, "The key `nothing` is missing"),
        ("/token", {"auth": {"type": "bearer", "token_env": "NOT_SET"}}, "NOT_SET"),
        ("/list", {"allow_private_hosts": []}, '"allow_private_hosts"'),
    ],
)
def test_without_a_sample_nothing_is_written_and_the_error_says_what_to_do(
    apis: Upstream, make: Make, target: str, params: dict[str, Any], told: str
) -> None:
    asked = {"url": apis.address + target, "allow_private_hosts": HERE} | params

    with pytest.raises(SystemExit) as refused:
        make("RestSource", "coins", **asked)

    said = str(refused.value)
    assert told in said
    assert "`" in said
    # the folder that dg made is gone again: the corrected command is not refused
    assert make("RestSource", "coins", url=f"{apis.address}/list", allow_private_hosts=HERE).exists()


def test_an_api_that_asks_for_less_is_asked_no_more(apis: Upstream, make: Make) -> None:
    refused = 429, {"Retry-After": "0"}, b"slow down"
    apis.answers["/list"] = lambda query, _headers: refused if query else COINS

    text = make("RestSource", "coins", url=f"{apis.address}/list", allow_private_hosts=HERE).read_text()

    assert "paginator: {type: single_page}" in text
    assert "HTTP 429" in text
    assert (
        len(apis.requests) == 1 + 2 + 2
    )  # the list; one try of a paginator, and one of a filter, each twice


def test_an_upstream_that_is_not_there_is_named(make: Make) -> None:
    with pytest.raises(SystemExit, match=r"There is no sample.*127\.0\.0\.1:9/.*sample"):
        make("FeedSource", "news", url="http://127.0.0.1:9/feed", allow_private_hosts=HERE)


@pytest.mark.parametrize("name", ["?api_key=abc", "?x=1&access_token=abc", "?token=abc"])
def test_a_secret_in_the_address_is_refused_and_auth_named(apis: Upstream, make: Make, name: str) -> None:
    with pytest.raises(ValueError, match="value_env"):
        make("RestSource", "coins", url=f"{apis.address}/list{name}", allow_private_hosts=HERE)

    assert apis.requests == []


def test_a_file_that_is_there_is_left_as_it_is(apis: Upstream, make: Make) -> None:
    file = make("RestSource", "coins", url=f"{apis.address}/list", allow_private_hosts=HERE)
    file.write_text("mine")

    with pytest.raises(SystemExit, match="is there already, and is left as it is"):
        make("RestSource", "coins", url=f"{apis.address}/list", allow_private_hosts=HERE)

    assert file.read_text() == "mine"


@pytest.mark.parametrize(("target", "said"), [("/rss", "which is RSS."), ("/atom", "which is Atom.")])
def test_a_feed_runs_as_it_was_made(
    apis: Upstream, make: Make, pipeline_of: Built, target: str, said: str
) -> None:
    file = make("FeedSource", "headlines", url=apis.address + target, allow_private_hosts=HERE)

    assert said in file.read_text()
    pipeline = pipeline_of(components.FeedSource, attributes_of(file))
    run = pipeline.run("it")
    assert run.counts("read", "validated", "inserted") == (2, 2, 2)
    titles = {row["title"]: str(row["url"]) for row in pipeline.unified("it").values()}
    assert titles == {"One": "https://example.com/1", "Two": "https://example.com/2"}
    assert {row["published_at"].hour for row in pipeline.unified("it").values()} == {10, 11}


def test_a_csv_file_with_semicolons_in_latin_1_runs_as_it_was_made(
    make: Make, pipeline_of: Built, folder: Path
) -> None:
    rows = ["Lfd;Name;Größe;seit", *(f"{n};Käse {n};{n}.5;2026-01-{n:02}" for n in range(1, 20))]
    file = folder / "kaese.csv"
    file.write_bytes("\r\n".join(rows).encode("latin-1"))
    os.utime(file, (time.time() - 60, time.time() - 60))

    written = make("CsvSource", "cheeses", files=f"{folder}/*.csv")

    attributes = attributes_of(written)
    assert (attributes["delimiter"], attributes["encoding"], attributes["key"]) == (";", "latin-1", "Lfd")
    assert "Lfd: 19 of 19 values differ" in written.read_text()
    pipeline = pipeline_of(components.CsvSource, attributes)
    pipeline.add_files("it", "kaese.csv")
    run = pipeline.run("it", "kaese.csv")
    assert run.counts("read", "validated", "inserted") == (19, 19, 19)
    row = pipeline.unified("it")["3"]
    assert row["title"] == "Käse 3"
    assert (row["attributes"]["gr_e"], row["attributes"]["seit"]) == (3.5, "2026-01-03")


def test_a_file_that_is_not_there_is_an_error_that_names_the_pattern(make: Make, folder: Path) -> None:
    with pytest.raises(SystemExit, match=r"No file matches '.*\*\.tsv'"):
        make("CsvSource", "cheeses", files=f"{folder}/*.tsv")


@pytest.mark.parametrize(
    ("component", "params"),
    [
        ("RestSource", {"url": "https://api.example.com/v1/things?limit=5"}),
        ("CsvSource", {"files": "data/things/*.csv"}),
        ("FeedSource", {"url": "https://example.com/feed.xml"}),
    ],
)
def test_without_asking_a_skeleton_is_written_that_loads(
    make: Make, component: str, params: dict[str, Any]
) -> None:
    file = make(component, "things", sample=False, **params)

    kind = getattr(components, component)
    spec = kind.spec_class.model_validate(attributes_of(file))
    assert spec.kind == "thing"
    assert "correct this" in file.read_text()
    assert kind(spec).definitions("things")


def test_dg_makes_a_source_of_each_kind_that_it_finds_right(
    project: Path, apis: Upstream, folder: Path, sandbox: str
) -> None:
    (folder / "a.csv").write_text("id,name\n1,a\n2,b\n")
    kinds = {
        "coins": ("RestSource", {"url": f"{sandbox}/coinpaprika/v1/tickers", "allow_private_hosts": HERE}),
        "pages": ("RestSource", {"url": f"{apis.address}/list", "allow_private_hosts": HERE}),
        "files": ("CsvSource", {"files": f"{folder}/*.csv"}),
        "headlines": ("FeedSource", {"url": f"{sandbox}/news/atom.xml", "allow_private_hosts": HERE}),
    }
    for name, (kind, params) in kinds.items():
        made = run_dg(
            project, "scaffold", "defs", f"kasparro_pipeline.components.{kind}", name,
            "--json-params", json.dumps(params),
        )  # fmt: skip
        assert made.returncode == 0, made.stdout + made.stderr

    folders = [f"kasparro_pipeline/defs/{name}" for name in kinds]
    checked = run_dg(project, "check", "yaml", *folders)
    assert checked.returncode == 0, checked.stdout + checked.stderr
    loaded = run_dg(project, "check", "defs")
    assert loaded.returncode == 0, loaded.stdout + loaded.stderr


def test_dg_takes_options_too_and_tells_a_refusal_in_a_sentence(project: Path, apis: Upstream) -> None:
    def scaffold(target: str) -> subprocess.CompletedProcess[str]:
        return run_dg(
            project, "scaffold", "defs", "RestSource", "coins", "--url", apis.address + target,
            "--allow-private-hosts", "127.0.0.1", "--kind", "coin",
        )  # fmt: skip

    refused = scaffold("/empty")
    assert refused.returncode == 1
    assert "the list at `data` is empty" in refused.stderr
    assert "Traceback" not in refused.stdout + refused.stderr

    made = scaffold("/list")
    assert made.returncode == 0, made.stdout + made.stderr
    again = scaffold("/list")
    assert again.returncode == 1
    assert "already exists" in again.stderr


@pytest.mark.parametrize("component", ["RestSource", "CsvSource", "FeedSource"])
def test_every_param_is_described(component: str) -> None:
    scaffolder = getattr(components, component).__scaffolder_cls__()

    properties = scaffolder.get_scaffold_params().model_json_schema()["properties"]

    assert [name for name, one in properties.items() if not one.get("description")] == []
