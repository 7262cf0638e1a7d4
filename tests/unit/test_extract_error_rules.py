"""What answers mean beside their status: retried, failed, ignored, or a rest for the whole host."""

import json
import time
from http.server import BaseHTTPRequestHandler
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from kasparro_pipeline.extract.documents import Batch, Request
from kasparro_pipeline.extract.error_rules import ErrorRule, first_that_fits
from kasparro_pipeline.extract.errors import PermanentUpstreamError, TransientUpstreamError
from kasparro_pipeline.extract.http import Client, HttpSettings
from kasparro_pipeline.extract.rest import RestExtraction
from kasparro_pipeline.extract.rest_spec import RestRequests
from tests.unit.conftest import ScriptedUpstream, reply
from tests.unit.rest_upstream import TODAY, values

FAST: dict[str, Any] = {"attempts": 3, "backoff": 0, "max_wait": 3, "allow_private_hosts": ["127.0.0.1"]}
SAYS_ERROR = {"path": "status", "matches": "^error$"}


def extract(upstream: ScriptedUpstream, *rules: dict[str, Any], **spec: Any) -> list[Batch]:
    made = RestRequests.model_validate({"path": "/x", "records": "data", "error_rules": rules} | spec)
    with Client(HttpSettings(**FAST), rules=made.error_rules) as client:
        return list(RestExtraction(made, upstream.url, Request(TODAY), client))


def first(upstream: ScriptedUpstream, *answers: tuple[int, Any, dict[str, str]]) -> None:
    """These answers, one after the other, then good ones."""
    left = list(answers)

    def answer(handler: BaseHTTPRequestHandler) -> None:
        status, body, headers = left.pop(0) if left else (200, {"data": [1]}, {})
        reply(handler, status, body if isinstance(body, bytes) else json.dumps(body).encode(), headers)

    upstream.answer = answer


BROKEN: tuple[int, Any, dict[str, str]] = (200, {"status": "error", "message": "try later", "data": []}, {})


def test_an_error_in_a_body_with_status_200_is_retried(upstream: ScriptedUpstream) -> None:
    first(upstream, BROKEN, BROKEN)
    assert values(extract(upstream, SAYS_ERROR | {"action": "retry"})) == [1]
    assert len(upstream.seen) == 3


def test_retries_by_rule_are_bounded_and_say_what_came(upstream: ScriptedUpstream) -> None:
    first(upstream, *[BROKEN] * 9)
    with pytest.raises(TransientUpstreamError, match=r"HTTP 200 OK: .*try later"):
        extract(upstream, SAYS_ERROR | {"action": "retry"})
    assert len(upstream.seen) == 3


def test_a_rule_may_end_the_run_with_words_of_its_own(upstream: ScriptedUpstream) -> None:
    first(upstream, BROKEN)
    rule = SAYS_ERROR | {"action": "fail", "message": "the account has ended"}
    with pytest.raises(PermanentUpstreamError, match=r"^the account has ended \(HTTP 200\)"):
        extract(upstream, rule)
    assert len(upstream.seen) == 1


def test_an_ignored_answer_has_no_records_and_is_no_document(upstream: ScriptedUpstream) -> None:
    first(upstream, (404, {"error": "nothing today"}, {}))
    (batch,) = extract(upstream, {"status": [404], "action": "ignore"})
    assert (batch.document, list(batch.records), batch.done) == (None, [], True)


def test_an_ignored_answer_of_one_value_leaves_the_others(upstream: ScriptedUpstream) -> None:
    upstream.answer = lambda handler: (
        reply(handler, 404) if handler.path == "/b" else reply(handler, 200, b'{"data":[1]}')
    )
    spec = {"path": "/{v}", "for_each": {"param": "v", "values": ["a", "b", "c"]}}
    assert values(extract(upstream, {"status": [404], "action": "ignore"}, **spec)) == [1, 1]


def test_a_status_that_is_permanent_may_be_retried_and_the_other_way_round(
    upstream: ScriptedUpstream,
) -> None:
    first(upstream, (403, b"busy", {}))
    assert values(extract(upstream, {"status": [403], "action": "retry"})) == [1]
    first(upstream, (503, b"closed", {}))
    with pytest.raises(PermanentUpstreamError, match="HTTP 503"):
        extract(upstream, {"status": [500, 503], "action": "fail"})


def test_a_limit_told_by_a_header_is_waited_for(upstream: ScriptedUpstream) -> None:
    first(
        upstream,
        (403, b"limit", {"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": str(int(time.time()) + 2)}),
    )
    rule = {
        "status": [403],
        "header": "X-RateLimit-Remaining",
        "matches": "^0$",
        "action": "rate_limited",
        "wait_header": "X-RateLimit-Reset",
    }
    started = time.monotonic()
    assert values(extract(upstream, rule)) == [1]
    assert 0.9 <= time.monotonic() - started < 10


def test_a_rule_that_does_not_fit_leaves_the_status_to_decide(upstream: ScriptedUpstream) -> None:
    rule = SAYS_ERROR | {"status": [500], "action": "ignore"}
    first(upstream, (200, {"status": "error", "data": [2]}, {}))
    assert values(extract(upstream, rule)) == [2]
    first(upstream, (400, {"status": "error"}, {}))
    with pytest.raises(PermanentUpstreamError, match="HTTP 400"):
        extract(upstream, rule)


@pytest.mark.parametrize("body", [b"<html>Sign in</html>", b"", b"[]", b'"text"', b"\xff", b"[" * 5000])
def test_a_body_that_is_no_object_fits_no_path(body: bytes) -> None:
    rule = ErrorRule(path="status", action="fail")
    assert first_that_fits([rule], 200, {}, body) is None


@pytest.mark.parametrize(
    ("body", "matches", "fits"),
    [
        ({"e": {"code": 17}}, "^17$", True),
        ({"e": {"code": "17"}}, "^1", True),
        ({"e": {"code": 18}}, "^17$", False),
        ({"e": {"code": None}}, None, False),
        ({"e": {"code": 0}}, None, True),
        ({"e": {"code": [1, 2]}}, r"\[1,2\]", True),
        ({"e": {"code": True}}, "true", True),
        ({"e": 1}, None, False),
        ({}, None, False),
    ],
)
def test_a_path_is_there_and_matches_or_not(body: object, matches: str | None, *, fits: bool) -> None:
    rule = ErrorRule(path="e.code", matches=matches, action="fail")
    found = first_that_fits([rule], 200, {}, json.dumps(body).encode())
    assert (found is rule) is fits


def test_the_first_rule_that_fits_decides() -> None:
    rules = [
        ErrorRule(status=(500,), action="fail"),
        ErrorRule(path="retry", action="retry"),
        ErrorRule(header="X-A", action="ignore"),
    ]
    assert first_that_fits(rules, 500, {"X-A": "1"}, b'{"retry": 1}') is rules[0]
    assert first_that_fits(rules, 200, {"X-A": "1"}, b'{"retry": 1}') is rules[1]
    assert first_that_fits(rules, 200, {"X-A": "1"}, b"{}") is rules[2]
    assert first_that_fits(rules, 200, {}, b"{}") is None


@given(st.binary(max_size=60))
def test_any_body_is_judged(body: bytes) -> None:
    first_that_fits([ErrorRule(path="a.b", matches="x", action="fail")], 200, {}, body)


@pytest.mark.parametrize(
    "rule",
    [
        {"action": "retry"},
        {"action": "redo", "status": [500]},
        {"action": "retry", "status": [500], "matches": "x"},
        {"action": "retry", "path": "a", "header": "b"},
        {"action": "retry", "path": "a", "matches": "("},
    ],
)
def test_a_rule_that_says_nothing_clear_is_refused(rule: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        ErrorRule.model_validate(rule)
