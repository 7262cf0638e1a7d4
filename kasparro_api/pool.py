"""Connections to the warehouse: how they are made, shared, and cut. What is asked is not known here."""

import asyncio
import os
import socket
from collections import deque
from typing import Any

import psycopg
from psycopg.abc import Buffer
from psycopg.adapt import Loader
from psycopg.pq import TransactionStatus
from psycopg.rows import TupleRow

from kasparro_api.settings import ApiSettings
from kasparro_api.wire import Link

Connection = psycopg.AsyncConnection[TupleRow]


class PoolTimeoutError(psycopg.OperationalError):
    """Every connection is taken, or the server is slow to take one more."""


class _JsonBytes(Loader):
    """Hands JSON on as the bytes that PostgreSQL wrote: nothing is parsed, so no number loses precision."""

    def load(self, data: Buffer) -> bytes:
        return bytes(data)


def connection_options(settings: ApiSettings, statement_timeout: float) -> dict[str, Any]:
    """How the API connects: read-only, in UTC, and bounded in time (seconds)."""
    return {
        "autocommit": True,
        "application_name": "kasparro-api",
        "connect_timeout": settings.connect_timeout,
        "tcp_user_timeout": int(settings.statement_timeout * 1000),
        "client_encoding": "utf8",
        "options": "-c timezone=UTC -c default_transaction_read_only=on "
        f"-c statement_timeout={int(statement_timeout * 1000)}",
    }


async def connect(url: str, options: dict[str, Any]) -> Connection:
    """A connection that hands JSON on unread."""
    connection: Connection = await Connection.connect(url, **options)
    connection.adapters.register_loader("json", _JsonBytes)
    return connection


def sever(connection: Connection) -> None:
    """Cut a connection whose server is silent: what waits for it fails at once.

    The driver's own ways to stop a statement wait for the server, and a frozen one never answers.
    """
    if not connection.closed:
        with socket.socket(fileno=os.dup(connection.fileno())) as stream:
            stream.shutdown(socket.SHUT_RDWR)


class Pool:
    """At most so many connections, made when they are needed.

    Leaner than a pool with workers of its own, which costs a request as much as its statement: a connection
    that was lost is made again by the next request, and a server that is away is found out at once.
    """

    def __init__(self, url: str, size: int, timeout: float, options: dict[str, Any]) -> None:
        self._url = url
        self._size = size
        self._timeout = timeout
        self._options = options
        self._idle: list[Link] = []
        self._waiting: deque[asyncio.Future[Link | None]] = deque()
        self._open = 0
        self._closed = False

    async def take(self) -> Link:
        """A connection, for the caller alone until `give_back`.

        Raises:
            PoolTimeoutError: none came free in time.
            psycopg.OperationalError: none can be made.
        """
        deadline = asyncio.get_running_loop().time() + self._timeout
        while True:
            while self._idle:
                link = self._idle.pop()
                if not link.connection.closed:
                    return link
                self._open -= 1
            if self._open < self._size:
                return await self._connect(deadline)
            found = await self._wait(deadline)
            if found is not None:
                return found

    async def take_fresh(self) -> Link:
        """As `take`, but no connection that was used before: it may be dead, and nothing tells.

        Raises:
            psycopg.OperationalError: as `take`.
        """
        await self.drop_idle()
        return await self.take()

    async def give_back(self, link: Link) -> None:
        """Hand a connection on, or drop it if it is of no more use."""
        pgconn = link.connection.pgconn
        usable = not self._closed and pgconn.transaction_status == TransactionStatus.IDLE
        if not usable:
            self._open -= 1
            await link.connection.close()
        while self._waiting:
            waiting = self._waiting.popleft()
            if not waiting.done():
                waiting.set_result(link if usable else None)
                return
        if usable:
            self._idle.append(link)

    async def close(self) -> None:
        """Close what is not in use; what is, closes as it is given back."""
        self._closed = True
        while self._idle:
            await self._idle.pop().connection.close()

    async def drop_idle(self) -> None:
        """Close the connections that nobody uses: the server that they led to is gone."""
        while self._idle:
            self._open -= 1
            await self._idle.pop().connection.close()

    def use(self) -> dict[str, int]:
        """How many connections there are, how many of them nobody uses, and how many requests wait."""
        return {"open": self._open, "idle": len(self._idle), "waiting": len(self._waiting)}

    async def _connect(self, deadline: float) -> Link:
        self._open += 1
        try:
            async with asyncio.timeout_at(deadline):
                connection = await connect(self._url, self._options)
        except BaseException as error:
            self._open -= 1
            self._wake_next()  # for it too there may be none: it tries itself
            if isinstance(error, TimeoutError):
                raise PoolTimeoutError("no connection to the database in time") from None
            raise
        return Link(connection)

    def _wake_next(self) -> None:
        while self._waiting:
            waiting = self._waiting.popleft()
            if not waiting.done():
                waiting.set_result(None)
                return

    async def _wait(self, deadline: float) -> Link | None:
        loop = asyncio.get_running_loop()
        waiting: asyncio.Future[Link | None] = loop.create_future()
        self._waiting.append(waiting)
        timer = loop.call_at(deadline, _expire, waiting)
        try:
            return await waiting
        except asyncio.CancelledError:
            # It was handed a connection, or a place for one, in the moment of the cancellation
            if waiting.done() and not waiting.cancelled() and waiting.exception() is None:
                if (link := waiting.result()) is not None:
                    await self.give_back(link)
                else:
                    self._wake_next()
            raise
        finally:
            timer.cancel()


def _expire(waiting: "asyncio.Future[Link | None]") -> None:
    if not waiting.done():
        waiting.set_exception(PoolTimeoutError("no connection came free in time"))
