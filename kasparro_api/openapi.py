"""What the OpenAPI document says beside the routes' own signatures."""

from typing import Any

from pydantic import BaseModel


def query_parameters(model: type[BaseModel]) -> dict[str, Any]:
    """The fields of `model` as query parameters, for a route that reads its query string itself."""
    parameters = []
    for name, schema in model.model_json_schema()["properties"].items():
        schema.pop("title", None)
        description = schema.pop("description", "")
        parameter = {"name": name, "in": "query", "required": False, "description": description}
        if examples := schema.pop("examples", None):
            parameter["example"] = examples[0]
        parameters.append({**parameter, "schema": schema})
    return {"parameters": parameters}
