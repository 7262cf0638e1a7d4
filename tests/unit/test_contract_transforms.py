"""What a contract may do to a text before it is checked."""

import html
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from kasparro_pipeline.contract.spec import Contract
from kasparro_pipeline.contract.transforms import TRANSFORM_TYPES, strip_html, transformer
from kasparro_pipeline.contract.validation import Rejected, Validated, compile_validator


def taken(value: object, **field: Any) -> Any:
    contract = Contract.model_validate({"kind": "thing", "key": "id", "fields": {"title": {}, "x": field}})
    outcome = compile_validator(contract)({"id": "1", "x": value}, {})
    assert isinstance(outcome, Validated), outcome
    return outcome.columns["attributes"]


@pytest.mark.parametrize(
    ("fragment", "text"),
    [
        ("<p>one</p><p>two</p>", "one two"),
        ("a<br/>b<BR>c", "a b c"),
        ("<b>a</b>c", "ac"),
        ("  a\n\t b  ", "a b"),
        ("<ul><li>a<li>b</ul>", "a b"),
        ("1 < 2 &amp; 3 > 2", "1 < 2 & 3 > 2"),
        ("5<6", "5<6"),
        ("&lt;b&gt; &eacute; &#65; &#x42; &nbsp;", "<b> é A B \xa0"),
        ("&amp;lt;", "&lt;"),
        ("&unknown; &", "&unknown; &"),
        ("&#0; &#xD800; &#x110000;", "\ufffd \ufffd \ufffd"),
        (f"&#{'9' * 5000}; &#{'0' * 5000}65;", "\ufffd A"),
        ("<script>alert('<b>&lt;')</script>z", "z"),
        ("<SCRIPT src=a>x</Script >y", "y"),
        ("<style>p{}", ""),
        ("<script>x</scriptx>y</script>z", "z"),
        ("<scripty>x</scripty>", "x"),
        ("a<!-- b > c -->d", "ad"),
        ("a<!-- b", "a"),
        ("<!DOCTYPE html><?xml version='1'?>a", "a"),
        ("<a title='x>y' href=\"<b>\">t</a>", "t"),
        ("<p don't>text", "text"),
        ("a <b", "a"),
        ("a <img src='", "a"),
        ("1 <</b>b", "1 <b"),
        ("", ""),
    ],
)
def test_html_is_stripped_to_the_text_that_a_browser_shows(fragment: str, text: str) -> None:
    assert strip_html(fragment) == text


UNITS = [
    *("<", "<a ", "<!--", "</", "&", "&#", "&#0", "<a x='", '<a x="', "<a\t=", "<a = = ", "<?", "<![CDATA["),
    *(
        "<script>",
        "<script",
        "<script x=",
        "<script></script",
        "</script>",
        "<style></sty",
        "&amp",
        "= ",
        "<p>",
    ),
]


@pytest.mark.parametrize("unit", UNITS)
def test_hostile_html_takes_no_more_than_its_length(unit: str) -> None:
    begun = time.process_time()
    strip_html(unit * (1_000_000 // len(unit)))
    assert time.process_time() - begun < 5


# A lone "<" is text, and stays beside what follows the markup behind it: with that it may look like a tag
pieces = st.sampled_from(
    [
        *(unit for unit in UNITS if unit != "<"),
        ">",
        "'",
        '"',
        "/",
        " ",
        "x",
        "-->",
        "</script>",
        "&lt;",
        "é",
        "\x00",
        "\ud800",
    ]
)


@given(st.lists(pieces, max_size=30).map("".join))
def test_no_markup_is_left_whatever_came(fragment: str) -> None:
    stripped = strip_html(fragment.replace("&", ""))
    assert stripped == strip_html(stripped)
    assert "<script" not in stripped
    assert "<p>" not in stripped


@given(st.text(st.characters(exclude_characters="\x00", exclude_categories=["Cc", "Cs", "Zs", "Cn"])))
def test_escaped_text_comes_back_as_it_was(text: str) -> None:
    assert strip_html(f"<p>{html.escape(text)}</p>") == text


def test_transforms_apply_in_their_order() -> None:
    assert transformer(["strip_html", "trim", "upper"])(" <b>a</b>&nbsp;") == "A"
    assert transformer(["trim", "strip_html"])("<b> a</b>") == "a"
    assert transformer(["lower", "upper"])("aB") == "AB"


@pytest.mark.parametrize("value", [None, 5, True, {"a": " b "}])
def test_what_is_no_text_is_left_to_the_check_of_its_type(value: object) -> None:
    assert transformer(["trim", "lower"])(value) == value


def test_a_field_is_checked_after_its_transforms() -> None:
    assert taken(" EUR ", type="enum", values=["eur"], transforms=["trim", "lower"]) == '{"x":"eur"}'
    assert taken(" http://a/B ", type="url", transforms=["trim"]) == '{"x":"http://a/B"}'
    assert taken([" A ", "<b>b</b>"], type="list", transforms=["strip_html", "lower"]) == '{"x":["a","b"]}'
    assert taken("<b>abc</b>", max_length=3, transforms=["strip_html"]) == '{"x":"abc"}'


def test_what_a_reason_shows_is_the_value_as_received() -> None:
    fields = {"title": {"transforms": ["trim"], "pattern": "^b"}, "n": {"transforms": ["lower"]}}
    contract = Contract.model_validate({"kind": "thing", "key": "id", "fields": fields})
    outcome = compile_validator(contract)({"id": "1", "title": " a", "n": 5}, {})
    assert isinstance(outcome, Rejected)
    assert [(one.field, one.rule) for one in outcome.reasons] == [
        ("title", "string_pattern_mismatch"),
        ("n", "string_type"),
    ]
    assert outcome.reasons[1].value == "5"


@pytest.mark.parametrize(
    ("kind", "transform"),
    [("number", "trim"), ("timestamp", "lower"), ("url", "lower"), ("enum", "strip_html"), ("json", "trim")],
)
def test_a_transform_that_does_not_fit_its_field_is_refused(kind: str, transform: Any) -> None:
    values = {"values": ["a"]} if kind == "enum" else {}
    fields = {"x": {"type": kind, "transforms": [transform]} | values}
    with pytest.raises(ValidationError) as error:
        Contract.model_validate({"kind": "thing", "key": "id", "fields": fields})
    assert f"field `x` is of type {kind}; the transform `{transform}` is for " in str(error.value)
    assert kind not in TRANSFORM_TYPES[transform]


def test_an_unknown_transform_is_refused_with_the_known_ones() -> None:
    with pytest.raises(ValidationError, match="'trim', 'lower', 'upper' or 'strip_html'"):
        Contract.model_validate({"kind": "thing", "key": "id", "fields": {"x": {"transforms": ["strip"]}}})
