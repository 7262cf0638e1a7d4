"""A small client of the Dagster webserver's GraphQL. What to launch, and when, is in `launches.py`."""

from dataclasses import dataclass
from typing import Any

import requests

from kasparro_pipeline.stack.errors import StackError
from kasparro_pipeline.stack.programs import LOCATION

REPOSITORY = "__repository__"
TIMEOUT = 75
"""Seconds: a sensor may take 60."""

UNFINISHED = ("QUEUED", "NOT_STARTED", "STARTING", "STARTED", "CANCELING")

LOCATION_QUERY = """
query { workspaceOrError { __typename
  ... on PythonError { message }
  ... on Workspace { locationEntries { name loadStatus locationOrLoadError { __typename
    ... on PythonError { message }
    ... on RepositoryLocation { repositories { jobs { name tags { key value } } sensors { name } } } } } } } }
"""
DRY_RUN = """
mutation ($sensor: SensorSelector!) { sensorDryRun(selectorData: $sensor, cursor: null) { __typename
  ... on Error { message }
  ... on DryRunInstigationTick { evaluationResult {
    error { message }
    dynamicPartitionsRequests { partitionKeys partitionsDefName type }
    runRequests { runKey tags { key value } runConfigYaml } } } } }
"""
ADD_PARTITION = """
mutation ($key: String!, $definition: String!, $repository: RepositorySelector!) {
  addDynamicPartition(partitionKey: $key, partitionsDefName: $definition, repositorySelector: $repository) {
    __typename ... on Error { message } ... on UnauthorizedError { message } } }
"""
LAUNCH = """
mutation ($run: ExecutionParams!) { launchRun(executionParams: $run) { __typename
  ... on Error { message }
  ... on RunConfigValidationInvalid { errors { message } }
  ... on LaunchRunSuccess { run { runId } } } }
"""
RUNS = """
query ($filter: RunsFilter!) { runsOrError(filter: $filter, limit: 1000) { __typename
  ... on Error { message }
  ... on Runs { results { runId status startTime endTime } } } }
"""
FAILURE = """
query ($id: ID!) { runOrError(runId: $id) { __typename
  ... on Run { eventConnection { events { __typename
    ... on ExecutionStepFailureEvent { message stepKey error { message cause { message } } }
    ... on RunFailureEvent { message error { message } } } } } } }
"""
CANCEL = """
mutation ($ids: [String!]!) { terminateRuns(runIds: $ids, terminatePolicy: MARK_AS_CANCELED_IMMEDIATELY) {
  __typename ... on Error { message } } }
"""
POOLS = """
query ($filter: RunsFilter!) {
  runsOrError(filter: $filter, limit: 1000) { __typename
    ... on Error { message } ... on Runs { results { allPools } } }
  instance { concurrencyLimits { concurrencyKey } } }
"""
LIMIT_POOL = """
mutation ($pool: String!) { setConcurrencyLimit(concurrencyKey: $pool, limit: 1) }
"""


class DagsterRefusedError(StackError):
    """The webserver answered, and refused; the message is Dagster's."""


@dataclass(frozen=True)
class Source:
    """A source as Dagster shows it. Its kind is rest, csv or feed."""

    name: str
    kind: str
    has_sensor: bool


@dataclass(frozen=True)
class RunRequest:
    """A run that a source's sensor asks for."""

    tags: dict[str, str]
    run_config: str


@dataclass(frozen=True)
class SensorRequests:
    """What a sensor would do now, in its order."""

    new_partitions: tuple[tuple[str, str], ...]
    """(partitions definition, partition key)"""
    runs: tuple[RunRequest, ...]


@dataclass(frozen=True)
class RunState:
    """Where a run has got to; times are Unix seconds."""

    run_id: str
    status: str
    started: float | None
    ended: float | None

    @property
    def finished(self) -> bool:
        """Whether nothing more will happen to it."""
        return self.status not in UNFINISHED


class DagsterApi:
    """The webserver at one address."""

    def __init__(self, address: str) -> None:
        self.address = address

    def sources(self) -> list[Source] | None:
        """The sources of the code location; None while it is loading.

        Raises:
            DagsterRefusedError: the code location does not load, with the reason.
        """
        workspace = self._ask(LOCATION_QUERY, {}, "workspaceOrError", "Workspace")
        entry = next((entry for entry in workspace["locationEntries"] if entry["name"] == LOCATION), None)
        if entry is None or entry["loadStatus"] == "LOADING" or entry["locationOrLoadError"] is None:
            return None
        location = entry["locationOrLoadError"]
        if location["__typename"] == "PythonError":
            raise DagsterRefusedError(f"Dagster cannot load the sources:\n{location['message'].strip()}")
        found = []
        for repository in location["repositories"]:
            sensors = {sensor["name"] for sensor in repository["sensors"]}
            for job in repository["jobs"]:
                tags = {tag["key"]: tag["value"] for tag in job["tags"]}
                if name := tags.get("kasparro/source"):
                    found.append(Source(name, tags.get("kasparro/kind", ""), f"{name}_sensor" in sensors))
        return found

    def sensor_requests(self, source: str) -> SensorRequests:
        """Ask a source's sensor what it would request, without its doing so.

        Raises:
            DagsterRefusedError: the sensor failed.
        """
        selector = {"repositoryName": REPOSITORY, "repositoryLocationName": LOCATION}
        sensor = {**selector, "sensorName": f"{source}_sensor"}
        tick = self._ask(DRY_RUN, {"sensor": sensor}, "sensorDryRun", "DryRunInstigationTick")
        result = tick["evaluationResult"]
        if result["error"]:
            raise DagsterRefusedError(f"The sensor of {source} failed: {result['error']['message'].strip()}")
        partitions = tuple(
            (request["partitionsDefName"], key)
            for request in result["dynamicPartitionsRequests"] or ()
            if request["type"] == "ADD_PARTITIONS"
            for key in request["partitionKeys"] or ()
        )
        runs = []
        for request in result["runRequests"] or ():
            tags = {tag["key"]: tag["value"] for tag in request["tags"]}
            # With these two the daemon's own sensor knows that the run was launched
            tags["dagster/sensor_name"] = f"{source}_sensor"
            if request["runKey"]:
                tags["dagster/run_key"] = request["runKey"]
            runs.append(RunRequest(tags, request["runConfigYaml"]))
        return SensorRequests(partitions, tuple(runs))

    def add_partition(self, definition: str, key: str) -> None:
        """Add a dynamic partition; one that is there stays."""
        repository = {"repositoryName": REPOSITORY, "repositoryLocationName": LOCATION}
        variables = {"key": key, "definition": definition, "repository": repository}
        there = ("AddDynamicPartitionSuccess", "DuplicateDynamicPartitionError")
        self._ask(ADD_PARTITION, variables, "addDynamicPartition", *there)

    def launch(self, job: str, tags: dict[str, str], run_config: str = "{}") -> str:
        """Launch a job and return the run's id; a source's own job has its name.

        The tag `dagster/partition` names the partition.

        Raises:
            DagsterRefusedError: with Dagster's reason.
        """
        selector = {"jobName": job, "repositoryName": REPOSITORY, "repositoryLocationName": LOCATION}
        run = {
            "selector": selector,
            "runConfigData": run_config,
            "executionMetadata": {"tags": [{"key": key, "value": value} for key, value in tags.items()]},
        }
        run_id: str = self._ask(LAUNCH, {"run": run}, "launchRun", "LaunchRunSuccess")["run"]["runId"]
        return run_id

    def runs(self, run_ids: list[str]) -> list[RunState]:
        """Where these runs have got to."""
        return self._runs({"runIds": run_ids})

    def runs_under_way(self) -> list[RunState]:
        """The runs that have a worker, or had one."""
        return self._runs({"statuses": ["STARTING", "STARTED", "CANCELING"]})

    def failure(self, run_id: str) -> str:
        """Why a run failed, in one line; empty if Dagster does not say."""
        run = self._ask(FAILURE, {"id": run_id}, "runOrError", "Run")
        for event in run["eventConnection"]["events"]:
            if event["__typename"] not in {"ExecutionStepFailureEvent", "RunFailureEvent"}:
                continue
            error = event["error"] or {"message": event["message"]}
            message: str = (error.get("cause") or error)["message"]
            return message.strip().splitlines()[0]
        return ""

    def mark_cancelled(self, run_ids: list[str]) -> None:
        """Close runs whose worker is gone."""
        self._ask(CANCEL, {"ids": run_ids}, "terminateRuns", "TerminateRunsResult")

    def limit_new_pools(self, run_ids: list[str]) -> None:
        """Let one run at a time use the pools of these runs that Dagster has not met before.

        Its `default_limit` of 1 counts only from the second time on that the daemon looks at the queue.
        """
        answer = self._answer(POOLS, {"filter": {"runIds": run_ids}}, "runsOrError")
        known = {pool["concurrencyKey"] for pool in answer["instance"]["concurrencyLimits"]}
        met = {pool for run in answer["runsOrError"]["results"] for pool in run["allPools"] or ()}
        for pool in sorted(met - known):
            self._answer(LIMIT_POOL, {"pool": pool}, "setConcurrencyLimit")

    def _runs(self, selection: dict[str, list[str]]) -> list[RunState]:
        results = self._ask(RUNS, {"filter": selection}, "runsOrError", "Runs")["results"]
        return [RunState(run["runId"], run["status"], run["startTime"], run["endTime"]) for run in results]

    def _ask(self, query: str, variables: dict[str, Any], field: str, *expected: str) -> dict[str, Any]:
        result: dict[str, Any] = self._answer(query, variables, field)[field]
        if result["__typename"] not in expected:
            reasons = [result.get("message", ""), *(error["message"] for error in result.get("errors", ()))]
            reason = " ".join(reason.strip() for reason in reasons if reason) or result["__typename"]
            raise DagsterRefusedError(f"Dagster refuses {field}: {reason}")
        return result

    def _answer(self, query: str, variables: dict[str, Any], field: str) -> dict[str, Any]:
        try:
            response = requests.post(
                f"{self.address}/graphql", json={"query": query, "variables": variables}, timeout=TIMEOUT
            )
            answer = response.json()
        except requests.RequestException as error:
            raise StackError(f"The Dagster webserver at {self.address} does not answer: {error}") from error
        if answer.get("errors"):
            raise DagsterRefusedError(f"Dagster refuses {field}: {answer['errors'][0]['message'].strip()}")
        data: dict[str, Any] = answer["data"]
        return data
