"""Rewrites a JSON schema so that what a typo in a `defs.yaml` breaks is named, with the allowed values.

`dg check yaml` and editors validate against the schema. A choice (`anyOf`) only says that nothing fitted, and
a forbidden key only that it was unexpected; the same rules as conditions and enumerations say what would fit.
"""

from collections.abc import Callable
from typing import Any

Schema = dict[str, Any]
SCALARS = {"string", "integer", "number", "boolean"}


def readable(schema: Schema) -> Schema:
    """The same rules in the form that gives the better error. Written in place, and returned."""
    _walk(schema, lambda part: _resolve_kind(part, schema.get("$defs", {})))
    return schema


def _walk(part: object, resolve: Callable[[Schema], str | None]) -> None:
    if isinstance(part, list):
        for item in part:
            _walk(item, resolve)
    if not isinstance(part, dict):
        return
    for item in list(part.values()):
        _walk(item, resolve)
    if isinstance(part.get("properties"), dict) and part.get("additionalProperties") is False:
        # as a rule on the key itself the error carries the key's own line
        del part["additionalProperties"]
        names = sorted(part["properties"])
        unknown = f"^(?!(?:{'|'.join(names)})$)"
        part["patternProperties"] = {unknown: {"const": f"one of the keys {', '.join(names)}"}}
    if "discriminator" in part:
        _discriminate(part)
    elif isinstance(part.get("anyOf"), list):
        _choose(part, resolve)


def _discriminate(part: Schema) -> None:
    discriminator = part.pop("discriminator")
    key, mapping = discriminator["propertyName"], discriminator["mapping"]
    part.pop("oneOf")
    part |= {"type": "object", "required": [key], "properties": {key: {"enum": sorted(mapping)}}}
    part["allOf"] = [
        {"if": {"properties": {key: {"const": name}}, "required": [key]}, "then": {"$ref": reference}}
        for name, reference in mapping.items()
    ]


def _choose(part: Schema, resolve: Callable[[Schema], str | None]) -> None:
    """One of several types: what is optional may be left out, the others are told apart by JSON type."""
    choices = [choice for choice in part.pop("anyOf") if choice.get("type") != "null"]
    kinds = [resolve(choice) for choice in choices]
    if len(choices) == 1:
        part |= choices[0] | {key: value for key, value in part.items() if key != "$ref"}
    elif all(
        choice.keys() <= {"type"} and kind in SCALARS for choice, kind in zip(choices, kinds, strict=True)
    ):
        part["type"] = kinds
    else:
        # the last choice is the fallback, so that its error is the one that is reported
        ordered = sorted(zip(kinds, choices, strict=True), key=lambda pair: pair[0] in SCALARS)
        (_, rule), *others = reversed(ordered)
        for kind, choice in others:
            rule = {"if": {"type": kind}, "then": choice, "else": rule}
        part |= rule


def _resolve_kind(part: Schema, definitions: dict[str, Schema]) -> str | None:
    if "$ref" in part:
        part = definitions[part["$ref"].rpartition("/")[2]]
    kind: str | None = part.get("type")
    return kind
