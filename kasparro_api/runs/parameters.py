"""The query parameters of the runs' routes. A description says what is allowed: error answers quote it."""

from typing import Annotated, Literal

from pydantic import Field

from kasparro_api.data.filters import MAX_VALUES
from kasparro_api.data.paging import CURSOR
from kasparro_api.data.parameters import DEFAULT_LIMIT, MAX_LIMIT, ONE, FilterValue, Parameters, Time, Values
from kasparro_api.openapi import JsonObject, query_parameters

Status = Literal["running", "success", "partial", "failed", "cancelled"]

EXAMPLES = {
    "source": ["coinpaprika_tickers"],
    "status": ["failed", "cancelled"],
    "partition": ["2026-11-21"],
    "started_after": "2026-11-21T00:00:00Z",
    "started_before": "2026-11-22T00:00:00Z",
    "limit": 100,
}
"""There is none of `cursor`: only a page gives one."""


class RunsParameters(Parameters):
    """The parameters of `GET /runs`."""

    source: Values = Field(description="Name of a source. Repeat it to get the runs of any of several.")
    status: list[Status] = Field(
        default_factory=list,
        max_length=MAX_VALUES,
        description="`running`, `success`, `partial`, `failed` or `cancelled`. Repeat it for any of several.",
    )
    partition: Values = Field(
        description="A day such as 2026-11-21, or a file's name. Repeat it for any of several."
    )
    started_after: Time = Field(default=None, description="Started at this time or later (RFC 3339).")
    started_before: Time = Field(default=None, description="Started before this time (RFC 3339).")
    limit: Annotated[int, ONE] = Field(
        default=DEFAULT_LIMIT,
        ge=1,
        le=MAX_LIMIT,
        description=f"Runs on the page: an integer from 1 to {MAX_LIMIT:,}.",
    )
    cursor: Annotated[str | None, ONE] = Field(default=None, description=CURSOR)


class ComparisonParameters(Parameters):
    """The parameters of `GET /compare-runs`."""

    a: Annotated[FilterValue, ONE] = Field(
        description="Id of the run that is compared with, usually the earlier one."
    )
    b: Annotated[FilterValue, ONE] = Field(description="Id of the run that is compared.")
    source: Annotated[FilterValue | None, ONE] = Field(
        default=None, description="Name of the source, where a run has worked on several."
    )


def documented(model: type[Parameters], **examples: object) -> JsonObject:
    """The fields of `model` as the OpenAPI document shows them."""
    required = {name for name, field in model.model_fields.items() if field.is_required()}
    shown = query_parameters(model, **examples)["parameters"]
    return {
        "parameters": [
            {**parameter, "required": True} if parameter["name"] in required else parameter
            for parameter in shown
        ]
    }
