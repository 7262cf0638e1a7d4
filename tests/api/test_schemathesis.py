"""schemathesis asks every operation of the document for what it promises, with every check there is."""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

import psycopg
import pytest

from kasparro_pipeline.warehouse import api_keys
from tests.api import sample
from tests.api.conftest import Service, service_of
from tests.conftest import PROJECT

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.conftest import Server

MAX_EXAMPLES = os.environ.get("SCHEMATHESIS_MAX_EXAMPLES", "8")
"""Cases of an operation at most; some hundreds take minutes."""
SEED = os.environ.get("SCHEMATHESIS_SEED", "1")
TIMEOUT = 3600

CONFIG = """
hooks = "{hooks}"
[generation]
allow-x00 = false
[cache]
enabled = false
[checks.not_a_server_error]
expected-statuses = ["2xx", "3xx", "4xx", 503]
"""
"""Dagster is away, so its 503 is right; that it is documented, and as described, other checks hold."""
KEY = """
[auth.openapi.ApiKey]
api_key = "{key}"
"""


@pytest.fixture(scope="module")
def filled(postgres: Server) -> Iterator[Service]:
    """A server with records, without a Dagster, that does not count wrong keys."""
    settings = {
        "KASPARRO_DAGSTER_URL": "http://127.0.0.1:1",
        "KASPARRO_DAGSTER_TIMEOUT": 2,
        "KASPARRO_API_KEY_ATTEMPTS": 0,
    }
    with service_of(postgres, **settings) as running:
        sample.fill(running.warehouse)
        running.warehouse.commit()
        yield running


def failures(service: Service, folder: Path, config: str) -> str:
    """The report from its failures on; nothing if all is well."""
    hooks = PROJECT / "tests" / "api" / "schemathesis_hooks.py"
    (folder / "schemathesis.toml").write_text(CONFIG.format(hooks=hooks) + config)
    done = subprocess.run(
        [
            *(str(Path(sys.executable).parent / "schemathesis"), "--config-file", "schemathesis.toml"),
            *("run", f"{service.url}/openapi.json", "--url", service.url, "--checks", "all"),
            *("--max-examples", MAX_EXAMPLES, "--seed", SEED, "--continue-on-failure", "--no-color"),
        ],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=TIMEOUT,
        check=False,
    )
    if done.returncode == 0:
        return ""
    report = done.stdout.partition(" FAILURES ")[2] or done.stdout + done.stderr
    return "\n".join(line[:300] for line in report.splitlines())


def test_every_operation_keeps_its_promises_without_a_key(filled: Service, tmp_path: Path) -> None:
    report = failures(filled, tmp_path, "")
    assert not report, report


def test_every_operation_keeps_its_promises_with_a_key(filled: Service, tmp_path: Path) -> None:
    with closing(psycopg.connect(filled.database_url)) as connection, connection:
        key = api_keys.create(connection, "schemathesis", ["read", "trigger"])
    report = failures(filled, tmp_path, KEY.format(key=key))
    assert not report, report
