"""The API's own statements, for pgbench and psql: read from the log of the server that they are sent to.

So they are what the API sends, however it puts them together and whichever driver it uses.
"""

import re
from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import psycopg
import requests
from psycopg import sql

from tests.benchmarks.read_api.bench import Bench
from tests.benchmarks.read_api.dataset import Dataset

NO_RECORD = 900_000_000_000_000_007
"""An id that no record has, to be found again in a statement."""
PLAIN = {"Accept-Encoding": "identity"}
_TABLE = "unified_record"
_LINE = re.compile(r"\S+ \S+ \S+ \[\d+\] (?P<level>[A-Z]+):  (?P<text>.*)")
_SENT = re.compile(r"(?:statement|execute [^:]*): (.*)", re.DOTALL)
_VALUE = re.compile(r"\$(\d+) = ('(?:[^']|'')*'|NULL)")


def sent_for(bench: Bench, paths: Mapping[str, str]) -> dict[str, str]:
    """By name of a request, the statement over unified records that the API sends for its path.

    Values are literals. A request for which the API sends none (it does not serve it) is left out.
    """
    found = {}
    log = bench.dataset.server.log
    with _logged(bench.dataset), bench.api("api-statements") as server:
        for name, path in paths.items():
            begin = log.stat().st_size
            headers = {**server.headers, **PLAIN}
            with requests.get(server.address + path, headers=headers, timeout=120, stream=True) as answer:
                deque(answer.iter_content(1 << 20), maxlen=0)
            with log.open("rb") as lines:
                lines.seek(begin)
                sent = statements_of(lines.read().decode(errors="replace"))
            over_records = [text for text in sent if _TABLE in text]
            if over_records:
                found[name] = over_records[-1]
    return found


def statements_of(log: str) -> list[str]:
    """The statements in a part of PostgreSQL's log, in order, with values in place of `$1` and so on."""
    found: list[str] = []
    for level, text in _entries(log):
        if level == "LOG" and (sent := _SENT.fullmatch(text)):
            found.append(sent[1])
        elif level == "DETAIL" and text.lower().startswith("parameters: ") and found:
            values = dict(_VALUE.findall(text))
            found[-1] = re.sub(r"\$(\d+)", lambda place: values[place[1]], found[-1])  # noqa: B023 - at once
    return found


def _entries(log: str) -> list[tuple[str, str]]:
    """Level and text of each entry; the further lines of one begin with a tab."""
    found: list[tuple[str, str]] = []
    for line in log.splitlines():
        if line.startswith("\t") and found:
            level, text = found[-1]
            found[-1] = (level, f"{text}\n{line[1:]}")
        elif entry := _LINE.fullmatch(line):
            found.append((entry["level"], entry["text"]))
    return found


@contextmanager
def _logged(dataset: Dataset) -> Iterator[None]:
    """Log every statement of connections that are made to the database meanwhile."""
    with psycopg.connect(dataset.server.url("postgres"), autocommit=True) as admin:
        name = sql.Identifier(dataset.name)
        admin.execute(sql.SQL("alter database {} set log_statement = 'all'").format(name))
        try:
            yield
        finally:
            admin.execute(sql.SQL("alter database {} reset log_statement").format(name))
