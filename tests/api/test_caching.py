"""Validators, 304, and kept answers: what is sent again is never older than a commit that was known."""

import asyncio
import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from email.utils import parsedate_to_datetime
from typing import Any

import psycopg
import pytest
import requests
from hypothesis import given, settings
from hypothesis import strategies as st

from kasparro_api.access.cache import HotCache
from kasparro_api.access.versions import Versions
from kasparro_api.answers import Answer
from kasparro_api.app import create_app
from tests.api import model
from tests.api.conftest import Service, serving, settings_of
from tests.api.model import Row

PLAIN: Row = {**{name: pool[0] for name, pool in model.POOLS.items()}, "attributes": {"rank": 1}}
PATHS = [
    "/data",
    "/api/v1/data?limit=3",
    "/data?source=a&count=exact",
    "/data?deleted=include&sort=title",
    "/data?attributes.rank.gt=0&limit=2",
    "/data?q=moved",
    "/categories",
    "/data?fields=id,title&offset=1",
]


@pytest.fixture(scope="module")
def uncached(service: Service) -> Iterator[requests.Session]:
    """Asks a second server over the same database, which keeps nothing: each answer is computed."""
    fresh = settings_of(service.database_url, KASPARRO_API_CACHE_MB=0, KASPARRO_API_RATE_LIMIT=0)
    with serving(create_app(fresh)) as url, requests.Session() as session:
        session.headers["X-Base"] = url
        yield session


def content(response: requests.Response) -> Any:
    """An answer without what differs each time."""
    body = response.json()
    body.pop("meta", None)
    for name in ("request_id", "instance"):
        body.pop(name, None)
    return response.status_code, body


def change(warehouse: psycopg.Connection[Any], kind: str, number: int) -> None:
    """One change, committed unless it is a rollback."""
    one = "(select id from kasparro.unified_record order by md5(id::text || %s) limit 1)"
    if kind == "insert":
        row = {**PLAIN, "title": f"moved {number}", "category": f"c{number % 3}", "source": "ab"[number % 2]}
        model.insert(warehouse, [row], number)
    elif kind == "rollback":
        with warehouse.transaction(force_rollback=True):
            warehouse.execute("update kasparro.unified_record set title = 'never'")
    elif kind == "truncate":
        warehouse.execute("truncate kasparro.unified_record")
    elif kind == "contract":
        contract = {"fields": {"rank": {"type": ["integer", "string"][number % 2]}}}
        warehouse.execute(
            "insert into kasparro.contract_version (source, version, digest, contract, version_rule, epoch)"
            " select 'a', coalesce(max(version), 0) + 1, '', %s, '{}', 1 from kasparro.contract_version"
            " where source = 'a'",
            [json.dumps(contract)],
        )
    else:
        statement = {
            "update": f"update kasparro.unified_record set title = 'moved', source = 'b' where id = {one}",
            "mark": f"update kasparro.unified_record set deleted_at = now() where id = {one}",
            "delete": f"delete from kasparro.unified_record where id = {one}",
        }[kind]
        warehouse.execute(statement, [str(number)])


@settings(max_examples=30, deadline=None)
@given(
    st.lists(
        st.sampled_from(["insert", "insert", "update", "mark", "delete", "rollback", "truncate", "contract"])
        | st.sampled_from(PATHS),
        min_size=5,
        max_size=25,
    )
)
def test_after_a_commit_no_answer_is_older(
    service: Service, uncached: requests.Session, steps: list[str]
) -> None:
    model.fill(service.warehouse, [])
    model.insert(service.warehouse, [PLAIN] * 3, 1000)
    tags: dict[str, tuple[str, Any]] = {}
    for number, step in enumerate(steps):
        if not step.startswith("/"):
            change(service.warehouse, step, number)
            continue
        expected = content(uncached.get(str(uncached.headers["X-Base"]) + step, timeout=30))
        for _ in range(2):
            assert content(service.get(step)) == expected, (step, steps[: number + 1])
        if step in tags:
            etag, known = tags[step]
            again = service.get(step, headers={"If-None-Match": etag})
            if again.status_code == 304:
                assert known == expected
            else:
                assert content(again) == expected
        response = service.get(step)
        if response.ok:
            tags[step] = (response.headers["ETag"], expected)


def test_after_a_commit_no_answer_is_older_to_many_clients_at_once(service: Service) -> None:
    model.fill(service.warehouse, [PLAIN])
    service.warehouse.execute("update kasparro.unified_record set raw_id = 0")
    committed = 0

    def reads(_: int) -> int:
        seen = 0
        with requests.Session() as session:
            while seen < 150:
                known = committed
                [record] = session.get(service.url + "/data?limit=1", timeout=30).json()["data"]
                assert record["raw_id"] >= max(known, seen), "older than a commit"
                seen = record["raw_id"]
        return seen

    with ThreadPoolExecutor(6) as clients:
        under_way = [clients.submit(reads, number) for number in range(6)]
        for number in range(1, 151):
            service.warehouse.execute("update kasparro.unified_record set raw_id = %s", [number])
            committed = number
        assert [each.result() for each in under_way] == [150] * 6


def test_the_tag_changes_with_the_data_the_query_the_format_and_the_coding(service: Service) -> None:
    model.fill(service.warehouse, [PLAIN] * 20)

    def tag(path: str, coding: str = "identity") -> str:
        found = service.get(path, headers={"Accept-Encoding": coding}).headers["ETag"]
        assert found.startswith('"')
        assert found.endswith('"')
        return found

    tags = [tag(path, coding) for path in PATHS for coding in ("identity", "gzip", "zstd")]
    large = [p for p in PATHS if len(service.get(p).content) > 2000]
    for path in large:
        assert len({tag(path, coding) for coding in ("identity", "gzip", "zstd")}) == 3
    assert len({tag(path) for path in PATHS}) == len(PATHS)
    assert tags == [tag(path, coding) for path in PATHS for coding in ("identity", "gzip", "zstd")]
    before = {path: tag(path) for path in PATHS}
    service.warehouse.execute("update kasparro.unified_record set run_id = 'other' where source = 'a'")
    assert not set(before.values()) & {tag(path) for path in PATHS}
    [[number]] = service.warehouse.execute("select max(id) from kasparro.unified_record").fetchall()
    assert tag(f"/data/{number}") != tag(f"/data/{number}?fields=id")


@pytest.mark.parametrize("coding", ["identity", "gzip", "zstd"])
def test_a_client_that_has_the_answer_gets_304_and_no_body(service: Service, coding: str) -> None:
    model.fill(service.warehouse, [PLAIN] * 20)
    headers = {"Accept-Encoding": coding}
    full = service.get("/data", limit=20, headers=headers)
    etag = full.headers["ETag"]
    plain = service.get("/data", limit=20, headers={"Accept-Encoding": "identity"}).headers["ETag"]
    for known in (etag, f"W/{etag}", "*", f'"x", {etag}', f'"x",W/"y" , {etag},"z"', plain):
        answer = service.get("/data", limit=20, headers={**headers, "If-None-Match": known})
        assert answer.status_code == 304, known
        assert answer.content == b""
        assert "Content-Type" not in answer.headers
        assert "Content-Encoding" not in answer.headers
        for name in ("ETag", "Cache-Control", "Vary", "Last-Modified", "Date"):  # RFC 9110, 15.4.5
            if name != "Date":
                assert answer.headers[name] == full.headers[name]
            assert name in answer.headers
        assert answer.headers["X-Request-ID"]
    for other in ('"x"', "", "x", plain[:-2] + '"', '"1' + plain[1:]):
        assert service.get("/data", limit=20, headers={"If-None-Match": other}).status_code == 200, other
    [[number]] = service.warehouse.execute("select max(id) from kasparro.unified_record").fetchall()
    one = service.get(f"/data/{number}").headers["ETag"]
    assert service.get(f"/data/{number}", headers={"If-None-Match": one}).status_code == 304


def test_an_error_is_never_304(service: Service) -> None:
    for path in ("/data?limit=0", "/data/999999999", "/nowhere", "/changes?limit=0"):
        assert service.get(path, headers={"If-None-Match": "*"}).status_code in {404, 422}


@pytest.mark.parametrize("path", PATHS)
def test_head_has_the_headers_of_get_and_no_body(service: Service, path: str) -> None:
    model.fill(service.warehouse, [PLAIN] * 5)
    full = service.get(path)
    head = requests.head(service.url + path, headers=dict(full.request.headers), timeout=30)
    assert head.status_code == full.status_code == 200
    assert head.content == b""
    for name in (
        "Content-Type",
        "ETag",
        "Cache-Control",
        "Vary",
        "Last-Modified",
        "Content-Encoding",
        "Link",
    ):
        assert head.headers.get(name) == full.headers.get(name), name
    assert "Content-Length" in head.headers


def test_a_list_may_be_kept_and_must_be_asked_for_again(service: Service) -> None:
    model.fill(service.warehouse, [PLAIN])
    response = service.get("/data")
    assert response.headers["Cache-Control"] == "private, no-cache"
    assert {each.strip() for each in response.headers["Vary"].split(",")} >= {"Accept", "Accept-Encoding"}
    [[changed]] = service.warehouse.execute("select max(changed_at) from kasparro.data_version").fetchall()
    assert parsedate_to_datetime(response.headers["Last-Modified"]) == changed.replace(microsecond=0)
    assert service.get("/sources").headers["Cache-Control"] == "no-store"
    assert service.get("/data?limit=0").headers.get("ETag") is None


def test_a_service_that_keeps_nothing_answers_as_well(service: Service, uncached: requests.Session) -> None:
    model.fill(service.warehouse, [PLAIN])
    base = str(uncached.headers["X-Base"])
    first, second = (uncached.get(base + "/data", timeout=30) for _ in range(2))
    assert content(first) == content(second) == content(service.get("/data"))
    known = {"If-None-Match": first.headers["ETag"]}
    assert uncached.get(base + "/data", headers=known, timeout=30).status_code == 304


class Watch:
    """Says which version of the data there is, without a database."""

    def __init__(self) -> None:
        self.data = "1-0"

    async def current(self) -> Versions:
        return Versions(self.data, "")


def scope(query: int) -> dict[str, Any]:
    return {"raw_path": b"/data", "query_string": b"%d" % query, "headers": [], "state": {}}


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.integers(0, 20), max_size=60),
    st.lists(st.integers(0, 4000), min_size=21, max_size=21),
)
def test_kept_answers_stay_within_their_bound(asked: list[int], sizes: list[int]) -> None:
    watch = Watch()
    cache = HotCache(watch, 50_000)  # type: ignore[arg-type]
    latest: dict[int, Answer] = {}
    for query in asked:
        answer = Answer({"data": b"x" * sizes[query]}, version=watch.data)
        cache.keep(scope(query), answer)
        latest[query] = answer
        found = {number: asyncio.run(cache.find(scope(number))) for number in latest}
        kept = {number: each for number, each in found.items() if each is not None}
        assert all(each is latest[number] for number, each in kept.items())
        assert sum(len(each.prefix) for each in kept.values()) <= 50_000
    watch.data = "2-0"
    assert [asyncio.run(cache.find(scope(number))) for number in latest] == [None] * len(latest)


def test_an_answer_larger_than_its_share_or_without_a_version_is_not_kept() -> None:
    cache = HotCache(Watch(), 50_000)  # type: ignore[arg-type]
    for answer in (
        Answer({"data": b"x" * 10_000}, version="1-0"),
        Answer({"data": b"x"}),
        Answer({"data": b"x"}, status=404, version="1-0"),
    ):
        cache.keep(scope(1), answer)
        assert asyncio.run(cache.find(scope(1))) is None


def test_the_answer_that_was_asked_for_longest_ago_leaves_first() -> None:
    cache = HotCache(Watch(), 50_000)  # type: ignore[arg-type]
    for number in range(30):
        cache.keep(scope(number), Answer({"data": b"x" * 1000}, version="1-0"))
        assert asyncio.run(cache.find(scope(0))) is not None
    assert asyncio.run(cache.find(scope(1))) is None
