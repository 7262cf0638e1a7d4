"""The shapes of runs, for OpenAPI alone: bodies come as JSON and pass no model."""

from datetime import datetime

from pydantic import BaseModel, Field

from kasparro_api.runs import anomalies
from kasparro_api.runs.examples import COMPARISON, COUNTS_EXAMPLE, DETAIL, RUN, RUNS_EXAMPLE, STATS
from kasparro_api.shapes import META_EXAMPLE, Meta, Pagination

__all__ = ["COUNTS_EXAMPLE", "RUNS_EXAMPLE"]

SUCCESS = "A success is a run with status `success` or `partial` (some records rejected)."
LOST = "A run whose process is gone is shown as failed within about a minute, also if nobody could close it."
ANOMALIES = (
    f"Anomalies compare a run with the last {anomalies.HISTORY} finished runs of its source before it that "
    "succeeded and did the same (asked the upstream, or not). Duration, records read and rejected share are "
    f"unusual when they are further from the median than {anomalies.FAR} standard deviations, estimated from "
    f"the median absolute deviation, and than {anomalies.LEAST_SHARE_OFF:.0%} of the median; they need "
    f"{anomalies.LEAST_HISTORY} such runs, and a rejected share above {anomalies.REJECTED_SHARE:.0%}. No "
    "record where runs before it had some, and a failure after a success, are always told."
)


class RunBase(BaseModel):
    """What a run did to a partition of a source."""

    run_id: str = Field(description="Dagster's id of the run.")
    source: str
    partition_key: str
    status: str = Field(description="`running`, `success`, `partial`, `failed` or `cancelled`.")
    started_at: datetime
    finished_at: datetime | None = Field(description="Of a lost run its last sign of life.")
    duration_seconds: float = Field(description="Until now while the run is under way.")
    records_per_second: float | None = Field(description="Records read or repeated, over the duration.")
    contract_version: int | None = Field(description="The version of the contract that it validated with.")
    counts: dict[str, int] = Field(description="Read, validated, rejected, inserted, updated and so on.")
    rejected_share: float | None = Field(description="Of the records read or repeated, 0 to 1.")
    error: str | None
    dagster_url: str | None = Field(description="The run's page in Dagster.")


class RunsPage(BaseModel):
    """A page of runs."""

    data: list[RunBase]
    pagination: Pagination
    meta: Meta

    model_config = {
        "json_schema_extra": {
            "example": {
                "data": [RUN],
                "pagination": {"limit": 1, "next_cursor": "AY3kU0xq…", "has_more": True},
                "meta": META_EXAMPLE,
            }
        }
    }


class Anomaly(BaseModel):
    """One thing that is unusual about a run."""

    kind: str = Field(description="`failure`, `duration`, `records`, `zero_records` or `rejected_share`.")
    reason: str = Field(description="A sentence with the figures.")
    value: float | str
    expected: float | str = Field(description="The median of the runs before it; of a failure, their status.")


class RejectedReason(BaseModel):
    """Records that were rejected for one reason. A record can have several."""

    field: str | None
    rule: str
    records: int
    example_raw_id: int


class Schema(BaseModel):
    """The contract of a run."""

    contract_version: int | None
    fields: dict[str, str] | None = Field(description="Type of each promised field, by name.")


class DriftExample(BaseModel):
    """A value that shows a difference."""

    value: str | None
    raw_id: int | None = Field(description="The record that it came in.")


class Drift(BaseModel):
    """A difference between what came and the contract."""

    change: str = Field(
        description="`added`, `removed`, `renamed`, `retyped`, `nullability`, `enum`, `format`, `explosion`."
    )
    field: str
    mode: str = Field(description="`evolve`, `freeze` or `quarantine_row`.")
    expected: str | None
    found: str | None
    records: int
    share: float = Field(description="Of the records that were looked at, 0 to 1.")
    confidence: float | None = Field(description="Of a suspected rename, 0 to 1.")
    examples: list[DriftExample]
    detected_at: datetime


class RunDocument(BaseModel):
    """A document that a run stored."""

    id: int
    location: str
    bytes: int
    sha256: str
    records: int | None = Field(description="Null until every record of it is stored.")
    fetched_at: datetime


class RunDetail(RunBase):
    """A run with all that it left."""

    rejected: list[RejectedReason]
    schema_: Schema = Field(alias="schema")
    drift: list[Drift]
    documents: list[RunDocument]
    anomalies: list[Anomaly]


class RunAnswer(BaseModel):
    """The rows of one run."""

    data: list[RunDetail]
    meta: Meta

    model_config = {"json_schema_extra": {"example": {"data": [DETAIL], "meta": META_EXAMPLE}}}


class ComparedRun(RunBase):
    """One of two runs."""

    anomalies: list[Anomaly]


class SideBySide(BaseModel):
    """A figure of both runs."""

    a: float | None
    b: float | None
    difference: float | None = Field(description="`b` minus `a`.")


class ComparedReason(SideBySide):
    """Records that were rejected for one reason."""

    field: str | None
    rule: str


class Versions(BaseModel):
    """The contract's version in both runs."""

    a: int | None
    b: int | None


class Types(BaseModel):
    """A field's type in both contracts."""

    a: str
    b: str


class ComparedSchema(BaseModel):
    """Which fields the contract of one run promised, and that of the other not, or as another type."""

    contract_version: Versions
    added: dict[str, str] = Field(description="Promised in `b` alone, with their types.")
    removed: dict[str, str] = Field(description="Promised in `a` alone, with their types.")
    retyped: dict[str, Types]


class ComparedIds(BaseModel):
    """The first ids (`source_id`) of each kind."""

    only_in_a: list[str]
    only_in_b: list[str]
    changed: list[str]


class ComparedRecords(BaseModel):
    """Records that one run has and the other has not."""

    only_in_a: int
    only_in_b: int
    in_both: int
    changed: int = Field(description="Of those in both: the ones with other content.")
    ids: ComparedIds


class Comparison(BaseModel):
    """Two runs side by side."""

    source: str
    a: ComparedRun
    b: ComparedRun
    duration_seconds: SideBySide
    records_per_second: SideBySide
    rejected_share: SideBySide
    counts: dict[str, SideBySide]
    rejected: list[ComparedReason]
    schema_: ComparedSchema = Field(alias="schema")
    records: ComparedRecords


class ComparisonAnswer(BaseModel):
    """Two runs side by side."""

    data: Comparison
    meta: Meta

    model_config = {"json_schema_extra": {"example": {"data": COMPARISON, "meta": META_EXAMPLE}}}


class LastRun(BaseModel):
    """The run of a source that started last."""

    run_id: str
    partition_key: str
    status: str = Field(description="`running`, `success`, `partial`, `failed` or `cancelled`.")
    started_at: datetime
    finished_at: datetime | None
    duration_seconds: float | None = Field(description="Until now while the run is under way.")
    counts: dict[str, int] = Field(description="Read, inserted, updated, unchanged, rejected and so on.")
    error: str | None


class Totals(BaseModel):
    """Sums over the runs of a source."""

    unified_records: int
    runs: dict[str, int] = Field(description="Number of runs by status.")
    counts: dict[str, int] = Field(
        description="The counts of all runs together; work that was done again counts again."
    )


class AllTotals(Totals):
    """Sums over the runs of every source."""

    sources: int


class SourceStats(BaseModel):
    """One source."""

    source: str
    last_run: LastRun | None = Field(description="Null for a source whose runs are not in the ledger.")
    last_success_at: datetime | None = Field(description=f"End of the last success. {SUCCESS}")
    last_failure_at: datetime | None
    seconds_since_success: float | None
    median_duration_seconds: float | None = Field(
        description="Of the successes among the last 30 finished runs."
    )
    newest_published_at: datetime | None = Field(description="Of the source's records.")
    totals: Totals


class Stats(BaseModel):
    """What the runs did."""

    sources: list[SourceStats]
    totals: AllTotals
    meta: Meta

    model_config = {"json_schema_extra": {"example": {**STATS, "meta": META_EXAMPLE}}}
