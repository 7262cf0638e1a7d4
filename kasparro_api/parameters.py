"""Parameters of routes that have none."""

from pydantic import BaseModel, ConfigDict


class NoParameters(BaseModel):
    """A route without parameters: any is an error."""

    model_config = ConfigDict(extra="forbid")
