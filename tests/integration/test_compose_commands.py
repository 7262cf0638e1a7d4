"""The services of docker-compose.yml start in their order and get well, as plain processes on this machine.

Same commands, same environment, same health checks; hosts and ports are those of this machine, and PostgreSQL
is the embedded one. Docker itself is not run.
"""

import os
import re
import shutil
import signal
import subprocess
import sysconfig
import time
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path
from typing import Any

import psycopg
import pytest
import yaml

from kasparro_pipeline.stack import groups
from kasparro_pipeline.stack.databases import sibling_url
from kasparro_pipeline.stack.embedded import EmbeddedPostgres, programs
from kasparro_pipeline.stack.ports import any_free

PROJECT = Path(__file__).parents[2]
SERVICES: dict[str, dict[str, Any]] = yaml.safe_load((PROJECT / "docker-compose.yml").read_text())["services"]
HEALTHY_WITHIN = 90

pytestmark = pytest.mark.stack


class Containers:
    """The services, as processes."""

    def __init__(self, postgres: EmbeddedPostgres, database_url: str, folder: Path) -> None:
        self.folder = folder
        self.postgres = postgres
        self.databases = {"kasparro": database_url, "dagster": sibling_url(database_url, "compose_dagster")}
        self.ports = {number: str(any_free(None)) for number in ("3000", "4000", "8000", "8900")}
        self.running: dict[str, subprocess.Popen[bytes]] = {}

    def here(self, text: str) -> str:
        """A word of the file, with the addresses of this machine."""
        text = re.sub(r"\$\{[A-Z_]+:-([a-z0-9]+)\}", r"\1", text)
        text = re.sub(r"\$\{POSTGRES_PASSWORD[^}]*\}", "secret", text)
        for database, url in self.databases.items():
            text = text.replace(f"kasparro:secret@db:5432/{database}", url.removeprefix("postgresql://"))
        text = re.sub(r"(?:(?<=//)(?:sandbox|webserver)|^code)(?=:|$)", "127.0.0.1", text)
        text = text.replace("0.0.0.0", "127.0.0.1")  # noqa: S104 - taken out
        for inside, outside in self.ports.items():
            text = re.sub(rf"(?<![0-9]){inside}(?![0-9])", outside, text)
        return text

    def environment(self, service: dict[str, Any]) -> dict[str, str]:
        """Nothing but what the image and the service set."""
        path = f"{sysconfig.get_path('scripts')}:{programs()}:/usr/bin:/bin"
        given = {name: self.here(str(value)) for name, value in service.get("environment", {}).items()}
        return {"PATH": path, "DAGSTER_HOME": str(self.folder / "dagster"), "HOME": str(self.folder), **given}

    def run(self, name: str) -> None:
        """Start a service and wait until its health check says that it is well, or until it is done."""
        service = SERVICES[name]
        command = [self.here(word) for word in service["command"]]
        environment = self.environment(service)
        with (self.folder / f"{name}.log").open("wb") as log:
            process = subprocess.Popen(
                command, cwd=self.folder, env=environment, stdout=log, stderr=log, start_new_session=True
            )
        self.running[name] = process
        if service["restart"] == "no":
            assert process.wait(60) == 0, self.log(name)
            return
        check = [self.here(word) for word in service["healthcheck"]["test"][1:]]
        deadline = time.monotonic() + HEALTHY_WITHIN
        while subprocess.run(
            check, cwd=self.folder, env=environment, capture_output=True, check=False
        ).returncode:
            assert process.poll() is None, self.log(name)
            assert time.monotonic() < deadline, f"{name} does not get well\n{self.log(name)}"
            time.sleep(0.5)

    def log(self, name: str) -> str:
        """What a service wrote."""
        return (self.folder / f"{name}.log").read_text()


@pytest.fixture
def containers(postgres: EmbeddedPostgres, database_url: str, tmp_path: Path) -> Iterator[Containers]:
    """The folder of the image, and no service in it yet."""
    shutil.copyfile(PROJECT / "workspace.yaml", tmp_path / "workspace.yaml")
    (tmp_path / "dagster" / "storage").mkdir(parents=True)
    shutil.copyfile(PROJECT / "dagster.yaml", tmp_path / "dagster" / "dagster.yaml")
    shutil.copytree(PROJECT / "data", tmp_path / "data")
    started = Containers(postgres, database_url, tmp_path)
    yield started
    for process in reversed(started.running.values()):
        groups.end([process.pid])
        process.wait()
    with psycopg.connect(postgres.url("postgres"), autocommit=True) as admin:
        admin.execute("drop database if exists compose_dagster with (force)")


def test_the_services_get_well_in_their_order_and_stop_on_their_signal(containers: Containers) -> None:
    with psycopg.connect(containers.databases["kasparro"], autocommit=True) as connection:
        connection.execute("drop schema kasparro cascade")
    order = TopologicalSorter(
        {name: set(service.get("depends_on", {})) for name, service in SERVICES.items()}
    )
    for name in order.static_order():
        if name != "db":
            containers.run(name)
    with psycopg.connect(containers.databases["kasparro"]) as connection:
        assert connection.execute("select count(*) from kasparro.alembic_version").fetchone() == (1,)
    for name, process in reversed(containers.running.items()):
        if process.poll() is None:
            os.killpg(process.pid, getattr(signal, SERVICES[name]["stop_signal"]))
            process.wait(float(SERVICES[name]["stop_grace_period"].removesuffix("s")))
    assert groups.members(process.pid for process in containers.running.values()) == []


def test_the_health_checks_notice_what_is_not_there(containers: Containers) -> None:
    for name in ("sandbox", "code", "webserver", "api"):
        check = [containers.here(word) for word in SERVICES[name]["healthcheck"]["test"][1:]]
        environment = containers.environment(SERVICES[name])
        assert subprocess.run(check, env=environment, capture_output=True, check=False).returncode == 1


def test_the_databases_own_health_check_is_a_command_that_answers(containers: Containers) -> None:
    check = SERVICES["db"]["healthcheck"]["test"][1:]
    environment = {"PATH": str(programs()), "PGHOST": str(containers.postgres.socket_folder)}
    assert subprocess.run(check, env=environment, capture_output=True, check=False).returncode == 0
