"""The shapes of what every answer has, for OpenAPI alone: bodies come as JSON and pass no model."""

from typing import Any, Literal

from pydantic import BaseModel, Field

META_EXAMPLE: dict[str, Any] = {"request_id": "5199f83efa634d8f8d5c7e6a96b2a7e0", "api_latency_ms": 3.697}


class Meta(BaseModel):
    """About the answer itself."""

    request_id: str = Field(description="The same as in the header `X-Request-ID`.")
    api_latency_ms: float = Field(description="Milliseconds from the request to the writing of this body.")


class Pagination(BaseModel):
    """Where the page stands."""

    limit: int | None = Field(description="Records on a page at most; null where all are on one.")
    next_cursor: str | None = Field(description="`cursor` of the next page; null on the last one.")
    has_more: bool = Field(description="Whether another page follows.")
    total: int | None = Field(default=None, description="With `count`: how many records there are.")
    total_is: Literal["exact", "estimated"] | None = Field(default=None, description="With `count`.")


class ParameterError(BaseModel):
    """One parameter that cannot be used."""

    parameter: str = Field(description="Its name, as it was sent.")
    sent: Any = Field(description="Its value, as it was sent; a long one is cut.")
    message: str = Field(description="What is wrong with it.")
    allowed: str = Field(description="What it may be.")
    closest: str | None = Field(
        default=None, description="The known parameter that an unknown one resembles."
    )


class Problem(BaseModel):
    """An error (RFC 9457)."""

    type: str = Field(
        description="What kind it is, for programs: `urn:kasparro:problem:<kind>`, or `about:blank`."
    )
    title: str = Field(description="The kind in words.")
    status: int = Field(description="The status of the answer.")
    detail: str = Field(description="What is wrong with this request, and what to do.")
    instance: str = Field(description="The path of the request.")
    request_id: str = Field(description="The same as in the header `X-Request-ID`.")
    errors: list[ParameterError] = Field(default_factory=list, description="Each parameter that is wrong.")
