"""REST extraction: which requests are sent, in which order, and which cursor holds after each."""

import json
from collections.abc import Callable
from datetime import date
from http.server import BaseHTTPRequestHandler
from typing import Any
from urllib.parse import urlsplit

import pytest
from pydantic import ValidationError

from kasparro_pipeline.extract.documents import KnownDocument, Request
from kasparro_pipeline.extract.errors import PermanentUpstreamError, TransientUpstreamError
from kasparro_pipeline.extract.rest import RestExtraction, lookback_of
from kasparro_pipeline.extract.rest_spec import RestRequests
from tests.unit.conftest import ClientOf, ScriptedUpstream, reply
from tests.unit.rest_upstream import HTTP, TODAY, Extract, answers, values


def pages_of(*pages: list[Any]) -> Callable[[str, dict[str, str]], Any]:
    return lambda _path, query: pages[int(query["page"]) - 1] if int(query["page"]) <= len(pages) else []


NUMBERED: dict[str, Any] = {"paginator": {"type": "page_number"}}


def test_a_single_page_is_one_document(upstream: ScriptedUpstream, extract: Extract) -> None:
    answers(upstream, lambda *_: {"data": {"items": [1, 2]}})
    (batch,) = extract({"records": "data.items", "params": {"limit": 5, "full": True, "q": "a b"}})
    assert values([batch]) == [1, 2]
    assert (batch.done, batch.complete, batch.cursor) == (True, True, {})
    assert upstream.paths == ["/v1/x?limit=5&full=true&q=a+b"]
    assert batch.document
    assert batch.document.location == upstream.url + upstream.paths[0]
    assert batch.document.headers["etag"] == '"e"'


def test_headers_of_the_spec_are_sent(upstream: ScriptedUpstream, extract: Extract) -> None:
    answers(upstream, lambda *_: [])
    extract({"headers": {"X-Key": "k"}})
    assert upstream.seen[0][1]["X-Key"] == "k"


def test_numbered_pages_go_on_until_one_is_empty(upstream: ScriptedUpstream, extract: Extract) -> None:
    answers(upstream, pages_of([1, 2], [3]))
    found = extract(NUMBERED)
    assert [values([batch]) for batch in found] == [[1, 2], [3], []]
    assert upstream.paths == ["/v1/x?page=1", "/v1/x?page=2", "/v1/x?page=3"]
    assert [batch.done for batch in found] == [False, False, True]
    assert [batch.cursor.get("page") for batch in found] == [[2, 1, 2], [3, 2, 2], None]


def test_pages_may_begin_at_zero_under_another_name(upstream: ScriptedUpstream, extract: Extract) -> None:
    answers(upstream, lambda _path, query: [[1], [2], []][int(query["p"])])
    spec = {"paginator": {"type": "page_number", "page_param": "p", "first_page": 0}, "params": {"n": 1}}
    assert values(extract(spec)) == [1, 2]
    assert upstream.paths[0] == "/v1/x?n=1&p=0"


@pytest.mark.parametrize("first", [0, 1])
def test_as_many_pages_as_max_pages_are_taken_and_more_are_an_error(
    first: int, upstream: ScriptedUpstream, extract: Extract
) -> None:
    spec = {"paginator": {"type": "page_number", "max_pages": 3, "first_page": first}}
    answers(upstream, lambda _path, query: [int(query["page"])] if int(query["page"]) < first + 3 else [])
    assert len(values(extract(spec))) == 3
    upstream.seen.clear()
    answers(upstream, lambda _path, query: [int(query["page"])])
    with pytest.raises(PermanentUpstreamError, match="more than max_pages, 3 pages"):
        extract(spec)
    assert len(upstream.seen) == 4


def test_an_upstream_that_ignores_the_page_number_is_an_error(
    upstream: ScriptedUpstream, extract: Extract
) -> None:
    answers(upstream, lambda *_: [1, 2])
    with pytest.raises(PermanentUpstreamError, match="page 2 of the list holds the same as an earlier one"):
        extract(NUMBERED)
    assert len(upstream.seen) == 2


def test_pages_that_loop_end_after_finitely_many_requests(
    upstream: ScriptedUpstream, extract: Extract
) -> None:
    answers(upstream, lambda _path, query: [int(query["page"]) % 4])
    with pytest.raises(PermanentUpstreamError, match="page 5 of the list holds the same as an earlier one"):
        extract({"paginator": {"type": "page_number"}})
    assert len(upstream.seen) == 5


def test_each_value_is_asked_for_and_known_to_the_contract(
    upstream: ScriptedUpstream, extract: Extract
) -> None:
    answers(upstream, lambda path, query: [path] if query.get("page", "1") == "1" else [])
    spec = {"path": "/coins/{coin}/x", "for_each": {"param": "coin", "values": ["btc", "a/b?c", "caf\u00e9"]}}
    found = extract(spec)
    assert values(found) == ["/coins/btc/x", "/coins/a%2Fb%3Fc/x", "/coins/caf%C3%A9/x"]
    assert [batch.document.context for batch in found if batch.document] == [
        {"coin": "btc"},
        {"coin": "a/b?c"},
        {"coin": "caf\u00e9"},
    ]
    assert [batch.done for batch in found] == [False, False, True]


def test_values_with_the_same_answer_are_no_repeated_page(
    upstream: ScriptedUpstream, extract: Extract
) -> None:
    answers(upstream, lambda _path, query: [1] if query["page"] == "1" else [])
    spec = NUMBERED | {"path": "/{c}", "for_each": {"param": "c", "values": ["a", "b"]}}
    assert values(extract(spec)) == [1, 1]
    assert upstream.paths == ["/a?page=1", "/a?page=2", "/b?page=1", "/b?page=2"]


def test_an_interrupted_extraction_goes_on_at_the_next_page(
    upstream: ScriptedUpstream, extract: Extract
) -> None:
    answers(upstream, pages_of([1], [2], [3]))
    spec = NUMBERED | {"path": "/{c}", "for_each": {"param": "c", "values": ["a", "b"]}}
    whole = extract(spec)
    for stop, batch in enumerate(whole[:-1], start=1):
        upstream.seen.clear()
        rest = extract(spec, progress=json.loads(json.dumps(batch.cursor)))
        assert values(rest) == values(whole[stop:])
        assert len(upstream.seen) == len(whole) - stop
        assert rest[-1].cursor == whole[-1].cursor


def test_a_finished_extraction_starts_anew(upstream: ScriptedUpstream, extract: Extract) -> None:
    answers(upstream, pages_of([1]))
    whole = extract(NUMBERED)
    assert values(extract(NUMBERED, progress=whole[-1].cursor)) == [1]


def test_pages_that_did_not_change_count_with_what_is_stored(
    upstream: ScriptedUpstream, extract: Extract
) -> None:
    answers(upstream, lambda _path, query: None if query["page"] in "12" else [])
    stored = {"/v1/x?page=1": 2, "/v1/x?page=2": 1}
    known = {
        upstream.url + path: KnownDocument(1, b"", count, {"etag": '"e"'}, {"records": ""}, {})
        for path, count in stored.items()
    }
    found = extract(NUMBERED, known=known.get)
    assert [batch.document is None for batch in found] == [True, True, False]
    assert len(upstream.seen) == 3
    assert upstream.seen[0][1]["If-None-Match"] == '"e"'
    assert "If-None-Match" not in upstream.seen[2][1]


def test_an_unchanged_last_page_ends_the_list(upstream: ScriptedUpstream, extract: Extract) -> None:
    answers(upstream, lambda *_: None)
    known = KnownDocument(1, b"", 0, {"etag": '"e"'}, {"records": ""}, {})
    (batch,) = extract(NUMBERED, known=lambda _: known, source_cursor={"x": 1})
    assert (batch.document, batch.done, batch.cursor) == (None, True, {"x": 1})


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"<html>Sign in</html>", "the body is not JSON: .*begins with '<html>Sign in</html>'"),
        (b'{"error":"limit"}', "there is no list"),
        (b"[1,2", "the body is not JSON"),
        (b"", "the body is not JSON"),
    ],
)
def test_an_answer_with_status_200_that_is_no_list_is_refused(
    body: bytes, said: str, upstream: ScriptedUpstream, extract: Extract
) -> None:
    upstream.answer = lambda handler: reply(handler, 200, body)
    with pytest.raises(PermanentUpstreamError, match=said) as refused:
        extract({})
    assert refused.value.location == upstream.url + "/v1/x"


def test_an_error_behind_good_pages_leaves_their_batches(
    upstream: ScriptedUpstream, client_of: ClientOf
) -> None:
    def answer(handler: BaseHTTPRequestHandler) -> None:
        if handler.path.endswith("page=3"):
            reply(handler, 500)
        else:
            reply(handler, 200, handler.path[-1:].join("[]").encode())

    upstream.answer = answer
    spec = RestRequests.model_validate({"path": "/x"} | NUMBERED)
    batches = iter(RestExtraction(spec, upstream.url, Request(TODAY), client_of(HTTP)))
    assert [values([next(batches)]), values([next(batches)])] == [[1], [2]]
    with pytest.raises(TransientUpstreamError):
        next(batches)


@pytest.mark.parametrize("base", ["http://[::1", "http://", "ftp://x"])
def test_an_unusable_base_url_is_permanent(base: str, client_of: ClientOf) -> None:
    with pytest.raises(PermanentUpstreamError, match="not a usable address"):
        list(RestExtraction(RestRequests(path="/x"), base, Request(TODAY), client_of(HTTP)))


def windowed(**window: Any) -> dict[str, Any]:
    keys = {"start_param": "start", "end_param": "end", "cursor": "day"}
    return {"path": "/{c}", "for_each": {"param": "c", "values": ["a", "b"]}, "date_window": keys | window}


def asked_days(upstream: ScriptedUpstream) -> set[str]:
    return {urlsplit(path).query for path in upstream.paths}


def days(*numbers: int) -> list[dict[str, str]]:
    return [{"day": f"2024-01-{number:02}T23:59:59Z"} for number in numbers]


@pytest.mark.parametrize(
    ("through", "lookback", "start"),
    [
        (None, "P1D", "2024-01-09"),
        ("2024-01-05", "P1D", "2024-01-04"),
        ("2024-01-05", "P3D", "2024-01-02"),
        ("2024-01-05", "PT36H", "2024-01-03"),
        ("2024-01-05", "PT1H", "2024-01-04"),
        ("2024-01-05", "PT0H", "2024-01-05"),
        ("2030-01-01", "P1D", "2024-01-09"),
        ("9999-12-31", "P1D", "2024-01-09"),
    ],
)
def test_an_incremental_window_starts_behind_the_cursor(
    through: str | None, lookback: str, start: str, upstream: ScriptedUpstream, extract: Extract
) -> None:
    answers(upstream, lambda *_: [])
    extract(windowed(lookback_window=lookback), source_cursor={"through": through} if through else None)
    assert asked_days(upstream) == {f"start={start}&end=2024-01-10"}


def test_a_past_partition_asks_for_its_own_days(upstream: ScriptedUpstream, extract: Extract) -> None:
    answers(upstream, lambda *_: days(3))
    extract(windowed(), days=(date(2024, 1, 3), date(2024, 1, 3)), source_cursor={"through": "2024-01-09"})
    assert asked_days(upstream) == {"start=2024-01-03&end=2024-01-03"}


def test_the_cursor_is_the_newest_day_that_every_value_has_reached(
    upstream: ScriptedUpstream, extract: Extract
) -> None:
    answers(upstream, lambda path, _: days(8, 10, 9) if path == "/a" else days(7, 8))
    assert extract(windowed())[-1].cursor == {"through": "2024-01-08"}


def test_a_value_without_records_does_not_hold_the_cursor_back(
    upstream: ScriptedUpstream, extract: Extract
) -> None:
    answers(upstream, lambda path, _: days(9) if path == "/a" else [])
    assert extract(windowed())[-1].cursor == {"through": "2024-01-09"}


def test_without_any_record_the_cursor_stays(upstream: ScriptedUpstream, extract: Extract) -> None:
    answers(upstream, lambda *_: [])
    assert extract(windowed(), source_cursor={"through": "2024-01-05"})[-1].cursor == {
        "through": "2024-01-05"
    }


@pytest.mark.parametrize(
    "odd",
    ["9999-12-31", "2024-01-11", "2024-13-45", "20240105", "2024-W01-1", 20240105, 1704412800, None, {}, ""],
)
def test_a_day_in_the_future_or_of_another_form_does_not_move_the_cursor(
    odd: object, upstream: ScriptedUpstream, extract: Extract
) -> None:
    answers(upstream, lambda *_: [{"day": odd}, *days(9), {"other": 1}, None, 5])
    assert extract(windowed())[-1].cursor == {"through": "2024-01-09"}


def test_a_value_that_did_not_change_keeps_the_cursor_where_it_was(
    upstream: ScriptedUpstream, extract: Extract
) -> None:
    answers(upstream, lambda path, _: None if path == "/a" else days(10))
    known = KnownDocument(1, b"", 2, {"etag": '"e"'}, {"records": ""}, {"c": "a"})
    found = extract(
        windowed(), source_cursor={"through": "2024-01-06"}, known=lambda url: known if "/a?" in url else None
    )
    assert found[-1].cursor == {"through": "2024-01-06"}


def test_an_interrupted_window_is_taken_up_with_what_was_seen(
    upstream: ScriptedUpstream, extract: Extract
) -> None:
    answers(upstream, lambda path, _: days(8) if path == "/a" else days(10))
    whole = extract(windowed())
    upstream.seen.clear()
    rest = extract(windowed(), progress=json.loads(json.dumps(whole[0].cursor)))
    assert [path[:2] for path in upstream.paths] == ["/b"]
    assert rest[-1].cursor == whole[-1].cursor == {"through": "2024-01-08"}


def test_the_progress_of_another_window_is_not_taken_up(upstream: ScriptedUpstream, extract: Extract) -> None:
    answers(upstream, lambda *_: days(9))
    progress = {"days": ["2024-01-01", "2024-01-02"], "item": 1, "page": 1, "seen": {"0": "2024-01-01"}}
    found = extract(windowed(), progress=progress)
    assert len(found) == 2
    assert found[-1].cursor == {"through": "2024-01-09"}


def test_a_late_record_inside_the_lookback_window_is_taken(
    upstream: ScriptedUpstream, extract: Extract
) -> None:
    late: list[dict[str, str]] = []
    kept = days(8, 9)

    def answer(_: str, query: dict[str, str]) -> Any:
        return [one for one in [*kept, *late] if query["start"] <= one["day"][:10] <= query["end"]]

    answers(upstream, answer)
    spec = windowed(lookback_window="P2D") | {"for_each": None, "path": "/x"}
    first = extract(spec)
    late.extend([{"day": "2024-01-07", "late": "1"}])
    again = extract(spec, source_cursor=first[-1].cursor)
    assert {"day": "2024-01-07", "late": "1"} in values(again)
    assert again[-1].cursor == first[-1].cursor


def test_the_lookback_window_is_stored_and_never_negative() -> None:
    spec = RestRequests.model_validate({"path": "/x"} | windowed(lookback_window="P2D"))
    assert str(lookback_of(spec)) == "2 days, 0:00:00"
    assert lookback_of(RestRequests(path="/x")) is None
    with pytest.raises(ValidationError):
        RestRequests.model_validate({"path": "/x"} | windowed(lookback_window="-P1D"))


@pytest.mark.parametrize(
    "spec", [{"for_each": {"param": "c", "values": []}}, {"paginator": {"type": "pages"}}, {"pth": "/x"}]
)
def test_a_spec_that_makes_no_requests_is_refused(spec: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        RestRequests.model_validate({"path": "/x"} | spec)
