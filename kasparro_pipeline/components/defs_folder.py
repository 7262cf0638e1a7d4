"""Reads the sources of a `defs/` folder without Dagster's code location: what a look at one of them needs."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from kasparro_pipeline import components
from kasparro_pipeline.components.component import SourceComponent


class DefsFileError(ValueError):
    """A `defs.yaml` that makes no source. The message says where, and what is wrong."""


def names(defs: Path) -> Iterator[str]:
    """The sources by name."""
    return (file.parent.name for file in sorted(defs.glob("*/defs.yaml")))


def component(defs: Path, name: str) -> SourceComponent:
    """The component of a source.

    Raises:
        DefsFileError: its `defs.yaml` is not there, or makes no source.
    """
    file = defs / name / "defs.yaml"
    try:
        written = yaml.safe_load(file.read_text("utf-8"))
    except (OSError, yaml.YAMLError) as error:
        raise DefsFileError(f"{file} cannot be read: {error}") from error
    kind = written.get("type") if isinstance(written, dict) else None
    kinds = {f"{components.__name__}.{one}": getattr(components, one) for one in components.__all__}
    if kind not in kinds:
        raise DefsFileError(f"{file} has the type {kind!r}, which is none of {', '.join(kinds)}.")
    made: type[SourceComponent] = kinds[kind]
    try:
        return made(made.spec_class.model_validate(written.get("attributes")))
    except ValidationError as error:
        raise DefsFileError(
            f"{file} makes no source: {_faults(error)}. See: dg check yaml {file.parent}"
        ) from error


def _faults(error: ValidationError) -> str:
    found: list[Any] = error.errors(include_url=False)
    return "; ".join(f"{'.'.join(map(str, one['loc']))}: {one['msg']}" for one in found)
