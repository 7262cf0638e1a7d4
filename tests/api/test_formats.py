"""Codings, CORS, OPTIONS, and what there is not."""

import gzip
import zlib
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import requests
import zstandard

from tests.api import model
from tests.api.conftest import Service, service_of
from tests.conftest import Server

ORIGIN = "https://app.example.org"
PLAIN: dict[str, Any] = {**{name: pool[0] for name, pool in model.POOLS.items()}, "attributes": {}}


@pytest.fixture(scope="module")
def service(postgres: Server) -> Iterator[Service]:
    """A service with records, which lets pages of one origin read."""
    with service_of(postgres, KASPARRO_API_CORS_ORIGINS=f"{ORIGIN}, https://b.example.org") as running:
        model.fill(running.warehouse, [{**PLAIN, "title": "é𝒳\u2028"}] * 100)
        yield running


def raw(service: Service, path: str, accepted: str | None) -> tuple[requests.Response, bytes]:
    headers: dict[str, Any] = {"Accept-Encoding": accepted}
    with requests.get(service.url + path, headers=headers, stream=True, timeout=30) as response:
        return response, response.raw.read(decode_content=False)


@pytest.mark.parametrize("path", ["/data?limit=100", "/data?limit=3", "/data", "/stats", "/categories"])
def test_every_coding_decodes_to_the_same_answer(service: Service, path: str) -> None:
    _, plain = raw(service, path, "identity")
    for _ in range(3):  # computed, then kept
        for coding in ("gzip", "zstd"):
            response, body = raw(service, path, coding)
            assert int(response.headers["Content-Length"]) == len(body)
            if "Content-Encoding" not in response.headers:
                assert len(body.rpartition(b',"meta":')[0]) < 1000  # what is kept and sent again
                continue
            assert response.headers["Content-Encoding"] == coding
            decoders: list[Callable[[bytes], bytes]] = [
                lambda data: zstandard.ZstdDecompressor().decompressobj().decompress(data)
            ]
            if coding == "gzip":
                decoders = [gzip.decompress, lambda data: zlib.decompress(data, zlib.MAX_WBITS | 16)]
            for decode in decoders:
                whole = decode(body)
                assert whole.rpartition(b'"meta":')[0] == plain.rpartition(b'"meta":')[0]
                assert len(body) < len(whole) >= 1000
    assert service.get(path).json()["meta"]


@pytest.mark.parametrize(
    ("accepted", "coding"),
    [
        ("gzip", "gzip"),
        ("GZIP", "gzip"),
        ("zstd", "zstd"),
        ("gzip, zstd", "zstd"),
        ("gzip;q=1, zstd;q=0.5", "gzip"),
        ("*", "zstd"),
        ("zstd;q=0, *", "gzip"),
        ("gzip;q=0", None),
        ("*;q=0", None),
        ("identity;q=0", None),
        ("identity;q=0, *;q=0, gzip;q=0", None),
        ("br, deflate", None),
        ("", None),
        ("gzip;q=x", None),
        ("gzip;q=nan", None),
        (",;,=", None),
    ],
)
@pytest.mark.parametrize("path", ["/data?limit=100", "/data.csv"])
def test_the_coding_is_one_that_the_client_accepts(
    service: Service, path: str, accepted: str, coding: str | None
) -> None:
    response, _ = raw(service, path, accepted)
    assert response.status_code == 200
    assert response.headers.get("Content-Encoding") == coding


@pytest.mark.parametrize(
    "path", ["/data", "/api/v1/data/1", "/data.csv", "/categories", "/sources", "/stats"]
)
def test_options_names_the_methods(service: Service, path: str) -> None:
    response = requests.options(service.url + path, timeout=30)
    assert response.status_code in {200, 204}
    assert {each.strip() for each in response.headers["Allow"].split(",")} == {"GET", "HEAD", "OPTIONS"}


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize("path", ["/data", "/data.csv", "/data?limit=0", "/nowhere", "/stats"])
def test_a_page_of_an_allowed_origin_may_read(service: Service, method: str, path: str) -> None:
    response = requests.request(method, service.url + path, headers={"Origin": ORIGIN}, timeout=30)
    assert response.headers["Access-Control-Allow-Origin"] == ORIGIN
    assert "Origin" in response.headers["Vary"]
    assert "ETag" in response.headers["Access-Control-Expose-Headers"]
    assert "Access-Control-Allow-Credentials" not in response.headers


@pytest.mark.parametrize(
    "origin",
    [
        "https://evil.example",
        f"{ORIGIN}.evil.example",
        "null",
        "http://app.example.org",
        f"{ORIGIN}:8443",
        "*",
    ],
)
def test_a_page_of_any_other_origin_may_not(service: Service, origin: str) -> None:
    for headers in ({"Origin": origin}, {"Origin": origin, "Access-Control-Request-Method": "GET"}):
        for method in ("GET", "OPTIONS"):
            response = requests.request(method, service.url + "/data", headers=headers, timeout=30)
            assert "Access-Control-Allow-Origin" not in response.headers
            assert "Access-Control-Allow-Credentials" not in response.headers


def test_an_allowed_origin_may_send_its_key(service: Service) -> None:
    response = requests.options(
        service.url + "/data",
        headers={
            "Origin": ORIGIN,
            "Access-Control-Request-Method": "GET",
            "Access-Control-Request-Headers": "x-api-key",
        },
        timeout=30,
    )
    assert response.status_code in {200, 204}
    assert response.headers["Access-Control-Allow-Origin"] == ORIGIN
    assert "x-api-key" in response.headers["Access-Control-Allow-Headers"].lower()
    assert "Access-Control-Allow-Credentials" not in response.headers


def test_an_answer_that_is_sent_again_names_the_origin_of_each_request(service: Service) -> None:
    for origin in (ORIGIN, "https://b.example.org", "https://evil.example", ORIGIN):
        response = requests.get(service.url + "/data?limit=7", headers={"Origin": origin}, timeout=30)
        expected = None if "evil" in origin else origin
        assert response.headers.get("Access-Control-Allow-Origin") == expected


def test_without_the_setting_no_origin_may_read(url_without_database: str) -> None:
    response = requests.get(url_without_database + "/openapi.json", headers={"Origin": ORIGIN}, timeout=30)
    assert not [name for name in response.headers if name.lower().startswith("access-control")]


@pytest.mark.parametrize("accept", ["image/png", "application/xml", "text/html", "application/json;q=0", "x"])
def test_a_format_that_there_is_not_is_406(service: Service, accept: str) -> None:
    response = service.get("/data", headers={"Accept": accept})
    assert response.status_code == 406
    assert response.headers["Content-Type"] == "application/problem+json"
    assert "application/json" in response.json()["detail"]


@pytest.mark.parametrize(
    "accept",
    ["*/*", "application/json", "application/*", "text/html, */*;q=0.1", "image/png, application/json;q=0.1"],
)
def test_json_is_what_most_clients_get(service: Service, accept: str) -> None:
    response = service.get("/data", headers={"Accept": accept})
    assert response.headers["Content-Type"] == "application/json"
    assert (
        service.get("/data.json", headers={"Accept": "image/png"}).json()["data"] == response.json()["data"]
    )


@pytest.mark.parametrize("path", ["/data.xml", "/data.CSV", "/data.", "/data.csv.gz", "/categories.csv"])
def test_an_unknown_extension_is_404(service: Service, path: str) -> None:
    assert service.get(path).status_code == 404


@pytest.mark.parametrize(
    "number", ["0", "-1", "x", "1.0", "9" * 19, "9" * 30, "9" * 5000, "%00", "\u0661", "+1", ""]
)
def test_an_id_that_there_is_not_is_404(service: Service, number: str) -> None:
    response = service.get(f"/data/{number}")
    assert response.status_code == 404
    assert response.headers["Content-Type"] == "application/problem+json"


def test_a_deleted_record_is_shown_on_request_alone(
    get: Callable[..., requests.Response], add_record: Callable[..., int]
) -> None:
    gone = add_record(deleted_at=model.NOON)
    assert get(f"/data/{gone}").status_code == 404
    assert "deleted=include" in get(f"/data/{gone}").json()["detail"]
    assert get(f"/data/{gone}", deleted="include").json()["data"]["deleted_at"] == "2026-11-01T12:00:00Z"
