"""workspace.yaml, pyproject.toml, dagster.yaml and the stack's own commands agree with each other."""

import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from dagster import DagsterInstance
from dagster._core.run_coordinator import QueuedRunCoordinator
from dagster._core.workspace.config_schema import ensure_workspace_config
from dagster_postgres import PostgresRunStorage

from kasparro_pipeline.stack import programs
from kasparro_pipeline.stack.databases import dagster_url
from kasparro_pipeline.stack.embedded import EmbeddedPostgres
from kasparro_pipeline.stack.settings import StackSettings

PROJECT = Path(__file__).parents[2]


def _workspace() -> dict[str, object]:
    content = yaml.safe_load((PROJECT / "workspace.yaml").read_text())
    (entry,) = content["load_from"]
    server: dict[str, object] = entry["grpc_server"]
    return server


def test_the_code_location_has_one_name_everywhere() -> None:
    tools = tomllib.loads((PROJECT / "pyproject.toml").read_text())["tool"]["dg"]["project"]
    code = programs.programs(StackSettings(), 1).code.command
    assert _workspace()["location_name"] == tools["code_location_name"] == programs.LOCATION
    assert code[code.index("--location-name") + 1] == programs.LOCATION
    assert code[code.index("--module-name") + 1] == tools["code_location_target_module"]


def test_the_workspace_is_one_that_dagster_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KASPARRO_CODE_SERVER_HOST", "127.0.0.1")
    monkeypatch.setenv("KASPARRO_CODE_SERVER_PORT", "4000")
    content = yaml.safe_load((PROJECT / "workspace.yaml").read_text())
    assert ensure_workspace_config(content, "workspace.yaml")


def test_everything_listens_on_this_machine_only() -> None:
    everything = programs.programs(StackSettings(), 1)
    for program in (everything.api, everything.webserver, everything.code):
        assert program.command[program.command.index("--host") + 1] == "127.0.0.1"


def test_the_public_endpoints_need_no_sandbox() -> None:
    settings = StackSettings.model_validate({"KASPARRO_UPSTREAM": "live"})
    assert programs.programs(settings, 1).sandbox is None


@pytest.fixture
def instance(
    postgres: EmbeddedPostgres, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[DagsterInstance]:
    """Dagster's instance as dagster.yaml describes it, on a database of its own."""
    postgres.create_database("dagster_configuration")
    monkeypatch.setenv("DAGSTER_DATABASE_URL", dagster_url(postgres.url("dagster_configuration")))
    (tmp_path / "dagster.yaml").write_text((PROJECT / "dagster.yaml").read_text())
    with DagsterInstance.from_config(str(tmp_path)) as opened:
        yield opened


def test_dagster_keeps_its_records_in_postgresql_and_its_files_in_its_home(
    instance: DagsterInstance, tmp_path: Path
) -> None:
    assert isinstance(instance.run_storage, PostgresRunStorage)
    assert Path(instance.storage_directory()).is_relative_to(tmp_path)


def test_one_run_at_a_time_uses_a_pool(instance: DagsterInstance) -> None:
    concurrency = instance.get_concurrency_config()
    assert concurrency.pool_config.pool_granularity is not None
    assert concurrency.pool_config.pool_granularity.value == "run"
    assert concurrency.pool_config.default_pool_limit == 1
    assert concurrency.run_queue_config is not None
    assert concurrency.run_queue_config.max_concurrent_runs == 2
    assert isinstance(instance.run_coordinator, QueuedRunCoordinator)


def test_a_run_that_hangs_is_ended_and_none_is_run_again(instance: DagsterInstance) -> None:
    assert instance.run_monitoring_enabled
    assert instance.run_monitoring_max_resume_run_attempts == 0
    assert instance.get_settings("run_monitoring")["max_runtime_seconds"] > 0
    assert instance.get_settings("run_retries")["retry_on_asset_or_op_failure"] is False


def test_nothing_is_reported_to_dagsters_makers(instance: DagsterInstance) -> None:
    assert instance.telemetry_enabled is False
