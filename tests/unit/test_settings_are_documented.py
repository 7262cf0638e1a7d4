""".env.example lists every setting with its default, and nothing else."""

import re
from pathlib import Path

import pytest
from pydantic_settings import BaseSettings

from kasparro_api.settings import ApiSettings
from kasparro_pipeline.components.settings import PipelineSettings
from kasparro_pipeline.stack.sandbox.__main__ import SandboxSettings
from kasparro_pipeline.stack.settings import StackSettings
from kasparro_pipeline.warehouse.settings import WarehouseSettings

EXAMPLE = Path(__file__).parents[2] / ".env.example"
CLASSES = (WarehouseSettings, PipelineSettings, StackSettings, SandboxSettings, ApiSettings)
ONLY_COMPOSE = {"POSTGRES_PASSWORD"}


def _documented() -> dict[str, str]:
    return dict(re.findall(r"^# ([A-Z_]+)=(.*)$", EXAMPLE.read_text(), re.MULTILINE))


def _defaults(settings: type[BaseSettings]) -> dict[str, str]:
    return {
        str(field.validation_alias): "" if field.default is None else str(field.default)
        for field in settings.model_fields.values()
    }


@pytest.mark.parametrize("settings", CLASSES)
def test_every_setting_is_documented_with_its_default(settings: type[BaseSettings]) -> None:
    documented = _documented()
    assert {name: documented.get(name) for name in _defaults(settings)} == _defaults(settings)


def test_nothing_else_is_documented() -> None:
    known = set().union(*(_defaults(settings) for settings in CLASSES))
    assert set(_documented()) == known | ONLY_COMPOSE


def test_every_setting_has_a_line_that_says_what_it_is() -> None:
    blocks = EXAMPLE.read_text().split("\n\n")
    assert [block for block in blocks if re.match(r"# [A-Z_]+=", block)] == []
