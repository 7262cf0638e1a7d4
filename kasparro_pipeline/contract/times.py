"""How timestamps and dates may be written, and what a time without a zone means. Nothing is guessed."""

from datetime import UTC, datetime, time, timedelta, timezone
from typing import Final
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic_core import PydanticCustomError

NAMED_FORMATS: Final = ("iso", "rfc822", "unix", "unix_ms")
_YEARS = ("%Y", "%y", "%G")
_BY_LOCALE = ("%c", "%x", "%X", "%Z")
_SAMPLE = datetime(2001, 10, 13, 16, 25, 36, 123456, tzinfo=timezone(timedelta(hours=5, minutes=30)))
"""Each of its parts differs from strptime's defaults and from each other part."""


def check_format(written: str) -> str:
    """The format, if it is a named one or a strptime pattern that says which day it is.

    Raises:
        ValueError: it is neither, or it would read less or something else than was written.
    """
    if written in NAMED_FORMATS:
        return written
    if "%" not in written:
        raise ValueError(
            f"`{written}` is none of {', '.join(NAMED_FORMATS)}, nor a strptime pattern (`%d/%m/%Y`)"
        )
    if found := [part for part in _BY_LOCALE if part in written]:
        raise ValueError(
            f"`{found[0]}` in `{written}` means something else on another machine; write the parts out "
            "(`%d/%m/%Y`), and a zone as `%z` or in `zone`"
        )
    if not any(part in written for part in _YEARS):
        raise ValueError(f"`{written}` has no year (`%Y`): it does not say which day it is")
    try:
        read = datetime.strptime(_SAMPLE.strftime(written), written)  # noqa: DTZ007 - the pattern's own zone
    except ValueError as error:
        raise ValueError(f"`{written}` is no strptime pattern: {error}") from error
    if read.date() != _SAMPLE.date():
        raise ValueError(f"`{written}` does not say which day it is: year, month and day are needed")
    if read.time() not in _PRECISIONS:
        raise ValueError(
            f"`{written}` does not say which time it is: `%H` (or `%I` with `%p`), then `%M`, `%S`"
        )
    return written


_PRECISIONS = {
    time(),
    time(16),
    time(16, 25),
    time(16, 25, 36),
    time(16, 25, 36, 123456),
}


def reads_time(written: str) -> bool:
    """Whether a checked strptime pattern has more than the day."""
    read = datetime.strptime(_SAMPLE.strftime(written), written)  # noqa: DTZ007 - the pattern's own zone
    return read.time() != time() or read.tzinfo is not None


def check_zone(zone: str) -> str:
    """The zone rule: `utc`, `required`, or a name of the IANA time zone database.

    Raises:
        ValueError: there is no such zone.
    """
    if zone in {"utc", "required"}:
        return zone
    try:
        ZoneInfo(zone)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise ValueError(
            f"`{zone}` is no zone; give `utc`, `required`, or an IANA name such as Europe/Berlin"
        ) from error
    return zone


def in_utc(moment: datetime, zone: ZoneInfo | None, *, zone_required: bool = False) -> datetime:
    """The instant in UTC. A moment without a zone is local time of `zone`, of UTC if None.

    Raises:
        PydanticCustomError: it needs a zone and has none, or a clock change skipped or repeated it.
        OverflowError: outside the years 1 to 9999.
    """
    if moment.tzinfo is not None:
        return moment.astimezone(UTC)
    if zone_required:
        raise PydanticCustomError(
            "timestamp_without_zone", "the text names no zone, and the contract requires one"
        )
    if zone is None:
        return moment.replace(tzinfo=UTC)
    # PEP 495: the two readings differ only around a clock change
    first, second = moment.replace(tzinfo=zone), moment.replace(tzinfo=zone, fold=1)
    if (before := first.utcoffset()) != (after := second.utcoffset()):
        if before is not None and after is not None and before < after:
            raise PydanticCustomError("timestamp_skipped", f"no clock of {zone.key} showed this time")
        raise PydanticCustomError("timestamp_repeated", f"clocks of {zone.key} showed this time twice")
    return first.astimezone(UTC)
