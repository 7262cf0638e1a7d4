"""Asking Dagster for runs, over a real webserver with the real sources."""

from __future__ import annotations

import json
import os
import socket
import threading
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
import requests

from kasparro_api.trigger import dagster as client
from kasparro_api.trigger import launches
from tests.api.real_dagster import SOURCES, Stack, between, running_stack, today

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.conftest import Server

PATHS = ["/etl/run", "/run-etl", "/api/v1/etl/run", "/api/v1/run-etl"]
REST = ["coingecko_markets", "coinpaprika_ohlcv", "coinpaprika_tickers"]
LAUNCH = """
mutation ($run: ExecutionParams!) { launchRun(executionParams: $run) {
  ... on LaunchRunSuccess { run { runId } } } }
"""


@pytest.fixture(scope="module")
def stack(postgres: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    with running_stack(postgres, tmp_path_factory.mktemp("stack")) as started:
        yield started


def new_key() -> dict[str, str]:
    return {"Idempotency-Key": str(uuid.uuid4())}


def new_file(stack: Stack) -> str:
    """A file that the CSV source has not seen, as if written a minute ago."""
    path = stack.folder / f"coins-{uuid.uuid4()}.csv"
    path.write_text("id,name\n")
    os.utime(path, (time.time() - 60, time.time() - 60))
    return path.name


def accepted(response: requests.Response) -> list[dict[str, Any]]:
    assert response.status_code == 202, response.text
    body = response.json()
    assert list(body) == ["runs", "meta"]
    assert body["meta"]["request_id"] == response.headers["X-Request-ID"]
    runs: list[dict[str, Any]] = body["runs"]
    return runs


def ids(response: requests.Response) -> set[str]:
    return {run["run_id"] for run in accepted(response) if run["run_id"]}


def problem(response: requests.Response, status: int, kind: str) -> dict[str, Any]:
    assert response.status_code == status, response.text
    assert response.headers["Content-Type"] == "application/problem+json"
    body: dict[str, Any] = response.json()
    assert body["type"] == f"urn:kasparro:problem:{kind}"
    return body


# --- what is launched ---


def test_without_a_body_every_source_is_brought_up_to_date(stack: Stack) -> None:
    name = new_file(stack)
    with stack.upstream():
        runs = accepted(stack.post("/etl/run"))

    known = stack.runs()
    assert {run["source"] for run in runs} == set(SOURCES)
    assert {run["partition"] for run in runs if run["source"] in [*REST, "crypto_news"]} == {today()}
    assert name in {run["partition"] for run in runs if run["source"] == "coin_reference"}
    for run in runs:
        assert (run["note"], run["error"]) == (None, None)
        assert run["status_url"] == f"/runs/{run['run_id']}"
        assert run["dagster_url"] == f"{stack.dagster}/runs/{run['run_id']}"
        launched = known[run["run_id"]]
        assert (launched["jobName"], launched["status"]) == (run["source"], "QUEUED")
        assert launched["tags"]["dagster/partition"] == run["partition"]


def test_the_page_that_the_link_leads_to_is_there(stack: Stack) -> None:
    [run] = accepted(stack.post("/etl/run", json={"source": "coinpaprika_tickers"}))

    assert "text/html" in requests.get(run["dagster_url"], timeout=30).headers["Content-Type"]


@pytest.mark.parametrize("path", PATHS)
def test_one_source_is_one_run_whose_path_is_the_location(stack: Stack, path: str) -> None:
    response = stack.post(path, json={"source": "coinpaprika_tickers"})

    [run] = accepted(response)
    prefix = "/api/v1" if path.startswith("/api") else ""
    assert (run["source"], run["partition"]) == ("coinpaprika_tickers", today())
    assert run["status_url"] == response.headers["Location"] == f"{prefix}/runs/{run['run_id']}"


def test_a_past_day_of_a_source_that_keeps_history(stack: Stack) -> None:
    body = {"source": "coinpaprika_ohlcv", "partition": "2026-02-03"}

    [run] = accepted(stack.post("/etl/run", json=body))

    assert run["partition"] == "2026-02-03"
    assert stack.runs()[run["run_id"]]["tags"]["dagster/partition"] == "2026-02-03"


def test_a_file_is_asked_for_as_its_sensor_would_and_not_again(stack: Stack) -> None:
    name = new_file(stack)

    runs = accepted(stack.post("/etl/run", json={"source": "coin_reference"}))
    again = accepted(stack.post("/etl/run", json={"source": "coin_reference"}))

    [run_id] = [run["run_id"] for run in runs if run["partition"] == name]
    tags = stack.runs()[run_id]["tags"]
    assert tags["dagster/sensor_name"] == "coin_reference_sensor"
    assert tags["dagster/run_key"].startswith(f"{name}@")
    assert [(run["partition"], run["run_id"], run["note"]) for run in again] == [(None, None, "no new file")]
    # From then on the file is a partition that can be asked for
    [run] = accepted(stack.post("/etl/run", json={"source": "coin_reference", "partition": name}))
    assert run["partition"] == name


def test_a_source_that_refuses_does_not_keep_the_others_from_starting(stack: Stack) -> None:
    runs = accepted(stack.post("/etl/run"))

    [refused] = [run for run in runs if run["error"]]
    assert (refused["source"], refused["run_id"], refused["status_url"]) == ("crypto_news", None, None)
    assert "TransientUpstreamError" in refused["error"]
    assert {run["source"] for run in runs if run["run_id"]} >= set(REST)


def make_feeds_due(stack: Stack) -> None:
    """A feed that failed a moment ago, in another test, is asked by the sensor only later."""
    with psycopg.connect(stack.database_url) as connection:
        connection.execute("delete from kasparro.feed_state")


def test_when_every_source_refuses_the_answer_is_a_problem_with_the_reasons(stack: Stack) -> None:
    make_feeds_due(stack)
    body = problem(stack.post("/etl/run", json={"source": "crypto_news"}), 502, "dagster-refused")

    [error] = body["errors"]
    assert error["sent"] == "crypto_news"
    assert "TransientUpstreamError" in error["message"]
    assert "Traceback" not in json.dumps(body)


# --- what cannot be launched ---


def test_an_unknown_source_is_told_the_known_ones(stack: Stack) -> None:
    body = problem(stack.post("/etl/run", json={"source": "coinpaprika"}), 404, "unknown-source")

    assert all(source in body["detail"] for source in SOURCES)
    assert body["errors"][0]["sent"] == "coinpaprika"


@pytest.mark.parametrize("partition", ["2025-12-31", "2999-01-01", "2026-2-3", "nonsense", "", "\x00", "%"])
def test_a_day_that_is_no_partition_is_told_which_are(stack: Stack, partition: str) -> None:
    before = stack.runs()

    response = stack.post("/etl/run", json={"source": "coinpaprika_ohlcv", "partition": partition})

    body = problem(response, 422, "unknown-partition")
    assert f"from 2026-01-01 to {today()}" in body["errors"][0]["allowed"]
    assert stack.runs() == before


def test_a_file_that_is_no_partition_is_told_how_it_becomes_one(stack: Stack) -> None:
    response = stack.post("/etl/run", json={"source": "coin_reference", "partition": "none.csv"})

    assert "look for new files" in problem(response, 422, "unknown-partition")["detail"]


@pytest.mark.parametrize(
    ("body", "named"),
    [
        ('{"partition": "2026-02-03"}', "partition"),
        ('{"source": 1}', "source"),
        ('{"source": NaN}', "source"),
        ('{"sauce": "coinpaprika_ohlcv"}', "sauce"),
        ('["coinpaprika_ohlcv"]', ""),
        ("null", ""),
    ],
)
def test_a_body_that_is_no_order_is_told_what_is_wrong(stack: Stack, body: str, named: str) -> None:
    answer = problem(stack.post("/etl/run", data=body), 422, "invalid-parameters")

    assert named in answer["errors"][0]["parameter"]


@pytest.mark.parametrize(
    "body", ["{", "source=coinpaprika_ohlcv", '{"source": "\\ud800"}', b"\xff", "[" * 999]
)
def test_a_body_that_is_not_json(stack: Stack, body: str) -> None:
    problem(stack.post("/etl/run", data=body), 400, "invalid-json")


def test_a_body_that_is_too_long_is_not_read_to_its_end(stack: Stack) -> None:
    problem(stack.post("/etl/run", data=b" " * 5000), 413, "too-large")


def test_an_unknown_parameter_is_refused(stack: Stack) -> None:
    problem(stack.post("/etl/run?source=coinpaprika_ohlcv"), 422, "invalid-parameters")


def test_nothing_is_launched_by_a_get(stack: Stack) -> None:
    assert requests.get(f"{stack.api}/etl/run", timeout=30).status_code == 405


# --- once, for each Idempotency-Key ---


def test_a_repeat_launches_nothing_and_is_answered_with_the_same_runs(stack: Stack) -> None:
    headers, body = new_key(), {"source": "coinpaprika_ohlcv", "partition": "2026-02-03"}
    first = stack.post("/etl/run", json=body, headers=headers)
    before = stack.runs()

    repeats = [stack.post(path, json=body, headers=headers) for path in PATHS]

    assert "Idempotency-Replayed" not in first.headers
    for repeat in repeats:
        assert ids(repeat) == ids(first)
        assert repeat.headers["Idempotency-Replayed"] == "true"
        assert repeat.headers["Location"].endswith(first.headers["Location"])
    assert stack.runs() == before


def test_a_key_is_remembered_by_dagster_and_not_by_the_process(stack: Stack) -> None:
    headers, body = new_key(), {"source": "coinpaprika_tickers"}
    first = stack.post("/etl/run", json=body, headers=headers)

    with stack.another_api() as other:
        assert ids(other.post("/etl/run", json=body, headers=headers)) == ids(first)


def test_a_repeat_launches_what_the_first_request_could_not(stack: Stack) -> None:
    make_feeds_due(stack)
    headers = new_key()
    first = stack.post("/etl/run", headers=headers)
    assert [run["source"] for run in accepted(first) if run["error"]] == ["crypto_news"]

    with stack.upstream():
        second = stack.post("/etl/run", headers=headers)
        third = stack.post("/etl/run", headers=headers)

    added = ids(second) - ids(first)
    assert ids(second) > ids(first)
    assert {run["source"] for run in accepted(second) if run["run_id"] in added} == {"crypto_news"}
    assert ids(third) == ids(second)


def test_the_same_key_with_another_body_is_refused(stack: Stack) -> None:
    headers = new_key()
    accepted(stack.post("/etl/run", json={"source": "coinpaprika_tickers"}, headers=headers))
    before = stack.runs()

    for body in ({"source": "coinpaprika_ohlcv"}, {}):
        problem(stack.post("/etl/run", json=body, headers=headers), 422, "idempotency-key-reused")
    assert stack.runs() == before
    # The same in other words is no other body
    words = '{ "partition": null, "source": "coinpaprika_tickers" }'
    assert stack.post("/etl/run", data=words, headers=headers).headers["Idempotency-Replayed"] == "true"


def test_the_same_key_of_another_caller_is_another_key(stack: Stack) -> None:
    headers, body, other = new_key(), {"source": "coinpaprika_tickers"}, stack.make_key()
    first = stack.post("/etl/run", json=body, headers=headers)

    second = stack.post("/etl/run", json=body, headers=headers, key=other)

    assert ids(first).isdisjoint(ids(second))
    assert "Idempotency-Replayed" not in second.headers


def test_concurrent_requests_with_one_key_launch_once(stack: Stack) -> None:
    headers, body = new_key(), {"source": "coinpaprika_tickers"}
    before = stack.runs()

    with ThreadPoolExecutor(6) as pool:
        responses = list(pool.map(lambda _: stack.post("/etl/run", json=body, headers=headers), range(6)))

    assert len(set.union(*map(ids, responses))) == 1
    assert len(stack.runs()) == len(before) + 1
    assert sum("Idempotency-Replayed" in response.headers for response in responses) == 5


def test_a_run_that_somebody_executed_again_in_dagster_is_not_the_requests_own(stack: Stack) -> None:
    headers, body = new_key(), {"source": "coinpaprika_tickers"}
    first = stack.post("/etl/run", json=body, headers=headers)
    [run_id] = ids(first)
    tags = {**stack.runs()[run_id]["tags"], "dagster/parent_run_id": run_id, "dagster/root_run_id": run_id}
    selector = {"repositoryLocationName": "kasparro", "repositoryName": "__repository__"}
    run = {
        "selector": {**selector, "jobName": "coinpaprika_tickers"},
        "executionMetadata": {"tags": [{"key": k, "value": v} for k, v in tags.items()]},
    }
    assert stack.ask(LAUNCH, run=run)["run"]["runId"] != run_id

    assert ids(stack.post("/etl/run", json=body, headers=headers)) == {run_id}


@pytest.mark.parametrize("key", ["", "two words", "x" * 129, "caf\u00e9", "tab\there"])
def test_a_key_that_is_not_well_formed_is_refused(stack: Stack, key: str) -> None:
    headers = {"Idempotency-Key": key.encode("latin-1")}

    body = problem(stack.post("/etl/run", json={}, headers=headers), 422, "invalid-parameters")

    assert body["errors"][0]["parameter"] == "Idempotency-Key"


@pytest.mark.parametrize("key", ["x", "x" * 128, '"8e03978e-40d5-43dd-bc93-6894a57f9324"', "~!{}"])
def test_any_visible_characters_make_a_key(stack: Stack, key: str) -> None:
    body = {"source": "coinpaprika_tickers"}
    first = stack.post("/etl/run", json=body, headers={"Idempotency-Key": key})

    assert ids(stack.post("/etl/run", json=body, headers={"Idempotency-Key": key})) == ids(first)


# --- Dagster away ---


@contextmanager
def silent_server() -> Iterator[tuple[str, list[bytes]]]:
    """A server that takes what is sent and never answers; what came."""
    came: list[bytes] = []
    with socket.create_server(("127.0.0.1", 0)) as listening:
        connections = []

        def take() -> None:
            try:
                while True:
                    connection, _ = listening.accept()
                    connections.append(connection)
                    came.append(connection.recv(65536))
            except OSError:
                return

        thread = threading.Thread(target=take)
        thread.start()
        try:
            yield f"http://127.0.0.1:{listening.getsockname()[1]}", came
        finally:
            listening.shutdown(socket.SHUT_RDWR)
            thread.join()
            for connection in connections:
                connection.close()


def test_without_dagster_the_answer_is_503_and_says_when_to_ask_again(stack: Stack) -> None:
    with stack.another_api(KASPARRO_DAGSTER_URL="http://127.0.0.1:1") as api:
        response = api.post("/etl/run", headers=new_key())

    body = problem(response, 503, "dagster-unavailable")
    assert int(response.headers["Retry-After"]) > 0
    assert "127.0.0.1:1" not in json.dumps(body)


def test_a_silent_dagster_is_given_up_in_time_and_is_not_told_the_key(stack: Stack) -> None:
    with (
        silent_server() as (address, came),
        stack.another_api(KASPARRO_DAGSTER_URL=address, KASPARRO_DAGSTER_TIMEOUT=0.5) as api,
    ):
        started = time.monotonic()
        response = api.post("/etl/run")
        lasted = time.monotonic() - started

    problem(response, 503, "dagster-unavailable")
    assert 0.5 <= lasted < 5
    assert came
    assert stack.key.encode() not in b"".join(came)


def test_a_sensor_that_hangs_is_given_up_and_the_others_start(
    stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client, "CODE_SECONDS", 3)

    with (
        between(stack, lambda asked: 5.0 if "crypto_news_sensor" in asked else True) as address,
        stack.another_api(KASPARRO_DAGSTER_URL=address) as api,
    ):
        runs = accepted(api.post("/etl/run"))

    assert [run["error"] for run in runs if run["error"]] == ["Dagster gave no answer within 3 s."]
    assert {run["source"] for run in runs if run["run_id"]} >= set(REST)


def test_launches_together_have_a_limit_too(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(launches, "LAUNCH_SECONDS", 0.5)

    with (
        between(stack, lambda asked: 2.0 if "launchRun" in asked else True) as address,
        stack.another_api(KASPARRO_DAGSTER_URL=address) as api,
    ):
        problem(api.post("/etl/run", json={"source": "coinpaprika_tickers"}), 503, "dagster-unavailable")


def test_a_launch_whose_answer_was_lost_is_found_by_the_repeat(stack: Stack) -> None:
    headers, body, before = new_key(), {"source": "coinpaprika_tickers"}, stack.runs()
    with (
        between(stack, lambda asked: "launchRun" not in asked) as address,
        stack.another_api(KASPARRO_DAGSTER_URL=address) as api,
    ):
        problem(api.post("/etl/run", json=body, headers=headers), 503, "dagster-unavailable")

    repeat = stack.post("/etl/run", json=body, headers=headers)

    assert repeat.headers["Idempotency-Replayed"] == "true"
    assert set(stack.runs()) - set(before) == ids(repeat)


@pytest.mark.parametrize("path", ["", "/health"])
def test_what_is_not_dagster_is_not_taken_for_it(stack: Stack, path: str) -> None:
    with stack.another_api(KASPARRO_DAGSTER_URL=f"{stack.api}{path}") as api:
        problem(api.post("/etl/run"), 503, "dagster-unavailable")


def test_no_tag_of_a_run_tells_the_key_or_who_has_it(stack: Stack) -> None:
    [run_id] = ids(stack.post("/etl/run", json={"source": "coinpaprika_tickers"}, headers=new_key()))

    told = json.dumps(stack.runs()[run_id])
    assert stack.key not in told
    assert stack.key.split("_")[1] not in told


def test_links_lead_to_the_address_for_people(stack: Stack) -> None:
    with stack.another_api(KASPARRO_DAGSTER_UI_URL="https://dagster.example.org/") as api:
        [run] = accepted(api.post("/etl/run", json={"source": "coinpaprika_tickers"}))

    assert run["dagster_url"] == f"https://dagster.example.org/runs/{run['run_id']}"
