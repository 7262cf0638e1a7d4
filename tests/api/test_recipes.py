"""The commands of docs/recipes.md, run as they stand there but for the address."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

from tests.api import sample
from tests.api.conftest import Service, service_of
from tests.conftest import PROJECT

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.conftest import Server

ADDRESS = "http://127.0.0.1:8000"
PAGE = (PROJECT / "docs" / "recipes.md").read_text()
BLOCK = re.compile(
    r"(?P<mark><!-- needs Dagster -->\n)?```(?P<language>\w+)\n(?P<code>.*?)```\n"
    r"(?:\nIt prints `(?P<prints>[^`]+)`)?",
    re.DOTALL,
)
SYNTAX = {"sh": ["bash", "-n"], "js": ["node", "--check"]}


@dataclass(frozen=True)
class Recipe:
    """A block of the page."""

    language: str
    code: str
    needs_dagster: bool
    prints: str | None


def recipes(*, need_dagster: bool) -> list[Any]:
    found = []
    for part in re.split(r"(?m)^## ", PAGE)[1:]:
        heading = part.partition("\n")[0]
        for number, match in enumerate(BLOCK.finditer(part), start=1):
            recipe = Recipe(match["language"], match["code"], match["mark"] is not None, match["prints"])
            if recipe.needs_dagster == need_dagster:
                found.append(pytest.param(recipe, id=f"{heading}-{number}-{recipe.language}"))
    return found


@pytest.fixture(scope="module")
def filled(postgres: Server) -> Iterator[Service]:
    with service_of(postgres) as running:
        sample.fill(running.warehouse)
        running.warehouse.commit()
        yield running


def run(recipe: Recipe, folder: Path, *, only_check: bool = False) -> subprocess.CompletedProcess[str]:
    suffix = {"sh": "sh", "python": "py", "js": "mjs"}[recipe.language]
    file = folder / f"recipe.{suffix}"
    file.write_text(recipe.code)
    needed = [name for name in ("curl", "jq", "node") if re.search(rf"\b{name} ", recipe.code)]
    if recipe.language == "js":
        needed = ["node"]
    for name in needed:
        if shutil.which(name) is None and not (only_check and name != "node"):
            pytest.skip(f"{name} is not installed here")
    if recipe.language == "python":
        command = [sys.executable, *(["-m", "py_compile"] if only_check else ["-W", "error"])]
    elif only_check:
        command = SYNTAX[recipe.language]
    else:
        command = ["bash", "-euo", "pipefail"] if recipe.language == "sh" else ["node"]
    return subprocess.run(
        [*command, str(file)],
        cwd=folder,
        env={"PATH": os.environ["PATH"], "HOME": str(folder)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


@pytest.mark.parametrize("recipe", recipes(need_dagster=False))
def test_a_recipe_runs_as_it_stands(recipe: Recipe, filled: Service, tmp_path: Path) -> None:
    assert ADDRESS in recipe.code
    here = Recipe(recipe.language, recipe.code.replace(ADDRESS, filled.url), False, recipe.prints)
    done = run(here, tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stderr == ""
    assert "urn:kasparro:problem" not in done.stdout
    assert done.stdout or list(tmp_path.glob("*s.*")), "it shows nothing, and writes nothing"
    if recipe.prints is not None:
        assert done.stdout.strip() == recipe.prints


@pytest.mark.parametrize("recipe", recipes(need_dagster=True))
def test_the_syntax_of_a_recipe_that_needs_dagster(recipe: Recipe, tmp_path: Path) -> None:
    done = run(recipe, tmp_path, only_check=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_page_is_walked_by_every_language(filled: Service, tmp_path: Path) -> None:
    walks = [
        parameters.values[0]
        for parameters in recipes(need_dagster=False)
        if "Every page" in str(parameters.id)
    ]
    assert [walk.language for walk in walks] == ["sh", "python", "js"]
    for walk in walks:
        code = walk.code.replace(ADDRESS, filled.url)
        done = run(Recipe(walk.language, code, False, None), tmp_path)
        assert done.stdout.split()[0] == "60", (walk.language, done.stdout, done.stderr)
