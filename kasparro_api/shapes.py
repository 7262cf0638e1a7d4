"""The shapes of what every answer has, for OpenAPI alone: bodies come as JSON and pass no model."""

from typing import Any

from pydantic import BaseModel, Field

META_EXAMPLE: dict[str, Any] = {"request_id": "4bf92f3577b34da6a3ce929d0e0e4736", "api_latency_ms": 3.21}


class Meta(BaseModel):
    """About the answer itself."""

    request_id: str = Field(description="The same as in the header `X-Request-ID`.")
    api_latency_ms: float = Field(description="Milliseconds from the request to the writing of this body.")


class ParameterError(BaseModel):
    """One parameter that cannot be used."""

    parameter: str
    sent: Any
    message: str
    allowed: str
    closest: str | None = Field(
        default=None, description="The known parameter that an unknown one resembles."
    )


class Problem(BaseModel):
    """An error (RFC 9457)."""

    type: str
    title: str
    status: int
    detail: str
    instance: str
    request_id: str
    errors: list[ParameterError] = Field(default_factory=list)

    model_config = {
        "json_schema_extra": {
            "example": {
                "type": "urn:kasparro:problem:invalid-parameters",
                "title": "A parameter cannot be used",
                "status": 422,
                "detail": "Not usable: limit. Each entry of `errors` says what was sent and what is allowed.",
                "instance": "/data",
                "request_id": META_EXAMPLE["request_id"],
                "errors": [
                    {
                        "parameter": "limit",
                        "sent": "0",
                        "message": "Input should be greater than or equal to 1",
                        "allowed": "Records on the page: an integer from 1 to 1,000.",
                    }
                ],
            }
        }
    }
