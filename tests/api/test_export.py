"""NDJSON and CSV of a whole selection: the same records as the pages, streamed, and never half a file."""

import csv
import gzip
import io
import json
import socket
import time
from collections.abc import Callable, Iterator
from typing import Any

import psycopg
import pytest
import requests
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.api import model
from tests.api.conftest import Service, service_of
from tests.api.model import Question, Row
from tests.conftest import Server

PLAIN: Row = {**{name: pool[0] for name, pool in model.POOLS.items()}, "attributes": {}}
RISKY = ["=", "+", "-", "@", "\t", "\r", "\n", "\uff1d", "\uff0b", "\uff0d", "\uff20"]
MANY = 60_000


@pytest.fixture(scope="module")
def declared(service: Service) -> Service:
    """The service, with attributes that contracts declare."""
    model.declare_contracts(service.warehouse)
    return service


def page_text(service: Service, **parameters: Any) -> str:
    """The JSON of the records of one page, as the bytes have it."""
    response = service.get("/data", limit=1000, **parameters)
    assert response.status_code == 200, response.text
    return response.text.removeprefix('{"data":').rpartition(',"pagination":')[0]


@settings(max_examples=40, deadline=None)
@given(drawn=model.rows, question=model.questions(), data=st.data())
def test_an_export_holds_what_the_pages_hold(
    declared: Service, drawn: list[Row], question: Question, data: st.DataObject
) -> None:
    model.fill(declared.warehouse, drawn)
    asked: dict[str, Any] = {**question.sent(), "sort": question.sort}
    if data.draw(st.booleans()):
        asked["fields"] = data.draw(
            st.sampled_from(["id", "id,title,tags,attributes", "amount,id,deleted_at"])
        )
    expected = page_text(declared, **asked)
    ndjson = declared.get("/data.ndjson", **asked)
    assert ndjson.headers["Content-Type"] == "application/x-ndjson"
    assert not ndjson.text or ndjson.text.endswith("\n")
    lines = ndjson.content.decode().split("\n")[:-1]
    assert f"[{','.join(lines)}]" == expected
    unordered = declared.get("/data.ndjson", **{k: v for k, v in asked.items() if k != "sort"})
    assert sorted(unordered.content.decode().split("\n")[:-1]) == sorted(lines)
    records = json.loads(expected, parse_float=str, parse_int=str)
    text = declared.get("/data.csv", **asked).content.decode()
    rows = list(csv.DictReader(io.StringIO(text, newline="")))
    assert [as_cells(record) for record in records] == rows
    limit = data.draw(st.integers(1, 5))
    assert (
        declared.get("/data.ndjson", limit=limit, **asked).content.decode().split("\n")[:-1] == lines[:limit]
    )


def as_cells(record: dict[str, Any]) -> dict[str, Any]:
    """A record as its CSV row has it; the drawn texts hold nothing that a spreadsheet would run."""
    cells: dict[str, Any] = {}
    for name, value in record.items():
        if value is None:
            cells[name] = ""
        else:
            cells[name] = value
    return _Row(cells)


class _Row(dict[str, Any]):
    """Compares tags and attributes as JSON."""

    def __eq__(self, other: object) -> bool:
        assert isinstance(other, dict)
        parsed = {
            name: json.loads(cell, parse_float=str, parse_int=str) if name in {"tags", "attributes"} else cell
            for name, cell in other.items()
        }
        return dict(self) == parsed

    __hash__ = None


@pytest.mark.parametrize("risk", RISKY)
def test_a_cell_that_a_spreadsheet_would_run_begins_with_an_apostrophe(declared: Service, risk: str) -> None:
    text = risk + "cmd|' /C calc'!A0"
    names = ["source", "title", "summary", "url", "category", "author", "currency", "kind"]
    model.fill(declared.warehouse, [{**PLAIN, **dict.fromkeys(names, text), "amount": -5}])
    [row] = csv.DictReader(io.StringIO(declared.get("/data.csv").content.decode(), newline=""))
    assert [row[name] for name in names] == ["'" + text] * len(names)
    assert row["amount"] == "-5"
    [record] = map(json.loads, declared.get("/data.ndjson").content.splitlines())
    assert [record[name] for name in names] == [text] * len(names)


@settings(max_examples=40, deadline=None)
@given(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=30))
def test_any_text_survives_both_formats(declared: Service, text: str) -> None:
    for each in (text, f'a{text}"\\\n\r\u2028\x01\x02\x7f\\.'):
        row = {**PLAIN, "title": each, "tags": [each], "attributes": {"label": each}}
        model.fill(declared.warehouse, [row])
        [line] = declared.get("/data.ndjson").content.decode().split("\n")[:-1]
        assert json.loads(line)["title"] == each
        assert json.loads(line)["tags"] == [each]
        assert json.loads(line)["attributes"] == {"label": each}
        [cells] = csv.DictReader(io.StringIO(declared.get("/data.csv").content.decode(), newline=""))
        assert cells["title"] in {each, "'" + each}
        assert json.loads(cells["attributes"]) == {"label": each}


@pytest.mark.parametrize(
    ("accept", "file_format"),
    [
        ("text/csv", "csv"),
        ("application/x-ndjson", "ndjson"),
        ("application/jsonl", "ndjson"),
        ("text/csv;q=0.5, application/x-ndjson", "ndjson"),
        ("application/json;q=0.1, text/csv", "csv"),
        ("TEXT/CSV", "csv"),
    ],
)
def test_accept_asks_for_the_format_as_the_extension_does(
    declared: Service, accept: str, file_format: str
) -> None:
    model.fill(declared.warehouse, [PLAIN, PLAIN])
    by_accept = declared.get("/data", headers={"Accept": accept}, sort="title")
    by_name = declared.get(f"/data.{file_format}", sort="title")
    assert by_accept.content == by_name.content
    for name in ("Content-Type", "Content-Disposition", "Vary", "Cache-Control"):
        assert by_accept.headers[name] == by_name.headers[name]
    assert by_name.headers["Content-Disposition"] == f'attachment; filename="kasparro-data.{file_format}"'
    assert {"Accept", "Accept-Encoding"} <= {each.strip() for each in by_name.headers["Vary"].split(",")}


@pytest.mark.parametrize("path", ["/data.csv", "/data.ndjson"])
@pytest.mark.parametrize(
    "asked", [{"cursor": "x"}, {"offset": "1"}, {"count": "exact"}, {"limit": "0"}, {"sort": "-relevance"}]
)
def test_what_belongs_to_pages_is_refused_in_an_export(
    declared: Service, path: str, asked: dict[str, str]
) -> None:
    response = declared.get(path, **asked)
    assert response.status_code == 422
    assert response.json()["errors"][0]["parameter"] == next(iter(asked))


def test_an_empty_selection_is_an_empty_file(declared: Service) -> None:
    assert declared.get("/data.ndjson", source="nobody").content == b""
    assert declared.get("/data.csv", source="nobody", fields="id,title").content == b"id,title\n"


@pytest.mark.parametrize("file_format", ["csv", "ndjson"])
def test_an_export_is_compressed_on_request(declared: Service, file_format: str) -> None:
    model.fill(declared.warehouse, [PLAIN] * 50)
    plain = raw(declared, file_format, "identity")
    assert "Content-Encoding" not in plain.headers
    zipped, zstd = raw(declared, file_format, "gzip"), raw(declared, file_format, "zstd")
    assert (zipped.headers["Content-Encoding"], zstd.headers["Content-Encoding"]) == ("gzip", "zstd")
    assert gzip.decompress(zipped.content) == plain.content
    assert zstandard.ZstdDecompressor().decompressobj().decompress(zstd.content) == plain.content


class Raw:
    def __init__(self, response: requests.Response) -> None:
        self.headers = response.headers
        self.content = response.raw.read(decode_content=False)


def raw(service: Service, file_format: str, coding: str) -> Raw:
    headers = {"Accept-Encoding": coding}
    with requests.get(
        f"{service.url}/data.{file_format}", headers=headers, stream=True, timeout=30
    ) as answer:
        return Raw(answer)


def test_head_of_an_export_has_the_headers_and_no_body(declared: Service) -> None:
    head = requests.head(declared.url + "/data.csv", timeout=30)
    full = declared.get("/data.csv")
    assert head.status_code == 200
    assert head.content == b""
    for name in ("Content-Type", "Content-Disposition", "Vary"):
        assert head.headers[name] == full.headers[name]


@pytest.fixture(scope="module")
def large(postgres: Server) -> Iterator[Service]:
    """A service with many records, few connections for exports and little time for each."""
    with service_of(
        postgres,
        KASPARRO_API_EXPORT_POOL_SIZE=1,
        KASPARRO_API_EXPORT_TIMEOUT=3,
        KASPARRO_API_POOL_TIMEOUT=0.3,
    ) as running:
        running.warehouse.execute(
            "insert into kasparro.unified_record"
            " (source, source_id, kind, epoch, version, content_hash, raw_id, run_id, summary)"
            " select 's', g::text, 'k', 1, 1, '', g, 'r', repeat('x', 400)"
            f" from generate_series(1, {MANY}) g"
        )
        yield running


def exports_under_way(warehouse: psycopg.Connection[Any]) -> int:
    [[number]] = warehouse.execute(
        "select count(*) from pg_stat_activity where datname = current_database()"
        " and state <> 'idle' and query ilike 'copy%'"
    ).fetchall()
    return int(number)


def wait_until(holds: Callable[[], bool], seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, "not in time"
        time.sleep(0.02)


def begin(service: Service, path: str = "/data.ndjson") -> socket.socket:
    """A client that asks for an export and reads a little of it."""
    host, port = service.url.removeprefix("http://").split(":")
    client = socket.socket()
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    client.settimeout(10)
    client.connect((host, int(port)))
    client.sendall(f"GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
    assert client.recv(2000).startswith(b"HTTP/1.1 200")
    return client


def is_complete(client: socket.socket) -> bool:
    """Whether the rest of the answer ends as a chunked one should."""
    rest = b""
    try:
        while block := client.recv(1 << 20):
            rest = (rest + block)[-100:]
    except ConnectionError:
        return False
    return rest.endswith(b"0\r\n\r\n")


@pytest.mark.parametrize("path", ["/data.ndjson", "/data.csv"])
def test_every_record_is_in_the_file(large: Service, path: str) -> None:
    lines = requests.get(large.url + path, timeout=60).content.count(b"\n")
    assert lines == MANY + (path == "/data.csv")


def test_a_client_that_leaves_in_the_middle_frees_its_connection(large: Service) -> None:
    with begin(large):
        assert exports_under_way(large.warehouse) == 1
    wait_until(lambda: exports_under_way(large.warehouse) == 0, 2)
    assert large.get("/data.ndjson", limit=5).content.count(b"\n") == 5


def test_with_every_connection_for_exports_taken_the_next_is_503_and_pages_answer(large: Service) -> None:
    with begin(large):
        response = large.get("/data.csv")
        assert response.status_code == 503
        assert int(response.headers["Retry-After"]) > 0
        assert response.headers["Content-Type"] == "application/problem+json"
        assert large.get("/data", limit=1000).status_code == 200
        assert large.get("/health/ready").status_code == 200
    wait_until(lambda: exports_under_way(large.warehouse) == 0, 2)


def test_a_client_that_stalls_is_cut_off(large: Service) -> None:
    with begin(large) as client:
        wait_until(lambda: exports_under_way(large.warehouse) == 0, 3 + 2)
        assert not is_complete(client)
    assert large.get("/data.ndjson", limit=5).content.count(b"\n") == 5


def test_a_database_that_goes_away_in_the_middle_leaves_no_complete_looking_file(large: Service) -> None:
    with begin(large) as client:
        large.restart_database()
        assert not is_complete(client)
    assert large.get("/data", limit=1).status_code == 200


def test_after_a_restart_of_the_database_the_next_export_answers(large: Service) -> None:
    assert large.get("/data.ndjson", limit=5).status_code == 200
    large.restart_database()
    assert large.get("/data.ndjson", limit=5).status_code == 200
