"""Which runs bring every source up to date now, and launching them. Following them is in `etl.py`."""

import time
from dataclasses import dataclass
from datetime import UTC, datetime

from kasparro_pipeline.stack.dagster_api import DagsterApi, DagsterRefusedError, Source
from kasparro_pipeline.stack.errors import StackError

LOAD_TIMEOUT = 60
PARTITION = "dagster/partition"


@dataclass(frozen=True)
class Launch:
    """A run that was launched, or why there is none."""

    source: str
    partition: str
    run_id: str | None
    note: str = ""
    refused: bool = False


def wait_for_sources(api: DagsterApi) -> list[Source]:
    """The sources, once Dagster has loaded them.

    Raises:
        StackError: they do not load, with the reason, or not within `LOAD_TIMEOUT` seconds.
    """
    deadline = time.monotonic() + LOAD_TIMEOUT
    while time.monotonic() < deadline:
        sources = api.sources()
        if sources is not None:
            return sources
        time.sleep(0.2)
    raise StackError(f"Dagster did not load the sources within {LOAD_TIMEOUT} s; its logs say why.")


def launch_all(api: DagsterApi, sources: list[Source]) -> list[Launch]:
    """Launch what brings each source up to date; a source that refuses does not keep the others from it."""
    launched = []
    for source in sources:
        try:
            launched += _launch(api, source)
        except DagsterRefusedError as error:
            launched.append(Launch(source.name, "", None, str(error), refused=True))
    api.limit_new_pools([launch.run_id for launch in launched if launch.run_id])
    return launched


def _launch(api: DagsterApi, source: Source) -> list[Launch]:
    """What its sensor would request now; without a sensor, or for a feed that did not change: today's run."""
    launched = []
    if source.has_sensor:
        requests = api.sensor_requests(source.name)
        for definition, key in requests.new_partitions:
            api.add_partition(definition, key)
        for request in requests.runs:
            run_id = api.launch(source.name, request.tags, request.run_config)
            launched.append(Launch(source.name, request.tags.get(PARTITION, ""), run_id))
    if not launched and source.kind == "csv":
        return [Launch(source.name, "", None, "no new file")]
    if not launched:
        today = datetime.now(UTC).date().isoformat()
        launched.append(Launch(source.name, today, api.launch(source.name, {PARTITION: today})))
    return launched
