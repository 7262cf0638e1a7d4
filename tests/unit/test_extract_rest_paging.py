"""Every way in which a list goes on and ends; lists that never end do, with an error."""

import json
import re
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from kasparro_pipeline.contract.mapping import MISSING
from kasparro_pipeline.extract.body_path import value_in
from kasparro_pipeline.extract.documents import KnownDocument
from kasparro_pipeline.extract.errors import PermanentUpstreamError, TransientUpstreamError
from kasparro_pipeline.extract.linked_pages import links
from kasparro_pipeline.extract.rest_spec import RestRequests
from tests.unit.conftest import ScriptedUpstream, reply
from tests.unit.rest_upstream import Extract, answers, values


def spec_of(kind: str, **paginator: Any) -> dict[str, Any]:
    return {"records": "data", "paginator": {"type": kind} | paginator}


def serve(upstream: ScriptedUpstream, answer: Callable[[dict[str, str]], dict[str, Any]]) -> None:
    """Answer with JSON of the query."""
    answers(upstream, lambda _path, query: answer(query))


def slices(records: int, most: int, **more: Any) -> Callable[[dict[str, str]], dict[str, Any]]:
    """A list by offset; the upstream gives `most` records at a time, whatever it is asked for."""

    def answer(query: dict[str, str]) -> dict[str, Any]:
        start, limit = int(query["offset"]), min(most, int(query.get("limit", most)))
        found = list(range(records))[start : start + limit]
        return {"data": found} | {name: value(start, found) for name, value in more.items()}

    return answer


# offset


@pytest.mark.parametrize("most", [100, 10, 7, 3])
def test_offsets_follow_what_came_also_where_the_upstream_gives_less_than_asked(
    most: int, upstream: ScriptedUpstream, extract: Extract
) -> None:
    serve(upstream, slices(25, most))
    assert values(extract(spec_of("offset", limit=10))) == list(range(25))
    assert upstream.paths[0] == "/v1/x?limit=10&offset=0"


def test_the_names_of_offset_and_limit_are_the_upstreams(
    upstream: ScriptedUpstream, extract: Extract
) -> None:
    serve(upstream, lambda query: {"data": [1] if query["skip"] == "0" else []})
    extract(spec_of("offset", offset_param="skip", limit_param="take", limit=5))
    assert upstream.paths == ["/v1/x?take=5&skip=0", "/v1/x?take=5&skip=1"]
    upstream.seen.clear()
    extract(spec_of("offset", offset_param="skip", limit_param=None, limit=5))
    assert upstream.paths[0] == "/v1/x?skip=0"


@pytest.mark.parametrize(("records", "requests"), [(0, 1), (5, 1), (10, 1), (11, 2), (20, 2), (25, 3)])
def test_a_total_ends_offsets_without_a_request_in_vain(
    records: int, requests: int, upstream: ScriptedUpstream, extract: Extract
) -> None:
    serve(upstream, slices(records, 10, total=lambda *_: records))
    assert values(extract(spec_of("offset", limit=10, total_path="total"))) == list(range(records))
    assert len(upstream.seen) == requests


def test_has_more_ends_offsets(upstream: ScriptedUpstream, extract: Extract) -> None:
    serve(upstream, slices(20, 10, more=lambda start, found: start + len(found) < 20))
    assert len(values(extract(spec_of("offset", limit=10, has_more_path="more")))) == 20
    assert len(upstream.seen) == 2


def test_a_short_page_ends_offsets_only_where_the_spec_says_so(
    upstream: ScriptedUpstream, extract: Extract
) -> None:
    serve(upstream, slices(15, 10))
    extract(spec_of("offset", limit=10, last_page="short"))
    assert len(upstream.seen) == 2
    upstream.seen.clear()
    extract(spec_of("offset", limit=10))
    assert len(upstream.seen) == 3


# page_number


@pytest.mark.parametrize(
    ("told", "path"),
    [
        ({"total": 25}, {"total_path": "total"}),
        ({"total": "25"}, {"total_path": "total"}),
        ({"total": 25.0}, {"total_path": "total"}),
        ({"meta": {"pages": 3}}, {"total_pages_path": "meta.pages"}),
    ],
)
def test_a_total_ends_numbered_pages(
    told: dict[str, Any], path: dict[str, str], upstream: ScriptedUpstream, extract: Extract
) -> None:
    everything = list(range(25))
    serve(upstream, lambda query: told | {"data": everything[int(query["page"]) * 10 - 10 :][:10]})
    assert values(extract(spec_of("page_number", **path))) == everything
    assert len(upstream.seen) == 3


def test_a_total_counts_by_what_a_page_really_holds(upstream: ScriptedUpstream, extract: Extract) -> None:
    everything = list(range(25))
    serve(upstream, lambda query: {"total": 25, "data": everything[int(query["page"]) * 10 - 10 :][:10]})
    spec = spec_of("page_number", total_path="total", page_size=1000, page_size_param="per_page")
    assert values(extract(spec)) == everything
    assert upstream.paths[0] == "/v1/x?per_page=1000&page=1"


@pytest.mark.parametrize(
    ("told", "paginator"),
    [
        ({"total": 30}, {"total_path": "total"}),
        ({"pages": 3}, {"total_pages_path": "pages"}),
        ({"more": True}, {"has_more_path": "more"}),
    ],
)
def test_an_empty_page_in_the_middle_is_no_end_where_the_upstream_tells_more(
    told: dict[str, Any], paginator: dict[str, str], upstream: ScriptedUpstream, extract: Extract
) -> None:
    pages: list[list[int]] = [[1] * 10, [], [2] * 10]

    def answer(query: dict[str, str]) -> dict[str, Any]:
        number = int(query["page"])
        return told | {"data": pages[number - 1]} | ({"more": False} if number == 3 else {})

    serve(upstream, answer)
    assert len(values(extract(spec_of("page_number", **paginator)))) == 20


def test_an_empty_page_in_the_middle_of_offsets_is_passed_over(
    upstream: ScriptedUpstream, extract: Extract
) -> None:
    everything = list(range(30))
    serve(
        upstream,
        lambda query: {
            "total": 30,
            "data": [] if query["offset"] == "10" else everything[int(query["offset"]) :][:10],
        },
    )
    assert values(extract(spec_of("offset", limit=10, total_path="total"))) == [
        *range(10),
        *range(20, 30),
    ]


def test_an_empty_first_page_of_a_list_that_is_said_to_be_full_is_an_error_and_no_end(
    upstream: ScriptedUpstream, extract: Extract
) -> None:
    serve(upstream, lambda _: {"total": 30, "data": []})
    with pytest.raises(TransientUpstreamError, match="the first page is empty, and `total` says that"):
        extract(spec_of("page_number", total_path="total"))


@pytest.mark.parametrize("told", [None, "many", -1, True, 2.5, [], {}])
def test_a_total_that_is_no_number_is_as_good_as_none(
    told: object, upstream: ScriptedUpstream, extract: Extract
) -> None:
    serve(upstream, lambda query: {"total": told, "data": [query["page"]] if query["page"] < "4" else []})
    assert values(extract(spec_of("page_number", total_path="total"))) == ["1", "2", "3"]


@pytest.mark.parametrize(
    ("yes", "no"), [(True, False), (1, 0), ("true", "false"), ("True", "no"), ("yes", "")]
)
def test_has_more_may_be_written_in_any_usual_way(
    yes: object, no: object, upstream: ScriptedUpstream, extract: Extract
) -> None:
    serve(upstream, lambda query: {"more": yes if query["page"] == "1" else no, "data": [query["page"]]})
    assert values(extract(spec_of("page_number", has_more_path="more"))) == ["1", "2"]


def test_a_page_that_repeats_is_the_end_where_the_spec_says_so(
    upstream: ScriptedUpstream, extract: Extract
) -> None:
    serve(upstream, lambda query: {"data": [min(3, int(query["page"]))]})
    found = extract(spec_of("page_number", repeated_page="stop"))
    assert values(found) == [1, 2, 3]
    assert (found[-1].document, found[-1].done) == (None, True)
    with pytest.raises(PermanentUpstreamError, match="page 4 of the list holds the same"):
        extract(spec_of("page_number"))


@pytest.mark.parametrize("paginator", [{"type": "page_number"}, {"type": "offset", "limit": 2}])
def test_only_the_first_pages_are_taken_where_the_spec_says_so(
    paginator: dict[str, Any], upstream: ScriptedUpstream, extract: Extract
) -> None:
    serve(upstream, lambda query: {"data": [query, 0], "next": len(upstream.seen)})
    limits = {"max_pages": 3, "beyond_max_pages": "stop"}
    found = extract({"records": "data", "paginator": paginator | limits})
    assert len(values(found)) == 6
    assert found[-1].done
    cursor = {"type": "cursor", "cursor_path": "next"}
    assert len(values(extract({"records": "data", "paginator": cursor | limits}))) == 6
    assert len(upstream.seen) == 6


# cursor


CHAIN: dict[str | None, Any] = {None: "b", "b": "c", "c": None}


@pytest.mark.parametrize("end", [None, "", False, "absent"])
def test_a_cursor_leads_from_page_to_page_until_there_is_none(
    end: object, upstream: ScriptedUpstream, extract: Extract
) -> None:
    def answer(query: dict[str, str]) -> dict[str, Any]:
        following = CHAIN[query.get("after")]
        meta = {"next": following or end} if following or end != "absent" else {}
        return {"data": [query.get("after", "a")], "meta": meta}

    serve(upstream, answer)
    spec = spec_of("cursor", cursor_param="after", cursor_path="meta.next")
    assert values(extract(spec)) == ["a", "b", "c"]
    assert upstream.paths == ["/v1/x", "/v1/x?after=b", "/v1/x?after=c"]


def test_an_empty_page_with_a_cursor_is_no_end(upstream: ScriptedUpstream, extract: Extract) -> None:
    def answer(query: dict[str, str]) -> dict[str, Any]:
        at = query.get("cursor")
        return {"data": [] if at == "b" else [at], "next": CHAIN[at]}

    serve(upstream, answer)
    assert values(extract(spec_of("cursor", cursor_path="next"))) == [None, "c"]


def test_has_more_ends_a_cursor_that_is_always_there(upstream: ScriptedUpstream, extract: Extract) -> None:
    serve(upstream, lambda query: {"data": [1], "next": "z", "more": "cursor" not in query})
    assert values(extract(spec_of("cursor", cursor_path="next", has_more_path="more"))) == [1, 1]


def test_the_last_record_may_be_the_cursor(upstream: ScriptedUpstream, extract: Extract) -> None:
    everything = [{"id": number} for number in range(7)]

    def answer(query: dict[str, str]) -> dict[str, Any]:
        return {"data": everything[int(query.get("starting_after", -1)) + 1 :][:3]}

    serve(upstream, answer)
    spec = spec_of("cursor", cursor_param="starting_after", record_path="id")
    assert values(extract(spec)) == everything
    assert len(upstream.seen) == 4


def test_a_last_record_without_the_cursor_is_an_error(upstream: ScriptedUpstream, extract: Extract) -> None:
    serve(upstream, lambda _: {"data": [{"name": 1}]})
    with pytest.raises(PermanentUpstreamError, match="the last record has nothing at `id`"):
        extract(spec_of("cursor", record_path="id"))


@pytest.mark.parametrize("odd", [{"a": 1}, [1], 1.5, True])
def test_a_cursor_that_cannot_be_sent_is_an_error(
    odd: object, upstream: ScriptedUpstream, extract: Extract
) -> None:
    serve(upstream, lambda _: {"data": [1], "next": odd})
    with pytest.raises(PermanentUpstreamError, match="neither text nor a number"):
        extract(spec_of("cursor", cursor_path="next"))


@pytest.mark.parametrize("period", [1, 2, 5])
def test_cursors_that_go_backwards_end_in_an_error(
    period: int, upstream: ScriptedUpstream, extract: Extract
) -> None:
    asked: list[int] = []

    def answer(query: dict[str, str]) -> dict[str, Any]:
        asked.append(1)
        # the records differ each time, so that only the cursor tells
        return {"data": [len(asked)], "next": (int(query.get("cursor", 0)) + 1) % period + 1}

    serve(upstream, answer)
    with pytest.raises(PermanentUpstreamError, match="leads back to a page that was read before"):
        extract(spec_of("cursor", cursor_path="next"))
    assert len(asked) <= period + 2


def test_cursors_that_are_always_new_end_with_max_pages(upstream: ScriptedUpstream, extract: Extract) -> None:
    serve(upstream, lambda query: {"data": [query], "next": int(query.get("cursor", 0)) + 1})
    with pytest.raises(PermanentUpstreamError, match="more than max_pages, 20 pages"):
        extract(spec_of("cursor", cursor_path="next", max_pages=20))
    assert len(upstream.seen) == 21


def test_empty_pages_with_ever_new_cursors_end_with_max_pages(
    upstream: ScriptedUpstream, extract: Extract
) -> None:
    serve(upstream, lambda query: {"data": [], "next": int(query.get("cursor", 0)) + 1})
    with pytest.raises(PermanentUpstreamError, match="more than max_pages, 20 pages"):
        extract(spec_of("cursor", cursor_path="next", max_pages=20))


# link_header and next_url


def linked(upstream: ScriptedUpstream, link: Callable[[str], str | None], *, in_body: bool) -> None:
    """Pages a, b, c; `link` gives the address of a page by name."""

    def answer(handler: BaseHTTPRequestHandler) -> None:
        at = dict(parse_qsl(urlsplit(handler.path).query)).get("at", "a")
        following = {"a": "b", "b": "c"}.get(at)
        target = link(following) if following else None
        found: dict[str, Any] = {"data": [at]}
        if in_body:
            found["links"] = {"next": target}
        headers = {"Link": f'<{target}>; rel="next"'} if target and not in_body else {}
        reply(handler, 200, json.dumps(found).encode(), headers)

    upstream.answer = answer


PAGINATORS = {False: spec_of("link_header"), True: spec_of("next_url", next_path="links.next")}


@pytest.mark.parametrize("in_body", [True, False])
@pytest.mark.parametrize(
    "form", ["{base}/v1/x?at={page}", "/v1/x?at={page}", "?at={page}", "x?at={page}#top"]
)
def test_a_link_may_be_absolute_or_relative(
    form: str, *, in_body: bool, upstream: ScriptedUpstream, extract: Extract
) -> None:
    linked(upstream, lambda page: form.format(base=upstream.url, page=page), in_body=in_body)
    found = extract(PAGINATORS[in_body] | {"params": {"q": "1"}})
    assert values(found) == ["a", "b", "c"]
    assert upstream.paths == ["/v1/x?q=1", "/v1/x?at=b", "/v1/x?at=c"]
    assert [batch.document.location for batch in found if batch.document] == [
        upstream.url + path for path in upstream.paths
    ]


@pytest.mark.parametrize("in_body", [True, False])
@pytest.mark.parametrize("target", ["http://example.org/v1/x", "//example.org/", "https://127.0.0.1:1/"])
def test_a_link_to_another_host_is_refused(
    target: str, *, in_body: bool, upstream: ScriptedUpstream, extract: Extract
) -> None:
    linked(upstream, lambda _: target, in_body=in_body)
    with pytest.raises(PermanentUpstreamError, match="leads to another host"):
        extract(PAGINATORS[in_body])


@pytest.mark.parametrize("target", ["ftp://127.0.0.1/x", "file:///etc/passwd", "javascript:alert(1)"])
def test_a_link_that_is_no_address_is_refused(
    target: str, upstream: ScriptedUpstream, extract: Extract
) -> None:
    linked(upstream, lambda _: target, in_body=True)
    with pytest.raises(PermanentUpstreamError, match="not a usable address"):
        extract(PAGINATORS[True])


@pytest.mark.parametrize("in_body", [True, False])
def test_links_that_loop_end_in_an_error(
    *, in_body: bool, upstream: ScriptedUpstream, extract: Extract
) -> None:
    linked(upstream, lambda page: f"?at={'a' if page == 'c' else page}", in_body=in_body)
    with pytest.raises(PermanentUpstreamError, match=re.escape("an earlier one") + "|was read before"):
        extract(PAGINATORS[in_body])
    assert len(upstream.seen) <= 4


def test_unchanged_pages_are_followed_by_the_link_that_is_stored_with_them(
    upstream: ScriptedUpstream, extract: Extract
) -> None:
    upstream.answer = lambda handler: reply(handler, 304)
    stored = {
        upstream.url + "/v1/x": {"etag": '"1"', "link": '<?at=b>; rel="next"'},
        upstream.url + "/v1/x?at=b": {"etag": '"2"'},
    }
    known = {
        url: KnownDocument(1, b"", 1, headers, {"records": "data"}, {}) for url, headers in stored.items()
    }
    found = extract(spec_of("link_header"), known=known.get)
    assert [batch.document for batch in found] == [None, None]
    assert upstream.paths == ["/v1/x", "/v1/x?at=b"]


def test_pages_that_name_the_next_one_in_their_body_are_not_asked_for_conditionally(
    upstream: ScriptedUpstream, extract: Extract
) -> None:
    serve(upstream, lambda _: {"data": []})
    known = KnownDocument(1, b"", 1, {"etag": '"1"'}, {"records": "data"}, {})
    extract(spec_of("cursor", cursor_path="next"), known=lambda _: known)
    assert "If-None-Match" not in upstream.seen[0][1]


@pytest.mark.parametrize(
    ("header", "found"),
    [
        ("", {}),
        ('<a>; rel="next"', {"next": "a"}),
        ("<a>; rel=next", {"next": "a"}),
        ("<a>;rel=NEXT , <b> ; Rel = prev", {"next": "a", "prev": "b"}),
        (
            '<a?x>; title="a, <b>; rel=\\"prev\\""; rel="next last"',
            {"next": "a?x", "last": "a?x"},
        ),
        ('<a>; rel="next"; rel="prev", <c>; rel="next"', {"next": "a"}),
        ("<a>; anchor", {}),
        ("nonsense", {}),
        ("<a>; title*=UTF-8''%e2; rel=\"next\"", {"next": "a"}),
    ],
)
def test_a_link_header_is_read_as_rfc_8288_says(header: str, found: dict[str, str]) -> None:
    assert links(header) == found


@given(st.text(max_size=40))
def test_any_link_header_is_read(header: str) -> None:
    assert isinstance(links(header), dict)


@pytest.mark.parametrize(
    ("path", "found"),
    [
        ("a", {"b": [{"c": 1}, [2, 3]]}),
        ("a.b[0].c", 1),
        ("$.a.b[0].c", 1),
        ("a.b[-1][0]", 2),
        ("a.b[1][1]", 3),
        ("d.e", 4),
        ("a.b[2]", None),
        ("a.b[-3]", None),
        ("a[0]", None),
        ("a.b.c", None),
        ("a.b[x]", None),
        ("x", None),
    ],
)
def test_a_path_in_a_body_has_keys_and_indexes(path: str, found: object) -> None:
    value = value_in({"a": {"b": [{"c": 1}, [2, 3]]}, "d.e": 4}, path)
    assert (None if value is MISSING else value) == found


def test_a_root_that_is_a_list_has_indexes_too() -> None:
    assert value_in([5, {"a": 6}], "[1].a") == 6
    assert value_in([5], "$[0]") == 5


@given(st.text(max_size=12))
def test_any_path_is_looked_for(path: str) -> None:
    value_in({"a": [1, {"b": 2}]}, path)


# all of them


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    sizes=st.lists(st.integers(0, 4), max_size=6),
    kind=st.sampled_from(["cursor", "link_header", "next_url", "page_number"]),
    stop=st.integers(0, 8),
)
def test_a_list_of_pages_of_any_size_is_read_whole_and_taken_up_anywhere(
    sizes: list[int], kind: str, stop: int, upstream: ScriptedUpstream, extract: Extract
) -> None:
    sizes = sizes or [0]
    everything = [[(page, item) for item in range(size)] for page, size in enumerate(sizes)]

    def answer(handler: BaseHTTPRequestHandler) -> None:
        at = int(dict(parse_qsl(urlsplit(handler.path).query)).get("page", 0))
        more = at + 1 < len(sizes)
        found = {"data": everything[at], "more": more, "token": at + 1 if more else None}
        found["next"] = f"?page={at + 1}" if more else None
        headers = {"Link": f'<?page={at + 1}>; rel="next"'} if more else {}
        reply(handler, 200, json.dumps(found).encode(), headers)

    upstream.answer = answer
    paginators: dict[str, dict[str, Any]] = {
        "cursor": {"cursor_param": "page", "cursor_path": "token"},
        "page_number": {"first_page": 0, "has_more_path": "more"},
    }
    spec = spec_of(kind, **paginators.get(kind, {}))
    whole = extract(spec)
    assert values(whole) == [list(item) for page in everything for item in page]
    assert len(whole) == len(sizes)
    kept = whole[: min(stop, len(whole) - 1)]
    if kept:
        rest = extract(spec, progress=json.loads(json.dumps(kept[-1].cursor)))
        assert values([*kept, *rest]) == values(whole)


@pytest.mark.parametrize(
    "paginator",
    [
        {"type": "cursor"},
        {"type": "cursor", "cursor_path": "a", "record_path": "b"},
        {"type": "page_number", "page_size_param": "n"},
        {"type": "page_number", "last_page": "short"},
        {"type": "offset", "limit": 0},
        {"type": "page_number", "max_pages": 0},
        {"type": "link_header", "next_path": "x"},
    ],
)
def test_a_paginator_that_cannot_work_is_refused(paginator: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        RestRequests.model_validate({"path": "/x", "paginator": paginator})
