"""What the documents say agrees with the code."""

from __future__ import annotations

import importlib.util
import re
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from kasparro_api.settings import ApiSettings
from kasparro_pipeline.components import RestSource
from kasparro_pipeline.components.settings import PipelineSettings
from kasparro_pipeline.stack.settings import StackSettings
from kasparro_pipeline.warehouse.settings import WarehouseSettings
from tests.conftest import PROJECT

if TYPE_CHECKING:
    from pydantic_settings import BaseSettings

README = (PROJECT / "README.md").read_text()
DOCUMENTS = [PROJECT / "README.md", *sorted((PROJECT / "docs").glob("*.md")), PROJECT / "data/README.md"]


def settings_rows() -> list[str]:
    """The rows of the settings table: one a setting, from the classes that read them."""
    classes: tuple[type[BaseSettings], ...] = (
        WarehouseSettings,
        StackSettings,
        PipelineSettings,
        ApiSettings,
    )
    rows: dict[str, str] = {}
    for settings in classes:
        for field in settings.model_fields.values():
            default = "" if field.default is None else f"`{field.default}`"
            name = str(field.validation_alias)
            rows.setdefault(name, f"| `{name}` | {default} | {field.description} |")
    return list(rows.values())


def test_the_readme_has_a_row_for_each_setting() -> None:
    missing = [row for row in settings_rows() if row not in README]
    assert missing == []


def test_the_example_source_of_the_readme_is_a_source_in_at_most_fifteen_lines() -> None:
    [example] = re.findall(r"```yaml\n(.*?)```", README, re.DOTALL)
    assert len(example.splitlines()) <= 15
    written: dict[str, Any] = yaml.safe_load(example)
    assert written["type"] == "kasparro_pipeline.components.RestSource"
    spec = RestSource.spec_class.model_validate(written["attributes"])
    assert RestSource(spec).source("exchanges").uri == "https://api.example.com/v1/exchanges"


def test_the_page_of_source_keys_is_what_the_models_say() -> None:
    script = importlib.util.spec_from_file_location("make_sources", PROJECT / "docs/make_sources.py")
    assert script is not None
    assert script.loader is not None
    module = importlib.util.module_from_spec(script)
    script.loader.exec_module(module)
    assert (PROJECT / "docs/sources.md").read_text() == module.page()


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_every_link_to_a_file_of_the_project_leads_to_one(document: Any) -> None:
    targets = re.findall(r"\]\((?!https?://|#)([^)#]+)", document.read_text())
    assert [target for target in targets if not (document.parent / target).exists()] == []


def test_every_make_target_that_the_readme_names_exists() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (PROJECT / "Makefile").read_text(), re.MULTILINE))
    assert set(re.findall(r"make ([a-z-]+)", README)) <= targets
