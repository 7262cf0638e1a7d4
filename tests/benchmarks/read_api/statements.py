"""The API's own statements, for pgbench and psql: caught where the API hands them to its driver.

So they are what it sends, however it puts them together.
"""

from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any
from unittest import mock

import psycopg
import requests

from kasparro_api.app import create_app
from kasparro_api.settings import ApiSettings
from tests.api.conftest import serving

NO_RECORD = 900_000_000_000_000_007
"""An id that no record has, to be found again in a statement."""


def sent_for(url: str, paths: Mapping[str, str]) -> dict[str, str]:
    """By name of a request, the statement over unified records that the API sends for its path.

    Values are literals. A request for which the API sends none (it does not serve it yet) is left out.
    """
    caught: list[tuple[Any, Any]] = []
    execute, copy = psycopg.AsyncCursor.execute, psycopg.AsyncCursor.copy

    async def noting_execute(cursor: Any, query: Any, params: Any = None, **options: Any) -> Any:
        caught.append((query, params))
        return await execute(cursor, query, params, **options)

    def noting_copy(cursor: Any, statement: Any, params: Any = None, **options: Any) -> Any:
        caught.append((statement, params))
        return copy(cursor, statement, params, **options)

    found = {}
    app = create_app(ApiSettings(_env_file=None, DATABASE_URL=url))
    with (
        mock.patch.object(psycopg.AsyncCursor, "execute", noting_execute),
        mock.patch.object(psycopg.AsyncCursor, "copy", noting_copy),
        serving(app) as address,
        psycopg.connect(url) as connection,
    ):
        for name, path in paths.items():
            caught.clear()
            with requests.get(address + path, timeout=60, stream=True) as answer:
                deque(answer.iter_content(1 << 20), maxlen=0)
            statements = _over_records(connection, caught)
            if statements:
                found[name] = statements[-1]
    return found


def _over_records(connection: "psycopg.Connection[Any]", caught: Sequence[tuple[Any, Any]]) -> list[str]:
    cursor = psycopg.ClientCursor(connection)
    texts = [cursor.mogrify(query, params) for query, params in list(caught)]
    return [text for text in texts if "unified_record" in text]
