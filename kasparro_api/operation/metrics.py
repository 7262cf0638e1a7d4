"""What the service counts and measures of itself, and `/metrics`. Names follow Prometheus' rules: base units.

With several workers set PROMETHEUS_MULTIPROC_DIR to an empty folder: each worker writes its figures there,
and any of them answers for all.
"""

import multiprocessing
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Annotated

import psycopg
from fastapi import APIRouter, Query, Request, Response
from prometheus_client import (
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    disable_created_metrics,
    generate_latest,
)
from prometheus_client.metrics_core import GaugeMetricFamily, Metric
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead
from prometheus_client.registry import Collector

from kasparro_api import problems
from kasparro_api.data.parameters import NoParameters
from kasparro_api.database import Database
from kasparro_api.runs import ledger_metrics

router = APIRouter(tags=["operation"])

SEVERAL_WORKERS = "PROMETHEUS_MULTIPROC_DIR"
BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
"""Seconds."""
# When each series began is of use to nobody here, and doubles their number
disable_created_metrics()  # type: ignore[no-untyped-call]
_own = CollectorRegistry()
_requests = Counter(
    "http_requests_total",
    "Requests by route template.",
    ["method", "route", "status"],
    registry=_own,
)
_durations = Histogram(
    "http_request_duration_seconds",
    "From the arrival of a request to the end of its answer.",
    ["method", "route"],
    buckets=BUCKETS,
    registry=_own,
)
_pool = Gauge(
    "kasparro_api_pool_connections",
    "Connections to the database, by pool and state: open, idle among them, waited for.",
    ["pool", "state"],
    registry=_own,
    multiprocess_mode="livesum",
)
_METHODS = frozenset({"GET", "HEAD", "POST", "OPTIONS", "PUT", "PATCH", "DELETE"})

# Finding the child of a metric by its labels costs more than counting: the few that there are stay at hand
_children: dict[tuple[str, str, int], tuple[Counter, Histogram]] = {}


def observe(method: str, route: str, status: int, seconds: float) -> None:
    """Count a request; `route` is a template, so that there are only a few of them."""
    key = (method if method in _METHODS else "other", route, status)
    found = _children.get(key)
    if found is None:
        found = _children[key] = (_requests.labels(*key[:2], str(status)), _durations.labels(*key[:2]))
    found[0].inc()
    found[1].observe(seconds)


def observe_pools(pools: Iterable[Database]) -> None:
    """Note how the pools are used."""
    for pool in pools:
        for state, number in pool.use().items():
            _pool.labels(pool.name, state).set(number)


def require_shared_folder() -> str | None:
    """What is wrong with the set-up of several workers, if anything."""
    if multiprocessing.parent_process() is not None and SEVERAL_WORKERS not in os.environ:
        return f"several workers without {SEVERAL_WORKERS}: /metrics answers for one of them"
    return None


def forget_dead_workers() -> None:
    """Leave out what workers that were killed last said of their pools; their counts stay."""
    folder = os.environ.get(SEVERAL_WORKERS)
    for file in Path(folder).glob("gauge_live*_*.db") if folder else ():
        pid = int(file.stem.rpartition("_")[2])
        if not _is_alive(pid):
            mark_process_dead(pid)  # type: ignore[no-untyped-call]


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # of another account
        return True
    return True


class _Rows(Collector):
    """Metrics that were made from rows already."""

    def __init__(self, metrics: Iterable[Metric]) -> None:
        self._metrics = list(metrics)

    def collect(self) -> Iterator[Metric]:
        yield from self._metrics


@router.get(
    "/metrics",
    summary="Metrics for Prometheus",
    description="Requests and latency by route, the pools, and what the run ledger says of each source.",
    response_class=Response,
    responses={
        200: {"content": {CONTENT_TYPE_LATEST: {"schema": {"type": "string"}}}, "description": "Text."}
    },
)
async def read_metrics(
    request: Request,
    parameters: Annotated[NoParameters, Query()],  # noqa: ARG001 - declared so that any parameter is refused
) -> Response:
    """The figures as text; those of the ledger are missing while the database is away."""
    state = request.app.state
    observe_pools(state.pools)
    registry = _own
    if SEVERAL_WORKERS in os.environ:
        registry = CollectorRegistry()
        MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
    ledger = CollectorRegistry()
    up = GaugeMetricFamily("kasparro_database_up", "Whether the database answers.")
    try:
        rows = await state.watching.fetch(ledger_metrics.statement())
    except psycopg.Error as error:
        problems.log_database_error(request, error)
        up.add_metric([], 0)
    else:
        up.add_metric([], 1)
        ledger.register(_Rows(ledger_metrics.families(rows)))
    ledger.register(_Rows([up]))
    return Response(generate_latest(registry) + generate_latest(ledger), media_type=CONTENT_TYPE_LATEST)
