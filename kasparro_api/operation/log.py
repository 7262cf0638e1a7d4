"""How the API's log lines look: one JSON object a line, or readable text. What is logged stands elsewhere."""

import json
import logging
from datetime import UTC, datetime
from typing import Literal

LOGGER = "kasparro_api"


_handler = logging.StreamHandler()


def configure(log_format: Literal["text", "json"]) -> None:
    """Write the log of the API and of its pool to standard error; a second call only changes the format."""
    _handler.setFormatter(formatter(log_format))
    for name, level in {LOGGER: logging.INFO, "psycopg.pool": logging.WARNING}.items():
        logger = logging.getLogger(name)
        logger.setLevel(level)
        logger.propagate = False
        logger.addHandler(_handler)


def formatter(log_format: Literal["text", "json"]) -> logging.Formatter:
    """How a line of `log_format` is written."""
    return _JsonFormatter() if log_format == "json" else _TextFormatter()


def _fields(record: logging.LogRecord) -> dict[str, object]:
    """What a call passed as `extra={"fields": {…}}`."""
    fields: dict[str, object] = getattr(record, "fields", {})
    return fields


def _time(record: logging.LogRecord) -> str:
    return (
        datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    )


class _JsonFormatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, object] = {
            "time": _time(record),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
            **_fields(record),
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line)


class _TextFormatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        # JSON for text values: a space or a line break in one cannot look like another field or line
        fields = "".join(f" {name}={json.dumps(value)}" for name, value in _fields(record).items())
        line = f"{_time(record)} {record.levelname} {record.name}: {record.getMessage()}{fields}"
        return f"{line}\n{self.formatException(record.exc_info)}" if record.exc_info else line
