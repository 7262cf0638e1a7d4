"""The pool of connections to the warehouse, and the one way to read from it. No SQL belongs here."""

import asyncio
from collections.abc import Awaitable, Coroutine
from typing import Annotated, Any, TypeVar

import psycopg
from fastapi import Depends, Request
from psycopg.abc import Buffer
from psycopg.adapt import Loader
from psycopg.rows import TupleRow
from psycopg_pool import AsyncConnectionPool, PoolClosed, PoolTimeout, TooManyRequests

from kasparro_api.settings import ApiSettings
from kasparro_api.sql import Statement

ANSWER_GRACE = 1.0
"""Seconds beyond the statement's own timeout after which a silent server counts as away."""

_T = TypeVar("_T")


class _JsonBytes(Loader):
    """Hands JSON on as the bytes that PostgreSQL wrote: nothing is parsed, so no number loses precision."""

    def load(self, data: Buffer) -> bytes:
        return bytes(data)


async def within(seconds: float, work: Coroutine[Any, Any, _T]) -> _T:
    """Await `work` for at most `seconds`, even if it does not react to being cancelled.

    A driver that cancels a statement waits for the server to confirm it, and a frozen server never does;
    so the cancelled work is left to end by itself.

    Raises:
        psycopg.OperationalError: no result in time.
    """
    task = asyncio.ensure_future(work)
    done, _ = await asyncio.wait({task}, timeout=seconds)
    if not done:
        task.add_done_callback(_retrieve)
        task.cancel()
        raise psycopg.OperationalError(f"the database gave no answer within {seconds:g} s")
    return task.result()


def _retrieve(task: "asyncio.Future[Any]") -> None:
    """Take the outcome of abandoned work, so that asyncio does not report it as forgotten."""
    if not task.cancelled():
        task.exception()


class Database:
    """A pool that opens without the server, and finds it again when it was away."""

    def __init__(self, settings: ApiSettings) -> None:
        """Take the settings; no connection is made before `open`.

        Raises:
            WarehouseNotConfiguredError: no `DATABASE_URL` is set.
        """
        self._deadline = settings.statement_timeout + settings.pool_timeout + ANSWER_GRACE
        self._pool: AsyncConnectionPool[psycopg.AsyncConnection[TupleRow]] = AsyncConnectionPool(
            settings.require_database_url(),
            open=False,
            name="kasparro-api",
            min_size=1,
            max_size=settings.pool_size,
            timeout=settings.pool_timeout,
            # Short, because the pool doubles its pauses until then. After it, the next request tries at once.
            reconnect_timeout=settings.pool_timeout,
            configure=self._configure,
            kwargs={
                "autocommit": True,
                "application_name": "kasparro-api",
                "connect_timeout": settings.connect_timeout,
                "tcp_user_timeout": int(settings.statement_timeout * 1000),
                "client_encoding": "utf8",
                "options": "-c timezone=UTC -c default_transaction_read_only=on "
                f"-c statement_timeout={int(settings.statement_timeout * 1000)}",
            },
        )

    @staticmethod
    async def _configure(connection: psycopg.AsyncConnection[TupleRow]) -> None:
        connection.adapters.register_loader("json", _JsonBytes)

    async def open(self) -> None:
        """Start connecting in the background."""
        await self._pool.open(wait=False)

    async def close(self) -> None:
        """Close every connection."""
        await self._pool.close()

    def fetch(self, statement: Statement) -> Awaitable[list[TupleRow]]:
        """Every row of `statement`; JSON columns as bytes.

        Raises:
            psycopg.OperationalError: the server is away or silent, no connection came free in time
                (`psycopg_pool.PoolTimeout`), or the statement ran into its timeout (`QueryCanceled`).
        """
        return within(self._deadline, self._fetch(statement))

    async def _fetch(self, statement: Statement) -> list[TupleRow]:
        try:
            return await self._fetch_once(statement)
        except psycopg.OperationalError as error:
            if not _lost_connection(error):
                raise
        # A server that restarted leaves dead connections in the pool: each of them would fail one request.
        await self._pool.check()
        return await self._fetch_once(statement)

    async def _fetch_once(self, statement: Statement) -> list[TupleRow]:
        async with self._pool.connection() as connection:
            cursor = await connection.execute(statement.query, statement.parameters)
            return await cursor.fetchall()


def _lost_connection(error: psycopg.OperationalError) -> bool:
    """Whether the server or the network ended the connection (SQLSTATE class 57P, or none at all)."""
    if isinstance(error, PoolTimeout | PoolClosed | TooManyRequests):
        return False
    return error.sqlstate is None or error.sqlstate.startswith("57P")


async def _database(request: Request) -> Database:
    database: Database = request.app.state.database
    return database


DatabaseOfApp = Annotated[Database, Depends(_database)]
"""A route that asks the database takes one."""
