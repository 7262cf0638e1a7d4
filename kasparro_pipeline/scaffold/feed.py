"""A feed source made from what the feed holds now: its format, key, contract."""

import re
from collections.abc import Mapping
from datetime import date
from typing import Any

from kasparro_pipeline.extract import feed
from kasparro_pipeline.extract.http import Client
from kasparro_pipeline.scaffold import rest_text, sampling
from kasparro_pipeline.scaffold.contract import infer
from kasparro_pipeline.scaffold.defs_text import DefsText, begun
from kasparro_pipeline.scaffold.errors import ScaffoldError
from kasparro_pipeline.scaffold.params import FeedParams

TYPE = "kasparro_pipeline.components.FeedSource"
FORMATS = {"rss": "RSS", "rdf": "RSS 1.0 (RDF)", "feed": "Atom"}
_ROOT = re.compile(r"<(?:[\w.-]+:)?(\w+)")


def make(params: FeedParams, name: str, kind: str, today: date) -> str:
    """The text of the source's `defs.yaml`.

    Raises:
        ScaffoldError: the feed gives no sample, or holds no entry.
    """
    if not params.sample:
        text = _where(params, name, "the params alone: nothing was asked", today)
        rest_text.placeholders(text, kind, params.key)
        return text.text()
    http = sampling.PATIENCE.allowing(params.allow_private_hosts)
    with sampling.asking("`url`"), Client(http) as client:
        answer = client.fetch(params.url)
        body = feed.entries(answer.body or b"", params.url, answer.headers.get("content-type"))
    records = [entry.value for entry in body.records if entry.value is not None]
    if not records:
        raise ScaffoldError(
            f"The feed {params.url} holds no entry now, so there is nothing to make a source from."
            f" Try again when it has some. {sampling.INSTEAD}"
        )
    key = sampling.key_of(params.key, records, kind, params.url)
    inferred = infer(kind, key.paths, records, text_only=True)
    form = _format(body.layout)
    text = _where(params, name, f"the {len(records)} entries of the feed, which is {form}", today)
    text.key("kind", kind)
    text.key("key", key.paths[0] if len(key.paths) == 1 else list(key.paths), sampling.seen_of(key))
    if inferred.changed is not None and all(record.get("updated") for record in records):
        text.comment("An entry that is changed later may replace the one before only with a later `updated`:")
        text.off("version", "updated")
    text.contract(inferred)
    return text.text()


def _format(layout: Mapping[str, Any]) -> str:
    if layout.get("syntax") == "json":
        return "JSON Feed"
    root = _ROOT.search(layout["head"])
    return FORMATS.get(root[1].lower(), "RSS or Atom") if root else "RSS or Atom"


def _where(params: FeedParams, name: str, made_from: str, today: date) -> DefsText:
    text = begun(name, made_from, TYPE)
    text.key("url", params.url)
    rest_text.http(text, params)
    text.key("start_date", today.isoformat(), "the first daily partition")
    text.off("check_every", "PT1M", "how often the feed is asked whether it changed")
    text.gap()
    return text
