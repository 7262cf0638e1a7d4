"""No key is ever told to anybody: not by an answer, not by a log line."""

import json
import time
from collections.abc import Callable
from typing import Literal, NoReturn

import pytest
import requests
from fastapi import FastAPI
from starlette.requests import Request

from kasparro_api.access.keys import masked
from kasparro_api.app import create_app
from kasparro_api.settings import ApiSettings
from tests.api.conftest import LogLines
from tests.api.test_keys import ask
from tests.api.test_operation import uvicorn_of


def misplaced(url: str, text: str) -> list[requests.Response]:
    """Answers to requests that carry a key where one belongs, and where none does."""
    places = [
        f"/data?api_key={text}",
        f"/data?{text}=1",
        f"/data?limit={text}",
        f"/data?source={text}&limit=0",
        f"/data?cursor={text}",
        f"/data?api_key={text.replace('_', '%5F')}",
        f"/nowhere/{text}",
        f"/data/{text}",
    ]
    answers = [ask(url + place) for place in places]
    answers += [ask(url + place, text) for place in places]
    answers += [ask(f"{url}/data", text, "POST"), ask(f"{url}/data", Authorization=f"Bearer {text}")]
    answers += [ask(f"{url}/data", f"{text}x"), ask(f"{url}/data", X_Request_ID=f"bad {text}")]
    return answers


@pytest.mark.parametrize("log_format", ["text", "json"])
def test_no_answer_and_no_log_line_holds_a_key(
    open_url: str, key: Callable[..., str], log_lines: LogLines, log_format: Literal["text", "json"]
) -> None:
    lines = log_lines(log_format)
    text = key()
    secret = text.split("_", 2)[2]
    answers = misplaced(open_url, text)
    deadline = time.monotonic() + 10
    while len(lines) < len(answers) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert len(lines) >= len(answers)
    told = [line for line in lines if secret in line]
    told += [answer.text for answer in answers if secret in answer.text + json.dumps(dict(answer.headers))]
    assert told == []


def test_a_fault_that_quotes_a_key_is_logged_without_it(
    serve_app: Callable[[FastAPI], str], log_lines: LogLines, database_url: str, key: Callable[..., str]
) -> None:
    def fault(request: Request) -> NoReturn:
        raise RuntimeError(f"cannot work with {request.headers['x-api-key']}")

    app = create_app(ApiSettings(_env_file=None, DATABASE_URL=database_url))
    app.add_route("/fault", fault)
    lines = log_lines("text")
    text = key()
    assert ask(f"{serve_app(app)}/fault", text).status_code == 500
    deadline = time.monotonic() + 10
    while len(lines) < 2 and time.monotonic() < deadline:
        time.sleep(0.01)
    assert "cannot work with kas_***" in lines[0]
    assert text.split("_", 2)[2] not in "".join(lines)


@pytest.mark.parametrize(
    "text", ["kas_", "kas_hmir", "lukas_miller", "a=kas_short", "https://example.com/kas_a/b"]
)
def test_a_word_that_is_no_key_is_not_masked(text: str) -> None:
    assert masked(text) == text


def test_a_part_of_a_key_is_masked_too() -> None:
    text = "kas_0123456789ab_" + "s" * 43
    for part in (text[:-1], text[:25], text.replace("_", "%5f"), f"%3D{text}"):
        assert "s" * 8 not in masked(f"?a={part}&b=1").replace("kas_", "")
        assert masked(f"?a={part}&b=1").endswith("&b=1")


def test_a_server_started_from_the_command_line_logs_no_key(
    database_url: str, key: Callable[..., str]
) -> None:
    text = key()
    with uvicorn_of(database_url) as (url, server):
        answers = misplaced(url, text)
        server.terminate()
        output, _ = server.communicate(timeout=30)
    assert len(output.splitlines()) > len(answers)
    assert "api_key=kas_***" in output
    assert text.split("_", 2)[2] not in output
