"""What the OpenAPI document says beside the routes' own signatures: tags, keys, headers, errors by example.

Texts and examples of one route alone stand beside that route.
"""

import json
import re
from collections.abc import Sequence
from importlib.resources import files
from typing import Any

from fastapi.routing import APIRoute
from pydantic import BaseModel
from starlette.routing import BaseRoute

from kasparro_api.access.guard import WATCHING
from kasparro_api.problems import MEDIA_TYPE
from kasparro_api.shapes import Problem

JsonObject = dict[str, Any]

PROBLEM_EXAMPLES: dict[str, JsonObject] = json.loads(
    (files("kasparro_api") / "problem_examples.json").read_text(encoding="utf-8")
)
"""Errors as they were answered, by name."""
ANYWHERE = frozenset(
    {
        "missing-key",
        "invalid-key",
        "missing-scope",
        "unknown-parameter",
        "too-many-requests",
        "database-unavailable",
    }
)
"""Those that any path can answer with; another one is of the path in its `instance`."""
TAGS = (
    ("data", "The records, one by one, as pages, and as files; the sources and categories that they have."),
    ("runs", "What the pipeline did: its runs, compared, and summed up."),
    ("trigger", "Asking Dagster for runs, and uploads. Always with a key of scope `trigger`."),
    ("operation", "For what watches the service: `/health` and `/metrics` need no key and are not limited."),
)
KEYS = {
    "ApiKey": {
        "type": "apiKey",
        "in": "header",
        "name": "X-API-Key",
        "description": "`kasparro keys create` makes a key.",
    },
    "Bearer": {
        "type": "http",
        "scheme": "bearer",
        "description": "The same key as `Authorization: Bearer`; with both headers, `X-API-Key` counts.",
    },
}
_EITHER: list[JsonObject] = [{name: []} for name in KEYS]

_TEXT = {"type": "string"}
HEADERS: JsonObject = {
    "X-Request-ID": {
        "description": "Names the request in the log; the client's own if it is well formed.",
        "schema": {"type": "string", "pattern": "^[A-Za-z0-9._-]{1,128}$"},
        "example": "5199f83efa634d8f8d5c7e6a96b2a7e0",
        "required": True,
    },
    "X-API-Latency-MS": {
        "description": "Milliseconds from the request's arrival to the start of the answer.",
        "schema": {"type": "number"},
        "example": 3.717,
        "required": True,
    },
    "RateLimit-Policy": {
        "description": "The quota `q` of a window of `w` seconds. Absent where nothing is limited.",
        "schema": _TEXT,
        "example": '"default";q=6000;w=60',
    },
    "RateLimit": {
        "description": "What is left of the quota, `r`, for the next `t` seconds.",
        "schema": _TEXT,
        "example": '"default";r=5993;t=58',
    },
    "ETag": {
        "description": "The version of the data and of the query: send it as `If-None-Match`.",
        "schema": _TEXT,
        "example": '"16-1795264570858971-1b56ab8d7992e6ac"',
    },
    "Last-Modified": {
        "description": "When any record last changed.",
        "schema": _TEXT,
        "example": "Sat, 21 Nov 2026 12:36:10 GMT",
    },
    "Link": {
        "description": "The next page, `rel=next` (RFC 8288). Absent on the last one.",
        "schema": _TEXT,
        "example": '<http://127.0.0.1:8000/data?limit=1&cursor=ActaNYAiteaRODg4>; rel="next"',
    },
    "Content-Disposition": {
        "description": "The name under which a browser stores the file.",
        "schema": _TEXT,
        "example": 'attachment; filename="kasparro-data.csv"',
    },
    "Location": {
        "description": "Path of the run, where there is exactly one.",
        "schema": _TEXT,
        "example": "/runs/c07a9648-0a2c-41f2-8ee8-d06ea51589f3",
    },
    "Retry-After": {
        "description": "Seconds after which to ask again.",
        "schema": {"type": "integer", "minimum": 0},
        "example": 5,
    },
    "WWW-Authenticate": {
        "description": "How to send a key (RFC 6750).",
        "schema": _TEXT,
        "example": 'Bearer realm="kasparro"',
    },
}
_ON_EVERY = ("X-Request-ID", "X-API-Latency-MS")
_LIMITED = ("RateLimit", "RateLimit-Policy")
_ON_STATUS = {
    "202": ("Location",),
    "401": ("WWW-Authenticate",),
    "403": ("WWW-Authenticate",),
    "429": ("Retry-After",),
    "503": ("Retry-After",),
}
SHARED: dict[int | str, JsonObject] = {
    401: {"model": Problem, "description": "The key is missing where one is needed, or not valid."},
    403: {"model": Problem, "description": "The key does not have the scope."},
    422: {"model": Problem, "description": "A parameter is unknown or has a value that is not allowed."},
    429: {"model": Problem, "description": "Too many requests; see Retry-After."},
    503: {"model": Problem, "description": "The database cannot answer; see Retry-After."},
}
"""The error answers of every operation, as FastAPI takes them; a route's own texts go before these."""
_NOT_OF_WATCHING = ("401", "403", "429", "503")
# as str.strip sees it; JSON Schema's \s lacks some
_NOT_BLANK = r"[^\s\x1c-\x1f\x85]"


def query_parameters(model: type[BaseModel], **examples: object) -> JsonObject:
    """The fields of `model` as query parameters, for a route that reads its query string itself.

    `examples` has one of each parameter by name.
    """
    parameters = []
    for name, field in model.model_json_schema().get("properties", {}).items():
        schema = {
            key: value for key, value in field.items() if key not in {"title", "examples", "description"}
        }
        parameters.append(
            query_parameter(name, field.get("description", ""), _plain(schema), examples.get(name))
        )
    return {"parameters": parameters}


def query_parameter(name: str, description: str, schema: JsonObject, example: object) -> JsonObject:
    """One query parameter. It may be left out, and a form for trying it begins empty.

    So the example is the schema's: that of the parameter itself would be filled in.
    """
    shown = schema if example is None else {**schema, "examples": [example]}
    return {"name": name, "in": "query", "description": description, "schema": shown}


def not_blank(**more: object) -> JsonObject:
    """The schema of a text that is compared with what the database has."""
    return {"type": "string", "pattern": _NOT_BLANK, **more}


def _plain(schema: JsonObject) -> JsonObject:
    """The schema of what can be sent: a query string has no null, and a text in it is not blank."""
    if "anyOf" in schema:
        [sent] = [option for option in schema.pop("anyOf") if option != {"type": "null"}]
        schema = {**sent, **schema}
    if schema.get("default", ...) is None:
        del schema["default"]
    if schema.get("type") == "array":
        schema = {**schema, "items": _plain(schema["items"])}
    if schema.get("type") == "string" and not schema.keys() & {"enum", "format", "pattern"}:
        schema = {**schema, "pattern": _NOT_BLANK}
    return schema


def answer_headers(*names: str) -> JsonObject:
    """These headers of an answer, as FastAPI takes them."""
    return {"headers": {name: {"$ref": f"#/components/headers/{name}"} for name in names}}


def complete(document: JsonObject, routes: Sequence[BaseRoute], *, is_open: bool) -> None:
    """Add to the document that FastAPI made of `routes` what all operations have in common.

    `is_open` says whether reading needs no key.
    """
    components = document["components"]
    for model in _models(routes):  # FastAPI takes the nulls out of examples
        extra = model.model_config.get("json_schema_extra")
        if isinstance(extra, dict) and "example" in extra:
            components["schemas"][model.__name__]["example"] = extra["example"]
    components["securitySchemes"] = KEYS
    components["headers"] = HEADERS
    components["examples"] = {
        name: {"summary": example["title"], "value": example} for name, example in PROBLEM_EXAMPLES.items()
    }
    used = set()
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            used |= set(operation["tags"])
            _complete(operation, path, needs_key=method == "post" or not is_open)
    document["tags"] = [{"name": name, "description": text} for name, text in TAGS if name in used]


def _models(routes: Sequence[BaseRoute]) -> set[type[BaseModel]]:
    """The models of the routes' answers."""
    documented = [route for route in routes if isinstance(route, APIRoute) and route.include_in_schema]
    found = {route.response_model for route in documented}
    found |= {answer.get("model") for route in documented for answer in route.responses.values()}
    return {model for model in found if isinstance(model, type) and issubclass(model, BaseModel)}


def _complete(operation: JsonObject, path: str, *, needs_key: bool) -> None:
    watches = path in WATCHING
    operation["security"] = [] if watches else _EITHER if needs_key else [{}, *_EITHER]
    answers = operation["responses"]
    for status in _NOT_OF_WATCHING if watches else ():
        if answers[status]["description"] == SHARED[int(status)]["description"]:
            del answers[status]
    operation["responses"] = dict(sorted(answers.items()))
    for status, answer in answers.items():
        names = [*_ON_EVERY, *_ON_STATUS.get(status, ()), *([] if watches else _LIMITED)]
        answer["headers"] = {**answer.get("headers", {}), **answer_headers(*names)["headers"]}
        if status >= "400":
            examples = {name: {"$ref": f"#/components/examples/{name}"} for name in _fitting(path, status)}
            schema = {"$ref": "#/components/schemas/Problem"}
            answer["content"] = {MEDIA_TYPE: {"schema": schema, "examples": examples}}


def _fitting(path: str, status: str) -> list[str]:
    """The examples of an error: those of the path and of any path, else those of the status."""
    template = re.compile(re.sub(r"\\{\w+\\}", "[^/]+", re.escape(path)))
    found = [name for name, example in PROBLEM_EXAMPLES.items() if str(example["status"]) == status]
    own = [
        name for name in found if name in ANYWHERE or template.fullmatch(PROBLEM_EXAMPLES[name]["instance"])
    ]
    return own or found
