"""docs/new-source.md: its commands run, one after the other, and what it shows of a file is in the file."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from kasparro_pipeline.components import CsvSource, FeedSource, RestSource
from tests.conftest import PROJECT

if TYPE_CHECKING:
    import psycopg
    from pydantic import BaseModel

pytestmark = pytest.mark.commands
PAGE = (PROJECT / "docs" / "new-source.md").read_text("utf-8")
SANDBOX = "http://127.0.0.1:8900"
NEED_THE_STACK = ("eval ", "curl ")


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)


COMMANDS = [
    line for block in blocks("sh") for line in block.splitlines() if not line.startswith(NEED_THE_STACK)
]


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A copy of the project, with the commands where the page has them."""
    copy = tmp_path / "project"
    ignored = shutil.ignore_patterns("__pycache__")
    shutil.copytree(PROJECT / "kasparro_pipeline", copy / "kasparro_pipeline", ignore=ignored)
    shutil.copytree(PROJECT / "data" / "coin_reference", copy / "data" / "coin_reference")
    shutil.copy(PROJECT / "pyproject.toml", copy)
    (copy / "dagster-home").mkdir()
    return copy


def test_the_page_runs_step_by_step(
    project: Path, sandbox: str, database_url: str, warehouse: psycopg.Connection[Any]
) -> None:
    environment = {
        **os.environ,
        "PYTHONPATH": str(project),
        "DAGSTER_HOME": str(project / "dagster-home"),
        "DATABASE_URL": database_url,
        "KASPARRO_SANDBOX_URL": sandbox,
        "VIRTUAL_ENV": sys.prefix,
        "COLUMNS": "400",
    }
    told: dict[str, str] = {}
    for line in COMMANDS:
        command = line.replace(SANDBOX, sandbox).replace(".venv/bin/", f"{Path(sys.executable).parent}/")
        done = subprocess.run(
            ["bash", "-c", command],
            cwd=project,
            env=environment,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == 0, f"{line}\n{done.stdout}\n{done.stderr}"
        told[" ".join(shlex.split(line)[1:3])] = done.stdout

    written = (project / "kasparro_pipeline/defs/coin_prices/defs.yaml").read_text("utf-8")
    for shown in blocks("yaml"):
        assert shown in written
    assert "Nothing was written." in told["source try"]
    [(count,)] = warehouse.execute(
        "select count(*) from kasparro.unified_record where source = 'coin_prices'"
    ).fetchall()
    assert count > 200
    [listed] = [line for line in told["source list"].splitlines() if line.startswith("coin_prices ")]
    assert listed.split()[1] == "rest"
    assert f" {count} " in f"{listed} "


@pytest.mark.parametrize("component", [RestSource, CsvSource, FeedSource])
def test_the_page_names_every_param(component: Any) -> None:
    params: type[BaseModel] = component.__scaffolder_cls__().get_scaffold_params()

    table = PAGE.partition("## Params")[2]
    named = {
        name
        for row in re.findall(r"^\| (`[^|]+) \| ([^|]+) \|", table, re.MULTILINE)
        if component.__name__ in row[1] or row[1] == "all"
        for name in re.findall(r"`(\w+)`", row[0])
    }
    assert named == set(params.model_fields)
