"""The cursor of an incremental source as a user writes it, and its values as numbers that compare.

A timestamp counts in microseconds, a date in days, an integer as it is.
"""

from datetime import UTC, date, datetime, timedelta
from email.utils import format_datetime, parsedate_to_datetime
from typing import Literal

from pydantic import model_validator
from pydantic_core import PydanticCustomError

from kasparro_pipeline.contract.spec import StrictModel
from kasparro_pipeline.contract.times import check_format, in_utc

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MICROSECOND, DAY = timedelta(microseconds=1), timedelta(days=1)
EASTERNMOST = timedelta(hours=14)
"""How long before UTC a day begins somewhere."""
_PER_UNIT = {"unix": 1_000_000, "unix_ms": 1000}


class Incremental(StrictModel):
    """Each extraction asks for what is new since the newest record that was seen."""

    cursor: str
    """Path of what is larger in newer records, such as `updated_at` or `id`: keys joined by dots."""
    type: Literal["timestamp", "date", "integer"] = "timestamp"
    """How its values compare."""
    format: str = "iso"
    """How a timestamp or date is written, in records as in `param`: `iso`, `rfc822`, `unix` (seconds),
    `unix_ms`, or a strptime pattern."""
    param: str | None = None
    """Query parameter that asks for records from a value on, that value included. Default: the upstream
    cannot filter; everything is asked for, and older records are left out."""
    initial_value: str | int | None = None
    """Where the first extraction starts. Default: at the first record."""
    lookback_window: timedelta | int | None = None
    """How far before the newest value the next extraction starts, for records that come late: a duration, for
    integers a number."""
    row_order: Literal["asc", "desc"] | None = None
    """How the upstream sorts. With `desc` and no `param`, paging stops where older records begin."""

    @model_validator(mode="after")
    def _fits_the_type(self) -> "Incremental":
        check_format(self.format)
        expected = int if self.type == "integer" else timedelta
        if self.lookback_window is not None and not isinstance(self.lookback_window, expected):
            raise ValueError(
                "`lookback_window` is a number for a cursor of type integer, else a duration (`P1D`)"
            )
        if self.lookback() < 0:
            raise ValueError("`lookback_window` cannot be negative")
        if self.initial_value is not None and self.read(self.initial_value) is None:
            raise ValueError(
                f"`initial_value` is no {self.type} (format {self.format}): {self.initial_value!r}"
            )
        return self

    def lookback(self) -> int:
        """The lookback window as a difference of values."""
        window = self.lookback_window
        if not isinstance(window, timedelta):
            return window or 0
        # whole days of dates, rounded up
        return window // MICROSECOND if self.type == "timestamp" else -(-window // DAY)

    def read(self, value: object) -> int | None:
        """A value as a number that compares; None where it is none."""
        if isinstance(value, bool) or value is None:
            return None
        try:
            if self.type == "integer":
                return int(str(value))
            return self.of_instant(self._instant(str(value)))
        except (ValueError, OverflowError, ArithmeticError, PydanticCustomError):
            return None

    def of_instant(self, instant: datetime) -> int:
        """The number of an instant."""
        if self.type == "timestamp":
            return (instant - EPOCH) // MICROSECOND
        return instant.date().toordinal()

    def write(self, number: int) -> str:
        """A value as the upstream writes it.

        Raises:
            OverflowError: before the year 1.
            ValueError: the same.
        """
        if self.type == "integer":
            return str(number)
        if self.type == "date":
            day = date.fromordinal(number)
            instant = datetime(day.year, day.month, day.day, tzinfo=UTC)
        else:
            instant = EPOCH + number * MICROSECOND
        if self.format in _PER_UNIT:
            return str((instant - EPOCH) // MICROSECOND // _PER_UNIT[self.format])
        if self.format == "rfc822":
            return format_datetime(instant, usegmt=True)
        if self.format != "iso":
            return instant.strftime(self.format)
        return (
            instant.date().isoformat() if self.type == "date" else instant.isoformat().replace("+00:00", "Z")
        )

    def newest_plausible(self, upstream_clock: str | None, own_clock: datetime) -> int | None:
        """The largest value that is no mistake: now, by the upstream's header Date if it has one."""
        if self.type == "integer":
            return None
        try:
            now = in_utc(parsedate_to_datetime(upstream_clock or ""), None)
        except ValueError:
            now = own_clock
        # the header has whole seconds
        return self.of_instant(now + (timedelta(seconds=1) if self.type == "timestamp" else EASTERNMOST))

    def _instant(self, text: str) -> datetime:
        if self.format in _PER_UNIT:
            whole, _, part = text.partition(".")
            micros = int(whole) * _PER_UNIT[self.format]
            return EPOCH + (micros + int(float(f"0.{part or 0}") * _PER_UNIT[self.format])) * MICROSECOND
        if self.format == "iso":
            return in_utc(datetime.fromisoformat(text), None)
        if self.format == "rfc822":
            return in_utc(parsedate_to_datetime(text), None)
        return in_utc(datetime.strptime(text, self.format), None)  # noqa: DTZ007 - UTC where it names no zone
