"""Tells for each request whether the data, or the keys, have changed since the last look.

What is kept in memory is used only after the database was asked, later than the request arrived: so an answer
is never older than a commit that the client knew of. One small question serves all requests that wait for it.
"""

import asyncio
from typing import NamedTuple

import psycopg
from psycopg import sql

from kasparro_api.database import ANSWER_GRACE
from kasparro_api.pool import connect, connection_options, sever
from kasparro_api.settings import ApiSettings
from kasparro_api.sql import table
from kasparro_api.wire import Link, TextStatement

DATA_VERSION = sql.SQL(
    "(select coalesce(sum(version), 0)"
    " || '-' || coalesce((extract(epoch from max(changed_at)) * 1000000)::bigint, 0) from {})"
).format(table("data_version"))
"""The version of all records: how often they changed, and when last, in microseconds since 1970."""

# xmin changes with each version of a row, however its times are set
_KEYS_VERSION = sql.SQL("(select count(*) || '-' || coalesce(sum(xmin::text::bigint), 0) from {})").format(
    table("api_key")
)
VERSIONS = sql.SQL("{} || '|' || {}").format(DATA_VERSION, _KEYS_VERSION)
"""Both versions as one text, for a statement that reads data: so that it need not be asked for beside it."""

_CURRENT = TextStatement(f"select {VERSIONS.as_string()}", prepare=True)


class Versions(NamedTuple):
    """Two texts that differ from earlier ones if something changed."""

    data: str
    keys: str

    @classmethod
    def of(cls, text: bytes | None) -> "Versions":
        """The versions in a value of `VERSIONS`."""
        data, _, keys = (text or b"").decode().partition("|")
        return cls(data, keys)


class VersionWatch:
    """Asks over a connection of its own, so that no page of records stands before it."""

    def __init__(self, settings: ApiSettings) -> None:
        """Take the settings; the first question connects."""
        self._url = settings.require_database_url()
        self._options = connection_options(settings, settings.statement_timeout)
        self._timeout = settings.pool_timeout
        self._link: Link | None = None
        self._waiting: list[asyncio.Future[Versions]] = []
        self._worker: asyncio.Task[None] | None = None

    async def current(self) -> Versions:
        """The versions at some moment after this call.

        Raises:
            psycopg.Error: the database is away, silent, or not migrated.
        """
        answer: asyncio.Future[Versions] = asyncio.get_running_loop().create_future()
        self._waiting.append(answer)
        if self._worker is None:
            self._worker = asyncio.create_task(self._work())
        return await answer

    async def close(self) -> None:
        """Close the connection."""
        if self._link is not None:
            await self._link.connection.close()

    async def _work(self) -> None:
        """Answer whoever waits, in rounds: those who come while a question is under way get the next one."""
        try:
            while waiting := self._waiting:
                self._waiting = []
                try:
                    versions = await self._ask()
                except Exception as error:  # noqa: BLE001 - whoever waits must hear of it, whatever it is
                    for answer in waiting:
                        if not answer.done():
                            answer.set_exception(error)
                else:
                    for answer in waiting:
                        if not answer.done():
                            answer.set_result(versions)
        finally:
            self._worker = None

    async def _ask(self) -> Versions:
        reused = self._link is not None
        try:
            return await self._ask_once()
        except psycopg.OperationalError:
            await self._drop()
            if not reused:
                raise
        # A server that restarted has left a dead connection
        return await self._ask_once()

    async def _ask_once(self) -> Versions:
        loop = asyncio.get_running_loop()
        if self._link is None:
            try:
                async with asyncio.timeout(self._timeout):
                    self._link = Link(await connect(self._url, self._options))
            except TimeoutError:
                raise psycopg.OperationalError("no connection to the database in time") from None
        timer = loop.call_later(self._timeout + ANSWER_GRACE, sever, self._link.connection)
        try:
            result = await self._link.run(_CURRENT)
        finally:
            timer.cancel()
        return Versions.of(result.get_value(0, 0))

    async def _drop(self) -> None:
        link, self._link = self._link, None
        if link is not None:
            await link.connection.close()
