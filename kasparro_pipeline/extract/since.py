"""Asks for what is new since the newest cursor value that was seen.

Each item of a source (a value of `for_each`, a parent) has a newest value of its own. The checkpoint moves
when all pages are stored. The newest value itself is asked for again, so that ties are not lost; an answer
that holds only what was seen before is nothing new.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from typing import Any

from kasparro_pipeline.contract.mapping import value_at
from kasparro_pipeline.extract.cursor_values import Incremental
from kasparro_pipeline.extract.documents import Cursor, RawRecord, Request, sha256
from kasparro_pipeline.extract.increments import Whole

MAX_SEEN = 500
"""Records of an item that are remembered by their digests, to know them again."""

_SORTABLE = re.compile(r"(?:\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d{1,6})?Z(?:\n|\Z))+", re.ASCII)
"""Instants, one a line, whose texts of one length sort as they do."""


@dataclass(slots=True)
class _State:
    """How far an item has come."""

    value: str | None = None
    """The newest value, as it came."""
    seen: dict[str, list[str]] = field(default_factory=dict)
    """Digests, by value, of the records that the next extraction will be given again."""


class Since(Whole):
    """Asks for what is new since the newest value."""

    def __init__(self, spec: Incremental, request: Request) -> None:
        super().__init__(request)
        self._spec = spec
        self._own_clock = datetime.now(UTC)
        stored = self._cursor.get("items", {})
        # a source that asked for days before has days here: it begins anew
        self._before = {item: _State(**state) for item, state in stored.items() if isinstance(state, dict)}
        self._known = {item: set().union(*state.seen.values()) for item, state in self._before.items()}
        self._after: dict[str, _State] = {}

    @property
    def skips_empty(self) -> bool:
        """What has nothing new in it is no document."""
        return True

    def params(self, item: str, window: int) -> dict[str, str]:  # noqa: ARG002 - one list an item
        """The value to start from, if there is one."""
        start, came = self._start(item), self._came(item)
        if self._spec.param is None or start is None:
            return {}
        if came is not None and self._spec.read(came) == start:
            return {self._spec.param: came}  # what the upstream wrote itself
        try:
            return {self._spec.param: self._spec.write(start)}
        except (OverflowError, ValueError):
            return {}  # before the year 1: from the first record on

    def take(self, item: str, records: Sequence[RawRecord], headers: Mapping[str, str]) -> list[RawRecord]:
        """Remember the newest value; keep what is not older than the start, or nothing if all was seen."""
        spec, start, known = self._spec, self._start(item), self._known.get(item, set())
        newest_plausible = spec.newest_plausible(headers.get("date"), self._own_clock)
        after = self._after.setdefault(
            item, _State(self._before[item].value if item in self._before else None)
        )
        newest = spec.read(after.value)
        newest_alone = self._newest_alone(records, newest_plausible)
        kept = [] if newest_alone is None else list(records)
        plausible: list[tuple[int, str, RawRecord]] = []
        for record in records if newest_alone is None else newest_alone:
            came = value_at(record.value, spec.cursor, {})
            value = spec.read(came)
            if spec.param is None and value is not None and start is not None and value < start:
                continue
            if newest_alone is None:
                kept.append(record)
            if value is None or (newest_plausible is not None and value > newest_plausible):
                continue  # a value of the future must not carry the cursor away from what is to come
            plausible.append((value, str(came), record))
            if newest is None or value > newest:
                newest, after.value = value, str(came)
        if newest is not None:
            self._remember(after, newest - spec.lookback(), plausible)
        return kept if any(_digest(record) not in known for record in kept) else []

    def ends_at(self, item: str, records: Sequence[RawRecord]) -> bool:
        """Whether the list, in descending order, has come to what is older than wanted."""
        spec, start = self._spec, self._start(item)
        if spec.param is not None or spec.row_order != "desc" or start is None:
            return False
        values = (spec.read(value_at(record.value, spec.cursor, {})) for record in records)
        return any(value is not None and value < start for value in values)

    def progress(self) -> dict[str, Any]:
        """Where this extraction started from, and the newest so far."""
        return {"since": self._started_from(), "newest": _as_json(self._after)}

    def resume(self, progress: Mapping[str, Any]) -> bool:
        """Go on, if the checkpoint is the one that the interrupted extraction started from."""
        if progress.get("since") != self._started_from():
            return False
        self._after = {item: _State(**state) for item, state in progress["newest"].items()}
        return True

    def cursor(self) -> Cursor:
        """The newest value of each item; of one that nothing came for, what it was."""
        reached = {
            item: state for item, state in self._after.items() if state.value is not None and state.seen
        }
        return {"items": _as_json(self._before | reached)} if self._before | reached else self._cursor

    def _newest_alone(
        self, records: Sequence[RawRecord], newest_plausible: int | None
    ) -> Sequence[RawRecord] | None:
        """The newest of records that are all wanted, if their texts tell it; the others move nothing then."""
        spec = self._spec
        if spec.param is None or spec.lookback() or spec.type != "timestamp" or spec.format != "iso":
            return None
        texts: list[Any] = [record.value.get(spec.cursor) for record in records if type(record.value) is dict]
        if len(texts) != len(records) or set(map(type, texts)) != {str} or len(set(map(len, texts))) > 1:
            return None
        if not _SORTABLE.fullmatch("\n".join(texts)):
            return None
        newest = max(texts)
        value = spec.read(newest)
        if value is None or (newest_plausible is not None and value > newest_plausible):
            return None
        return [record for record, text in zip(records, texts, strict=True) if text == newest]

    def _came(self, item: str) -> str | None:
        if item in self._before:
            return self._before[item].value
        return None if self._spec.initial_value is None else str(self._spec.initial_value)

    def _start(self, item: str) -> int | None:
        value = self._spec.read(self._came(item))
        return value if value is None or item not in self._before else value - self._spec.lookback()

    def _started_from(self) -> str:
        return sha256(repr(sorted(_as_json(self._before).items())).encode()).hex()[:16]

    def _remember(self, state: _State, start: int, came: Sequence[tuple[int, str, RawRecord]]) -> None:
        """Keep in mind what the next extraction, which starts at `start`, will be given again."""
        again = {text: seen for text, seen in state.seen.items() if (self._spec.read(text) or start) >= start}
        for value, text, record in came:
            if value >= start:
                again.setdefault(text, []).append(_digest(record))
        if sum(map(len, again.values())) > MAX_SEEN:
            # too many: the next extraction stores them once more in a document, which changes nothing
            again = {state.value or "": []}
        state.seen = again


def _digest(record: RawRecord) -> str:
    return sha256(record.payload).hex()[:16]


def _as_json(states: Mapping[str, _State]) -> dict[str, Any]:
    return {item: asdict(state) for item, state in states.items()}
