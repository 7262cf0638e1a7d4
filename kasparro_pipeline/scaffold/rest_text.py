"""What the `defs.yaml` of a REST source says, in its order. Infers nothing."""

from collections.abc import Mapping, Sequence
from datetime import date
from typing import Any

from kasparro_pipeline.scaffold.contract import Inferred
from kasparro_pipeline.scaffold.defs_text import DefsText, begun
from kasparro_pipeline.scaffold.params import HttpParams, RestParams
from kasparro_pipeline.scaffold.record_lists import MEMBERS, RecordList
from kasparro_pipeline.scaffold.rest_upstream import RestUpstream

TYPE = "kasparro_pipeline.components.RestSource"


def begin(name: str, made_from: str, upstream: RestUpstream, params: Mapping[str, Any]) -> DefsText:
    """The head, and what is asked."""
    text = begun(name, made_from, TYPE)
    text.key("base_url", upstream.base_url)
    text.key("path", upstream.path)
    if params:
        text.key("params", dict(params))
    return text


def where(text: DefsText, params: RestParams) -> None:
    """Who asks, and what may be reached."""
    if params.headers:
        text.key("headers", dict(params.headers))
    if params.auth is not None:
        auth = params.auth.model_dump(mode="json", exclude_defaults=True) | {"type": params.auth.type}
        text.key("auth", auth, "names of environment variables, never a secret")
    else:
        text.off("auth", {"type": "bearer", "token_env": "EXAMPLE_TOKEN"}, "names an environment variable")
    http(text, params)


def http(text: DefsText, params: HttpParams) -> None:
    """What may be reached, and how greedily."""
    if params.allow_private_hosts:
        text.key("http", {"allow_private_hosts": list(params.allow_private_hosts)})
    else:
        text.off(
            "http", {"requests_per_second": 2, "concurrency": 1}, "for an upstream that is asked too much"
        )


def records(text: DefsText, chosen: RecordList, others: Sequence[RecordList], count: int) -> None:
    """Where the records are."""
    kind = "members of the object" if chosen.path.endswith(MEMBERS) else "items of the list"
    text.comment(f"The records are the {kind} at `{chosen.path or 'the root'}`: {count} in the first answer.")
    if others:
        found = ", ".join(f"`{one.path}` ({one.count})" for one in others)
        text.comment(f"There are others: {found}.")
    if chosen.path:
        text.key("records", chosen.path)


def news(text: DefsText, cursor: Mapping[str, Any] | None, asked_for: Mapping[str, Any] | None) -> None:
    """Whether a run asks for what is new, and how that may be said."""
    if asked_for is not None:
        text.comment(
            f"`{asked_for['cursor']}` looks like the moment of a record's last change, and with"
            f" `{asked_for['param']}` the API gave only records from a moment on."
        )
        text.key("incremental", dict(asked_for))
    elif cursor is not None:
        text.comment(
            f"`{cursor['cursor']}` looks like the moment of a record's last change. If the API can filter by"
            " it, name the parameter, and each run asks only for what is new:"
        )
        text.off("incremental", {**cursor, "param": "updated_since", "lookback_window": "PT1H"})


def when(text: DefsText, today: date) -> None:
    """When it is asked."""
    text.key("schedule", "0 * * * *", "cron, in UTC")
    text.key("start_date", today.isoformat(), "the first daily partition")


def skeleton(params: RestParams, upstream: RestUpstream, name: str, kind: str, today: date) -> str:
    """The text without a sample: what has to be corrected says so."""
    text = begin(name, "the params alone: nothing was asked", upstream, upstream.query)
    where(text, params)
    text.comment("Where the list of records is in an answer; without it the answer is the list.")
    if params.records:
        text.key("records", params.records)
    else:
        text.off("records", "data")
    text.comment("How the list goes on; without it all of it comes in one answer: docs/sources-rest.md.")
    text.off("paginator", {"type": "page_number", "page_param": "page", "total_path": "total"})
    text.off("paginator", {"type": "cursor", "cursor_param": "cursor", "cursor_path": "next_cursor"})
    text.off("paginator", {"type": "link_header"})
    text.off("incremental", {"cursor": "updated_at", "param": "updated_since", "lookback_window": "PT1H"})
    when(text, today)
    text.gap()
    placeholders(text, kind, params.key)
    return text.text()


def placeholders(text: DefsText, kind: str, key: Sequence[str]) -> None:
    """A contract that nobody has looked at."""
    text.key("kind", kind)
    text.key("key", (key[0] if len(key) == 1 else list(key)) if key else "id", "" if key else "correct this")
    fields: dict[str, dict[str, Any]] = {"title": {"path": "name"}, "published_at": {"path": "created_at"}}
    seen = dict.fromkeys(fields, "correct this, and add the others")
    text.contract(Inferred(fields, seen=seen))
