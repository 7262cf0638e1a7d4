"""A source whose requests come from another one stands behind it in the lineage; nothing more follows."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import dagster as dg
import pytest
import requests
import yaml

from kasparro_pipeline.components import CsvSource, RestSource
from kasparro_pipeline.components.resources import Warehouse
from kasparro_pipeline.stack.ports import any_free
from tests.conftest import PROJECT
from tests.integration.conftest import Pipeline

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.integration.conftest import Upstream

CHILD: dict[str, Any] = {
    "base_url": "https://api.example.com",
    "path": "/v1/{parent.id}",
    "kind": "thing",
    "key": "id",
    "fields": {"title": {"path": "name"}},
}
CHILDREN = {
    "behind_rest": "coinpaprika_tickers",
    "behind_csv": "coin_reference",
    "behind_feed": "crypto_news",
}
"""Sources whose parents have daily partitions, partitions of files, and daily ones of another start."""
ASSETS = """
query { assetNodes {
  assetKey { path } dependencyKeys { path } jobNames
  automationCondition { label }
} }
"""
START_SECONDS = 120


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A copy of what makes the code location, with sources behind those that there are."""
    copy = tmp_path / "project"
    ignored = shutil.ignore_patterns("__pycache__", "stack")
    shutil.copytree(PROJECT / "kasparro_pipeline", copy / "kasparro_pipeline", ignore=ignored)
    shutil.copy(PROJECT / "pyproject.toml", copy)
    (copy / "home").mkdir()
    for name, parent in CHILDREN.items():
        folder = copy / "kasparro_pipeline/defs" / name
        folder.mkdir()
        attributes = CHILD | {"parent": {"source": parent}, "start_date": "2024-01-01"}
        written = {"type": "kasparro_pipeline.components.RestSource", "attributes": attributes}
        (folder / "defs.yaml").write_text(yaml.safe_dump(written))
    return copy


def environment(project: Path) -> dict[str, str]:
    return {
        **os.environ,
        "PYTHONPATH": str(project),
        "DAGSTER_HOME": str(project / "home"),
        "VIRTUAL_ENV": sys.prefix,
        "PYTHONWARNINGS": "ignore",
    }


@pytest.fixture
def webserver(project: Path) -> Iterator[str]:
    port = any_free(None)
    command = ["-m", "dagster_webserver", "-m", "kasparro_pipeline.definitions", "-h", "127.0.0.1"]
    with (project / "log").open("w") as log:
        started = subprocess.Popen(
            [sys.executable, *command, "-p", str(port)],
            cwd=project,
            env=environment(project),
            stdout=log,
            stderr=log,
        )
    address = f"http://127.0.0.1:{port}"
    try:
        deadline = time.monotonic() + START_SECONDS
        while True:
            assert started.poll() is None, (project / "log").read_text()
            assert time.monotonic() < deadline, (project / "log").read_text()
            try:
                requests.get(f"{address}/server_info", timeout=5)
                break
            except requests.ConnectionError:
                time.sleep(0.2)
        yield address
    finally:
        started.terminate()
        started.wait(60)


def test_the_lineage_leads_from_the_parents_unified_records_to_raw_and_no_job_has_both(
    project: Path, webserver: str
) -> None:
    checked = subprocess.run(
        [str(Path(sys.executable).parent / "dg"), "check", "defs"],
        cwd=project,
        env=environment(project),
        capture_output=True,
        text=True,
        check=False,
    )
    assert checked.returncode == 0, checked.stdout + checked.stderr

    answer = requests.post(f"{webserver}/graphql", json={"query": ASSETS}, timeout=60).json()

    assert "errors" not in answer, answer
    nodes = {"/".join(node["assetKey"]["path"]): node for node in answer["data"]["assetNodes"]}
    for name, parent in CHILDREN.items():
        raw = nodes[f"raw/{name}"]
        assert raw["dependencyKeys"] == [{"path": ["unified", parent]}]
        assert not [job for job in raw["jobNames"] if parent in job]
        assert not [job for job in nodes[f"unified/{parent}"]["jobNames"] if name in job]
    assert all(node["automationCondition"] is None for node in nodes.values())


@pytest.mark.parametrize("of_files", [True, False])
def test_a_run_of_a_child_starts_nothing_of_its_parent_and_waits_for_nothing(
    upstream: Upstream,
    instance: dg.DagsterInstance,
    warehouse: Any,
    database_url: str,
    folder: Path,
    *,
    of_files: bool,
) -> None:
    plain = {"kind": "thing", "key": "id", "fields": {"title": {"path": "name"}}}
    http = {"attempts": 1, "allow_private_hosts": ["127.0.0.1"]}
    rest = plain | {"base_url": upstream.address, "http": http}
    if of_files:
        parent: Any = CsvSource(CsvSource.spec_class.model_validate(plain | {"files": f"{folder}/*.csv"}))
        (folder / "a.csv").write_text("id,name\n1,one\n")
    else:
        parent = RestSource(RestSource.spec_class.model_validate(rest | {"path": "/parents"}))
    child = RestSource(
        RestSource.spec_class.model_validate(rest | {"path": "/{parent.id}", "parent": {"source": "parents"}})
    )
    resources = {"warehouse": Warehouse(database_url=database_url)}
    common = dg.Definitions(resources=resources, executor=dg.in_process_executor)
    definitions = dg.Definitions.merge(parent.definitions("parents"), child.definitions("children"), common)
    graph = definitions.resolve_asset_graph()
    mapping = graph.get(dg.AssetKey(["raw", "children"])).partition_mappings
    assert mapping == {dg.AssetKey(["unified", "parents"]): dg.AllPartitionMapping()}
    pipeline = Pipeline(definitions, instance, warehouse)
    upstream.answers |= {"/parents": [{"id": 1, "name": "one"}], "/1": [{"id": "c", "name": "child"}]}
    if of_files:
        pipeline.add_files("parents", "a.csv")
    assert pipeline.run("parents", "a.csv" if of_files else None).success
    upstream.answers["/parents"] = b"down"
    if not of_files:
        assert not pipeline.run("parents").success

    run = pipeline.run("children")

    assert run.success, run.failure
    assert {event.asset_key.path[1] for event in run.result.get_asset_materialization_events()} == {  # type: ignore[union-attr]
        "children"
    }
    assert pipeline.unified("children")["c"]["title"] == "child"


def test_a_source_that_names_itself_as_its_parent_is_refused_by_name() -> None:
    spec = RestSource.spec_class.model_validate(CHILD | {"parent": {"source": "it"}})
    with pytest.raises(ValueError, match="`it` names itself as its `parent`"):
        RestSource(spec).definitions("it")
