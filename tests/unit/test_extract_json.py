"""JSON documents are cut into records without losing a byte, or refused."""

import codecs
import contextlib
import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kasparro_pipeline.extract import json_records, records
from kasparro_pipeline.extract.errors import PermanentUpstreamError
from kasparro_pipeline.extract.unreadable import UnreadableRecordError
from tests.conftest import corpus

WHERE = "http://upstream/x"


def payloads(body: bytes, path: str = "") -> list[bytes]:
    return [record.payload for record in json_records.records(body, path, WHERE)[1]]


def refusal(body: bytes, path: str = "") -> str:
    with pytest.raises(PermanentUpstreamError) as refused:
        json_records.records(body, path, WHERE)
    assert refused.value.location == WHERE
    return refused.value.message


space = st.text(alphabet=" \t\r\n", max_size=3)
number = st.from_regex(r"-?(0|[1-9][0-9]{0,40})(\.[0-9]{1,40})?([eE][+-]?[0-9]{1,4})?", fullmatch=True)
string = st.text(max_size=6).map(lambda text: json.dumps(text, ensure_ascii=False)) | st.sampled_from(
    [r'"\u0000"', r'"\ud800"', r'"\ud83d\ude00"', r'"\/\b"', '"\\u00e9"', '"\u2028"', '"]}"', '","', '"a"']
)


@st.composite
def container(draw: st.DrawFn, inner: st.SearchStrategy[str]) -> str:
    items = draw(st.lists(inner, max_size=3))
    if draw(st.booleans()):
        items = [f"{draw(string)}{draw(space)}:{draw(space)}{item}" for item in items]
        opening, closing = "{", "}"
    else:
        opening, closing = "[", "]"
    return opening + draw(space) + f"{draw(space)},{draw(space)}".join(items) + draw(space) + closing


value = st.recursive(number | string | st.sampled_from(["true", "false", "null"]), container, max_leaves=6)


@st.composite
def document(draw: st.DrawFn) -> tuple[str, str, list[str]]:
    """A text, the path of its list, and the items as they stand in it."""
    items = draw(st.lists(value, max_size=4))
    text = "[" + draw(space) + ",".join(draw(space) + item + draw(space) for item in items) + "]"
    keys = draw(st.lists(st.sampled_from(["data", "items", "\u00e9"]), max_size=2))
    for key in reversed(keys):
        before = "".join(f'"x{number}":{draw(value)},' for number in range(draw(st.integers(0, 1))))
        after = "".join(f',"y":{draw(value)}' for _ in range(draw(st.integers(0, 2))))
        name = draw(st.sampled_from([json.dumps(key), json.dumps(key, ensure_ascii=False)]))
        text = (
            "{"
            + draw(space)
            + before
            + name
            + draw(space)
            + ":"
            + draw(space)
            + text
            + draw(space)
            + after
            + "}"
        )
    return draw(space) + text + draw(space), ".".join(keys), items


def encoded(text: str, encoding: str) -> bytes:
    return {"utf-16-le": codecs.BOM_UTF16_LE, "utf-16-be": codecs.BOM_UTF16_BE}.get(
        encoding, b""
    ) + text.encode(encoding)


@settings(max_examples=150)
@given(document(), st.sampled_from(["utf-8", "utf-8-sig", "utf-16-le", "utf-16-be", "utf-32"]))
def test_records_are_the_items_to_the_byte(made: tuple[str, str, list[str]], encoding: str) -> None:
    text, path, items = made
    layout, found = json_records.records(encoded(text, encoding), path, WHERE)
    assert [record.payload.decode(layout["encoding"]) for record in found] == items
    assert [record.position for record in found] == list(range(len(items)))
    for record, item in zip(found, items, strict=True):
        assert record.value == json.loads(item, parse_float=Decimal)
        assert records.read(record.payload, layout) == record.value


@settings(max_examples=60)
@given(document())
def test_a_document_that_is_cut_anywhere_is_refused(made: tuple[str, str, list[str]]) -> None:
    text, path, _ = made
    body = text.rstrip().encode()
    for end in range(len(body)):
        refusal(body[:end], path)


@settings(max_examples=60)
@given(document(), st.sampled_from(["]", "}", ",", "1", "[]", '""', "\x00", "\ufeff"]))
def test_a_document_with_something_behind_it_is_refused(made: tuple[str, str, list[str]], more: str) -> None:
    text, path, _ = made
    refusal((text + more).encode(), path)


@settings(max_examples=200)
@given(
    st.binary(max_size=40) | st.text(alphabet='[]{}",:\\u0123eE+-.truefalsn \n', max_size=30).map(str.encode)
)
def test_any_bytes_are_records_or_refused(body: bytes) -> None:
    with contextlib.suppress(PermanentUpstreamError):
        for record in json_records.records(b"[" + body + b"]", "", WHERE)[1]:
            assert record.payload in body


@pytest.mark.parametrize(
    ("body", "path", "said"),
    [
        (b'{"data":[1]}', "", "there is no list at records path `(root)`"),
        (b'{"data":[1]}', "items", "no key `items` at records path `items`"),
        (b'{"data":{"items":1}}', "data.items", "there is no list"),
        (b'{"data":null}', "data.items", "no object that holds `items`"),
        (b"[1]", "data", "no object that holds `data`"),
        (b'"text"', "", "there is no list"),
        (b"", "", "the body is not JSON"),
        (b"<html><body>down</body></html>", "", "it begins with '<html><body>down</body></html>'"),
        (b'{"error":"limit"}', "data", "no key `data`"),
        (b"[NaN]", "", "NaN is not JSON"),
        (b"[-Infinity]", "", "-Infinity is not JSON"),
        (b"[1,]", "", "railing comma"),
        (b'{"a":[1],}', "a", "railing comma"),
        (b"[01]", "", "delimiter"),
        (b'["\t"]', "", "control character"),
        (b'["\xff"]', "", "codec can't decode"),
        (b"\xff\xfe[\x00]", "", "codec can't decode"),
        (b'{"data":[1],"data":[2]}', "data", "the key `data` on the way to the records comes twice"),
        (b'{"a":{"b":[]},"a":{"b":[1]}}', "a.b", "the key `a` on the way to the records comes twice"),
    ],
)
def test_what_holds_no_records_is_refused_with_a_reason(body: bytes, path: str, said: str) -> None:
    assert said in refusal(body, path)


@pytest.mark.parametrize("depth", [200_000, 100_000])
def test_a_document_nested_without_end_is_refused(depth: int) -> None:
    assert refusal(b"[" * depth + b"]" * depth) == "the JSON is nested too deep"
    assert refusal(b'[{"a":' * depth) == "the JSON is nested too deep"


def test_an_empty_list_is_a_document_without_records() -> None:
    assert payloads(b" [ ] ") == []
    assert payloads(b'{"data":[]}', "data") == []


def test_duplicate_keys_and_number_text_stay_in_raw_and_the_last_key_counts() -> None:
    layout, (record,) = json_records.records(b'[{"a": 1.10, "a":1E+2 , "b":-0}]', "", WHERE)
    assert record.payload == b'{"a": 1.10, "a":1E+2 , "b":-0}'
    assert str(records.read(record.payload, layout)) == "{'a': Decimal('1E+2'), 'b': 0}"


def test_nul_and_lone_surrogates_are_kept() -> None:
    (record,) = json_records.records(rb'[["\u0000","\ud800"]]', "", WHERE)[1]
    assert record.payload == rb'["\u0000","\ud800"]'
    assert record.value == ["\x00", "\ud800"]


@pytest.mark.parametrize("text", ["9" * 4299, "9" * 4300, "-" + "9" * 4299, "9" * 20_000])
def test_a_whole_number_of_any_length_is_read_exactly(text: str) -> None:
    (record,) = json_records.records(f"[{text}]".encode(), "", WHERE)[1]
    assert Decimal(record.value) == Decimal(text)


@settings(max_examples=100)
@given(document(), st.sampled_from(["utf-8", "utf-16-le"]))
def test_one_record_is_the_object_to_the_byte(made: tuple[str, str, list[str]], encoding: str) -> None:
    text, path, _ = made
    one = '{"a": 1.10, "a": ' + text.strip() + " }"
    whole = f' {{"x": {{}}, "{path or "o"}": {one}}} ' if "." not in path else one
    way = (path or "o") if "." not in path else ""

    cut = json_records.cut(encoded(whole, encoding), way, WHERE, one_record=True)

    (record,) = cut.records
    assert record.payload.decode(cut.layout["encoding"]) == one
    assert records.read(record.payload, cut.layout) == record.value
    assert json.loads(one, parse_float=Decimal) == record.value
    assert cut.around() == ({"x": {}, way: []} if way else [])


@pytest.mark.parametrize("body", [b"[]", b"[{}]", b"1", b'"x"', b"null", b"{", b"{} {}", b'{"a":1},', b""])
def test_what_is_no_object_to_the_end_is_not_one_record(body: bytes) -> None:
    with pytest.raises(PermanentUpstreamError, match=r"there is no object|the body is not JSON"):
        json_records.cut(body, "", WHERE, one_record=True)


def test_a_stored_record_that_is_no_json_is_unreadable() -> None:
    for payload in (b"", b"{", b"[1] 2", b"\xff", b"[" * 200_000 + b"]" * 200_000):
        with pytest.raises(UnreadableRecordError) as unreadable:
            records.read(payload, {"format": "json", "encoding": "utf-8"})
        assert unreadable.value.rule == "unreadable"


EMPTY_WHEN_WRAPPED = {"n_single_space.json", "n_structure_no_data.json"}


def suite() -> list[Path]:
    return sorted(corpus("json/jsontestsuite").glob("*.json"))


def test_the_json_test_suite_is_kept_exactly_or_refused() -> None:
    counts = {"y": 0, "n": 0, "i": 0}
    for path in suite():
        body = path.read_bytes()
        expected: Any = path.name[0]
        counts[expected] += 1
        try:
            layout, found = json_records.records(b"[" + body + b"]", "", path.name)
        except PermanentUpstreamError:
            assert expected != "y", path.name
            continue
        if path.name in EMPTY_WHEN_WRAPPED:
            assert found == [], path.name
            continue
        assert expected != "n", path.name
        (record,) = found
        assert record.payload == body.strip(b" \t\r\n"), path.name
        assert records.read(record.payload, layout) == record.value, path.name
    assert counts == {"y": 95, "n": 188, "i": 35}


def test_members_of_an_object_are_records_with_their_names_byte_for_byte() -> None:
    body = b'{"t":1, "coins" : {"btc" :{"p":1.50, "p":2} ,\n"\\u00e9": []}, "next":"x"}'

    found = json_records.cut(body, "coins.*", WHERE)

    assert [record.payload for record in found.records] == [
        b'{"key":"btc","value":{"p":1.50, "p":2}}',
        b'{"key":"\\u00e9","value":[]}',
    ]
    assert [record.value for record in found.records] == [
        {"key": "btc", "value": {"p": 2}},
        {"key": "é", "value": []},
    ]
    assert [json_records.read(record.payload, found.layout) for record in found.records] == [
        record.value for record in found.records
    ]
    assert found.around() == {"t": 1, "coins": [], "next": "x"}


@pytest.mark.parametrize(
    ("body", "told"),
    [
        (b'{"coins":[1]}', "there is no object"),
        (b'{"coins":{"a":1}', "not JSON"),
        (b'{"coins":{"a":1,}}', "not JSON"),
        (b'{"coins":{"a":1}} x', "not JSON"),
        (b'{"coins":{},"coins":{}}', "comes twice"),
    ],
)
def test_members_of_what_is_no_whole_object_are_refused(body: bytes, told: str) -> None:
    with pytest.raises(PermanentUpstreamError, match=told):
        json_records.cut(body, "coins.*", WHERE)


@given(
    st.lists(st.sampled_from([b'{"a":1.50}', b"[]", b"null", b'"x"', b"1e400", b"NaN", b"{", b"\xff", b""]))
)
def test_records_that_are_read_at_once_have_the_values_that_each_has_by_itself(stored: list[bytes]) -> None:
    layout = {"format": "json", "encoding": "utf-8"}
    values, unreadable = records.read_many(stored, layout)
    assert len(values) == len(stored)
    for index, payload in enumerate(stored):
        if index in unreadable:
            with pytest.raises(UnreadableRecordError) as alone:
                records.read(payload, layout)
            assert unreadable[index].rule == alone.value.rule
        else:
            assert values[index] == records.read(payload, layout)  # type: ignore[index]  # no table


def test_records_of_another_encoding_are_read_by_themselves() -> None:
    layout = {"format": "json", "encoding": "utf-16-le"}
    assert records.read_many(["1".encode("utf-16-le")] * 2, layout) == ([1, 1], {})
