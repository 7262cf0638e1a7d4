"""Which runs to launch, launching them once for each Idempotency-Key, and what became of each source.

Knows no HTTP but its problems. The questions to Dagster are in `dagster`.
"""

import asyncio
import hashlib
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from http import HTTPStatus
from weakref import WeakValueDictionary

from kasparro_api.problems import ProblemError, parameter_error
from kasparro_api.trigger.dagster import (
    PARTITION,
    Dagster,
    DagsterAwayError,
    DagsterRefusedError,
    Files,
    RunRequest,
    Source,
)
from kasparro_api.trigger.shapes import RunOrder

LAUNCH_SECONDS = 120
"""How long the launching of one source may take; sources are launched beside each other."""
KEY_TAG = "kasparro/idempotency-key"
REQUEST_TAG = "kasparro/idempotency-request"
MAX_LISTED = 10

_locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
"""One for each key that a request of this process holds or waits for."""


@dataclass(frozen=True)
class Outcome:
    """What became of a source: a run, or why there is none."""

    source: str
    partition: str | None = None
    run_id: str | None = None
    note: str | None = None
    error: DagsterAwayError | DagsterRefusedError | None = None


@dataclass(frozen=True)
class Mark:
    """The tags by which the runs of a request with an Idempotency-Key are found again.

    Dagster's runs are the memory: all workers see it, and it outlives them. Not covered: two workers that
    receive the same new key in the same moment both launch; a request that led to no run is forgotten.
    """

    key: str
    request: str

    @classmethod
    def of(cls, caller: object, idempotency_key: str, order: RunOrder) -> "Mark":
        """The mark of a caller's request; `caller` is the id of its API key, or None."""
        key = f"{'' if caller is None else caller}\n{idempotency_key}"
        return cls(_sha256(key), _sha256(json.dumps([order.source, order.partition])))

    @property
    def tags(self) -> dict[str, str]:
        """For each run that is launched for the request."""
        return {KEY_TAG: self.key, REQUEST_TAG: self.request}


async def launch_once(dagster: Dagster, order: RunOrder, mark: Mark | None) -> tuple[list[Outcome], bool]:
    """Launch what was ordered, except for sources that a request with the same mark has launched already.

    Returns:
        An outcome for each run, and for each source without one; whether there was such a request.

    Raises:
        ProblemError: unknown source or partition; the key stands for another request, or is in use.
        DagsterAwayError, DagsterRefusedError: Dagster does not say what there is.
    """
    if mark is None:
        return await _launch(dagster, order, {}, []), False
    async with _alone(mark.key):
        # A run that was executed again in Dagster has the tags of the first
        earlier = [
            run for run in await dagster.runs({KEY_TAG: mark.key}) if "dagster/parent_run_id" not in run.tags
        ]
        if any(run.tags.get(REQUEST_TAG) != mark.request for run in earlier):
            raise ProblemError(
                HTTPStatus.UNPROCESSABLE_ENTITY,
                "The Idempotency-Key stands for another request",
                "This key came with another source or partition before. A new request needs a new key.",
                kind="idempotency-key-reused",
            )
        known = [
            Outcome(run.source, run.tags.get(PARTITION), run.run_id, "launched before, with the same key")
            for run in earlier
        ]
        return await _launch(dagster, order, mark.tags, known), bool(known)


@asynccontextmanager
async def _alone(key: str) -> AsyncIterator[None]:
    """Let one request of this process at a time use an Idempotency-Key."""
    lock = _locks.setdefault(key, asyncio.Lock())
    try:
        async with asyncio.timeout(LAUNCH_SECONDS):
            await lock.acquire()
    except TimeoutError:
        raise ProblemError(
            HTTPStatus.CONFLICT,
            "The Idempotency-Key is in use",
            "An earlier request with this key is still being worked on. Ask again later.",
            kind="idempotency-key-in-use",
        ) from None
    try:
        yield
    finally:
        lock.release()


async def _launch(
    dagster: Dagster, order: RunOrder, tags: dict[str, str], known: Sequence[Outcome]
) -> list[Outcome]:
    sources = await dagster.sources()
    if order.source is not None:
        sources = [find_source(sources, order.source)]
    done = {outcome.source for outcome in known}
    missing = [source for source in sources if source.name not in done]
    if order.partition is not None and missing:
        await _require_partition(dagster, missing[0], order.partition)
    launched = await asyncio.gather(
        *(_within_time(dagster, source, order.partition, tags) for source in missing)
    )
    return sorted([*known, *(outcome for some in launched for outcome in some)], key=lambda item: item.source)


def find_source(sources: Sequence[Source], name: str) -> Source:
    """The source of a name.

    Raises:
        ProblemError: there is none; the answer names those that there are.
    """
    for source in sources:
        if source.name == name:
            return source
    names = ", ".join(source.name for source in sources)
    raise ProblemError(
        HTTPStatus.NOT_FOUND,
        "Unknown source",
        f"There is no such source. Known sources: {names}.",
        kind="unknown-source",
        errors=[parameter_error("source", name, "Unknown source.", f"One of: {names}.")],
    )


def find_csv_source(sources: Sequence[Source], name: str) -> Source:
    """The CSV source of a name.

    Raises:
        ProblemError: there is no such source, or it is of another kind.
    """
    source = find_source(sources, name)
    if source.kind == "csv":
        return source
    names = ", ".join(source.name for source in sources if source.kind == "csv") or "none"
    raise ProblemError(
        HTTPStatus.CONFLICT,
        "The source takes no files",
        f"{name} is a source of kind {source.kind}. CSV sources: {names}.",
        kind="not-a-csv-source",
    )


async def _require_partition(dagster: Dagster, source: Source, key: str) -> None:
    keys = await dagster.partition_keys(source.name)
    if key in keys:
        return
    if len(keys) > MAX_LISTED:
        allowed = f"One of the {len(keys):,} partitions of {source.name}, from {keys[0]} to {keys[-1]}."
    else:
        allowed = f"One of the partitions of {source.name}: {', '.join(keys) or 'it has none yet'}."
    if source.kind == "csv":
        allowed += " A file becomes one when it is found: leave `partition` out to look for new files."
    raise ProblemError(
        HTTPStatus.UNPROCESSABLE_ENTITY,
        "Unknown partition",
        f"{source.name} has no such partition. {allowed}",
        kind="unknown-partition",
        errors=[parameter_error("partition", key, "Unknown partition.", allowed)],
    )


async def _within_time(
    dagster: Dagster, source: Source, partition: str | None, tags: dict[str, str]
) -> list[Outcome]:
    """Launch a source's runs; a refusal becomes the last outcome, behind the runs launched before it."""
    outcomes: list[Outcome] = []
    error: DagsterAwayError | DagsterRefusedError
    try:
        async with asyncio.timeout(LAUNCH_SECONDS):
            if partition is None:
                await _bring_up_to_date(dagster, source, tags, outcomes)
            else:
                run_id = await dagster.launch(source.name, {PARTITION: partition, **tags})
                outcomes.append(Outcome(source.name, partition, run_id))
    except TimeoutError:
        error = DagsterAwayError(f"The launches took over {LAUNCH_SECONDS} s; the last may be under way.")
    except (DagsterAwayError, DagsterRefusedError) as refusal:
        error = refusal
    else:
        return outcomes
    return [*outcomes, Outcome(source.name, partition, error=error)]


async def _bring_up_to_date(
    dagster: Dagster, source: Source, tags: dict[str, str], outcomes: list[Outcome]
) -> None:
    """What its sensor would request now; without a sensor, or for a feed that did not change: today's run."""
    note = None
    if source.has_sensor:
        requests = await dagster.sensor_requests(source.name)
        for definition, key in requests.new_partitions:
            await dagster.add_partition(definition, key)
        for request in requests.runs:
            launched = await _requested(dagster, source, request, tags)
            outcomes.append(launched)
        note = "no new file" if source.kind == "csv" else "unchanged; the run of today asks again"
    if outcomes:
        return
    if source.kind == "csv":
        outcomes.append(Outcome(source.name, note=note))
        return
    today = datetime.now(UTC).date().isoformat()
    run_id = await dagster.launch(source.name, {PARTITION: today, **tags})
    outcomes.append(Outcome(source.name, today, run_id, note))


async def _requested(dagster: Dagster, source: Source, request: RunRequest, tags: dict[str, str]) -> Outcome:
    run_id = await dagster.launch(source.name, request.tags | tags, request.run_config)
    return Outcome(source.name, request.tags.get(PARTITION), run_id)


async def launch_file(dagster: Dagster, source: Source, files: Files, name: str, *, loaded: bool) -> Outcome:
    """Launch the run of a file that was just stored, if there is anything in it to load.

    `loaded` says whether the newest document of that name has the same bytes.

    Raises:
        DagsterAwayError, DagsterRefusedError: Dagster does not take it.
    """
    requests = await dagster.sensor_requests(source.name)
    for request in requests.runs:
        if request.tags.get(PARTITION) == name:
            await dagster.add_partition(files.definition, name)
            return await _requested(dagster, source, request, {})
    # Not asked for: loaded, or asked for before, or behind more files than a sensor requests at once
    waiting = await dagster.runs(
        {PARTITION: name}, pipelineName=source.name, statuses=["QUEUED", "NOT_STARTED", "STARTING"]
    )
    if waiting:
        return Outcome(source.name, name, waiting[0].run_id, "a run that waits already will load the file")
    if loaded:
        return Outcome(source.name, name, note="unchanged: the same bytes are loaded")
    await dagster.add_partition(files.definition, name)
    return Outcome(source.name, name, await dagster.launch(source.name, {PARTITION: name}))


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
