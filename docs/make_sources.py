"""Writes docs/sources.md from the models that read a `defs.yaml`: `python docs/make_sources.py`."""

from datetime import timedelta
from pathlib import Path
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel, JsonValue, TypeAdapter
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from kasparro_pipeline.components import CsvSource, FeedSource, RestSource
from kasparro_pipeline.components.component import SourceComponent

PAGE = Path(__file__).parent / "sources.md"
TYPES = {"str": "text", "int": "integer", "float": "number", "bool": "true or false", "timedelta": "duration"}
INTRODUCTION = """# Sources

A source is a folder below `kasparro_pipeline/defs/` with a `defs.yaml`: a `type` and its `attributes`. The
folder's name is the source's. This page lists every key. `docs/make_sources.py` writes it from the models
that read the file, and a test holds the two together.

A field fills the shared column of its name: `title`, `summary`, `url`, `category`, `author`, `tags` (list),
`amount` (number), `currency`, `published_at` (timestamp). A field of another name goes to `attributes`.
[contracts.md](contracts.md) says what fields, rules and modes do to a record, [snapshots.md](snapshots.md)
what `mode: snapshot` does about records that are gone.
Durations are ISO 8601: `PT6H` is six hours, `P8D` eight days.
"""


def page() -> str:
    """The whole page."""
    parts: dict[str, type[BaseModel]] = {}
    sections = [
        INTRODUCTION,
        *(_section(component, parts) for component in (RestSource, CsvSource, FeedSource)),
    ]
    done: set[str] = set()
    while waiting := [name for name in parts if name not in done]:
        for name in waiting:
            done.add(name)
            sections.append(f"## {name}\n\n{_summary(parts[name])}\n\n{_table(parts[name], parts)}")
    return "\n".join(sections)


def _section(component: type[SourceComponent], parts: dict[str, type[BaseModel]]) -> str:
    name = component.__name__
    heading = f"## {name}\n\n{_summary(component)} `type: kasparro_pipeline.components.{name}`"
    return f"{heading}\n\n{_table(component.spec_class, parts)}"


def _table(model: type[BaseModel], parts: dict[str, type[BaseModel]]) -> str:
    rows = ["| key | type | default | meaning |", "| --- | --- | --- | --- |"]
    required = [item for item in model.model_fields.items() if item[1].is_required()]
    optional = [item for item in model.model_fields.items() if not item[1].is_required()]
    for name, field in required + optional:
        meaning = (field.description or "").replace("\n", " ").replace("|", "\\|")
        rows.append(f"| `{name}` | {_type(field.annotation, parts)} | {_default(field)} | {meaning} |")
    return "\n".join(rows) + "\n"


def _type(annotation: Any, parts: dict[str, type[BaseModel]]) -> str:  # noqa: ANN401 - any annotation
    if annotation is JsonValue:
        return "any value"
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is None:
        return _plain_type(annotation, parts)
    if origin is Literal:
        return ", ".join(f"`{value}`" for value in arguments)
    if origin in (Union, UnionType):
        return " or ".join(_type(item, parts) for item in arguments if item is not type(None))
    before = {dict: "mapping of ", tuple: "list of "}.get(origin, "")
    return before + _type(arguments[1 if origin is dict else 0], parts)


def _plain_type(annotation: type, parts: dict[str, type[BaseModel]]) -> str:
    name = annotation.__name__
    if issubclass(annotation, BaseModel):
        parts.setdefault(name, annotation)
        return f"[{name}](#{name.lower()})"
    return TYPES.get(name, name)


def _default(field: FieldInfo) -> str:
    default = field.get_default(call_default_factory=True)
    if field.is_required() or default is PydanticUndefined:
        return "required"
    if default is None or default in ({}, (), ""):
        return ""
    if isinstance(default, BaseModel):
        return "as below"
    if isinstance(default, timedelta):
        return f"`{TypeAdapter(timedelta).dump_python(default, mode='json')}`"
    return f"`{', '.join(default) if isinstance(default, tuple) else default}`"


def _summary(documented: type) -> str:
    return (documented.__doc__ or "").partition("\n\n")[0].replace("\n    ", " ").strip()


if __name__ == "__main__":
    PAGE.write_text(page())
