"""What each type of field makes of received values: exact, or an error with a rule."""

import contextlib
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic_core import PydanticCustomError

from kasparro_pipeline.contract import types
from kasparro_pipeline.contract.spec import FieldSpec


def refused(convert: Any, *values: Any, **options: Any) -> str:
    with pytest.raises(PydanticCustomError) as error:
        convert(*values, **options)
    assert error.value.message()
    return error.value.type


@pytest.mark.parametrize(
    ("value", "number"),
    [
        (1, "1"),
        ("12", "12"),
        (" 12 ", "12"),
        ("-.5", "-0.5"),
        ("5.", "5"),
        ("1e3", "1E+3"),
        (Decimal("0.10"), "0.10"),
        (2**63, str(2**63)),
        (-(2**64), str(-(2**64))),
        ("9" * 400, "9" * 400),
        (Decimal("0." + "7" * 400), "0." + "7" * 400),
        ("1e309", "1E+309"),
        ("-0", "-0"),
    ],
)
def test_a_number_is_exact_to_its_last_digit(value: Any, number: str) -> None:
    assert str(types.to_number(value)) == number


@given(st.decimals(allow_nan=False, allow_infinity=False, min_value=-(10**30), max_value=10**30))
def test_a_decimal_comes_through_unchanged_as_itself_and_as_text(number: Decimal) -> None:
    assert types.to_number(number).as_tuple() == number.as_tuple()
    assert types.to_number(str(number)).as_tuple() == number.as_tuple()


@pytest.mark.parametrize(
    ("value", "rule"),
    [
        ("NaN", "number_parsing"),
        ("Infinity", "number_parsing"),
        ("1,000", "number_parsing"),
        ("1_000", "number_parsing"),
        ("\u0661", "number_parsing"),
        ("0x10", "number_parsing"),
        ("", "number_parsing"),
        (Decimal("NaN"), "number_not_finite"),
        (Decimal("sNaN"), "number_not_finite"),
        (Decimal("-Infinity"), "number_not_finite"),
        ("1e1001", "number_out_of_range"),
        ("1e-1001", "number_out_of_range"),
        ("1e999999999", "number_out_of_range"),
        ("9" * 1001, "number_out_of_range"),
        (True, "number_type"),
        (None, "number_type"),
        ([], "number_type"),
        ({}, "number_type"),
    ],
)
def test_what_is_no_finite_number_is_refused(value: Any, rule: str) -> None:
    assert refused(types.to_number, value) == rule


@pytest.mark.parametrize(
    ("value", "number"),
    [
        (3, 3),
        ("3", 3),
        (Decimal("3.0"), 3),
        (Decimal("1e20"), 10**20),
        (2**63, 2**63),
        ("+7", 7),
        ("9" * 400, 10**400 - 1),
    ],
)
def test_a_whole_number_has_any_size(value: Any, number: int) -> None:
    assert types.to_integer(value) == number


@pytest.mark.parametrize(
    ("value", "rule"),
    [
        ("3.0", "integer_parsing"),
        ("", "integer_parsing"),
        (Decimal("3.5"), "integer_from_number"),
        (False, "number_type"),
    ],
)
def test_a_fraction_is_no_integer(value: Any, rule: str) -> None:
    assert refused(types.to_integer, value) == rule


@pytest.mark.parametrize(
    ("value", "expected"),
    [(True, True), (False, False), ("TRUE", True), (" no ", False), ("1", True), ("0", False), ("Yes", True)],
)
def test_a_boolean_is_read(value: Any, *, expected: bool) -> None:
    assert types.to_boolean(value) is expected


@pytest.mark.parametrize("value", [1, 0, "2", "", "on", None, []])
def test_nothing_else_is_taken_for_a_boolean(value: Any) -> None:
    assert refused(types.to_boolean, value) == "boolean_type"


@pytest.mark.parametrize(
    ("text", "written", "moment"),
    [
        ("2024-01-02T03:04:05", "iso", datetime(2024, 1, 2, 3, 4, 5, tzinfo=UTC)),
        ("2024-01-02T03:04:05Z", "iso", datetime(2024, 1, 2, 3, 4, 5, tzinfo=UTC)),
        ("2024-01-02T03:04:05+05:30", "iso", datetime(2024, 1, 1, 21, 34, 5, tzinfo=UTC)),
        (" 2024-01-02 ", "iso", datetime(2024, 1, 2, tzinfo=UTC)),
        ("2024-01-02 03:04:05.123456", "iso", datetime(2024, 1, 2, 3, 4, 5, 123456, tzinfo=UTC)),
        ("9999-12-31T23:59:59.999999Z", "iso", datetime.max.replace(tzinfo=UTC)),
        ("0001-01-01T00:00:00Z", "iso", datetime.min.replace(tzinfo=UTC)),
        ("Tue, 02 Jan 2024 03:04:05 +0100", "rfc822", datetime(2024, 1, 2, 2, 4, 5, tzinfo=UTC)),
        ("Tue, 02 Jan 2024 03:04:05 -0000", "rfc822", datetime(2024, 1, 2, 3, 4, 5, tzinfo=UTC)),
        (1704164645, "unix", datetime(2024, 1, 2, 3, 4, 5, tzinfo=UTC)),
        ("1704164645.5", "unix", datetime(2024, 1, 2, 3, 4, 5, 500000, tzinfo=UTC)),
        (1704164645123, "unix_ms", datetime(2024, 1, 2, 3, 4, 5, 123000, tzinfo=UTC)),
        (-1, "unix", datetime(1969, 12, 31, 23, 59, 59, tzinfo=UTC)),
    ],
)
def test_an_instant_is_utc(text: Any, written: str, moment: datetime) -> None:
    found = types.to_timestamp(text, written=written)
    assert found == moment
    assert found.utcoffset() == timedelta(0)


@pytest.mark.parametrize(
    ("value", "written", "rule"),
    [
        ("yesterday", "iso", "timestamp_parsing"),
        ("2024-02-30", "iso", "timestamp_parsing"),
        ("2024-01-01T25:00:00", "iso", "timestamp_parsing"),
        ("", "iso", "timestamp_parsing"),
        (1704164645, "iso", "timestamp_type"),
        ("1704164645", "rfc822", "timestamp_parsing"),
        ("2024-01-01T00:00:00", "unix", "number_parsing"),
        (1704164645123, "unix", "timestamp_parsing"),
        (1704164645, "unix_ms", "timestamp_parsing"),
        ("1e999", "unix", "timestamp_out_of_range"),
        (Decimal("Infinity"), "unix", "number_not_finite"),
        ("0001-01-01T00:00:00+14:00", "iso", "timestamp_out_of_range"),
        ("9999-12-31T23:59:59-14:00", "iso", "timestamp_out_of_range"),
        (None, "iso", "timestamp_type"),
        ({}, "rfc822", "timestamp_type"),
        (True, "unix", "number_type"),
    ],
)
def test_what_is_no_instant_is_refused(value: Any, written: str, rule: str) -> None:
    assert refused(types.to_timestamp, value, written=written) == rule


@given(st.datetimes(timezones=st.just(UTC)), st.integers(-14 * 60, 14 * 60))
def test_an_instant_written_in_any_zone_is_the_same(moment: datetime, minutes: int) -> None:
    zone = timezone(timedelta(minutes=minutes))
    try:
        text = moment.astimezone(zone).isoformat()
    except OverflowError:
        return
    assert types.to_timestamp(text) == moment


@given(
    st.text(alphabet="0123456789:+-. ,MonJanGMTZ\u00b2", max_size=40) | st.text(max_size=20),
    st.sampled_from(["iso", "rfc822", "unix", "unix_ms"]),
)
def test_any_text_is_an_instant_or_refused(text: str, written: str) -> None:
    with contextlib.suppress(PydanticCustomError):
        assert types.to_timestamp(text, written=written).tzinfo is UTC


@pytest.mark.parametrize("value", ["2024-02-30", "01/02/2024", "", 20240101, None, "2024-01-01T00:00:00"])
def test_what_is_no_day_is_refused(value: Any) -> None:
    assert refused(types.to_date, value) in {"date_parsing", "date_type"}


def test_a_day_is_read() -> None:
    assert types.to_date("2024-02-29") == date(2024, 2, 29)


@pytest.mark.parametrize(
    "url", ["https://a.example/x?y=1#z", "HTTP://a", "http://[::1]:80/", "https://a/caf\u00e9 x"]
)
def test_a_url_is_kept_as_received(url: str) -> None:
    assert types.to_url(url) == url


@pytest.mark.parametrize(
    "url",
    [
        "/x",
        "a.example",
        "ftp://a",
        "javascript:alert(1)",
        "http://",
        "http://:80",
        "https:///x",
        "http://[",
        "",
        " http://a",
        "http://a/\r\nX: 1",
        "http://a\t.b",
    ],
)
def test_what_is_no_absolute_url_is_refused(url: str) -> None:
    assert refused(types.to_url, url) == "url_parsing"


def test_an_enum_names_what_it_allows() -> None:
    convert = types.converter("enum", FieldSpec(type="enum", values=("token", "{coin}")))
    assert convert("token") == "token"
    with pytest.raises(PydanticCustomError) as error:
        convert("Token")
    assert error.value.message() == "not one of token, {coin}"


def test_a_list_holds_texts_only() -> None:
    assert types.to_list(["a", ""]) == ["a", ""]
    assert refused(types.to_list, ["a", 1]) == "string_type"
    assert refused(types.to_list, [None]) == "string_type"
    assert refused(types.to_list, "a,b") == "list_type"


@pytest.mark.parametrize(
    ("text", "rule"), [("a\x00", "nul_character"), ("\udcff", "lone_surrogate"), (5, "string_type")]
)
def test_text_that_cannot_be_stored_is_refused(text: Any, rule: str) -> None:
    assert refused(types.to_text, text) == rule
    assert refused(types.to_json, {"x": [{"y": text}]} if isinstance(text, str) else {text: 1}) == rule


def nested(depth: int) -> Any:
    value: Any = "x"
    for level in range(depth):
        value = [value] if level % 2 else {"k": value}
    return value


def test_json_is_taken_to_its_depth_and_not_deeper() -> None:
    assert types.to_json(nested(types.MAX_DEPTH)) == nested(types.MAX_DEPTH)
    assert refused(types.to_json, nested(types.MAX_DEPTH + 1)) == "json_too_deep"


def test_json_keeps_null_and_booleans_and_refuses_numbers_that_are_none() -> None:
    assert types.to_json({"a": None, "b": [True, False]}) == {"a": None, "b": [True, False]}
    assert refused(types.to_json, [Decimal("NaN")]) == "number_not_finite"
