"""Strings that break software, as parameters: none may become an error of the service."""

import json
from collections.abc import Callable
from pathlib import Path
from urllib.parse import quote

import pytest
import requests

Get = Callable[..., requests.Response]

CORPUS = Path(__file__).parents[3] / "shared" / "corpora" / "naughty-strings" / "blns.json"


@pytest.fixture(scope="module")
def naughty_strings() -> list[str]:
    if not CORPUS.exists():
        pytest.skip("the corpus of naughty strings is not here")
    return [str(text) for text in json.loads(CORPUS.read_text("utf-8"))]


@pytest.mark.parametrize("name", ["source", "category"])
def test_a_naughty_filter_finds_just_the_records_that_have_it(
    get: Get, naughty_strings: list[str], add_record: Callable[..., int], name: str
) -> None:
    for text in naughty_strings:
        storable = "\0" not in text
        record = add_record(**{name: text}) if storable else None
        response = get("/data", limit=1, **{name: text})
        if storable and text.strip():
            assert [found["id"] for found in response.json()["data"]] == [record], text
            assert response.json()["data"][0][name] == text
        else:
            assert response.status_code == 422, text


@pytest.mark.parametrize("name", ["cursor", "limit", "offset", "unknown"])
def test_a_naughty_value_of_another_parameter_is_refused(
    get: Get, naughty_strings: list[str], name: str
) -> None:
    for text in naughty_strings:
        assert get("/data", **{name: text}).status_code in {200, 400, 422}, text


def test_a_naughty_name_or_path_is_refused(ask: Get, naughty_strings: list[str]) -> None:
    for text in naughty_strings:
        if text:
            assert ask("/data", **{text: "1"}).status_code == 422, text


def test_a_naughty_path_names_no_record(get: Get, naughty_strings: list[str]) -> None:
    for text in naughty_strings:
        # a number names a record: of those in the corpus, none that there is
        assert get("/data/" + quote(text, safe="")).status_code == 404, text
        assert get(f"/data/{quote(text, safe='')}/lineage").status_code == 404, text


@pytest.mark.parametrize(
    "query", ["source=%ff%fe", "source=%", "%00=1", "=", "source=%ED%A0%80", "&&&", "a" * 8000]
)
def test_a_query_that_is_no_proper_text_is_no_error_of_the_service(get: Get, query: str) -> None:
    assert get("/data?" + query).status_code in {200, 422}
