"""What the `defs.yaml` of every kind of source has in common."""

from datetime import date, timedelta
from typing import Any

from pydantic import Field, field_validator

from kasparro_pipeline.components.readable_schema import readable
from kasparro_pipeline.contract.spec import Contract
from kasparro_pipeline.extract.http import HttpSettings


class SourceSpec(Contract):
    """A source: its contract, and how Dagster shows and watches it."""

    description: str | None = None
    """What the source is, for the people who find it in Dagster."""
    owners: tuple[str, ...] = ("team:data",)
    """Who answers for it: e-mail addresses, or `team:<name>`."""
    fresh_within: timedelta = timedelta(days=1)
    """The source is stale if its newest partition has not landed for this long (ISO 8601: `PT6H`, `P8D`)."""
    max_rejected_share: float = Field(default=0.05, ge=0, le=1)
    """Part of a partition's records that may be rejected before the check `rejected_share` warns."""
    max_value_jump: float = Field(default=3.0, gt=1)
    """Factor by which the median of a numeric field may differ from the usual one before a check warns."""

    @field_validator("owners")
    @classmethod
    def _owners_are_addresses(cls, owners: tuple[str, ...]) -> tuple[str, ...]:
        for owner in owners:
            if "@" not in owner and not owner.startswith("team:"):
                raise ValueError(f"`{owner}` must be an e-mail address or `team:<name>`")
        return owners

    @classmethod
    def model_json_schema(cls, *args: Any, **kwargs: Any) -> dict[str, Any]:  # noqa: ANN401 - pydantic's own
        """The schema that `dg check yaml` reads, in the form whose errors name the allowed values."""
        return readable(super().model_json_schema(*args, **kwargs))

    def contract(self) -> Contract:
        """The contract alone: what the contract's version is counted over."""
        return Contract.model_validate(
            {name: getattr(self, name) for name in Contract.model_fields if name in self.model_fields_set}
        )


class UpstreamSpec(SourceSpec):
    """A source behind HTTP, partitioned by day."""

    sandbox: str | None = Field(default=None, pattern=r"^/")
    """Path of the upstream's stand-in in the sandbox, used unless KASPARRO_UPSTREAM is `live`."""
    start_date: date = date(2026, 1, 1)
    """First daily partition."""
    http: HttpSettings = HttpSettings()
    """Time-outs, retries and limits."""
