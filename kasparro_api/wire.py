"""One statement over one connection, by the calls of libpq itself. Which statement it is, is not known here.

The driver's own way takes three times as much processor time (measured: 72 us against 22 us for a statement
of two values), for conversions and states that the reads do not need: their values go as text, and their
answers come as text that is sent on unread.
"""

import asyncio
from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple

import psycopg
from psycopg.pq import ExecStatus
from psycopg.pq.abc import PGconn, PGresult
from psycopg.rows import TupleRow

MAX_PREPARED = 50
"""Statements that one connection keeps prepared; the one that was made first leaves for a further one."""


class TextStatement(NamedTuple):
    """A query with placeholders `$1`, `$2` ..., and the values bound to them."""

    text: str
    values: Sequence[object] = ()
    prepare: bool = False
    """Whether one plan suits all values, so that it may be kept."""


class Numbered(list[object]):
    """The values bound to a `TextStatement`, and their placeholders."""

    def bind(self, value: object) -> str:
        """Add a value; returns its placeholder."""
        self.append(value)
        return f"${len(self)}"


class Link:
    """A connection, and the statements that it has prepared."""

    def __init__(self, connection: psycopg.AsyncConnection[TupleRow]) -> None:
        self.connection = connection
        self._prepared: dict[str, bytes] = {}
        self._made = 0

    async def run(self, statement: TextStatement) -> PGresult:
        """The result of a statement; every value in it is text.

        Raises:
            psycopg.Error: the server refuses it, or is gone.
        """
        pgconn = self.connection.pgconn
        values = [_text(value) for value in statement.values]
        if not statement.prepare:
            pgconn.send_query_params(statement.text.encode(), values)
            return await _result(pgconn)
        name = self._prepared.get(statement.text)
        if name is None and len(self._prepared) >= MAX_PREPARED:
            oldest = next(iter(self._prepared))
            pgconn.send_query_params(b"deallocate " + self._prepared.pop(oldest), None)
            await _result(pgconn)
        if name is None:
            self._made += 1
            name = b"kasparro_%d" % self._made
            pgconn.send_prepare(name, statement.text.encode())
            await _result(pgconn)
            self._prepared[statement.text] = name
        pgconn.send_query_prepared(name, values)
        return await _result(pgconn)


async def _result(pgconn: PGconn) -> PGresult:
    """The answer to what was sent, once all of it has come."""
    loop = asyncio.get_running_loop()
    stream = pgconn.socket
    complete: asyncio.Future[None] = loop.create_future()
    results: list[PGresult] = []

    def receive() -> None:
        try:
            pgconn.consume_input()
            while not complete.done() and not pgconn.is_busy():
                result = pgconn.get_result()
                if result is None:
                    complete.set_result(None)
                else:
                    results.append(result)
        except psycopg.Error as error:
            complete.set_exception(error)

    def send() -> None:
        if pgconn.flush() == 0:
            loop.remove_writer(stream)

    if pgconn.flush():  # more than the socket takes at once
        loop.add_writer(stream, send)
    loop.add_reader(stream, receive)
    try:
        await complete
    finally:
        loop.remove_reader(stream)
        loop.remove_writer(stream)
    if not results:
        raise psycopg.OperationalError("the server gave no answer")
    if results[-1].status not in {ExecStatus.TUPLES_OK, ExecStatus.COMMAND_OK}:
        raise psycopg.errors.error_from_result(results[-1])
    return results[-1]


def _text(value: object) -> bytes | None:
    """A value as PostgreSQL reads it."""
    match value:
        case None:
            return None
        case bool():
            return b"true" if value else b"false"
        case bytes():
            return b"\\x" + value.hex().encode()
        case datetime():
            return value.isoformat().encode()
        case list() | tuple():
            texts = ((_text(item) or b"").decode() for item in value)
            quoted = (text.replace("\\", "\\\\").replace('"', '\\"') for text in texts)
            return ("{" + ",".join(f'"{item}"' for item in quoted) + "}").encode()
        case _:
            return str(value).encode()
