"""The measured processes that do as little as can be done: COPY of a file, a bare fetch of all pages."""

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import orjson
import psycopg
import requests

from tests.benchmarks.load import worker
from tests.benchmarks.load.articles import COLUMNS

_PIECE = 1 << 20


def main() -> None:
    """Copy a file into a table of text columns, or fetch all pages and read them."""
    order = worker.order()
    worker.tell(_copied(order) if order["floor"] == "copy" else _fetched(order))


def _copied(order: dict[str, Any]) -> dict[str, Any]:
    columns = ", ".join(f"{name} text" for name in COLUMNS)
    with psycopg.connect(order["url"], autocommit=True) as connection:
        connection.execute("drop table if exists floor")
        # before COPY, in a transaction of its own: else the server writes no log
        connection.execute(f"create table floor ({columns})")
        with worker.timed() as figures, connection.cursor() as cursor:
            with (
                cursor.copy("copy floor from stdin with (format csv, header)") as copy,
                Path(order["file"]).open("rb") as file,
            ):
                while piece := file.read(_PIECE):
                    copy.write(piece)
            figures["table_rows"] = cursor.rowcount
    return figures


def _fetched(order: dict[str, Any]) -> dict[str, Any]:
    own = threading.local()

    def fetch(page: int) -> tuple[int, int]:
        if not hasattr(own, "session"):
            own.session = requests.Session()
        answer = own.session.get(
            f"{order['address']}/items", params={"page": page, "per_page": order["page_size"]}
        )
        body = orjson.loads(answer.content)
        return len(body["data"]), body["pages"]

    with worker.timed() as figures, ThreadPoolExecutor(order["side_by_side"]) as threads:
        count, pages = fetch(1)
        figures["fetched"] = count + sum(found for found, _ in threads.map(fetch, range(2, pages + 1)))
    return figures


if __name__ == "__main__":
    main()
