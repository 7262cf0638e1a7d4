"""Reads the dates that feeds write: RFC 3339 and ISO 8601, RFC 822 and 5322. Nothing is guessed.

What is no date, or one that the calendar does not have, stays as it was written: the contract then says what
becomes of it. A time without a zone stays without one, for the contract's `zone`.
"""

import re
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

_ISO = re.compile(r"\d{4}-\d\d-\d\d(?:[Tt ]\d\d:\d\d(?::\d\d(?:[.,]\d{1,9})?)?\s?(?:[Zz]|[+-]\d\d:?\d\d)?)?")
_RFC = re.compile(
    r"(?:[A-Za-z]{3,9}\.?(?:,\s*|\s+))?\d{1,2}[\s-][A-Za-z]{3,9}\.?[\s-](?:\d{4}|\d\d)\s+\d{1,2}:\d\d(?::\d\d)?"
    r"(?:\s*(?P<zone>[+-]\d{4}|[A-Za-z]{1,5}))?"
)
_ZONES = {
    **dict.fromkeys(("UT", "UTC", "GMT", "Z"), "+0000"),
    "EST": "-0500",
    "EDT": "-0400",
    "CST": "-0600",
    "CDT": "-0500",
    "MST": "-0700",
    "MDT": "-0600",
    "PST": "-0800",
    "PDT": "-0700",
    "WET": "+0000",
    "WEST": "+0100",
    "CET": "+0100",
    "CEST": "+0200",
    "EET": "+0200",
    "EEST": "+0300",
    "MSK": "+0300",
    "JST": "+0900",
    "AEST": "+1000",
    "AEDT": "+1100",
    "NZST": "+1200",
    "NZDT": "+1300",
}
"""Names of RFC 822 5.1, and others that mean one offset only."""


def instant(written: str) -> str:
    """A date as ISO 8601, in UTC where it has a zone; or the text itself, where it is no possible date."""
    text = written.strip()
    try:
        moment = _iso(text) if _ISO.fullmatch(text) else _rfc(text)
        if moment is None:
            return text
        if moment.tzinfo is None:
            return moment.isoformat()
        return moment.astimezone(UTC).isoformat().replace("+00:00", "Z")
    except (ValueError, OverflowError, IndexError, TypeError):
        return text


def _iso(text: str) -> datetime:
    return datetime.fromisoformat(re.sub(r"\s(?=[Zz+-])", "", text).upper().replace(",", "."))


def _rfc(text: str) -> datetime | None:
    found = _RFC.fullmatch(text)
    if found is None:
        return None
    zone = found["zone"]
    if zone is None:
        return parsedate_to_datetime(text).replace(tzinfo=None)
    offset = zone if zone[0] in "+-" else _ZONES.get(zone.upper())
    if offset is None:
        return None
    moment = parsedate_to_datetime(f"{text[: found.start('zone')].strip()} {offset}")
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)  # `-0000`: UTC (RFC 5322 3.3)
