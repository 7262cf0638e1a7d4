"""A consumer of `/changes` that may be killed at any moment: `python follower.py <url> <file>`.

What it makes of a page and the place that it has come to are stored in one transaction of its own database.
"""

from __future__ import annotations

import json
import sqlite3
import sys
import time

import requests

TABLES = """
create table if not exists place (only integer primary key check (only = 1), cursor text);
create table if not exists event (at text, id integer, change text, primary key (at, id));
create table if not exists record (id integer primary key, body text);
"""


def follow(url: str, file: str) -> None:
    """Follow until the process ends. An event that comes twice, or does not fit, ends it with an error."""
    with sqlite3.connect(file, timeout=30, isolation_level=None) as store, requests.Session() as session:
        store.execute("pragma synchronous = off")
        store.executescript(TABLES)
        while True:
            row = store.execute("select cursor from place").fetchone()
            since = {"since": row[0]} if row else {}
            answer = session.get(f"{url}/changes", params={"limit": 40, **since}, timeout=30)
            answer.raise_for_status()
            page = answer.json()
            store.execute("begin")
            for event in page["data"]:
                take(store, event)
            store.execute("insert or replace into place values (1, ?)", [page["pagination"]["next_cursor"]])
            store.execute("commit")
            if not page["pagination"]["has_more"]:
                time.sleep(0.005)


def take(store: sqlite3.Connection, event: dict[str, object]) -> None:
    """Do to the copy what was done to the table."""
    store.execute("insert into event values (?, ?, ?)", [event["at"], event["id"], event["change"]])
    known = store.execute("select 1 from record where id = ?", [event["id"]]).fetchone()
    if (known is None) != (event["change"] == "insert"):
        raise RuntimeError(f"does not fit: {event}")
    if event["change"] == "delete":
        store.execute("delete from record where id = ?", [event["id"]])
    else:
        body = json.dumps(event["record"], sort_keys=True)
        store.execute("insert or replace into record values (?, ?)", [event["id"], body])


if __name__ == "__main__":
    follow(*sys.argv[1:])
