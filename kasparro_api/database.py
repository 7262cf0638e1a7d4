"""The ways to read from the warehouse, each bounded in time. No SQL belongs here."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Annotated, TypeVar

import psycopg
from fastapi import Depends, Request
from psycopg.pq.abc import PGresult
from psycopg.rows import TupleRow

from kasparro_api.operation.context import client_gone
from kasparro_api.pool import Connection, Pool, PoolTimeoutError, connection_options, sever
from kasparro_api.settings import ApiSettings
from kasparro_api.sql import Statement
from kasparro_api.wire import Link, TextStatement

if TYPE_CHECKING:
    from psycopg.abc import Buffer

T = TypeVar("T")
ANSWER_GRACE = 1.0
"""Seconds beyond the statement's own timeout after which a silent server counts as away."""
PATIENCE = 0.25
"""Seconds after which it is worth watching whether the client still waits for the answer."""
COPY_BLOCK = 64 * 1024
"""Bytes of an export that are sent at once."""


class SilentServerError(psycopg.OperationalError):
    """The server took a statement and said no more."""


class Database:
    """Connections that open without the server, and find it again when it was away."""

    def __init__(self, settings: ApiSettings, *, name: str, size: int, statement_timeout: float) -> None:
        """Take the settings; connections are made by the requests that need them.

        Raises:
            WarehouseNotConfiguredError: no `DATABASE_URL` is set.
        """
        self.name = name
        self._deadline = statement_timeout + ANSWER_GRACE
        options = connection_options(settings, statement_timeout)
        self._pool = Pool(settings.require_database_url(), size, settings.pool_timeout, options)

    async def close(self) -> None:
        """Close every connection."""
        await self._pool.close()

    def use(self) -> dict[str, int]:
        """How the connections are used: how many are open, idle, and waited for."""
        return self._pool.use()

    async def fetch(self, statement: Statement) -> list[TupleRow]:
        """Every row of `statement`; JSON columns as bytes.

        Raises:
            psycopg.OperationalError: the server is away or silent, no connection came free in time
                (`PoolTimeoutError`), the statement ran into its timeout or the client went away
                (`QueryCanceled`).
        """

        async def run(link: Link) -> list[TupleRow]:
            cursor = await link.connection.execute(statement.query, statement.parameters)
            return await cursor.fetchall()

        return await self._bounded(run)

    async def fetch_text(self, statement: TextStatement) -> PGresult:
        """The result of `statement` as PostgreSQL wrote it: each value is text, as bytes.

        Raises:
            psycopg.OperationalError: as `fetch`.
        """
        return await self._bounded(lambda link: link.run(statement))

    @asynccontextmanager
    async def copy(self, statement: Statement) -> AsyncIterator[AsyncIterator[bytes]]:
        """The output of a COPY statement in blocks of about 64 KB; leaving early cancels it.

        Raises:
            psycopg.OperationalError: as `fetch`.
        """
        link = await self._pool.take_fresh()
        loop = asyncio.get_running_loop()
        # However it ends: also a server that falls silent may hold the connection no longer
        timer = loop.call_later(self._deadline, sever, link.connection)
        try:
            async with (
                link.connection.cursor() as cursor,
                cursor.copy(statement.query, statement.parameters) as rows,
            ):
                yield _blocks(rows)
        finally:
            timer.cancel()
            await self._pool.give_back(link)

    async def _bounded(self, run: Callable[[Link], Awaitable[T]]) -> T:
        try:
            return await self._once(run)
        except psycopg.OperationalError as error:
            if not _lost_connection(error):
                raise
        # A server that restarted leaves dead connections: each of them would fail one request
        await self._pool.drop_idle()
        return await self._once(run)

    async def _once(self, run: Callable[[Link], Awaitable[T]]) -> T:
        loop = asyncio.get_running_loop()
        link = await self._pool.take()
        watch = _Watch(link.connection, self._deadline)
        # A task for each request would cost more than most statements: it comes when one takes long
        timer = loop.call_later(PATIENCE, watch.begin)
        try:
            return await run(link)
        except psycopg.OperationalError as error:
            if watch.cut:
                message = f"the database gave no answer within {self._deadline:g} s"
                raise SilentServerError(message) from error
            raise
        finally:
            timer.cancel()
            if watch.end():
                # A cancellation that arrives late would meet the next statement
                await link.connection.close()
            await self._pool.give_back(link)


class _Watch:
    """Stops a statement whose client went away; cuts the connection if the server is silent."""

    def __init__(self, connection: Connection, deadline: float) -> None:
        """`deadline`: seconds after the statement was sent."""
        self._connection = connection
        self._deadline = deadline
        self._task: asyncio.Task[None] | None = None
        self._cancelling = False
        self.cut = False
        """Whether the connection was cut."""

    def begin(self) -> None:
        """Watch from now on, PATIENCE after the statement was sent."""
        self._task = asyncio.get_running_loop().create_task(self._run())

    def end(self) -> bool:
        """Watch no longer; whether a cancellation may still be on its way."""
        if self._task is not None:
            self._task.cancel()
        return self._cancelling

    async def _run(self) -> None:
        try:
            async with asyncio.timeout(self._deadline - PATIENCE):
                await client_gone()
                self._cancelling = True
                await self._connection.cancel_safe(timeout=ANSWER_GRACE)
                await asyncio.Event().wait()  # until the statement has ended
        except (TimeoutError, psycopg.Error):
            sever(self._connection)
            self.cut = True


def _lost_connection(error: psycopg.OperationalError) -> bool:
    """Whether the server or the network ended the connection (SQLSTATE class 57P, or none at all)."""
    if isinstance(error, SilentServerError | PoolTimeoutError):
        return False
    return error.sqlstate is None or error.sqlstate.startswith("57P")


async def _blocks(rows: psycopg.AsyncCopy) -> AsyncIterator[bytes]:
    block: list[Buffer] = []
    size = 0
    async for row in rows:
        block.append(row)
        size += len(row)
        if size >= COPY_BLOCK:
            yield b"".join(block)
            block.clear()
            size = 0
    yield b"".join(block)


async def _database(request: Request) -> Database:
    database: Database = request.app.state.database
    return database


DatabaseOfApp = Annotated[Database, Depends(_database)]
"""A route that asks the database takes one."""
