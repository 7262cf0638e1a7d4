"""Log lines of a run carry its source, partition and run id; readable, or one JSON object a line."""

import json
import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Literal

from kasparro_pipeline.warehouse.ledger import Hold

ROOT = "kasparro_pipeline"
_hold: ContextVar[Hold | None] = ContextVar("hold", default=None)


class _Text(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        hold = _hold.get()
        where = f" [{hold.source} {hold.partition_key} {hold.run_id[:8]}]" if hold else ""
        return f"{self.formatTime(record)} {record.levelname} {record.name}{where} {super().format(record)}"


class _Json(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        hold = _hold.get()
        line = {
            "time": self.formatTime(record, "%Y-%m-%dT%H:%M:%S%z"),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
        }
        if hold:
            line |= {"source": hold.source, "partition": hold.partition_key, "run_id": hold.run_id}
        if record.exc_info:
            line["error"] = self.formatException(record.exc_info)
        return json.dumps(line)


def configure(log_format: Literal["text", "json"]) -> None:
    """Send the package's log lines to stderr, in one format; calling it again replaces the format."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Json() if log_format == "json" else _Text())
    root = logging.getLogger(ROOT)
    root.handlers = [handler]
    root.setLevel(logging.INFO)


@contextmanager
def bound_to(hold: Hold) -> Iterator[None]:
    """Within it, each line names the hold's source, partition and run."""
    token = _hold.set(hold)
    try:
        yield
    finally:
        _hold.reset(token)
