"""Sources run through Dagster against a real PostgreSQL and real HTTP servers on 127.0.0.1."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import threading
import time
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

import dagster as dg
import psycopg
import pytest
import uvicorn
from alembic import command
from psycopg.rows import dict_row

from kasparro_pipeline.components.kept_connections import in_process_executor
from kasparro_pipeline.components.resources import Warehouse
from kasparro_pipeline.definitions import build_definitions
from kasparro_pipeline.extract.documents import RawRecord
from kasparro_pipeline.stack.sandbox.app import create_app
from kasparro_pipeline.warehouse import compact, migrate, raw_batches
from tests.conftest import PROJECT

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from kasparro_pipeline.components.component import SourceComponent
    from tests.conftest import Server

PROJECT_DATA = "data"
DG = str(Path(sys.executable).parent / "dg")


@pytest.fixture
def database_at(postgres: Server) -> Iterator[Callable[[str], str]]:
    """Makes a database whose tables are those of a revision, and gives its address."""
    made: list[str] = []

    def make(revision: str) -> str:
        made.append(f"kasparro_test_at_{revision}")
        with psycopg.connect(postgres.url("postgres"), autocommit=True) as admin:
            admin.execute(f"drop database if exists {made[-1]} with (force)")
            admin.execute(f"create database {made[-1]}")
        url = postgres.url(made[-1])
        command.upgrade(migrate.alembic_config(url), revision)
        return url

    yield make
    with psycopg.connect(postgres.url("postgres"), autocommit=True) as admin:
        for name in made:
            admin.execute(f"drop database {name} with (force)")


def today() -> str:
    """The current daily partition."""
    return datetime.now(UTC).date().isoformat()


@dataclass
class Clock:
    """A clock that a test moves by hand; it starts at noon, so that no test meets midnight."""

    now: datetime = field(
        default_factory=lambda: datetime.now(UTC).replace(hour=12, minute=0, second=0, microsecond=0)
    )

    def __call__(self) -> datetime:
        return self.now

    def forward(self, **amount: float) -> None:
        """Move the clock: `forward(minutes=1)`."""
        self.now += timedelta(**amount)


@dataclass
class Pipeline:
    """Runs sources of some definitions, as a run of Dagster does, and asks the warehouse what came of it."""

    definitions: dg.Definitions
    instance: dg.DagsterInstance
    warehouse: psycopg.Connection[Any]

    def run(self, source: str, partition: str | None = None, *, layers: str = "") -> Run:
        """Materialize a source's partition (today's by default); `layers="validated unified"` only those."""
        selection = [dg.AssetKey([layer, source]) for layer in layers.split()] or None
        result = self.definitions.resolve_job_def(source).execute_in_process(
            partition_key=partition or today(),
            instance=self.instance,
            asset_selection=selection,
            raise_on_error=False,
        )
        return Run(result, self.one("select * from kasparro.etl_run where run_id = %s", result.run_id))

    def add_files(self, source: str, *names: str) -> None:
        """Add the partitions of a CSV source's files."""
        self.instance.add_dynamic_partitions(f"{source}_files", list(names))

    def rows(self, query: str, *values: object) -> list[dict[str, Any]]:
        """The rows of a query as dicts."""
        with self.warehouse.cursor(row_factory=dict_row) as cursor:
            return cursor.execute(query, values).fetchall()

    def one(self, query: str, *values: object) -> dict[str, Any]:
        """The only row of a query; an empty dict if there is none."""
        found = self.rows(query, *values)
        assert len(found) <= 1
        return found[0] if found else {}

    def value(self, query: str, *values: object) -> Any:
        """The only value of a query."""
        return next(iter(self.one(query, *values).values()))

    def unified(self, source: str) -> dict[str, dict[str, Any]]:
        """The unified records of a source by source_id, as readers see them."""
        shown = ", ".join(f"{compact.read(name)} as {name}" for name in ("tags", "attributes", "run_id"))
        found = self.rows(f"select *, {shown} from kasparro.unified_record where source = %s", source)
        return {row["source_id"]: row for row in found}

    def everything(self) -> dict[str, list[Any]]:
        """Each row of the data tables with its physical version: equal results mean that none was written."""
        return {
            table: self.rows(f"select t.ctid::text, t.xmin::text, t.* from kasparro.{table} t order by 1")
            for table in ("document", "raw_batch", "validated_batch", "rejected_record", "unified_record")
        }


def add_raw(connection: psycopg.Connection[Any], document_id: int, *payloads: bytes) -> int:
    """Store raw records of a document that has none; the raw id of the last one."""
    records = [RawRecord(position, payload, None) for position, payload in enumerate(payloads)]
    last = raw_batches.append(connection, [(document_id, 0, records)])
    assert last is not None
    return last


@dataclass
class Run:
    """A run as Dagster saw it, and its row of the ledger."""

    result: dg.ExecuteInProcessResult
    ledger: dict[str, Any]

    @property
    def success(self) -> bool:
        """Whether Dagster calls it a success."""
        return self.result.success

    def counts(self, *names: str) -> tuple[int, ...]:
        """Some counts of the ledger."""
        return tuple(self.ledger[name] for name in names)

    def check(self, name: str) -> dg.AssetCheckEvaluation:
        """The run's evaluation of an asset check."""
        [found] = [c for c in self.result.get_asset_check_evaluations() if c.check_name == name]
        return found

    @property
    def checks(self) -> set[str]:
        """Names of the checks that were evaluated."""
        return {check.check_name for check in self.result.get_asset_check_evaluations()}

    @property
    def failure(self) -> str:
        """What Dagster shows of the failed step."""
        return "\n".join(
            event.event_specific_data.error.to_string()  # type: ignore[union-attr]
            for event in self.result.all_events
            if event.is_step_failure
        )


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral() as opened:
        yield opened


@pytest.fixture
def clock() -> Clock:
    return Clock()


@contextmanager
def served(app: Any) -> Iterator[str]:
    """An ASGI application on a free port of 127.0.0.1, as its address."""
    server = uvicorn.Server(uvicorn.Config(app, host="127.0.0.1", port=0, log_config=None, ws="none"))
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        while not server.started:
            assert thread.is_alive()
            time.sleep(0.01)
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join()


@pytest.fixture
def sandbox(clock: Clock, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Iterator[str]:
    """The sandbox upstream over HTTP, on the test's clock, from ten days ago on."""
    data = request.config.rootpath / PROJECT_DATA
    with served(create_app(data, clock, opened=clock.now - timedelta(days=10))) as address:
        monkeypatch.setenv("KASPARRO_SANDBOX_URL", address)
        yield address


@pytest.fixture
def built_in(
    sandbox: str, database_url: str, instance: dg.DagsterInstance, warehouse: psycopg.Connection[Any]
) -> Pipeline:
    """The sources of this deployment, on the sandbox."""
    assert sandbox
    return Pipeline(build_definitions(Warehouse(database_url=database_url)), instance, warehouse)


Answer = Any


class Upstream:
    """A scripted HTTP upstream: `answers[path]` is JSON, bytes, or a function of (query, headers)."""

    def __init__(self, address: str) -> None:
        self.address = address
        self.answers: dict[str, Answer] = {}
        self.requests: list[str] = []

    def reply(self, target: str, headers: dict[str, str]) -> tuple[int, dict[str, str], bytes]:
        self.requests.append(target)
        parts = urlsplit(target)
        answer = self.answers.get(parts.path)
        if answer is None:
            return 404, {}, b"no such path"
        if callable(answer):
            answer = answer({k: v[-1] for k, v in parse_qs(parts.query).items()}, headers)
        if isinstance(answer, tuple):
            return answer
        body = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
        return 200, {"Content-Type": "application/json"}, body


@pytest.fixture
def upstream() -> Iterator[Upstream]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            status, headers, body = scripted.reply(self.path, dict(self.headers))
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            with suppress(ConnectionError):  # a client that a test has killed
                self.wfile.write(body)

        def log_message(self, *_args: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    scripted = Upstream(f"http://127.0.0.1:{server.server_address[1]}")
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield scripted
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def pipeline_of(
    database_url: str, instance: dg.DagsterInstance, warehouse: psycopg.Connection[Any]
) -> Callable[..., Pipeline]:
    """`pipeline_of(component, attributes)` runs one source named `it`, written as in a `defs.yaml`.

    It may reach this machine, where the tests' upstreams are.
    """

    def build(component: type[SourceComponent], attributes: dict[str, Any]) -> Pipeline:
        if "http" in component.spec_class.model_fields:
            http = {"allow_private_hosts": ["127.0.0.1"]} | attributes.get("http", {})
            attributes = attributes | {"http": http}
        spec = component.spec_class.model_validate(attributes)
        definitions = dg.Definitions.merge(
            component(spec).definitions("it"),
            dg.Definitions(
                resources={"warehouse": Warehouse(database_url=database_url)}, executor=in_process_executor
            ),
        )
        return Pipeline(definitions, instance, warehouse)

    return build


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """An empty folder for a CSV source's files."""
    made = tmp_path / "files"
    made.mkdir()
    return made


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A copy of what makes the code location, to add to."""
    copy = tmp_path / "project"
    ignored = shutil.ignore_patterns("__pycache__", "stack")
    shutil.copytree(PROJECT / "kasparro_pipeline", copy / "kasparro_pipeline", ignore=ignored)
    shutil.copy(PROJECT / "pyproject.toml", copy)
    return copy


def run_dg(project: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run `dg` in a project, on an instance of its own."""
    home = project / "dagster-home"
    home.mkdir(exist_ok=True)
    environment = {
        **os.environ,
        "PYTHONPATH": str(project),
        "DAGSTER_HOME": str(home),
        "VIRTUAL_ENV": sys.prefix,
        "COLUMNS": "400",
    }
    return subprocess.run(
        [DG, *arguments],
        cwd=project,
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
