"""The OpenAPI document reads as documentation, and its examples are answers."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

import pytest
import requests
from jsonschema import Draft202012Validator

from kasparro_api.app import create_app
from kasparro_api.openapi import PROBLEM_EXAMPLES
from kasparro_pipeline.warehouse import api_keys
from tests.api import sample
from tests.api.conftest import Service, service_of, serving, settings_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.conftest import Server

CLOSED = "http://127.0.0.1:1"
DOCUMENT: dict[str, Any] = create_app(settings_of("postgresql://127.0.0.1:1/none")).openapi()
OPERATIONS = [
    pytest.param(path, method, operation, id=f"{method} {path}")
    for path, methods in DOCUMENT["paths"].items()
    for method, operation in methods.items()
]
WATCHING = {"/health", "/health/ready", "/metrics"}
QUERIES = {
    "/data": "source=coinpaprika_tickers&limit=1&count=exact",
    "/categories": "limit=2",
    "/changes": "source=coinpaprika_tickers&limit=1",
    "/runs": "limit=1",
}
"""What some examples were answers to."""

every_operation = pytest.mark.parametrize(("path", "method", "operation"), OPERATIONS)


@pytest.fixture(scope="module")
def filled(postgres: Server) -> Iterator[Service]:
    """A server with records, without a Dagster."""
    with service_of(postgres, KASPARRO_DAGSTER_URL=CLOSED, KASPARRO_API_UPLOAD_LIMIT=268_435_456) as running:
        sample.fill(running.warehouse)
        running.warehouse.commit()
        yield running


def resolved(node: Any) -> Any:
    """A part of the document, with what it refers to put in."""
    if isinstance(node, dict):
        if "$ref" in node:
            target: Any = DOCUMENT
            for name in node["$ref"].removeprefix("#/").split("/"):
                target = target[name]
            return resolved(target)
        return {name: resolved(part) for name, part in node.items()}
    return [resolved(part) for part in node] if isinstance(node, list) else node


def validate(value: Any, schema: Any) -> None:
    Draft202012Validator(resolved(schema), format_checker=Draft202012Validator.FORMAT_CHECKER).validate(value)


def parts(node: Any, name: str) -> Iterator[Any]:
    """Every value of a member of this name, anywhere."""
    if isinstance(node, dict):
        for key, part in node.items():
            if key == name:
                yield part
            yield from parts(part, name)
    elif isinstance(node, list):
        for part in node:
            yield from parts(part, name)


def members(value: Any) -> Any:
    """The names in a JSON value, without its plain values; free ones (of attributes, say) count as one."""
    if isinstance(value, dict):
        return {name: name in {"attributes", "changed"} or members(part) for name, part in value.items()}
    if isinstance(value, list):
        return [members(value[0])] if value else []
    return None


def test_every_reference_of_the_document_leads_somewhere_and_every_schema_is_one() -> None:
    assert DOCUMENT["openapi"].startswith("3.1")
    for reference in parts(DOCUMENT, "$ref"):
        resolved({"$ref": reference})
    for schema in [*DOCUMENT["components"]["schemas"].values(), *parts(DOCUMENT["paths"], "schema")]:
        Draft202012Validator.check_schema(schema)


def test_the_tags_come_in_their_order_with_descriptions() -> None:
    order = [tag["name"] for tag in DOCUMENT["tags"]]
    assert order == [name for name in ("data", "runs", "trigger", "operation") if name in order]
    assert all(tag["description"] for tag in DOCUMENT["tags"])
    assert {operation.values[2]["tags"][0] for operation in OPERATIONS} == set(order)  # type: ignore[index]


@every_operation
def test_an_operation_says_what_it_does(path: str, method: str, operation: dict[str, Any]) -> None:
    assert method in {"get", "post"}
    assert operation["summary"]
    assert len(operation["description"]) > len(operation["summary"])
    assert re.findall("{([^}]+)}", path) == [
        parameter["name"] for parameter in operation.get("parameters", ()) if parameter["in"] == "path"
    ]


@every_operation
def test_a_parameter_has_a_description_and_an_example_that_its_schema_allows(
    path: str, method: str, operation: dict[str, Any]
) -> None:
    for parameter in operation.get("parameters", ()):
        assert parameter["description"], parameter
        examples = [*parameter["schema"].get("examples", ()), *parts([parameter], "example")]
        assert examples or parameter["name"] == "cursor" or path not in QUERIES, (method, parameter)
        for example in examples:
            validate(example, parameter["schema"])


@every_operation
def test_an_operation_says_which_key_it_needs(path: str, method: str, operation: dict[str, Any]) -> None:
    either: list[dict[str, list[str]]] = [{"ApiKey": []}, {"Bearer": []}]
    expected = [] if path in WATCHING else either if method == "post" else [{}, *either]
    assert operation["security"] == expected
    assert set(DOCUMENT["components"]["securitySchemes"]) == {"ApiKey", "Bearer"}


def test_where_reading_needs_a_key_the_document_says_so() -> None:
    closed = create_app(settings_of("postgresql://127.0.0.1:1/none", KASPARRO_API_READS="keys")).openapi()
    assert {} not in closed["paths"]["/data"]["get"]["security"]
    assert closed["paths"]["/health"]["get"]["security"] == []


@every_operation
def test_an_answer_has_headers_and_an_error_has_examples(
    path: str, method: str, operation: dict[str, Any]
) -> None:
    answers = operation["responses"]
    assert list(answers) == sorted(answers)
    expected = {"422"} if path in WATCHING else {"401", "403", "422", "429", "503"}
    assert expected <= set(answers), method
    for status, answer in answers.items():
        assert answer["description"]
        headers = set(answer["headers"])
        assert headers >= {"X-Request-ID", "X-API-Latency-MS"}
        assert ("RateLimit" in headers) == (path not in WATCHING)
        assert ("Retry-After" in headers) == (status in {"429", "503"})
        if status >= "400":
            [(media_type, content)] = answer["content"].items()
            assert media_type == "application/problem+json"
            assert content["examples"], (path, status)
            for example in resolved(content)["examples"].values():
                assert str(example["value"]["status"]) == status
                validate(example["value"], content["schema"])


@every_operation
def test_the_example_of_an_answer_is_what_its_schema_describes(
    path: str, method: str, operation: dict[str, Any]
) -> None:
    for status, answer in operation["responses"].items():
        content = answer.get("content", {}).get("application/json")
        if status < "300" and content is not None:
            example = resolved(content["schema"])["example"]
            validate(example, content["schema"])
            json.dumps(example, allow_nan=False)
            assert method == "post" or example["meta"], path


@pytest.mark.parametrize(
    "path",
    [
        path
        for path, methods in DOCUMENT["paths"].items()
        if "get" in methods
        and "{" not in path
        and "application/json" in methods["get"]["responses"]["200"]["content"]
        and not any(parameter.get("required") for parameter in methods["get"].get("parameters", ()))
    ],
)
def test_an_example_has_exactly_the_members_of_a_present_answer(filled: Service, path: str) -> None:
    response = requests.get(f"{filled.url}{path}?{QUERIES.get(path, '')}", timeout=30)
    assert response.status_code == 200
    schema = DOCUMENT["paths"][path]["get"]["responses"]["200"]["content"]["application/json"]["schema"]
    assert members(resolved(schema)["example"]) == members(response.json())
    validate(response.json(), schema)
    documented = DOCUMENT["paths"][path]["get"]["responses"]["200"]["headers"]
    own = {"etag", "last-modified", "link", "content-disposition"}
    assert own & {name.lower() for name in documented} == own & {name.lower() for name in response.headers}


def test_the_example_of_one_record_is_one(filled: Service) -> None:
    record_id = filled.get("/data", source="coinpaprika_tickers").json()["data"][0]["id"]
    response = filled.get(f"/data/{record_id}")
    schema = DOCUMENT["paths"]["/data/{id}"]["get"]["responses"]["200"]["content"]["application/json"][
        "schema"
    ]
    assert members(resolved(schema)["example"]) == members(response.json())
    validate(response.json(), schema)


ASKED: dict[str, tuple[str, str, dict[str, Any]]] = {
    "invalid-cursor": ("GET", "/data?cursor=nonsense", {}),
    "invalid-json": ("POST", "/etl/run", {"data": "{"}),
    "missing-key": ("POST", "/etl/run", {"headers": {"X-API-Key": None}}),
    "invalid-key": ("GET", "/data", {"headers": {"X-API-Key": "nonsense"}}),
    "no-record": ("GET", "/data/999999999", {}),
    "no-run": ("GET", "/runs/nobody", {}),
    "not-acceptable": ("GET", "/data", {"headers": {"Accept": "image/png"}}),
    "too-large": ("POST", "/etl/run", {"data": " " * 5000}),
    "file-too-large": (
        "POST",
        "/sources/coin_reference/files?name=a.csv",
        {"headers": {"Content-Type": "text/csv", "Content-Length": "268435457"}},
    ),
    "unsupported-media-type": ("POST", "/sources/coin_reference/files?name=a.csv", {"json": {}}),
    "unknown-parameter": ("GET", "/stats?colour=red", {}),
    "invalid-parameters": ("GET", "/data?limit=0", {}),
    "invalid-order": ("POST", "/etl/run", {"json": {"partition": "2026-11-03"}}),
    "dagster-unavailable": ("POST", "/etl/run", {}),
}
"""Requests that these errors are the answers to. The others need a Dagster, or time."""


@pytest.mark.parametrize("name", ASKED)
def test_the_example_of_an_error_is_its_answer(filled: Service, name: str) -> None:
    method, target, more = ASKED[name]
    key = api_keys.create(filled.warehouse, name, ["trigger"])
    filled.warehouse.commit()
    headers = {"X-API-Key": key, **more.pop("headers", {})} if method == "POST" else more.pop("headers", {})
    with requests.Session() as session:
        prepared = session.prepare_request(requests.Request(method, filled.url + target, **more))
        prepared.headers.update({k: v for k, v in headers.items() if v is not None})
        response = session.send(prepared, timeout=30)
    assert response.headers["Content-Type"] == "application/problem+json"
    assert {**response.json(), "request_id": ""} == {**PROBLEM_EXAMPLES[name], "request_id": ""}


def test_the_example_of_a_missing_scope_is_its_answer(filled: Service) -> None:
    key = api_keys.create(filled.warehouse, "reader", ["read"])
    filled.warehouse.commit()
    body = requests.post(f"{filled.url}/etl/run", headers={"X-API-Key": key}, timeout=30).text
    shown = json.loads(re.sub("the key [0-9a-f]{12} has", "the key 3f9c0a1b2c3d has", body))
    assert {**shown, "request_id": ""} == {**PROBLEM_EXAMPLES["missing-scope"], "request_id": ""}


def test_the_examples_of_what_cannot_answer_are_its_answers() -> None:
    settings = settings_of("postgresql://127.0.0.1:1/none", KASPARRO_API_RATE_LIMIT=1)
    with serving(create_app(settings)) as url:
        found = {
            name: requests.get(url + path, timeout=30).json()
            for name, path in {
                "database-unavailable": "/data",
                "too-many-requests": "/data",
                "not-ready": "/health/ready",
            }.items()
        }
    for name, body in found.items():
        example = PROBLEM_EXAMPLES[name]
        assert members(body) == members(example)
        assert (body["type"], body["title"], body["status"]) == tuple(
            example[member] for member in ("type", "title", "status")
        )
        assert re.sub(r"\d+", "", body["detail"]) == re.sub(r"\d+", "", example["detail"])
