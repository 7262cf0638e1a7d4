"""A small client of the Dagster webserver's GraphQL. What to launch, and when, is in `launches`.

httpx, because its requests end in the time that they are given; a thread that waits does not.
"""

import asyncio
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from ssl import SSLContext
from typing import Any

import httpx

LOCATION = "kasparro"
"""Name of the code location; pyproject.toml and workspace.yaml say the same."""
REPOSITORY = {"repositoryName": "__repository__", "repositoryLocationName": LOCATION}
PARTITION = "dagster/partition"
"""The tag that names a run's partition."""
CONNECT_SECONDS = 3
CODE_SECONDS = 75
"""What the code location runs for an answer may take as long: a sensor has 60."""
MAX_REASON = 500

LOCATION_QUERY = """
query { workspaceOrError { __typename
  ... on PythonError { message }
  ... on Workspace { locationEntries { name locationOrLoadError { __typename
    ... on PythonError { message }
    ... on RepositoryLocation { repositories { jobs { name tags { key value } } sensors { name } } } } } } } }
"""
PARTITION_KEYS = """
query ($job: PipelineSelector!) { pipelineOrError(params: $job) { __typename
  ... on Error { message }
  ... on Pipeline { partitionKeysOrError { partitionKeys } } } }
"""
RAW_ASSET = """
query ($key: AssetKeyInput!) { assetNodeOrError(assetKey: $key) { __typename
  ... on AssetNode { partitionDefinition { name }
    metadataEntries { label ... on TextMetadataEntry { text } ... on PathMetadataEntry { path } } } } }
"""
DRY_RUN = """
mutation ($sensor: SensorSelector!) { sensorDryRun(selectorData: $sensor, cursor: null) { __typename
  ... on Error { message }
  ... on DryRunInstigationTick { evaluationResult {
    error { message cause { message } }
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
  ... on Runs { results { runId jobName status tags { key value } } } } }
"""


class DagsterRefusedError(Exception):
    """Dagster answered, and refused; the message is its reason, in one line."""


class DagsterAwayError(Exception):
    """Dagster, or its code server, cannot be reached or is silent."""


@dataclass(frozen=True)
class Source:
    """A source as Dagster shows it. Its kind is rest, csv or feed."""

    name: str
    kind: str
    has_sensor: bool


@dataclass(frozen=True)
class Files:
    """Where a CSV source finds its files, and the partitions definition that they belong to."""

    pattern: str
    definition: str


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
class Run:
    """A run that Dagster knows."""

    run_id: str
    source: str
    tags: Mapping[str, str]


class Dagster:
    """The webserver at one address; a question may take `seconds`.

    Every method raises `DagsterAwayError` if no answer comes in time, `DagsterRefusedError` for a refusal.
    """

    def __init__(self, address: str, seconds: float) -> None:
        self._address = address.rstrip("/")
        self._seconds = seconds

    async def sources(self) -> list[Source]:
        """The sources of the code location."""
        workspace = await self._ask(LOCATION_QUERY, {}, "workspaceOrError", "Workspace")
        locations = {entry["name"]: entry["locationOrLoadError"] for entry in workspace["locationEntries"]}
        location = locations.get(LOCATION)
        if location is None or location["__typename"] != "RepositoryLocation":
            raise DagsterAwayError("Dagster has not loaded the sources, or cannot; its own pages say why.")
        found = []
        for repository in location["repositories"]:
            sensors = {sensor["name"] for sensor in repository["sensors"]}
            for job in repository["jobs"]:
                tags = _tags(job)
                if name := tags.get("kasparro/source"):
                    found.append(Source(name, tags.get("kasparro/kind", ""), f"{name}_sensor" in sensors))
        return sorted(found, key=lambda source: source.name)

    async def partition_keys(self, source: str) -> list[str]:
        """Every partition of a source, in Dagster's order."""
        variables = {"job": {**REPOSITORY, "pipelineName": source}}
        job = await self._ask(PARTITION_KEYS, variables, "pipelineOrError", "Pipeline")
        keys: list[str] = job["partitionKeysOrError"]["partitionKeys"]
        return keys

    async def files_of(self, source: str) -> Files:
        """Where a CSV source finds its files: what its raw asset says."""
        variables = {"key": {"path": ["raw", source]}}
        asset = await self._ask(RAW_ASSET, variables, "assetNodeOrError", "AssetNode")
        entries = {entry["label"]: entry for entry in asset["metadataEntries"]}
        entry = entries.get("dagster/uri", {})
        return Files(entry.get("text") or entry.get("path") or "", asset["partitionDefinition"]["name"])

    async def sensor_requests(self, source: str) -> SensorRequests:
        """Ask a source's sensor what it would request, without its doing so."""
        sensor = {**REPOSITORY, "sensorName": f"{source}_sensor"}
        tick = await self._ask(
            DRY_RUN, {"sensor": sensor}, "sensorDryRun", "DryRunInstigationTick", seconds=CODE_SECONDS
        )
        result = tick["evaluationResult"]
        if error := result["error"]:
            raise _refusal(error["message"], *([error["cause"]["message"]] if error["cause"] else []))
        partitions = tuple(
            (request["partitionsDefName"], key)
            for request in result["dynamicPartitionsRequests"] or ()
            if request["type"] == "ADD_PARTITIONS"
            for key in request["partitionKeys"] or ()
        )
        runs = []
        for request in result["runRequests"] or ():
            # With these two the daemon's own sensor knows that the run was launched
            tags = _tags(request) | {"dagster/sensor_name": f"{source}_sensor"}
            if request["runKey"]:
                tags["dagster/run_key"] = request["runKey"]
            runs.append(RunRequest(tags, request["runConfigYaml"]))
        return SensorRequests(partitions, tuple(runs))

    async def add_partition(self, definition: str, key: str) -> None:
        """Add a dynamic partition; one that is there stays."""
        variables = {"key": key, "definition": definition, "repository": REPOSITORY}
        there = ("AddDynamicPartitionSuccess", "DuplicateDynamicPartitionError")
        await self._ask(ADD_PARTITION, variables, "addDynamicPartition", *there)

    async def launch(self, source: str, tags: Mapping[str, str], run_config: str = "{}") -> str:
        """Launch a source's job and return the run's id; the tag `PARTITION` names the partition."""
        run = {
            "selector": {**REPOSITORY, "jobName": source},
            "runConfigData": run_config,
            "executionMetadata": {"tags": [{"key": key, "value": value} for key, value in tags.items()]},
        }
        launched = await self._ask(
            LAUNCH, {"run": run}, "launchRun", "LaunchRunSuccess", seconds=CODE_SECONDS
        )
        run_id: str = launched["run"]["runId"]
        return run_id

    async def runs(self, tags: Mapping[str, str], **filters: object) -> list[Run]:
        """The runs with these tags, the oldest first."""
        selection = {**filters, "tags": [{"key": key, "value": value} for key, value in tags.items()]}
        found = await self._ask(RUNS, {"filter": selection}, "runsOrError", "Runs")
        return [Run(run["runId"], run["jobName"], _tags(run)) for run in reversed(found["results"])]

    async def _ask(
        self,
        query: str,
        variables: Mapping[str, object],
        field: str,
        *expected: str,
        seconds: float | None = None,
    ) -> dict[str, Any]:
        answer = await self._answer(query, variables, seconds or self._seconds)
        if errors := answer.get("errors"):
            raise _refusal(errors[0]["message"])
        result = (answer.get("data") or {}).get(field)
        if not isinstance(result, dict):
            raise DagsterAwayError("What answers at Dagster's address is not Dagster.")
        if result["__typename"] not in expected:
            reasons = [result.get("message", ""), *(error["message"] for error in result.get("errors", ()))]
            raise _refusal(" ".join(filter(None, reasons)) or result["__typename"])
        return result

    async def _answer(self, query: str, variables: Mapping[str, object], seconds: float) -> dict[str, Any]:
        """The answer to one question; no message repeats the address, which is not the client's business."""
        timeout = httpx.Timeout(seconds, connect=CONNECT_SECONDS)
        try:
            # httpx limits each read, not all of them together
            async with (
                asyncio.timeout(seconds),
                httpx.AsyncClient(timeout=timeout, trust_env=False, verify=_certificates()) as client,
            ):
                body = {"query": query, "variables": variables}
                response = await client.post(f"{self._address}/graphql", json=body)
                answer = response.json()
        except (TimeoutError, httpx.TimeoutException) as error:
            raise DagsterAwayError(f"Dagster gave no answer within {seconds:g} s.") from error
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise DagsterAwayError("Dagster cannot be reached.") from error
        except ValueError:
            answer = None
        if not isinstance(answer, dict):
            raise DagsterAwayError("What answers at Dagster's address is not Dagster.")
        return answer


@cache
def _certificates() -> SSLContext:
    return httpx.create_ssl_context()


def _tags(item: Mapping[str, Any]) -> dict[str, str]:
    return {tag["key"]: tag["value"] for tag in item["tags"]}


def _refusal(*messages: str) -> Exception:
    """Dagster's words as an error: the first line of the last message, without the names of modules."""
    if any("DagsterUserCodeUnreachableError" in message for message in messages):
        return DagsterAwayError("Dagster's code server cannot be reached.")
    line = (messages[-1].strip().splitlines() or ["no reason given"])[0]
    return DagsterRefusedError(re.sub(r"^(?:\w+\.)+(?=\w+: )", "", line)[:MAX_REASON])
