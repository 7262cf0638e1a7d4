"""How timestamps and dates may be written, and what a time without a zone means."""

import zoneinfo
from datetime import UTC, date, datetime, timedelta
from importlib.metadata import requires
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from pydantic_core import PydanticCustomError

from kasparro_pipeline.contract.field_spec import FieldSpec
from kasparro_pipeline.contract.spec import Contract, VersionSpec
from kasparro_pipeline.contract.types import converter


def contract(**field: Any) -> Contract:
    return Contract.model_validate({"kind": "thing", "key": "id", "fields": {"x": field}})


def read(value: object, kind: Any = "timestamp", **field: Any) -> Any:
    return converter(kind, FieldSpec.model_validate({"type": kind} | field))(value)


def refused(value: object, **field: Any) -> str:
    with pytest.raises(PydanticCustomError) as error:
        read(value, **field)
    return error.value.type


def problem(**field: Any) -> str:
    with pytest.raises(ValidationError) as error:
        contract(**field)
    return str(error.value)


@pytest.mark.parametrize(
    ("written", "text", "instant"),
    [
        ("%d/%m/%Y", "02/03/2024", "2024-03-02T00:00:00"),
        ("%d.%m.%Y %H:%M", " 02.03.2024 17:05 ", "2024-03-02T17:05:00"),
        ("%m/%d/%Y %I:%M:%S %p", "03/02/2024 05:06:07 PM", "2024-03-02T17:06:07"),
        ("%Y%m%dT%H%M%S%z", "20240302T170607+0530", "2024-03-02T11:36:07"),
        ("%Y-%j", "2024-062", "2024-03-02T00:00:00"),
        ("%d %b %Y %H:%M:%S.%f", "02 Mar 2024 17:06:07.25", "2024-03-02T17:06:07.250000"),
        ("iso", "2024-03-02T17:06:07+01:00", "2024-03-02T16:06:07"),
    ],
)
def test_a_timestamp_is_read_as_its_pattern_says(written: str, text: str, instant: str) -> None:
    assert contract(type="timestamp", format=written).fields["x"].format == written
    assert read(text, format=written) == datetime.fromisoformat(instant).replace(tzinfo=UTC)


def test_a_date_is_read_as_its_pattern_says() -> None:
    assert read(" 02/03/2024 ", "date", format="%d/%m/%Y") == date(2024, 3, 2)
    assert refused("2024-03-02", kind="date", format="%d/%m/%Y") == "date_parsing"
    assert refused("30/02/2024", kind="date", format="%d/%m/%Y") == "date_parsing"
    assert refused(5, kind="date", format="%d/%m/%Y") == "date_type"


@pytest.mark.parametrize("text", ["2024-03-02", "31/02/2024", "02/03/2024 10:00", "", "x" * 10_000, "\x00"])
def test_what_is_written_otherwise_is_refused(text: str) -> None:
    assert refused(text, format="%d/%m/%Y") == "timestamp_parsing"


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ("rfc3339", "is none of iso, rfc822, unix, unix_ms, nor a strptime pattern (`%d/%m/%Y`)"),
        ("", "is none of iso"),
        ("%d/%m", "has no year (`%Y`)"),
        ("%H:%M", "has no year"),
        ("%Y", "does not say which day it is"),
        ("%m/%Y", "does not say which day it is"),
        ("%Y-%m-%d %I:%M", "does not say which time it is"),
        ("%Y-%m-%d %M", "does not say which time it is"),
        ("%Y-%m-%d %Q", "is no strptime pattern"),
        ("%Y-%m-%d %", "is no strptime pattern"),
        ("%x %Y", "means something else on another machine"),
        ("%Y-%m-%d %H:%M %Z", "a zone as `%z` or in `zone`"),
    ],
)
def test_a_pattern_that_reads_less_than_was_written_is_refused(written: str, said: str) -> None:
    assert said in problem(type="timestamp", format=written)


def test_a_pattern_with_a_time_is_none_of_a_date() -> None:
    assert "field `x` is of type date; `format: %Y-%m-%d %H` reads more than a day" in problem(
        type="date", format="%Y-%m-%d %H"
    )
    assert "`format: unix` is for timestamp" in problem(type="date", format="unix")


def test_a_version_of_its_own_can_be_written_by_a_pattern() -> None:
    version = {"path": "v", "type": "date", "format": "%d/%m/%Y"}
    parts = {"kind": "thing", "key": "id", "fields": {"title": {}}}
    assert Contract.model_validate(parts | {"version": version}).version == VersionSpec.model_validate(
        version
    )
    with pytest.raises(ValidationError, match="version is of type integer; `format` is for date, timestamp"):
        Contract.model_validate(parts | {"version": version | {"type": "integer"}})


@pytest.mark.parametrize(
    ("zone", "text", "instant"),
    [
        ("utc", "2024-07-01T12:00:00", "2024-07-01T12:00:00"),
        ("Europe/Berlin", "2024-07-01T12:00:00", "2024-07-01T10:00:00"),
        ("Europe/Berlin", "2024-01-01T12:00:00", "2024-01-01T11:00:00"),
        ("Europe/Berlin", "2024-07-01T12:00:00Z", "2024-07-01T12:00:00"),
        ("Asia/Kolkata", "2024-07-01", "2024-06-30T18:30:00"),
        ("required", "2024-07-01T12:00:00+02:00", "2024-07-01T10:00:00"),
    ],
)
def test_a_time_without_a_zone_is_local_time_of_the_contracts_zone(
    zone: str, text: str, instant: str
) -> None:
    assert read(text, zone=zone) == datetime.fromisoformat(instant).replace(tzinfo=UTC)


def test_a_zone_can_be_required() -> None:
    assert refused("2024-07-01T12:00:00", zone="required") == "timestamp_without_zone"
    assert refused("2024-07-01", zone="required") == "timestamp_without_zone"
    assert refused("01/07/2024", zone="required", format="%d/%m/%Y") == "timestamp_without_zone"


def test_a_local_time_that_a_clock_change_skips_or_repeats_is_refused_not_guessed() -> None:
    assert refused("2024-03-31T02:30:00", zone="Europe/Berlin") == "timestamp_skipped"
    assert refused("2024-10-27T02:30:00", zone="Europe/Berlin") == "timestamp_repeated"
    assert read("2024-10-27T02:30:00+01:00", zone="Europe/Berlin") == datetime(
        2024, 10, 27, 1, 30, tzinfo=UTC
    )


@pytest.mark.parametrize("text", ["0001-01-01T00:00:00", "9999-12-31T23:59:59"])
def test_a_local_time_at_the_end_of_time_is_out_of_range(text: str) -> None:
    zone = "Asia/Kolkata" if text.startswith("0") else "America/New_York"
    assert refused(text, zone=zone) == "timestamp_out_of_range"


naive = st.datetimes(min_value=datetime(1950, 1, 1), max_value=datetime(2037, 12, 31))  # noqa: DTZ001 - local


@given(
    naive, st.sampled_from(["Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Africa/Monrovia"])
)
def test_a_local_time_and_its_instant_name_each_other(moment: datetime, zone: str) -> None:
    local = moment.replace(tzinfo=zoneinfo.ZoneInfo(zone))
    if local.utcoffset() != local.replace(fold=1).utcoffset():
        assert refused(moment.isoformat(), zone=zone) in {"timestamp_skipped", "timestamp_repeated"}
        return
    instant = read(moment.isoformat(), zone=zone)
    assert instant.astimezone(zoneinfo.ZoneInfo(zone)).replace(tzinfo=None) == moment
    assert abs(instant.replace(tzinfo=None) - moment) <= timedelta(hours=16)


@pytest.mark.parametrize(
    "zone", ["", "Berlin", "UTC+1", "../etc/passwd", "/etc/localtime", "Europe", "a\x00b"]
)
def test_a_zone_that_there_is_not_is_refused_with_what_there_is(zone: str) -> None:
    assert "give `utc`, `required`, or an IANA name such as Europe/Berlin" in problem(
        type="timestamp", zone=zone
    )


def test_a_zone_is_for_written_timestamps_only() -> None:
    assert "`zone` is for timestamp" in problem(type="date", zone="required")
    assert "`zone` has no meaning for `format: unix`" in problem(
        type="timestamp", format="unix", zone="Europe/Berlin"
    )


def test_the_zones_are_there_on_every_system() -> None:
    # Windows and slim images have no zone database of their own
    assert any(line.startswith("tzdata") for line in requires("dagster") or [])


def test_a_changed_zone_of_the_version_changes_how_versions_are_told() -> None:
    def rule(**field: Any) -> bytes:
        fields = {"x": {"type": "timestamp"} | field}
        made = Contract.model_validate({"kind": "thing", "key": "id", "fields": fields, "version": "x"})
        return made.version_rule()

    assert rule() == rule(zone="utc") == b'["x","timestamp","iso"]'
    assert rule() != rule(zone="Europe/Berlin")


def test_minus_zero_of_a_mail_date_is_utc() -> None:
    noon = datetime(2026, 6, 1, 12, tzinfo=UTC)
    for zone in ("utc", "required", "Europe/Berlin"):
        assert read("Mon, 01 Jun 2026 12:00:00 -0000", format="rfc822", zone=zone) == noon
