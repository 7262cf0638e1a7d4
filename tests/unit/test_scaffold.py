"""What is inferred from a sample: records, key, paginator to try, and a contract that accepts the sample."""

from __future__ import annotations

import os
from datetime import date
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from kasparro_pipeline.contract.spec import Contract
from kasparro_pipeline.contract.validation import Validated, compile_validator
from kasparro_pipeline.scaffold import csv_file
from kasparro_pipeline.scaffold.contract import Inferred, infer
from kasparro_pipeline.scaffold.defs_text import begun, flow
from kasparro_pipeline.scaffold.errors import ScaffoldError
from kasparro_pipeline.scaffold.keys import find_key
from kasparro_pipeline.scaffold.paginators import Signs, candidates
from kasparro_pipeline.scaffold.params import CsvParams, RestParams
from kasparro_pipeline.scaffold.record_lists import RecordList, empty_lists, record_lists

if TYPE_CHECKING:
    from pathlib import Path

TEXTS = st.one_of(
    st.text(max_size=30),
    st.sampled_from(
        [
            "2026-02-30", "2026-11-21", "2026-11-21T10:00:00Z", "2026-11-21T25:00:00Z", "10", "-1.5e3",
            "Sat, 21 Nov 2026 10:00:00 GMT", "03/04/2026", "https://example.com", "http://", "", " ", "\x00",
            "no", "true", "\ud800", "1e999999999999",
        ]
    ),
)  # fmt: skip
NUMBERS = st.one_of(
    st.integers(),
    st.integers(10**9, 10**13),
    st.decimals(allow_nan=False, allow_infinity=False),
    st.just(Decimal("Infinity")),
)
NAMES = st.one_of(
    st.sampled_from(
        ["title", "name", "url", "tags", "amount", "price", "published_at", "created_at", "updated_at", "id"]
    ),
    st.text(max_size=8),
)  # fmt: skip
VALUES = st.recursive(
    st.one_of(st.none(), st.booleans(), NUMBERS, TEXTS),
    lambda below: st.one_of(st.lists(below, max_size=3), st.dictionaries(NAMES, below, max_size=3)),
    max_leaves=8,
)
RECORDS = st.lists(st.dictionaries(NAMES, VALUES, max_size=6), min_size=1, max_size=8)


def numbered(records: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{**record, "key": number} for number, record in enumerate(records)]


def contract_of(inferred: Inferred, key: str) -> Contract:
    """The contract as it is written and read again."""
    text = begun("it", "a test", "Kind")
    text.key("kind", "thing")
    text.key("key", key)
    text.contract(inferred)
    return Contract.model_validate(yaml.safe_load(text.text())["attributes"])


@given(RECORDS)
def test_the_written_contract_accepts_the_sample_that_it_was_inferred_from(
    records: list[dict[str, Any]],
) -> None:
    sample = numbered(records)

    inferred = infer("thing", ["key"], sample, text_only=False)

    validate = compile_validator(contract_of(inferred, "key"))
    outcomes = [validate(record, {}) for record in sample]
    assert [outcome for outcome in outcomes if not isinstance(outcome, Validated)] == []
    assert inferred.rejected == 0


@given(st.lists(st.dictionaries(NAMES, st.one_of(st.none(), TEXTS), max_size=6), min_size=1, max_size=8))
def test_the_written_contract_accepts_the_rows_that_it_was_inferred_from(rows: list[dict[str, Any]]) -> None:
    sample = [{**row, "key": str(number)} for number, row in enumerate(rows)]

    inferred = infer("thing", ["key"], sample, text_only=True)

    validate = compile_validator(contract_of(inferred, "key"))
    assert all(isinstance(validate(row, {}), Validated) for row in sample)


@given(st.one_of(NUMBERS, TEXTS).filter(lambda value: not isinstance(value, Decimal)))
def test_a_value_on_one_line_is_read_again_as_it_was(value: object) -> None:
    if isinstance(value, str) and not (value.isprintable() or not value):
        return  # YAML has no NUL, and no lone surrogates
    assert yaml.safe_load(f"key: {flow(value)}") == {"key": value}


def test_types_and_shared_columns_are_found() -> None:
    sample = [
        {
            "id": number,
            "name": "a",
            "price": Decimal("1.5"),
            "created": 1_700_000_000 + number,
            "link": "https://example.com",
            "ok": True,
            "day": "2026-02-30",
            "mixed": number or "a",
            "nothing": None,
            "deep": {"er": 1},
            "high_24h": 5,
            "market_cap": 10,
        }
        for number in range(3)
    ]

    inferred = infer("thing", ["id"], sample, text_only=False)

    assert inferred.fields == {
        "title": {"path": "name"},
        "amount": {"path": "price"},
        "url": {"path": "link"},
        "published_at": {"path": "created", "format": "unix"},
        "ok": {"type": "boolean"},
        "day": {"path": "day", "type": "string"},
        "mixed": {"type": "json"},
        "deep_er": {"path": "deep.er", "type": "integer"},
        "high_24h": {"type": "integer"},
        "market_cap": {"type": "number"},
    }
    assert inferred.ignore == ["nothing"]
    assert inferred.seen["title"] == "in 3 of 3 records"
    assert inferred.seen["day"].startswith("in 3 of 3 records; string, since not a date")


def test_a_shared_column_is_not_filled_with_values_of_another_type() -> None:
    sample = [{"id": 1, "title": 5, "tags": "a,b", "url": "relative/path", "published_at": "soon"}]

    fields = infer("thing", ["id"], sample, text_only=False).fields

    assert not {"title", "tags", "url", "published_at"} & fields.keys()
    assert {spec["path"] for spec in fields.values()} == {"title", "tags", "url", "published_at"}


def test_records_that_are_nothing_but_their_key_have_a_contract() -> None:
    assert infer("thing", ["id"], [{"id": 7}], text_only=False).fields == {
        "record_key": {"path": "id", "type": "integer"}
    }


@pytest.mark.parametrize(
    ("records", "paths"),
    [
        ([{"name": "a", "id": 1}, {"name": "b", "id": 2}], ("id",)),
        ([{"id": None, "uuid": "x"}, {"id": 2, "uuid": "y"}], ("uuid",)),
        ([{"id": 1, "code": "x"}, {"id": 1, "code": "y"}], ("code",)),
        ([{"name": "a", "thing_id": 5}, {"name": "b", "thing_id": 6}], ("thing_id",)),
        ([{"name": "a", "meta": {"id": 5}}, {"name": "a", "meta": {"id": 6}}], ("meta.id",)),
        ([{"at": "2026-01-01", "who": "a"}, {"at": "2026-01-02", "who": "b"}], ("who",)),
        ([{"open": 5, "at": "2026-01-01", "sold": 7}, {"open": 5, "at": "2026-01-02", "sold": 8}], ("at",)),
        ([{"day": "a", "coin": "x"}, {"day": "a", "coin": "y"}, {"day": "b", "coin": "x"}], ("day", "coin")),
        ([{"id": 1, "n": 1}, {"id": 1, "n": 1}, {"id": 2, "n": 1}], ("id",)),  # a page that overlaps
    ],
)
def test_the_key_is_unique_never_empty_and_named_like_one(
    records: list[dict[str, Any]], paths: tuple[str, ...]
) -> None:
    found = find_key(records, "thing")
    assert found is not None
    assert found.paths == paths


def test_records_that_nothing_tells_apart_have_no_key() -> None:
    assert find_key([{"a": 1, "b": None}, {"a": 1, "b": 2}], "thing") is None


@pytest.mark.parametrize(
    ("body", "path"),
    [
        ([{"a": 1}], ""),
        ({"data": [{"a": 1}], "included": [{"a": 1}, {"a": 2}]}, "data"),
        ({"data": {"items": [{"a": 1}]}}, "data.items"),
        ({"facets": [{"a": 1}], "quakes": [{"a": 1}, {"a": 2}]}, "quakes"),
        ({"btc": {"p": 1, "q": 2}, "eth": {"p": 1}}, "*"),
        ({"rates": {"EUR": {"p": 1}, "USD": {"p": 2}}, "base": "x"}, "rates.*"),
        ({"features": [{"geometry": {"a": {"x": 1}, "b": {"x": 1}}}]}, "features"),
    ],
)
def test_the_records_are_found_where_they_are(body: object, path: str) -> None:
    assert record_lists(body)[0].path == path


@pytest.mark.parametrize(
    "body", [{}, [], {"data": []}, {"a": 1}, [1, 2], {"a": {"x": 1}, "b": {"y": 1}}, None]
)
def test_an_answer_without_records_has_none(body: object) -> None:
    assert record_lists(body) == []


def test_empty_lists_are_named() -> None:
    assert empty_lists({"data": {"items": []}, "x": [1]}) == ["data.items"]
    assert record_lists({"a": [{"x": 1}, {"x": 2}], "b": [{"x": 1}]}) == [
        RecordList("a", 2),
        RecordList("b", 1),
    ]


@pytest.mark.parametrize(
    ("around", "params", "first"),
    [
        ({"next": "https://a/b?page=2"}, {}, {"type": "next_url", "next_path": "next"}),
        ({"links": {"next": "/b?page=2"}}, {}, {"type": "next_url", "next_path": "links.next"}),
        ({"_links": {"next": {"href": "/b"}}}, {}, {"type": "next_url", "next_path": "_links.next.href"}),
        ({"@odata.nextLink": "https://a/b"}, {}, {"type": "next_url", "next_path": "@odata.nextLink"}),
        (
            {"meta": {"next_cursor": "abc"}}, {},
            {"type": "cursor", "cursor_param": "cursor", "cursor_path": "meta.next_cursor"},
        ),
        (
            {"nextPageToken": "abc"}, {},
            {"type": "cursor", "cursor_param": "pageToken", "cursor_path": "nextPageToken"},
        ),
        ({"total": 50}, {}, {"type": "page_number", "total_path": "total"}),
        ({"pages": 5}, {"page": "1"}, {"type": "page_number", "total_pages_path": "pages"}),
        ({}, {"p": "3"}, {"type": "page_number", "page_param": "p", "first_page": 3}),
        (
            {"total": 50}, {"skip": "0", "take": "10"},
            {"type": "offset", "offset_param": "skip", "limit": 10, "limit_param": "take"}
            | {"total_path": "total"},
        ),
        (
            {"has_more": True}, {},
            {"type": "page_number", "has_more_path": "has_more"},
        ),
        ({"next": None, "count": 10}, {}, {"type": "next_url", "next_path": "next"}),
    ],
)  # fmt: skip
def test_the_surest_paginator_is_tried_first(
    around: object, params: dict[str, str], first: dict[str, Any]
) -> None:
    found = next(iter(candidates(Signs({}, around, 10, params, "id"))))
    assert found.spec == first


def test_a_list_without_a_next_page_goes_on_where_it_will_name_one() -> None:
    [url] = candidates(Signs({}, {"next": None}, 10, {}, "id"))
    [cursor] = candidates(Signs({}, {"next_cursor": None}, 10, {}, "id"))

    assert url.spec == {"type": "next_url", "next_path": "next"}
    assert cursor.spec == {"type": "cursor", "cursor_param": "cursor", "cursor_path": "next_cursor"}
    assert url.is_certain
    assert cursor.is_certain


def test_a_list_whose_last_record_names_the_next_page_is_tried_by_it() -> None:
    found = [one.spec for one in candidates(Signs({}, {"has_more": True}, 10, {}, "id"))]
    expected = {
        "type": "cursor",
        "cursor_param": "starting_after",
        "record_path": "id",
        "has_more_path": "has_more",
    }
    assert expected in found


@pytest.mark.parametrize(
    ("body", "found"),
    [
        (b"id,name\n1,a\n2,b\n", {}),
        (b"id;name\n1;a,b\n2;b,c\n", {"delimiter": ";"}),
        (b"id\tname\n1\ta\n2\tb\n", {"delimiter": "\t"}),
        (b'id|name\n1|"a|b"\n2|b\n', {"delimiter": "|"}),
        (b"id\n1\n2\n", {}),
        (b"\xef\xbb\xbfid,name\n1,\xc3\xa9\n", {}),
        ("id,name\n1,é\n".encode(), {}),
        ("id,name\n1,é\n".encode("latin-1"), {"encoding": "latin-1"}),
        ("id,name\n1,€\n".encode("cp1252"), {"encoding": "cp1252"}),
        ("id;name\n1;é\n".encode("utf-16"), {"delimiter": ";"}),
    ],
)
def test_encoding_and_delimiter_of_a_file_are_found(
    tmp_path: Path, body: bytes, found: dict[str, str]
) -> None:
    file = tmp_path / "a.csv"
    file.write_bytes(body)
    os.utime(file, (0, 0))

    text = csv_file.make(CsvParams(files="*.csv"), "files", "row", tmp_path, date(2026, 11, 21))

    attributes = yaml.safe_load(text)["attributes"]
    assert {name: attributes[name] for name in ("delimiter", "encoding") if name in attributes} == found
    assert attributes["key"] == "id"
    assert attributes["files"] == "*.csv"


@pytest.mark.parametrize(
    ("body", "told"),
    [(b"", "is empty"), (b"id,name\n", "has no row below its header"), (b"a,a\n1,2\n", "come twice")],
)
def test_a_file_that_makes_no_source_is_an_error(tmp_path: Path, body: bytes, told: str) -> None:
    file = tmp_path / "a.csv"
    file.write_bytes(body)
    os.utime(file, (0, 0))

    with pytest.raises(ScaffoldError, match=told):
        csv_file.make(CsvParams(files="*.csv"), "files", "row", tmp_path, date(2026, 11, 21))


@pytest.mark.parametrize(
    "params",
    [
        {"url": "https://a.example?api_key=x"},
        {"url": "https://a.example?apikey=x"},
        {"url": "https://a.example", "params": {"access_token": "x"}},
        {"url": "https://a.example", "headers": {"Authorization": "x"}},
        {"url": "https://a.example", "headers": {"X-CMC_PRO_API_KEY": "x"}},
    ],
)
def test_a_secret_is_refused_and_what_to_use_instead_is_said(params: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match="value_env"):
        RestParams.model_validate(params)


@pytest.mark.parametrize("name", ["page_token", "pageToken", "monkey", "next_token", "author"])
def test_what_only_looks_a_little_like_a_secret_is_taken(name: str) -> None:
    assert RestParams(url=f"https://a.example/x?{name}=1").url
