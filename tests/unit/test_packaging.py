"""The dependencies are pinned, and what is declared is what is tested."""

import re
import tomllib
from importlib.metadata import entry_points
from pathlib import Path

import pytest

PROJECT = Path(__file__).parents[2]
LOCKS = ("bootstrap", "run", "dev", "peers")


def _lock(name: str) -> str:
    return (PROJECT / "requirements" / f"{name}.lock").read_text()


def _pins(name: str) -> dict[str, str]:
    return dict(re.findall(r"^([a-z0-9._-]+)==([^ ;]+)", _lock(name), re.MULTILINE))


def _declared(section: str) -> dict[str, str | None]:
    project = tomllib.loads((PROJECT / "pyproject.toml").read_text())
    entries = project["project"]["dependencies"] if section == "run" else project["dependency-groups"]["dev"]
    parsed = {}
    for entry in entries:
        match = re.fullmatch(r"([a-z0-9-]+)(?:\[[a-z0-9]+\])?(?:>=([0-9.]+))?(?:; .+)?", entry)
        assert match, f"{entry} is not a plain lower bound"
        parsed[match[1]] = match[2]
    return parsed


@pytest.mark.parametrize("section", ["run", "dev"])
def test_every_declared_dependency_is_locked(section: str) -> None:
    assert set(_declared(section)) <= set(_pins(section))


@pytest.mark.parametrize("section", ["run", "dev"])
def test_a_lower_bound_is_the_version_that_the_tests_run_on(section: str) -> None:
    pins = _pins(section)
    bounds = {name: bound for name, bound in _declared(section).items() if bound is not None}
    assert {name: pins[name] for name in bounds} == bounds


def test_the_tests_run_on_the_versions_that_are_deployed() -> None:
    deployed, tested = _pins("run"), _pins("dev")
    assert {name: tested.get(name) for name in deployed} == deployed


@pytest.mark.parametrize("name", LOCKS)
def test_a_lock_names_no_registry(name: str) -> None:
    assert "://" not in _lock(name)
    assert "index-url" not in _lock(name)


@pytest.mark.parametrize("name", LOCKS)
def test_every_locked_version_has_a_hash(name: str) -> None:
    entries = re.split(r"\n(?=\S)", _lock(name).strip())
    assert entries
    assert [entry for entry in entries if "--hash=sha256:" not in entry] == []


def test_the_bootstrap_installs_the_installer_alone() -> None:
    assert list(_pins("bootstrap")) == ["uv"]


def test_dagsters_ui_finds_the_docs_of_the_components() -> None:
    # it asks the entry points of installed packages, where dg reads pyproject.toml
    named = entry_points(group="dagster_dg_cli.registry_modules")
    assert "kasparro_pipeline.components" in [one.value for one in named]
