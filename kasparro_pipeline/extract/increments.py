"""From where on an extraction asks, and what that leaves behind for the next one.

An increment gives each list its query parameters, looks at the records that came, and says at the end which
cursor holds. `Whole` asks for everything each time, `Days` for a range of days.
"""

import json
import re
from collections.abc import Mapping, Sequence
from datetime import date, timedelta
from typing import Any

from kasparro_pipeline.contract.mapping import value_at
from kasparro_pipeline.extract.documents import Cursor, RawRecord, Request, sha256
from kasparro_pipeline.extract.rest_spec import DateWindow

_DAY = re.compile(r"\d{4}-\d{2}-\d{2}", re.ASCII)


class Whole:
    """Asks for everything; also what the others have in common."""

    def __init__(self, request: Request) -> None:
        self._cursor = request.source_cursor or {}

    def windows(self, item: str) -> int:  # noqa: ARG002 - for those that ask in several windows
        """How many lists make up the records of an item."""
        return 1

    def params(self, item: str, window: int) -> dict[str, str]:  # noqa: ARG002 - for those that have some
        """The query parameters of a list."""
        return {}

    def take(self, item: str, records: Sequence[RawRecord], headers: Mapping[str, str]) -> list[RawRecord]:  # noqa: ARG002
        """Look at the records of a page, and keep those that are wanted."""
        return list(records)

    def unchanged(self, item: str) -> None:
        """A page of an item has not changed since it was stored."""

    def ends_at(self, item: str, records: Sequence[RawRecord]) -> bool:  # noqa: ARG002 - for lists in order
        """Whether nothing that is wanted comes behind a page."""
        return False

    def progress(self) -> dict[str, Any]:
        """What an interrupted extraction has to know to go on, as JSON."""
        return {}

    def resume(self, progress: Mapping[str, Any]) -> bool:  # noqa: ARG002 - for those that have a state
        """Go on from there. False: it is the progress of another range."""
        return True

    def cursor(self) -> Cursor:
        """The source's cursor once all is stored."""
        return self._cursor

    @property
    def skips_empty(self) -> bool:
        """Whether an answer without wanted records is nothing new, and no document."""
        return False


class Days(Whole):
    """Asks for a range of days: from the newest day seen so far, or those of a past partition."""

    def __init__(self, spec: DateWindow, request: Request, *, by_item: bool = False) -> None:
        super().__init__(request)
        self._spec, self._request, self._by_item = spec, request, by_item
        self._seen: dict[str, str] = {}
        """The newest day that each item has records of."""
        self._last = request.days[1] if request.days else request.today

    def windows(self, item: str) -> int:
        """How many steps the range has."""
        days = (self._last - self._first(item)).days + 1
        return -(-days // self._spec.step_days) if self._spec.step_days else 1

    def params(self, item: str, window: int) -> dict[str, str]:
        """First and last day of a step."""
        first, last = self._first(item), self._last
        if step := self._spec.step_days:
            first += timedelta(days=window * step)
            last = min(last, first + timedelta(days=step - 1))
        return {self._spec.start_param: first.isoformat(), self._spec.end_param: last.isoformat()}

    def take(self, item: str, records: Sequence[RawRecord], headers: Mapping[str, str]) -> list[RawRecord]:  # noqa: ARG002
        """Keep all, and remember the newest day."""
        for record in records:
            self._remember(item, _day(value_at(record.value, self._spec.cursor, {})))
        return list(records)

    def unchanged(self, item: str) -> None:
        """Nothing new here: this item stands where the cursor stands; others may be ahead of it."""
        self._remember(item, _day(self._through(item)))

    def progress(self) -> dict[str, Any]:
        """The days, and what was seen."""
        started_from = self._cursor if self._by_item else self._first("").isoformat()
        return {"days": [_digest(started_from), self._last.isoformat()], "seen": self._seen.copy()}

    def resume(self, progress: Mapping[str, Any]) -> bool:
        """Go on, if the days are the same."""
        if progress.get("days") != self.progress()["days"]:
            return False
        self._seen = dict(progress["seen"])
        return True

    def cursor(self) -> Cursor:
        """The newest day that every item with records has reached; each by itself where it has its own."""
        if self._by_item:
            items = self._cursor.get("items", {}) | self._seen
            return {"items": items} if items else self._cursor
        return {"through": min(self._seen.values())} if self._seen else self._cursor

    def _through(self, item: str) -> object:
        return self._cursor.get("items", {}).get(item) if self._by_item else self._cursor.get("through")

    def _first(self, item: str) -> date:
        if self._request.days:
            return self._request.days[0]
        through = _day(self._through(item))
        if through is None and self._spec.initial_value is not None:
            return min(self._spec.initial_value, self._request.today)
        newest = min(through, self._request.today) if through else self._request.today
        # whole days, rounded up: a window of 36 hours reaches into the day before yesterday
        return newest - timedelta(days=-(-self._spec.lookback_window // timedelta(days=1)))

    def _remember(self, item: str, day: date | None) -> None:
        # a day beyond the range is the upstream's mistake, and must not carry the cursor away
        if day is not None and day <= self._last:
            self._seen[item] = max(day.isoformat(), self._seen.get(item, ""))


def _day(value: object) -> date | None:
    """The day that text begins with, `YYYY-MM-DD`; None where there is none."""
    if not isinstance(value, str) or not _DAY.match(value):
        return None
    try:
        return date.fromisoformat(value[:10])
    except ValueError:
        return None


def _digest(value: object) -> str:
    return sha256(json.dumps(value, sort_keys=True).encode()).hex()[:16]
