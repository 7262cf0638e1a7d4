"""Uploads of CSV files, end to end: to the stored file, the requested run, and the records that it loads."""

from __future__ import annotations

import gzip
import hashlib
import socket
import threading
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import dagster as dg
import pytest
import requests
from hypothesis import given, settings
from hypothesis import strategies as st

from kasparro_api import database
from kasparro_api.problems import ParametersError, ProblemError
from kasparro_api.trigger import uploads
from kasparro_pipeline.components.resources import Warehouse
from kasparro_pipeline.definitions import build_definitions
from tests.api.real_dagster import SOURCES, Stack, between, running_stack
from tests.conftest import PROJECT

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.conftest import Server

PATH = "/sources/coin_reference/files"
TYPE = {"Content-Type": "text/csv"}
LIMIT = 100_000


@pytest.fixture(scope="module")
def stack(postgres: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    with (
        running_stack(postgres, tmp_path_factory.mktemp("stack")) as started,
        started.another_api(KASPARRO_API_UPLOAD_LIMIT=LIMIT) as limited,
    ):
        yield limited


def new_name() -> str:
    """A name with the date that the source's contract asks for."""
    return f"coins-2026-11-15-{uuid.uuid4()}.csv"


def rows(text: str = "Coin") -> bytes:
    """A file of one coin, unlike every other."""
    unique = uuid.uuid4().hex
    return f"id,name,type,symbol\n{unique},{text},coin,{unique[:5]}\n".encode()


def upload(
    stack: Stack, name: str, body: Any, path: str = PATH, headers: dict[str, str] = TYPE, **parameters: str
) -> requests.Response:
    return stack.post(path, params={"name": name, **parameters}, data=body, headers=headers)


def accepted(response: requests.Response) -> tuple[dict[str, Any], dict[str, Any]]:
    """The run and the file of an answer."""
    assert response.status_code == 202, response.text
    body = response.json()
    assert list(body) == ["runs", "file", "meta"]
    [run] = body["runs"]
    return run, body["file"]


def problem(response: requests.Response, status: int, kind: str) -> dict[str, Any]:
    assert response.status_code == status, response.text
    assert response.headers["Content-Type"] == "application/problem+json"
    body: dict[str, Any] = response.json()
    assert body["type"] == f"urn:kasparro:problem:{kind}"
    return body


def tree(stack: Stack) -> set[Path]:
    """Every path under the project, and beside it."""
    return set(stack.project.parent.rglob("*.csv*"))


def load(stack: Stack, name: str) -> None:
    """Run a file's partition, as a worker of Dagster does."""
    definitions = build_definitions(Warehouse(database_url=stack.database_url))
    with dg.DagsterInstance.ephemeral() as instance:
        instance.add_dynamic_partitions("coin_reference_files", [name])
        job = definitions.resolve_job_def("coin_reference")
        assert job.execute_in_process(partition_key=name, instance=instance).success


# --- a file and its run ---


@pytest.mark.parametrize("prefix", ["", "/api/v1"])
def test_a_file_is_stored_as_sent_and_its_run_is_requested(stack: Stack, prefix: str) -> None:
    name, body = new_name(), rows()

    response = upload(stack, name, body, path=prefix + PATH)

    run, file = accepted(response)
    assert (stack.folder / name).read_bytes() == body
    assert file == {"name": name, "bytes": len(body), "sha256": hashlib.sha256(body).hexdigest()}
    assert (run["source"], run["partition"], run["error"]) == ("coin_reference", name, None)
    assert run["status_url"] == response.headers["Location"] == f"{prefix}/runs/{run['run_id']}"
    launched = stack.runs()[run["run_id"]]
    assert (launched["jobName"], launched["status"]) == ("coin_reference", "QUEUED")
    assert launched["tags"]["dagster/partition"] == name
    # The sensor sees its own run, and asks for no second one
    before = stack.runs()
    assert stack.post("/etl/run", json={"source": "coin_reference"}).status_code == 202
    assert [
        r for i, r in stack.runs().items() if i not in before and r["tags"]["dagster/partition"] == name
    ] == []


@pytest.mark.parametrize("packed", [bytes, gzip.compress], ids=["plain", "gzip"])
def test_an_uploaded_file_becomes_records_and_the_same_bytes_again_are_no_news(
    stack: Stack, packed: Callable[[bytes], bytes]
) -> None:
    name, body = new_name(), packed(rows("Uploaded"))
    accepted(upload(stack, name, body))
    waiting = accepted(upload(stack, name, body, replace="true"))[0]
    assert waiting["note"] == "a run that waits already will load the file"

    load(stack, name)

    found = requests.get(f"{stack.api}/data", params={"source": "coin_reference"}, timeout=30).json()
    assert "Uploaded" in [record["title"] for record in found["data"]]
    # Its run is done: Dagster's queue is emptied
    stack.ask(
        "mutation ($ids: [String!]!) { terminateRuns(runIds: $ids) { __typename } }", ids=[waiting["run_id"]]
    )
    before = stack.runs()
    run, _ = accepted(upload(stack, name, body, replace="true"))
    assert (run["run_id"], run["note"]) == (None, "unchanged: the same bytes are loaded")
    assert stack.runs() == before

    changed, _ = accepted(upload(stack, name, rows("Changed"), replace="true"))
    assert changed["run_id"] not in before


def test_a_file_that_the_sensor_would_ask_for_only_later_is_loaded_at_once(stack: Stack) -> None:
    for number in range(30):  # more than one tick of the sensor requests, and before this one
        (stack.folder / f"a{number:02}.csv").write_bytes(rows())
    time.sleep(2.1)  # until the sensor counts them as complete
    name = f"z-{new_name()}"

    run, _ = accepted(upload(stack, name, rows()))

    assert stack.runs()[run["run_id"]]["tags"]["dagster/partition"] == name
    for number in range(30):
        (stack.folder / f"a{number:02}.csv").unlink()


def test_octet_streams_and_parameters_of_the_type_are_taken(stack: Stack) -> None:
    for media_type in ("application/octet-stream", "Text/CSV; charset=utf-8; header=present"):
        accepted(upload(stack, new_name(), rows(), headers={"Content-Type": media_type}))


# --- names ---


@pytest.mark.parametrize(
    "name",
    [
        "../evil.csv",
        "..%2fevil.csv",
        "/tmp/evil.csv",  # noqa: S108 - refused
        "sub/evil.csv",
        "..\\evil.csv",
        "..csv",
        ".hidden.csv",
        "evil.csv\x00.csv",
        "evil\n.csv",
        "e vil.csv",
        "\u00e9vil.csv",
        "evil.csv.upload-1",
        "evil.txt",
        "csv",
        ".csv",
        "",
        "x" * 125 + ".csv",
        "CON:.csv",
    ],
)
def test_a_name_that_is_not_safe_or_not_the_sources_is_refused_with_the_pattern(
    stack: Stack, name: str
) -> None:
    before = tree(stack)

    body = problem(upload(stack, name, rows()), 422, "invalid-parameters")

    assert "*.csv" in body["errors"][0]["allowed"]
    assert tree(stack) == before


@settings(max_examples=200, deadline=None)
@given(name=st.text(st.sampled_from("ab./\\~%\x00\n:-"), max_size=8).map(lambda text: f"{text}.csv"))
def test_a_name_that_is_taken_leads_into_the_folder_and_is_not_hidden(name: str) -> None:
    folder = PROJECT / "data"
    with suppress(ParametersError):
        uploads.require_name(name, uploads.Place(folder, "*.csv"))
        assert (folder / name).resolve() == folder.resolve() / name
        assert not name.startswith(".")


def test_the_longest_name_is_taken(stack: Stack) -> None:
    name = "-" + uuid.uuid4().hex.ljust(123, "x") + ".csv"
    assert len(name) == 128

    accepted(upload(stack, name, rows()))

    assert (stack.folder / name).exists()


def test_a_name_is_needed_and_other_parameters_are_unknown(stack: Stack) -> None:
    problem(stack.post(PATH, data=rows(), headers=TYPE), 422, "invalid-parameters")
    problem(upload(stack, new_name(), rows(), overwrite="true"), 422, "invalid-parameters")
    problem(upload(stack, new_name(), rows(), replace="perhaps"), 422, "invalid-parameters")


# --- files that exist ---


def test_a_file_that_exists_stays_unless_it_is_to_be_replaced(stack: Stack) -> None:
    name, first, second = new_name(), rows(), rows()
    accepted(upload(stack, name, first))

    problem(upload(stack, name, second), 409, "file-exists")
    assert (stack.folder / name).read_bytes() == first

    accepted(upload(stack, name, second, replace="true"))
    assert (stack.folder / name).read_bytes() == second


@pytest.mark.parametrize("replace", ["false", "true"])
def test_of_concurrent_uploads_of_one_name_none_is_lost_silently(stack: Stack, replace: str) -> None:
    name = new_name()
    bodies = [rows("x" * 1000) for _ in range(4)]
    everybody_sends = threading.Barrier(len(bodies))

    def slowly(body: bytes) -> Iterator[bytes]:
        yield body[:100]
        everybody_sends.wait(20)
        yield body[100:]

    def send(body: bytes) -> requests.Response:
        return upload(stack, name, slowly(body), replace=replace)

    with ThreadPoolExecutor(len(bodies)) as pool:
        responses = list(pool.map(send, bodies))

    stored = [body for body, answer in zip(bodies, responses, strict=True) if answer.status_code == 202]
    assert (stack.folder / name).read_bytes() in stored
    if replace == "false":
        assert sorted(answer.status_code for answer in responses) == [202, 409, 409, 409]
    else:
        assert len(stored) == len(bodies)
    assert leftovers(stack) == []


# --- bodies ---


def leftovers(stack: Stack) -> list[Path]:
    """What an upload under way has stored."""
    return list(stack.folder.glob(".*"))


def in_chunks(size: int) -> Iterator[bytes]:
    for start in range(0, size, 10_000):
        yield b"x" * min(10_000, size - start)


def test_a_file_at_the_limit_is_taken_and_one_above_is_not(stack: Stack) -> None:
    name = new_name()
    problem(upload(stack, name, b"x" * (LIMIT + 1)), 413, "too-large")
    problem(upload(stack, name, in_chunks(LIMIT + 1)), 413, "too-large")  # with no Content-Length
    assert not (stack.folder / name).exists()
    assert leftovers(stack) == []

    assert accepted(upload(stack, name, in_chunks(LIMIT)))[1]["bytes"] == LIMIT


@pytest.mark.parametrize("body", [b"", iter([b""])])
def test_an_empty_body_is_no_file(stack: Stack, body: Any) -> None:
    name = new_name()

    problem(upload(stack, name, body), 422, "empty-body")

    assert not (stack.folder / name).exists()
    assert leftovers(stack) == []


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Content-Type": "multipart/form-data; boundary=x"},
        {"Content-Type": "application/x-www-form-urlencoded"},
        {**TYPE, "Content-Encoding": "gzip"},
    ],
)
def test_a_body_that_is_not_the_files_own_bytes_is_refused(stack: Stack, headers: dict[str, str]) -> None:
    name = new_name()

    body = problem(upload(stack, name, rows(), headers=headers), 415, "unsupported-media-type")

    assert "text/csv" in body["detail"]
    assert not (stack.folder / name).exists()


@contextmanager
def half_an_upload(stack: Stack, name: str) -> Iterator[socket.socket]:
    """A connection on which a file has begun to come."""
    address = urlsplit(stack.api)
    head = (
        f"POST {PATH}?name={name} HTTP/1.1\r\nHost: it\r\nX-API-Key: {stack.key}\r\n"
        "Content-Type: text/csv\r\nContent-Length: 90000\r\n\r\n"
    )
    with socket.create_connection((address.hostname, address.port), timeout=30) as connection:
        connection.sendall(head.encode() + b"id,name\n")
        wait_until(lambda: len(leftovers(stack)) == 1)
        yield connection


def wait_until(reached: Any) -> None:
    deadline = time.monotonic() + 20
    while not reached():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_a_client_that_goes_away_leaves_nothing(stack: Stack) -> None:
    name = new_name()
    with half_an_upload(stack, name):
        assert not (stack.folder / name).exists()

    wait_until(lambda: leftovers(stack) == [])
    assert not (stack.folder / name).exists()


def test_a_client_that_falls_silent_is_not_waited_for(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(uploads, "STALL_SECONDS", 0.3)

    with half_an_upload(stack, new_name()) as connection:
        assert connection.recv(100).startswith(b"HTTP/1.1 408 ")

    assert leftovers(stack) == []


def test_a_client_that_trickles_is_not_waited_for(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(uploads, "STALL_SECONDS", 0.5)

    with half_an_upload(stack, new_name()) as connection:
        connection.settimeout(0.05)
        deadline, answer = time.monotonic() + 20, b""
        while not answer and time.monotonic() < deadline:
            connection.sendall(b"x")
            with suppress(TimeoutError):
                answer = connection.recv(100)
    assert answer.startswith(b"HTTP/1.1 408 ")

    assert leftovers(stack) == []


def test_a_slow_database_takes_nothing_of_the_body(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    # From this moment on, whoever asks the database watches whether the client is still there
    monkeypatch.setattr(database, "PATIENCE", 0)
    name, body = new_name(), rows("x" * 50_000)
    headers = {**TYPE, "X-API-Key": stack.make_key()}  # not known yet: the keys are read anew

    accepted(upload(stack, name, body, headers=headers))

    assert (stack.folder / name).read_bytes() == body


# --- sources ---


def test_an_unknown_source_is_told_the_known_ones(stack: Stack) -> None:
    body = problem(upload(stack, new_name(), rows(), path="/sources/none/files"), 404, "unknown-source")

    assert all(source in body["detail"] for source in SOURCES)


def test_a_source_of_another_kind_takes_no_files(stack: Stack) -> None:
    path = "/sources/coinpaprika_tickers/files"

    body = problem(upload(stack, new_name(), rows(), path=path), 409, "not-a-csv-source")

    assert "coin_reference" in body["detail"]


@pytest.mark.parametrize(
    "pattern", ["s3://bucket/coins/*.csv", "data/**/*.csv", "data/20*/x.csv", "data/", ""]
)
def test_files_that_are_not_in_one_folder_of_this_machine_cannot_be_uploaded(pattern: str) -> None:
    with pytest.raises(ProblemError) as refused:
        uploads.place_of(pattern)

    assert (refused.value.status, refused.value.kind) == (409, "uploads-impossible")


def test_a_folder_that_is_not_on_this_machine_is_a_fault_of_its_own(tmp_path: Path) -> None:
    with pytest.raises(ProblemError) as refused:
        uploads.place_of(f"{tmp_path}/none/*.csv")

    assert (refused.value.status, refused.value.kind) == (503, "storage-unavailable")


def test_a_folder_that_went_away_is_no_failure_of_the_service(stack: Stack) -> None:
    moved = stack.folder.rename(stack.folder.with_name("moved"))
    stack.folder.write_text("no folder")
    try:
        problem(upload(stack, new_name(), rows()), 503, "storage-unavailable")
    finally:
        stack.folder.unlink()
        moved.rename(stack.folder)


# --- Dagster away ---


@contextmanager
def dying_dagster(stack: Stack, after: int) -> Iterator[Stack]:
    """An API whose Dagster answers `after` questions, and then none."""
    left = iter([True] * after)
    with (
        between(stack, lambda _: next(left, 0.0)) as address,
        stack.another_api(KASPARRO_DAGSTER_URL=address) as api,
    ):
        yield api


@pytest.mark.parametrize("answers", [0, 1])
def test_without_dagster_nothing_is_stored(stack: Stack, answers: int) -> None:
    name = new_name()
    with dying_dagster(stack, answers) as api:
        response = upload(api, name, rows())

    problem(response, 503, "dagster-unavailable")
    assert int(response.headers["Retry-After"]) > 0
    assert not (stack.folder / name).exists()


def test_a_dagster_that_goes_away_behind_the_file_leaves_it_to_the_sensor(stack: Stack) -> None:
    name, body = new_name(), rows()
    with dying_dagster(stack, 2) as api:
        run, file = accepted(upload(api, name, body))

    assert (stack.folder / name).read_bytes() == body
    assert file["sha256"] == hashlib.sha256(body).hexdigest()
    assert run["run_id"] is None
    assert "sensor" in run["note"]
    assert "Dagster" in run["error"]
    found = stack.post("/etl/run", json={"source": "coin_reference"}).json()["runs"]
    assert name in {entry["partition"] for entry in found}
