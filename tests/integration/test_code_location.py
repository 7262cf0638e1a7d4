"""The code location as `dg` and Dagster's servers load it: components, YAML errors, names that agree."""

from __future__ import annotations

import json
import tomllib
from typing import TYPE_CHECKING

import pytest
import yaml
from jsonschema import Draft202012Validator

from kasparro_pipeline import components
from tests.conftest import PROJECT
from tests.integration.conftest import run_dg

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.commands
SOURCES = ("coin_reference", "coingecko_markets", "coinpaprika_ohlcv", "coinpaprika_tickers", "crypto_news")


def test_dg_lists_the_three_components_with_a_sentence_each(project: Path) -> None:
    listed = run_dg(project, "list", "components", "--json")

    found = {item["key"]: item["summary"] for item in json.loads(listed.stdout)["items"]}
    for name in ("CsvSource", "FeedSource", "RestSource"):
        assert found[f"kasparro_pipeline.components.{name}"]


def test_dg_finds_yaml_and_definitions_right(project: Path) -> None:
    checked = run_dg(project, "check", "yaml")
    assert checked.returncode == 0, checked.stdout + checked.stderr
    loaded = run_dg(project, "check", "defs")
    assert loaded.returncode == 0, loaded.stdout + loaded.stderr


def test_dg_lists_three_assets_and_their_checks_for_each_source(project: Path) -> None:
    listed = run_dg(project, "list", "defs", "--json")

    found = json.loads(listed.stdout)
    keys = {asset["asset_key"] for asset in found["assets"]}
    assert keys == {f"{layer}/{name}" for layer in ("raw", "validated", "unified") for name in SOURCES}
    assert len(found["asset_checks"]) == 9 * len(SOURCES)
    replays = {f"replay_rejected_{name}" for name in SOURCES}
    assert {job["name"] for job in found["jobs"]} == {*SOURCES, *replays, "freshness"}


@pytest.mark.parametrize(
    ("written", "typo", "line", "allowed"),
    [
        ('schedule: "', 'shedule: "', None, "schedule"),
        ("type: number, required", "type: nummber, required", None, "'timestamp'"),
        ("  kind: price\n", "", 3, "'kind' is a required property"),
        ("path: /v1/tickers", "path: [1]", None, "'string'"),
        ("path: name,", "pth: name,", None, "path, pattern, precision, required"),
    ],
)
def test_a_typo_is_reported_with_file_line_and_allowed_values(
    project: Path, written: str, typo: str, line: int | None, allowed: str
) -> None:
    file = project / "kasparro_pipeline/defs/coinpaprika_tickers/defs.yaml"
    text = file.read_text()
    assert written in text
    file.write_text(text.replace(written, typo))
    line = line or text[: text.index(written)].count("\n") + 1  # what is missing is missed at its parent

    checked = run_dg(project, "check", "yaml", "kasparro_pipeline/defs/coinpaprika_tickers")

    assert checked.returncode != 0
    assert f"coinpaprika_tickers/defs.yaml:{line} - " in checked.stdout
    assert allowed in checked.stdout


@pytest.mark.parametrize("source", SOURCES)
def test_each_defs_yaml_fits_the_schema_that_editors_read(source: str) -> None:
    # `dg check yaml` without a path looks at one file of each component type only
    written = yaml.safe_load((PROJECT / f"kasparro_pipeline/defs/{source}/defs.yaml").read_text())
    component = getattr(components, written["type"].rpartition(".")[2])

    errors = list(
        Draft202012Validator(component.spec_class.model_json_schema()).iter_errors(written["attributes"])
    )

    assert errors == []


def test_workspace_and_pyproject_give_the_code_location_one_name() -> None:
    workspace = yaml.safe_load((PROJECT / "workspace.yaml").read_text())
    project = tomllib.loads((PROJECT / "pyproject.toml").read_text())

    [location] = workspace["load_from"]
    assert location["grpc_server"]["location_name"] == project["tool"]["dg"]["project"]["code_location_name"]


def test_a_source_of_a_known_kind_is_fifteen_lines_of_yaml(project: Path) -> None:
    lines = [
        "type: kasparro_pipeline.components.RestSource",
        "attributes:",
        "  base_url: https://api.example.com",
        "  path: /v1/exchanges",
        "  records: data",
        "  kind: exchange",
        "  key: id",
        "  fields:",
        "    title: {path: name, required: true}",
        "    url: {path: links.website}",
        "    volume: {type: number}",
    ]
    assert len(lines) <= 15
    folder = project / "kasparro_pipeline/defs/exchanges"
    folder.mkdir()
    (folder / "defs.yaml").write_text("\n".join(lines))

    listed = json.loads(run_dg(project, "list", "defs", "--json").stdout)

    assert "unified/exchanges" in {asset["asset_key"] for asset in listed["assets"]}
