"""How fast pages of a REST source are fetched and cut: `python -m tests.benchmarks.rest_fetch`.

The upstream is a process of its own on 127.0.0.1 that answers each page after 20 ms, from memory. Nothing is
stored.
"""

import asyncio
import json
import multiprocessing
import sys
import time
from datetime import date
from multiprocessing.connection import Connection
from urllib.parse import parse_qs, urlsplit

from kasparro_pipeline.extract.documents import Request
from kasparro_pipeline.extract.http import Client, HttpSettings
from kasparro_pipeline.extract.rest import RestExtraction
from kasparro_pipeline.extract.rest_spec import RestRequests

RECORDS = 100_000
LATENCY = 0.02
SIZES = (100, 1000)
CONCURRENCIES = (1, 4, 8, 16)


class _Upstream(asyncio.Protocol):
    """Answers `GET /items?page=&per_page=` with prepared bytes, after the latency."""

    pages: dict[tuple[int, int], bytes]
    transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport, self.received = transport, b""

    def data_received(self, data: bytes) -> None:
        self.received += data
        while b"\r\n\r\n" in self.received:
            head, _, self.received = self.received.partition(b"\r\n\r\n")
            query = parse_qs(urlsplit(head.split(b" ", 2)[1].decode()).query)
            page = self.pages[int(query["per_page"][0]), int(query["page"][0])]
            asyncio.get_running_loop().call_later(LATENCY, self.transport.write, page)


def _record(number: int) -> dict[str, object]:
    return {
        "id": number,
        "title": f"Market report number {number}",
        "summary": "summit policy coastal digital velvet museum rocket garden",
        "url": f"https://example.com/a/{number:07}",
        "category": "business",
        "author": f"author-{number % 5000}",
        "price": number % 99999 / 100,
        "published_at": "2026-01-01T00:00:00Z",
        "updated_at": "2026-01-02T00:00:00Z",
    }


def _pages(size: int) -> dict[tuple[int, int], bytes]:
    found = {}
    for page in range(1, RECORDS // size + 1):
        records = [_record(number) for number in range((page - 1) * size, page * size)]
        body = json.dumps({"data": records, "total": RECORDS}).encode()
        head = f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        found[size, page] = head.encode() + body
    return found


def _serve(ready: Connection) -> None:
    _Upstream.pages = {key: body for size in SIZES for key, body in _pages(size).items()}

    async def run() -> None:
        server = await asyncio.get_running_loop().create_server(_Upstream, "127.0.0.1", 0)
        ready.send(server.sockets[0].getsockname()[1])
        await server.serve_forever()

    asyncio.run(run())


def measure(port: int, size: int, concurrency: int) -> tuple[float, float]:
    """Records a second, and microseconds of this process's processor time for a record."""
    spec = RestRequests.model_validate(
        {
            "path": "/items",
            "params": {"per_page": size},
            "records": "data",
            "paginator": {"type": "page_number", "total_path": "total"},
        }
    )
    settings = HttpSettings(concurrency=concurrency, allow_private_hosts=("127.0.0.1",))
    started, used = time.perf_counter(), time.process_time()
    with Client(settings) as client:
        extraction = RestExtraction(spec, f"http://127.0.0.1:{port}", Request(date(2026, 1, 1)), client)
        count = sum(len(batch.records) for batch in extraction)
    assert count == RECORDS
    return count / (time.perf_counter() - started), (time.process_time() - used) / count * 1e6


def main() -> None:
    """Print a line for each size of a page and number of requests at the same time."""
    here, there = multiprocessing.Pipe()
    upstream = multiprocessing.get_context("spawn").Process(target=_serve, args=(there,), daemon=True)
    upstream.start()
    port = here.recv()
    for size in SIZES:
        for concurrency in CONCURRENCIES:
            rate, cost = measure(port, size, concurrency)
            sys.stdout.write(
                f"{size:5} a page, {concurrency:2} at a time: {rate:8,.0f}/s, {cost:4.1f} us each\n"
            )
    upstream.terminate()
    upstream.join()


if __name__ == "__main__":
    main()
