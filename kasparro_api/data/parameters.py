"""The query parameters of the data routes. A description says what is allowed: error answers quote it."""

from collections.abc import Callable, Mapping
from datetime import datetime
from decimal import Decimal
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PlainValidator, WithJsonSchema

from kasparro_api.data import filters
from kasparro_api.data.columns import RECORD_COLUMNS
from kasparro_api.data.filters import MAX_VALUES, Filter
from kasparro_api.data.paging import CURSOR

DEFAULT_LIMIT = 10
MAX_LIMIT = 1000
MAX_OFFSET = 100_000
MAX_SEARCH = 500
SORTS = ("published_at", "updated_at", "amount", "title", "relevance")
Sort = Literal[
    "-published_at",
    "published_at",
    "-updated_at",
    "updated_at",
    "-amount",
    "amount",
    "-title",
    "title",
    "-relevance",
]
Deleted = Literal["exclude", "include", "only"]

SUFFIXES = """\
Any column of a record, and any attribute that a source's contract declares (`attributes.<name>`), is a
parameter too: `<name>=value` keeps the records with that value (repeat it for any of several), and
`<name>.gt`, `.gte`, `.lt`, `.lte`, `.ne`, `.in` (several values between commas) and `.is_null=true|false`
compare. `.ne` keeps records without a value, too. Texts compare by code point.
"""


def _checked(read: Callable[[str], object]) -> BeforeValidator:
    def check(value: object) -> object:
        return read(value) if isinstance(value, str) else value

    return BeforeValidator(check)


def _single(value: object) -> object:
    """A parameter that takes one value, from the list that a query string gives."""
    if isinstance(value, list):
        if len(value) != 1:
            raise ValueError("was sent more than once")
        return value[0]
    return value


ONE = BeforeValidator(_single)
"""Of a parameter that takes one value."""
FilterValue = Annotated[str, _checked(filters.read_text)]
Values = Annotated[list[FilterValue], Field(default_factory=list, max_length=MAX_VALUES)]
Time = Annotated[
    datetime | None,
    _checked(filters.read_time),
    ONE,
    WithJsonSchema({"type": "string", "format": "date-time"}),
]
Number = Annotated[Decimal | None, _checked(filters.read_number), ONE, WithJsonSchema({"type": "number"})]


AsOf = Annotated[
    Time,
    Field(
        description=(
            "The records as they were at this time (RFC 3339), which must not lie in the future. The same "
            "question has the same answer for ever."
        ),
    ),
]


class Parameters(BaseModel):
    """Unknown parameters are an error."""

    model_config = ConfigDict(extra="forbid")

    def pairs(self, **changed: object) -> list[tuple[str, str]]:
        """These parameters as pairs of a query string, some of them changed; None leaves one out."""
        pairs: list[tuple[str, str]] = []
        for name in self.model_fields_set | changed.keys():
            value = changed.get(name, getattr(self, name))
            values = value if isinstance(value, list) else [value]
            pairs += [(name, str(each)) for each in values if each is not None]
        return pairs


class Selecting(Parameters):
    """Which records."""

    source: Values = Field(
        description="Name of a source. Repeat it to get the records of any of several.",
        examples=[["coinpaprika_tickers"]],
    )
    category: Values = Field(
        description="Category of the records. Repeat it to get the records of any of several.",
        examples=[["coin"]],
    )
    kind: Values = Field(description="What a record is: asset, price, candle, article. Repeatable.")
    author: Values = Field(description="Author of the records. Repeatable.")
    tag: Values = Field(description="A tag that the records have. Repeat it for any of several.")
    published_after: Time = Field(default=None, description="Published at this time or later (RFC 3339).")
    published_before: Time = Field(default=None, description="Published before this time (RFC 3339).")
    updated_since: Time = Field(
        default=None, description="Written by the pipeline at this time or later (RFC 3339)."
    )
    amount_min: Number = Field(default=None, description="An amount of at least this number.")
    amount_max: Number = Field(default=None, description="An amount of at most this number.")
    q: Annotated[str | None, _checked(filters.read_text), ONE] = Field(
        default=None,
        max_length=MAX_SEARCH,
        description=(
            'Full text search of title and summary, as in a web search: words, `"a phrase"`, `or`, '
            f"`-without`. At most {MAX_SEARCH} characters. The newest matches come first; "
            "`sort=-relevance` ranks them."
        ),
    )
    deleted: Annotated[Deleted, ONE] = Field(
        default="exclude",
        description="Whether records that were deleted are left out, included, or all there is.",
    )
    sort: Annotated[Sort, ONE] = Field(
        default="-published_at",
        description=(
            "What the records are ordered by, descending with `-`; equal ones by id. Records without a value "
            "count as the smallest. `-relevance` needs `q`."
        ),
    )
    as_of: AsOf = None
    fields: Annotated[str | None, ONE] = Field(
        default=None,
        description=f"Names of the members that a record has, between commas: {', '.join(RECORD_COLUMNS)}.",
        examples=["id,title,amount"],
    )


class DataParameters(Selecting):
    """The parameters of `GET /data`."""

    limit: Annotated[int, ONE] = Field(
        default=DEFAULT_LIMIT,
        ge=1,
        le=MAX_LIMIT,
        description=f"Records on the page: an integer from 1 to {MAX_LIMIT:,}.",
    )
    cursor: Annotated[str | None, ONE] = Field(
        default=None,
        description=f"{CURSOR} Not together with `offset`.",
    )
    offset: Annotated[int | None, ONE] = Field(
        default=None,
        ge=0,
        le=MAX_OFFSET,
        description=(
            f"Records to skip: an integer from 0 to {MAX_OFFSET:,}. Not together with `cursor`, "
            "which goes to any depth and does not repeat or miss records while others come and go."
        ),
    )
    count: Annotated[Literal["none", "estimated", "exact"], ONE] = Field(
        default="none",
        description="Whether `pagination.total` is given: not, as the planner estimates it, or counted.",
    )


class FacetParameters(Parameters):
    """The parameters of `GET /categories`."""

    source: Values = Field(description="Name of a source. Repeat it for any of several.")
    limit: Annotated[int, ONE] = Field(
        default=100,
        ge=1,
        le=MAX_LIMIT,
        description=f"Categories on the page: an integer from 1 to {MAX_LIMIT:,}.",
    )
    cursor: Annotated[str | None, ONE] = Field(default=None, description=CURSOR)


class ChangesParameters(Parameters):
    """The parameters of `GET /changes`."""

    since: Annotated[
        datetime | str | None,
        PlainValidator(filters.read_since),
        ONE,
        WithJsonSchema({"type": "string"}),
    ] = Field(
        default=None,
        description=(
            "`pagination.next_cursor` of a page with the same filters; or a time (RFC 3339): changes at that "
            "time or later; or `now`: none, but the cursor to go on with. Without it all changes there are."
        ),
    )
    source: Values = Field(
        description="Name of a source. Repeat it for the changes of any of several.",
        examples=[["coinpaprika_tickers"]],
    )
    limit: Annotated[int, ONE] = Field(
        default=100,
        ge=1,
        le=MAX_LIMIT,
        description=f"Changes on the page: an integer from 1 to {MAX_LIMIT:,}.",
    )


class LineageParameters(Parameters):
    """The parameters of `GET /data/{id}/lineage`."""

    limit: Annotated[int, ONE] = Field(
        default=DEFAULT_LIMIT,
        ge=1,
        le=MAX_LIMIT,
        description=f"Versions on the page: an integer from 1 to {MAX_LIMIT:,}.",
    )
    cursor: Annotated[str | None, ONE] = Field(
        default=None, description="`pagination.next_cursor` of a page of the same record's versions."
    )


class NoParameters(Parameters):
    """A route without parameters: any is an error."""


class ExportParameters(Selecting):
    """The parameters of an export. Without `limit` it holds every record."""

    limit: Annotated[int | None, ONE] = Field(
        default=None, ge=1, le=2**63 - 1, description="Records at most; without it all of them."
    )
    sort: Annotated[Sort, ONE] = Field(
        default="-published_at",
        description="What the records are ordered by. Without it an export has no order, and is faster.",
    )


class RecordParameters(Parameters):
    """The parameters of `GET /data/{id}`."""

    fields: Annotated[str | None, ONE] = Field(
        default=None,
        description=f"Names of the members, between commas: {', '.join(RECORD_COLUMNS)}.",
        examples=["id,title,amount"],
    )
    deleted: Annotated[Literal["exclude", "include"], ONE] = Field(
        default="exclude", description="Whether a deleted record is shown too."
    )
    as_of: AsOf = None


SHORTHANDS: Mapping[str, tuple[str, filters.Operator, filters.Kind]] = {
    "source": ("source", "any", "text"),
    "category": ("category", "any", "text"),
    "kind": ("kind", "any", "text"),
    "author": ("author", "any", "text"),
    "tag": ("tags", "overlap", "text"),
    "published_after": ("published_at", "gte", "time"),
    "published_before": ("published_at", "lt", "time"),
    "updated_since": ("updated_at", "gte", "time"),
    "amount_min": ("amount", "gte", "number"),
    "amount_max": ("amount", "lte", "number"),
}
"""What the named filters are short for."""


def named_filters(parameters: Selecting) -> list[Filter]:
    """The filters among the named parameters."""
    found = []
    for name, (column, operator, kind) in SHORTHANDS.items():
        value: Any = getattr(parameters, name)
        if value is not None and value != []:
            values = tuple(dict.fromkeys(value)) if isinstance(value, list) else (value,)
            found.append(Filter(column, operator, kind, values))
    return found
