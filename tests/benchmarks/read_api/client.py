"""One client that asks again and again over one connection, and times each answer to its last byte."""

import http.client
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from urllib.parse import urlsplit

from tests.benchmarks.servers import Server

TIMEOUT = 120
_BUFFER = 1 << 20


class RefusedError(RuntimeError):
    """The server does not answer a request with 200; the message says what it answers."""


@dataclass(frozen=True)
class Download:
    """A long answer that was read and dropped."""

    lines: int
    size: int
    """Bytes."""
    first_byte: float
    """Seconds until the first byte of the body."""
    seconds: float


@contextmanager
def connected(server: Server) -> Iterator[http.client.HTTPConnection]:
    """A connection to a server."""
    connection = http.client.HTTPConnection(urlsplit(server.address).netloc, timeout=TIMEOUT)
    try:
        yield connection
    finally:
        connection.close()


def ask(connection: http.client.HTTPConnection, server: Server, path: str) -> float:
    """Seconds until the answer was read.

    Raises:
        RefusedError: it was not 200.
    """
    started = time.perf_counter()
    connection.request("GET", path, headers=dict(server.headers))
    answer = connection.getresponse()
    body = answer.read()
    elapsed = time.perf_counter() - started
    if answer.status != http.client.OK:
        raise RefusedError(f"{path} answers {answer.status}: {body[:200].decode(errors='replace')}")
    return elapsed


def latencies(server: Server, path: str, *, most: int, seconds: float) -> list[float]:
    """How long each of `most` answers took, in seconds; fewer, but three, when `seconds` are over.

    Raises:
        RefusedError: an answer was not 200.
    """
    taken: list[float] = []
    with connected(server) as connection:
        for _ in range(2):  # the first ones fill caches and prepare the statement
            ask(connection, server, path)
        deadline = time.perf_counter() + seconds
        while len(taken) < most and (len(taken) < 3 or time.perf_counter() < deadline):
            taken.append(ask(connection, server, path))
    return taken


def download(server: Server, path: str) -> Download:
    """Read a long answer block by block.

    Raises:
        RefusedError: it was not 200.
    """
    block = memoryview(bytearray(_BUFFER))
    lines = size = 0
    with connected(server) as connection:
        started = time.perf_counter()
        connection.request("GET", path, headers={"Accept-Encoding": "identity", **server.headers})
        answer = connection.getresponse()
        if answer.status != http.client.OK:
            raise RefusedError(f"{path} answers {answer.status}: {answer.read(200).decode(errors='replace')}")
        first = answer.read(1)
        first_byte = time.perf_counter() - started
        lines, size = first.count(b"\n"), len(first)
        while count := answer.readinto(block):
            size += count
            lines += bytes(block[:count]).count(b"\n")
        return Download(lines, size, first_byte, time.perf_counter() - started)
