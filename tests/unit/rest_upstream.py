"""What the tests of REST extraction share: an upstream scripted with JSON, and what came of it."""

import json
from collections.abc import Callable
from datetime import date
from http.server import BaseHTTPRequestHandler
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from kasparro_pipeline.extract.documents import Batch
from kasparro_pipeline.extract.http import HttpSettings
from tests.unit.conftest import ScriptedUpstream, reply

TODAY = date(2024, 1, 10)
HTTP = HttpSettings(attempts=1, read_timeout=10, concurrency=1)
"""One request after the other, so that a test can tell their order."""
Extract = Callable[..., list[Batch]]


def answers(upstream: ScriptedUpstream, answer: Callable[[str, dict[str, str]], Any]) -> None:
    """Answer with JSON of (path, query); None means 304."""

    def answered(handler: BaseHTTPRequestHandler) -> None:
        parts = urlsplit(handler.path)
        found = answer(parts.path, dict(parse_qsl(parts.query)))
        if found is None:
            reply(handler, 304)
        else:
            reply(handler, 200, json.dumps(found).encode(), {"ETag": '"e"'})

    upstream.answer = answered


def values(batches: list[Batch]) -> list[Any]:
    return [record.value for batch in batches for record in batch.records]
