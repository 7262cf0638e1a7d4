"""Dockerfile and docker-compose.yml hold to the rules. Docker itself is not run here."""

import re
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

PROJECT = Path(__file__).parents[2]
COMPOSE: dict[str, Any] = yaml.safe_load((PROJECT / "docker-compose.yml").read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
LASTING = [name for name, service in SERVICES.items() if service.get("restart") != "no"]
DOCKERFILE = (PROJECT / "Dockerfile").read_text()
SET_BY_THE_STACK = {"KASPARRO_CODE_SERVER_HOST", "KASPARRO_CODE_SERVER_PORT"}
OF_THE_IMAGES = {"POSTGRES_USER", "POSTGRES_PASSWORD", "POSTGRES_DB", "TINI_KILL_PROCESS_GROUP"}


def _last_stage() -> str:
    return DOCKERFILE[DOCKERFILE.rindex("\nFROM ") :]


def _reaches(name: str, other: str) -> bool:
    needs = SERVICES[name].get("depends_on", {})
    return other in needs or any(_reaches(need, other) for need in needs)


def test_the_services_are_those_of_the_stack() -> None:
    assert set(SERVICES) == {"db", "migrate", "sandbox", "code", "webserver", "daemon", "api"}
    assert SERVICES["db"]["image"] == "postgres:15"
    assert SERVICES["db"]["volumes"] == ["database:/var/lib/postgresql/data"]


@pytest.mark.parametrize("name", LASTING)
def test_a_lasting_service_has_a_health_check_and_comes_back(name: str) -> None:
    check = SERVICES[name]["healthcheck"]
    assert check["test"][0] == "CMD"
    assert {"interval", "timeout", "retries"} <= set(check)
    assert SERVICES[name]["restart"] == "unless-stopped"


@pytest.mark.parametrize("name", SERVICES)
def test_a_service_waits_for_health_not_for_a_start(name: str) -> None:
    for need, condition in SERVICES[name].get("depends_on", {}).items():
        lasting = need in LASTING
        assert condition == {"condition": "service_healthy" if lasting else "service_completed_successfully"}


def test_the_order_is_that_of_the_local_stack() -> None:
    for name in ("code", "webserver", "daemon", "api"):
        assert _reaches(name, "migrate")
        assert _reaches(name, "db")
    # One of the two makes Dagster's tables
    assert _reaches("daemon", "webserver")
    assert _reaches("webserver", "code")
    assert _reaches("code", "sandbox")


@pytest.mark.parametrize("name", SERVICES)
def test_ports_are_published_to_this_machine_only(name: str) -> None:
    assert [port for port in SERVICES[name].get("ports", ()) if not port.startswith("127.0.0.1:")] == []


def test_no_password_is_written_down_and_a_missing_one_stops_everything() -> None:
    text = (PROJECT / "docker-compose.yml").read_text()
    used = re.findall(r"\$\{?POSTGRES_PASSWORD[^}]*\}?", text)
    assert used
    assert set(used) == {"${POSTGRES_PASSWORD:?set POSTGRES_PASSWORD in .env}"}


@pytest.mark.parametrize("name", SERVICES)
def test_every_variable_is_a_documented_setting(name: str) -> None:
    documented = set(re.findall(r"^# ([A-Z_]+)=", (PROJECT / ".env.example").read_text(), re.MULTILINE))
    used = set(SERVICES[name].get("environment", {}))
    assert used - documented - SET_BY_THE_STACK - OF_THE_IMAGES == set()


def test_every_value_from_outside_is_a_documented_setting() -> None:
    documented = set(re.findall(r"^# ([A-Z_]+)=", (PROJECT / ".env.example").read_text(), re.MULTILINE))
    assert set(re.findall(r"\$\{([A-Z_]+)", (PROJECT / "docker-compose.yml").read_text())) <= documented


@pytest.mark.parametrize("name", [name for name in SERVICES if name != "db"])
def test_every_command_is_one_that_the_lock_installs(name: str) -> None:
    check = SERVICES[name]["healthcheck"].get("test", ["CMD", SERVICES[name]["command"][0]])
    for program in (SERVICES[name]["command"][0], check[1]):
        assert shutil.which(program, path=str(PROJECT / ".venv" / "bin")) or shutil.which(program)


def test_the_image_runs_as_nobody_in_particular() -> None:
    users = re.findall(r"^USER (\S+)$", _last_stage(), re.MULTILINE)
    assert users == ["kasparro"]
    assert _last_stage().index("USER ") > _last_stage().index("COPY data")


def test_the_image_is_built_in_stages_from_hashed_locks() -> None:
    assert DOCKERFILE.count("\nFROM python:3.11-slim") == 2
    installs = re.findall(r"pip install (?:[^\n]|\\\n)*", DOCKERFILE)
    assert [line for line in installs if "--require-hashes" not in line and "--no-deps" not in line] == []
    assert "dev.lock" not in _last_stage()


def test_the_image_says_itself_whether_it_is_well() -> None:
    assert "HEALTHCHECK" in _last_stage()
    assert 'CMD ["uvicorn", "kasparro_api.app:create_app"' in _last_stage()


def test_what_the_image_copies_is_let_through_to_it() -> None:
    let_through = set(re.findall(r"^!(\S+)$", (PROJECT / ".dockerignore").read_text(), re.MULTILINE))
    copied: set[str] = set()
    for line in re.findall(r"^COPY (?!--from)(.+)$", DOCKERFILE, re.MULTILINE):
        copied |= set(line.split()[:-1])
    assert copied == let_through
    assert [name for name in let_through if not (PROJECT / name).exists()] == []


def test_dagsters_files_are_the_local_stacks_own() -> None:
    assert "COPY dagster.yaml dagster/" in DOCKERFILE
    assert "DAGSTER_HOME=/app/dagster" in DOCKERFILE
    for name in ("webserver", "daemon"):
        assert "workspace.yaml" in SERVICES[name]["command"]
