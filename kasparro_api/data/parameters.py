"""The query parameters of each route. A description says what is allowed: error answers quote it."""

from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

DEFAULT_LIMIT = 10
MAX_LIMIT = 1000
MAX_OFFSET = 100_000


def _value(text: str) -> str:
    if not text.strip():
        raise ValueError("must not be blank")
    if "\0" in text:
        raise ValueError("must not hold a NUL character: no record has one")
    return text


FilterValue = Annotated[str, AfterValidator(_value)]


class DataParameters(BaseModel):
    """The parameters of `GET /data`."""

    model_config = ConfigDict(extra="forbid")

    source: list[FilterValue] = Field(
        default_factory=list,
        description="Name of a source, not blank. Repeat it to get the records of any of several.",
        examples=[["coinpaprika_tickers"]],
    )
    category: list[FilterValue] = Field(
        default_factory=list,
        description="Category of the records, not blank. Repeat it to get the records of any of several.",
        examples=[["coin"]],
    )
    limit: int = Field(
        default=DEFAULT_LIMIT,
        ge=1,
        le=MAX_LIMIT,
        description=f"Records on the page: an integer from 1 to {MAX_LIMIT:,}.",
    )
    cursor: str | None = Field(
        default=None,
        description="`pagination.next_cursor` of a page with the same filters. Not together with `offset`.",
    )
    offset: int | None = Field(
        default=None,
        ge=0,
        le=MAX_OFFSET,
        description=(
            f"Records to skip: an integer from 0 to {MAX_OFFSET:,}. Not together with `cursor`, "
            "which goes to any depth and does not repeat or miss records while others come and go."
        ),
    )

    def query(self, **changed: Any) -> list[tuple[str, str]]:  # noqa: ANN401 - a value of any field
        """These parameters as pairs of a query string, some of them changed; None leaves one out."""
        pairs: list[tuple[str, str]] = []
        for name, value in {**self.model_dump(), **changed}.items():
            values = value if isinstance(value, list) else [value]
            pairs += [(name, str(each)) for each in values if each is not None]
        return pairs
