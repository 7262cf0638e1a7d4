"""Finds out whether an API can be asked for what changed since a moment, by asking it."""

from collections.abc import Mapping, Sequence
from typing import Any

from kasparro_pipeline.contract.mapping import value_at
from kasparro_pipeline.extract.cursor_values import Incremental
from kasparro_pipeline.extract.errors import UpstreamError
from kasparro_pipeline.extract.http_answer import RateLimitedError
from kasparro_pipeline.scaffold.contract import Inferred
from kasparro_pipeline.scaffold.rest_upstream import RestUpstream

PARAMS = ("updated_since", "since", "updated_after", "modified_since", "changed_since", "updated_from")
"""What the parameter may be called. The cursor's own name comes before them."""
LOOKBACKS = {"timestamp": "PT1H", "date": "P1D"}


def cursor_of(inferred: Inferred) -> dict[str, Any] | None:
    """The moment of a record's last change, as `incremental` has it; None if nothing looks like one."""
    for name, spec in inferred.fields.items():
        if spec.get("path", name) == inferred.changed:
            kind = spec.get("type", "timestamp")
            found = {"cursor": inferred.changed} | ({"type": kind} if kind != "timestamp" else {})
            return found | ({"format": spec["format"]} if "format" in spec else {})
    return None


def incremental(
    upstream: RestUpstream, path: str, records: Sequence[object], cursor: Mapping[str, Any]
) -> dict[str, Any] | None:
    """What `incremental` has to be; None where no parameter makes the API leave older records out."""
    spec = Incremental.model_validate(cursor)
    values = _values(spec, records)
    if None in values or len(values) < 2:  # noqa: PLR2004 - one of them has to be older
        return None
    known = sorted(value for value in values if value is not None)
    since = known[len(known) // 2]
    for param in dict.fromkeys((str(cursor["cursor"]), *PARAMS)):
        params = {**upstream.query, param: spec.write(since)}
        try:
            pages = upstream.pages(path, {"type": "single_page"}, params, 1)
        except RateLimitedError:
            return None
        except UpstreamError:
            continue
        newer = _values(spec, pages[0])
        # equal to the value alone would be a filter for that value
        if newer and all(value is not None and value >= since for value in newer) and len(newer) > 1:
            return {**cursor, "param": param, "lookback_window": LOOKBACKS[spec.type]}
    return None


def _values(spec: Incremental, records: Sequence[object]) -> set[int | None]:
    return {spec.read(value_at(record, spec.cursor, {})) for record in records}
