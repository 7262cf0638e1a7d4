"""A real Dagster webserver over this deployment's sources, with queued runs that nothing starts."""

import os
import shutil
import signal
import subprocess
import sys
import sysconfig
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import psycopg
import pytest
import requests
import uvicorn

from kasparro_api.app import create_app
from kasparro_api.settings import ApiSettings
from kasparro_pipeline.stack.ports import any_free
from kasparro_pipeline.stack.sandbox.app import create_app as create_sandbox
from kasparro_pipeline.warehouse import api_keys
from tests.api.conftest import serving
from tests.conftest import PROJECT, TEMPLATE, Server

SOURCES = ["coin_reference", "coingecko_markets", "coinpaprika_ohlcv", "coinpaprika_tickers", "crypto_news"]
START_SECONDS = 120
INSTANCE = """\
run_coordinator: {module: dagster.core.run_coordinator, class: QueuedRunCoordinator}
telemetry: {enabled: false}
"""
WORKSPACE = """\
load_from: [{python_module: {module_name: kasparro_pipeline.definitions, location_name: kasparro}}]
"""
RUNS = """
query ($filter: RunsFilter) { runsOrError(filter: $filter) {
  ... on Runs { results { runId jobName status tags { key value } } } } }
"""


def today() -> str:
    """The current daily partition."""
    return datetime.now(UTC).date().isoformat()


@dataclass
class Stack:
    """Dagster, a copy of the project's data that it reads, and an API that asks it."""

    dagster: str
    project: Path
    database_url: str
    sandbox_port: int
    api: str = ""
    key: str = ""

    def post(self, path: str, *, key: str | None = None, **options: Any) -> requests.Response:
        """Ask the API, with the key of scope trigger or another one."""
        headers = {"X-API-Key": key or self.key, **options.pop("headers", {})}
        return requests.post(f"{self.api}{path}", headers=headers, timeout=60, **options)

    def ask(self, query: str, **variables: Any) -> Any:
        """The only field of a GraphQL answer."""
        answer = requests.post(
            f"{self.dagster}/graphql", json={"query": query, "variables": variables}, timeout=60
        ).json()
        assert "errors" not in answer, answer
        return next(iter(answer["data"].values()))

    def runs(self, **wanted: Any) -> dict[str, dict[str, Any]]:
        """Dagster's runs by id, with job, status and tags."""
        found = self.ask(RUNS, filter=wanted)["results"]
        return {
            run["runId"]: {**run, "tags": {tag["key"]: tag["value"] for tag in run["tags"]}} for run in found
        }

    @property
    def folder(self) -> Path:
        """The folder of the CSV source."""
        return self.project / "data" / "coin_reference"

    @contextmanager
    def upstream(self) -> Iterator[None]:
        """The sandbox upstream, which is away without this."""
        opened = datetime.now(UTC) - timedelta(days=10)
        app = create_sandbox(PROJECT / "data", opened=opened)
        server = uvicorn.Server(
            uvicorn.Config(app, host="127.0.0.1", port=self.sandbox_port, log_config=None, ws="none")
        )
        thread = threading.Thread(target=server.run)
        thread.start()
        try:
            while not server.started:
                assert thread.is_alive()
                time.sleep(0.01)
            yield
        finally:
            server.should_exit = True
            thread.join()

    @contextmanager
    def another_api(self, **settings: Any) -> Iterator["Stack"]:
        """The same with an API of other settings."""
        values = {"KASPARRO_DAGSTER_URL": self.dagster, **settings}
        app = create_app(ApiSettings(_env_file=None, DATABASE_URL=self.database_url, **values))
        with serving(app) as api:
            yield Stack(**{**vars(self), "api": api})

    def make_key(self) -> str:
        """A key of scope trigger."""
        with psycopg.connect(self.database_url, autocommit=True) as connection:
            return api_keys.create(connection, "test", ["trigger"])


@contextmanager
def between(stack: Stack, answers: Callable[[str], bool | float]) -> Iterator[str]:
    """An address that passes questions on to Dagster, and answers back where `answers(question)` says so.

    A number is for how many seconds the question is kept, without passing it on.
    """

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            question = self.rfile.read(int(self.headers["Content-Length"]))
            decision = answers(question.decode())
            if not isinstance(decision, bool):
                time.sleep(decision)
                return
            headers = {"Content-Type": "application/json"}
            body = requests.post(f"{stack.dagster}/graphql", question, headers=headers, timeout=60).content
            if decision:
                self.send_response(200)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

        def log_message(self, *_args: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@contextmanager
def running_stack(postgres: Server, folder: Path) -> Iterator[Stack]:
    """Everything, with this process in the copy of the project: relative paths are from there, as in use."""
    with ExitStack() as opened:
        name = f"kasparro_test_trigger_{os.getpid()}"
        admin = opened.enter_context(psycopg.connect(postgres.url("postgres"), autocommit=True))
        admin.execute(f"drop database if exists {name} with (force)")
        admin.execute(f"create database {name} template {TEMPLATE}")
        opened.callback(admin.execute, f"drop database {name} with (force)")
        shutil.copytree(PROJECT / "data", folder / "project" / "data")
        port = any_free(None)
        stack = Stack(
            dagster=f"http://127.0.0.1:{port}",
            project=folder / "project",
            database_url=postgres.url(name),
            sandbox_port=any_free(None),
        )
        opened.enter_context(_webserver(stack, folder, port))
        patch = opened.enter_context(pytest.MonkeyPatch.context())
        patch.chdir(stack.project)
        stack.key = stack.make_key()
        yield opened.enter_context(stack.another_api())


@contextmanager
def _webserver(stack: Stack, folder: Path, port: int) -> Iterator[None]:
    home = folder / "dagster"
    home.mkdir()
    (home / "dagster.yaml").write_text(INSTANCE)
    (home / "workspace.yaml").write_text(WORKSPACE)
    inherited = {k: v for k, v in os.environ.items() if not k.startswith(("KASPARRO_", "DAGSTER_"))}
    environment = {
        **inherited,
        "PYTHONPATH": str(PROJECT),
        "DATABASE_URL": stack.database_url,
        "DAGSTER_HOME": str(home),
        "DAGSTER_DISABLE_TELEMETRY": "1",
        "KASPARRO_SANDBOX_URL": f"http://127.0.0.1:{stack.sandbox_port}",
    }
    program = Path(sysconfig.get_path("scripts")) / "dagster-webserver"
    command = [sys.executable, str(program), "--workspace", str(home / "workspace.yaml"), "--port", str(port)]
    log = folder / "webserver.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [*command, "--host", "127.0.0.1"],
            cwd=stack.project,
            env=environment,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    try:
        deadline = time.monotonic() + START_SECONDS
        while not _answers(stack.dagster):
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.1)
        yield
    finally:
        os.killpg(process.pid, signal.SIGINT)
        process.wait(30)


def _answers(address: str) -> bool:
    try:
        return requests.get(f"{address}/server_info", timeout=5).ok
    except requests.RequestException:
        return False
