"""Requests for each record of another source, and records nested in the items of a list."""

import json
import re
from collections.abc import Callable, Sequence
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from kasparro_pipeline.extract import json_records, records
from kasparro_pipeline.extract.documents import Cursor, KnownDocument
from kasparro_pipeline.extract.errors import PermanentUpstreamError
from kasparro_pipeline.extract.exploded import Explode, exploded
from kasparro_pipeline.extract.rest_spec import RestRequests
from tests.unit.conftest import ScriptedUpstream, reply
from tests.unit.rest_upstream import Extract, answers, values

CHILD: dict[str, Any] = {"path": "/coins/{parent.id}/markets", "parent": {"source": "coins"}}
Parents = Callable[[str, Sequence[str]], Sequence[dict[str, str]]]


def coins(*ids: str, **more: str) -> Parents:
    """Unified records of the source `coins`."""

    def parents(source: str, names: Sequence[str]) -> Sequence[dict[str, str]]:
        assert source == "coins"
        found = [{"id": key} | more for key in ids]
        return [{name: one[name] for name in names} for one in found]

    return parents


# parents


def test_every_record_of_the_parent_is_asked_for(upstream: ScriptedUpstream, extract: Extract) -> None:
    answers(upstream, lambda path, _: [path])
    found = extract(CHILD, parents=coins("btc", "a/b?c", "é"))
    assert upstream.paths == ["/coins/a%2Fb%3Fc/markets", "/coins/btc/markets", "/coins/%C3%A9/markets"]
    assert [batch.document.context for batch in found if batch.document] == [
        {"parent.id": "a/b?c"},
        {"parent.id": "btc"},
        {"parent.id": "é"},
    ]
    assert [batch.done for batch in found] == [False, False, True]


def test_more_fields_of_the_parent_go_into_path_and_parameters(
    upstream: ScriptedUpstream, extract: Extract
) -> None:
    answers(upstream, lambda *_: [])
    spec = {
        "path": "/{parent.symbol}",
        "params": {"coin": "{parent.id}", "n": 5},
        "parent": {"source": "coins", "include": ["symbol"]},
    }
    extract(spec, parents=coins("btc bitcoin", symbol="B&T"))
    assert upstream.paths == ["/B%26T?coin=btc+bitcoin&n=5"]


@pytest.mark.parametrize("odd", ["..", ".", "{parent.symbol}", "%2e%2e", "a\\b", "?x#y", "a\r\nHost: b"])
def test_whatever_a_parent_is_named_the_request_stays_in_its_place(
    odd: str, upstream: ScriptedUpstream, extract: Extract
) -> None:
    answers(upstream, lambda *_: [])
    spec = {
        "path": "/coins/{parent.id}/markets",
        "params": {"q": "{parent.id}"},
        "parent": {"source": "coins", "include": ["symbol"]},
    }
    extract(spec, parents=coins(odd, symbol="S"))
    (path,) = upstream.paths
    parts = urlsplit(path)
    assert re.fullmatch(r"/coins/[^/]+/markets", parts.path)
    assert unquote(parts.path.split("/")[2]) == odd
    assert dict(parse_qsl(parts.query)) == {"q": odd}


@pytest.mark.parametrize("odd", [".example.org", "@example.org", ":1", ":pw@example.org"])
def test_a_path_that_begins_with_a_parent_leads_to_no_other_host(
    odd: str, upstream: ScriptedUpstream, extract: Extract
) -> None:
    answers(upstream, lambda *_: [])
    extract({"path": "{parent.id}", "parent": {"source": "coins"}}, parents=coins(odd))
    assert [unquote(path) for path in upstream.paths] == [f"/{odd}"]


def test_a_parent_without_records_is_an_error_that_says_what_to_do(extract: Extract) -> None:
    with pytest.raises(PermanentUpstreamError, match="the parent source `coins` has no unified records"):
        extract(CHILD, parents=coins())


def stored(cursor: Cursor) -> Cursor:
    found: Cursor = json.loads(json.dumps(cursor))
    return found


INCREMENTAL = CHILD | {"incremental": {"cursor": "at", "type": "integer", "param": "since"}}


def test_every_parent_has_a_checkpoint_of_its_own(upstream: ScriptedUpstream, extract: Extract) -> None:
    rows = {"btc": [{"at": 5}], "eth": [{"at": 2}]}
    answers(
        upstream,
        lambda path, query: [
            row for row in rows.get(path.split("/")[2], []) if row["at"] >= int(query.get("since", 0))
        ],
    )
    first = extract(INCREMENTAL, parents=coins("btc", "eth"))
    upstream.seen.clear()
    rows |= {"ada": [{"at": 1}], "eth": [{"at": 2}, {"at": 3}]}
    second = extract(INCREMENTAL, parents=coins("ada", "btc", "eth"), source_cursor=stored(first[-1].cursor))
    assert upstream.paths == [
        "/coins/ada/markets",
        "/coins/btc/markets?since=5",
        "/coins/eth/markets?since=2",
    ]
    assert values(second) == [{"at": 1}, {"at": 2}, {"at": 3}]
    third = extract(INCREMENTAL, parents=coins("ada", "btc", "eth"), source_cursor=second[-1].cursor)
    assert [batch.document for batch in third] == [None] * 3
    assert third[-1].cursor == second[-1].cursor


def test_every_parent_has_a_window_of_its_own(upstream: ScriptedUpstream, extract: Extract) -> None:
    window = {
        "start_param": "s",
        "end_param": "e",
        "cursor": "day",
        "initial_value": "2024-01-01",
        "lookback_window": "P0D",
    }
    spec = CHILD | {"date_window": window}
    days = {"btc": "2024-01-09", "eth": "2024-01-05"}
    answers(upstream, lambda path, _: [{"day": days.get(path.split("/")[2])}])
    first = extract(spec, parents=coins("btc", "eth"))
    upstream.seen.clear()
    extract(spec, parents=coins("ada", "btc", "eth"), source_cursor=stored(first[-1].cursor))
    asked = [dict(parse_qsl(urlsplit(path).query))["s"] for path in upstream.paths]
    assert asked == ["2024-01-01", "2024-01-09", "2024-01-05"]


@pytest.mark.parametrize("now", [("a", "b", "c"), ("a", "c"), ("b", "c", "d"), ("a", "b", "bb", "c"), ("c",)])
def test_an_interrupted_extraction_goes_on_at_its_parent_or_the_one_behind_it(
    now: tuple[str, ...], upstream: ScriptedUpstream, extract: Extract
) -> None:
    answers(upstream, lambda path, _: [path])
    whole = extract(CHILD, parents=coins("a", "b", "c"))
    upstream.seen.clear()
    extract(CHILD, parents=coins(*now), progress=stored(whole[0].cursor))
    assert upstream.paths == [f"/coins/{key}/markets" for key in now if key >= "b"]


def test_a_source_repeats_its_requests_for_one_thing() -> None:
    with pytest.raises(ValidationError, match="give one"):
        RestRequests.model_validate(CHILD | {"for_each": {"param": "c", "values": ["x"]}})


# nested records


def nested(upstream: ScriptedUpstream, body: bytes) -> None:
    upstream.answer = lambda handler: reply(handler, 200, body, {"ETag": '"1"'})


BODY = b'{"data":[{"id":1,"x":{"y":[ {"a": 1.10,"a":2} , 5e1 ]}}, {"id":2,"x":{"y":[]}}, {"id":3}]}'
EXPLODE: dict[str, Any] = {"records": "data", "explode": {"path": "x.y"}}


def test_entries_of_an_inner_list_are_records_to_the_byte(
    upstream: ScriptedUpstream, extract: Extract
) -> None:
    nested(upstream, BODY)
    (batch,) = extract(EXPLODE)
    assert [record.payload for record in batch.records] == [b'{"a": 1.10,"a":2}', b"5e1"]
    assert [record.position for record in batch.records] == [0, 1]


def test_entries_may_carry_fields_of_the_item_around_them(
    upstream: ScriptedUpstream, extract: Extract
) -> None:
    nested(upstream, b'[{"id": 1.50, "m":{"n":"\\u00e9","o":2}, "y":[{"a": 1.10}]}]')
    (batch,) = extract({"explode": {"path": "y", "include": ["id", "m.n", "gone"]}})
    assert batch.document
    (record,) = batch.records
    assert record.payload == b'{"outer":{"id":1.50,"m":{"n":"\\u00e9"}},"item":{"a": 1.10}}'
    assert records.read(record.payload, batch.document.layout) == record.value


def test_an_item_with_something_else_than_a_list_stays_a_record_that_validation_can_refuse(
    upstream: ScriptedUpstream, extract: Extract
) -> None:
    nested(upstream, b'[{"y":[1]},{"y":"text"},{"y":null},7,{"y":[2]}]')
    (batch,) = extract({"explode": {"path": "y"}})
    assert values([batch]) == [1, {"y": "text"}, 2]


def test_pages_are_counted_by_their_items_and_not_by_what_is_inside(
    upstream: ScriptedUpstream, extract: Extract
) -> None:
    pages: dict[str, list[Any]] = {"1": [{"y": []}], "2": [{"y": [1, 2]}]}
    answers(upstream, lambda _path, query: pages.get(query["page"], []))
    spec = {"explode": {"path": "y"}, "paginator": {"type": "page_number"}}
    found = extract(spec)
    assert values(found) == [1, 2]
    documents = {batch.document.location: batch.document for batch in found if batch.document}
    known = {
        url: KnownDocument(1, one.sha256, 0, {"etag": '"e"'}, one.layout, one.context)
        for url, one in documents.items()
    }
    answers(upstream, lambda _path, query: None if query["page"] < "3" else [])
    upstream.seen.clear()
    extract(spec, known=known.get)
    assert len(upstream.seen) == 3


json_value = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=2), inner, max_size=3),
    max_leaves=8,
)


@given(
    st.lists(json_value, max_size=4),
    st.sampled_from(["utf-8", "utf-16-le", "utf-32-be"]),
    st.booleans(),
    st.sampled_from([None, 1]),
)
def test_any_inner_list_comes_apart_into_its_entries(
    inner: list[Any], encoding: str, ascii_only: bool, indent: int | None
) -> None:
    text = json.dumps([{"k": "v", "a": {"b": inner}}], ensure_ascii=ascii_only, indent=indent)
    mark = {"utf-16-le": b"\xff\xfe", "utf-32-be": b"\x00\x00\xfe\xff"}.get(encoding, b"")
    cut = json_records.cut(mark + text.encode(encoding), "", "x")
    plain = exploded(Explode(path="a.b"), cut.records, encoding)
    assert [record.value for record in plain] == inner
    wrapped = exploded(Explode(path="a.b", include=("k",)), cut.records, encoding)
    assert [record.value for record in wrapped] == [{"outer": {"k": "v"}, "item": one} for one in inner]
    for record in (*plain, *wrapped):
        assert json_records.read(record.payload, {"encoding": encoding}) == record.value


def test_an_answer_may_be_one_record_for_each_parent(upstream: ScriptedUpstream, extract: Extract) -> None:
    answers(upstream, lambda path, _query: {"data": {"id": path, "inner": [1, 2]}, "meta": {"n": 1}})
    spec = {
        "path": "/{parent.id}",
        "parent": {"source": "p"},
        "records": "data",
        "one_record": True,
    }
    parents = [{"id": "a"}, {"id": "b"}]

    found = extract(spec, parents=lambda _source, _names: parents)

    assert [row["id"] for row in values(found)] == ["/a", "/b"]
    assert [batch.document.layout["one_record"] for batch in found if batch.document] == [True, True]
    inner = extract(spec | {"explode": {"path": "inner"}}, parents=lambda _source, _names: parents)
    assert values(inner) == [1, 2, 1, 2]


def test_an_answer_of_one_record_has_no_pages() -> None:
    with pytest.raises(ValidationError, match="an answer of `one_record` has no pages"):
        RestRequests.model_validate({"path": "/x", "one_record": True, "paginator": {"type": "page_number"}})
